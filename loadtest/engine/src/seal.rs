//! End-to-end encryption of bodies, as whoever starts the engine provides it.
//!
//! The engine links no cipher: it asks a [`Sealing`] for a [`Sealer`] for each user, hands it what is
//! said in the clear, and gives what arrives back to the recipient's. What is said is the same seeded
//! stream as ever, so that corruption, mix-ups and keys that do not fit all show at the receiver.
//!
//! **Invariants**
//! - A message is encrypted once, however often it is sent: a cipher with a ratchet would make another
//!   text of it, and its copies must be known as copies.
//! - It is decrypted once, at its first delivery.

use crate::xml::{attribute, text_of};

/// The namespace of the element that carries a ciphertext; gateways hand it on unread.
const OPENING: &[u8] = b"<enc xmlns='urn:entente:signal:0' type='";

/// Makes the users' halves of a cipher.
pub trait Sealing: Send + Sync + std::fmt::Debug {
    /// Gives a sealer for each user, in the order of their numbers here, with a session for each pair
    /// of sender and receiver. Blocks while keys are made.
    ///
    /// # Errors
    /// If a key or a session cannot be made.
    fn sealers(
        &self,
        users: &[u32],
        pairs: &[(u32, u32)],
    ) -> Result<Vec<Box<dyn Sealer>>, SealError>;
}

/// One user's half of a cipher.
pub trait Sealer: Send + std::fmt::Debug {
    /// Encrypts for another user.
    ///
    /// # Errors
    /// If there is no session with it.
    fn seal(&mut self, to: u32, plain: &[u8]) -> Result<Sealed, SealError>;

    /// Decrypts what another user sent, once.
    ///
    /// # Errors
    /// If it is not what that user sent, or was decrypted before.
    fn open(&mut self, from: u32, sealed: &Sealed) -> Result<Vec<u8>, SealError>;
}

/// A ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its form, a word of the cipher's own.
    pub form: Box<str>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A cipher that refused, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);

impl Sealed {
    /// The element that carries it.
    pub(crate) fn element(&self) -> Box<[u8]> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.bytes);
        [
            OPENING,
            self.form.as_bytes(),
            b"'>",
            text.as_bytes(),
            b"</enc>",
        ]
        .concat()
        .into()
    }

    /// Reads the element that carries one.
    pub(crate) fn read(stanza: &[u8]) -> Option<Self> {
        use base64::Engine as _;
        let element = stanza.get(memchr::memmem::find(stanza, b"<enc")?..)?;
        let form = std::str::from_utf8(attribute(element, b"type")?).ok()?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text(element)?);
        Some(Self {
            form: form.into(),
            bytes: bytes.ok()?,
        })
    }
}

/// What travels as the body of a message, whatever it is in: the text of a ciphertext.
pub(crate) fn text(stanza: &[u8]) -> Option<&[u8]> {
    text_of(stanza, b"<enc", b"</enc>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_reads_back_as_it_was_written() {
        let sealed = Sealed {
            form: "msg".into(),
            bytes: (0..=255).collect(),
        };
        let stanza = [b"<message id='1'>", &*sealed.element(), b"</message>"].concat();
        assert_eq!(Sealed::read(&stanza), Some(sealed));
        let short = b"<message><enc xmlns=\"x\" type=\"pkmsg\">AAE=</enc></message>";
        let read = Sealed::read(short).unwrap();
        assert_eq!((&*read.form, &*read.bytes), ("pkmsg", &[0, 1][..]));
        for none in [
            &b"<message><body>AAE=</body></message>"[..],
            b"<message><enc>AAE=</enc></message>",
            b"<message><enc type='msg'>??</enc></message>",
            b"<message><enc type='msg'>AAE=",
        ] {
            assert_eq!(Sealed::read(none), None);
        }
    }
}
