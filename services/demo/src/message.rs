//! What the users say: the plain text inside Signal, and the stanza around the ciphertext.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_stanza::{Element, Ns};

use crate::signal::{Ciphertext, Form};

/// The namespace of the ciphertext's element; the gateway hands it on unread.
const ENC: Ns = Ns::known("urn:entente:signal:0");
/// XEP-0333.
const MARKERS: Ns = Ns::known("urn:xmpp:chat-markers:0");
/// Bytes of a storm message, so that a stanza is as large as a usual one.
const STORM_BYTES: usize = 120;

/// What one user tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// One of a numbered series to one recipient, with the microsecond at which it was sent.
    Storm {
        /// From 1, dense.
        number: u64,
        /// Since the storm's clock began.
        micros: u64,
    },
    /// A text.
    Text(String),
}

impl Plain {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Storm { number, micros } => {
                let mut bytes = b"S".to_vec();
                bytes.extend_from_slice(&number.to_be_bytes());
                bytes.extend_from_slice(&micros.to_be_bytes());
                bytes.resize(STORM_BYTES, b'.');
                bytes
            }
            Self::Text(text) => [b"T", text.as_bytes()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (b'S', rest) => {
                let (number, rest) = rest.split_first_chunk()?;
                let (micros, _) = rest.split_first_chunk()?;
                Some(Self::Storm {
                    number: u64::from_be_bytes(*number),
                    micros: u64::from_be_bytes(*micros),
                })
            }
            (b'T', rest) => Some(Self::Text(String::from_utf8(rest.to_vec()).ok()?)),
            _ => None,
        }
    }
}

/// The element that carries a ciphertext.
pub(crate) fn enclose(sealed: &Ciphertext) -> Element {
    Element::new("enc", ENC)
        .with_attribute("type", sealed.form.word())
        .with_text(&STANDARD.encode(&sealed.bytes))
}

/// The ciphertext of a message, if it has one.
pub(crate) fn disclose(message: &Element) -> Option<Ciphertext> {
    let enc = message.child("enc", &ENC)?;
    Some(Ciphertext {
        form: Form::from_word(enc.attribute("type")?)?,
        bytes: STANDARD.decode(enc.text()).ok()?,
    })
}

/// Says that a message was read (XEP-0333).
pub(crate) fn displayed(id: &str) -> Element {
    Element::new("displayed", MARKERS).with_attribute("id", id)
}

/// The id of the message that was read.
pub(crate) fn read_displayed(message: &Element) -> Option<&str> {
    message.child("displayed", &MARKERS)?.attribute("id")
}

#[cfg(test)]
mod tests {
    use entente_stanza::ns;

    use super::*;

    #[test]
    fn plain_texts_round_trip() {
        let storm = Plain::Storm {
            number: 7,
            micros: u64::MAX,
        };
        assert_eq!(storm.encode().len(), STORM_BYTES);
        for plain in [storm, Plain::Text("hello".to_owned())] {
            assert_eq!(Plain::decode(&plain.encode()), Some(plain));
        }
        assert_eq!(Plain::decode(b"S123"), None);
        assert_eq!(Plain::decode(b"?"), None);
    }

    #[test]
    fn a_ciphertext_travels_in_one_element() {
        let sealed = Ciphertext {
            form: Form::Prekey,
            bytes: vec![0, 1, 255],
        };
        let message = Element::new("message", ns::CLIENT).with_child(enclose(&sealed));
        assert_eq!(disclose(&message), Some(sealed));
        assert_eq!(read_displayed(&message), None);
        let marker = Element::new("message", ns::CLIENT).with_child(displayed("a-1"));
        assert_eq!(read_displayed(&marker), Some("a-1"));
    }
}
