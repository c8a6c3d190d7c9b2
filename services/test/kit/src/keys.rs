//! Key stanzas of the XMPP door (`urn:entente:keys:0`), from the client's side.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entente_core::{Bundle, KyberPrekey, OneTimePrekey, PrekeyCount, PrekeyUpload, SignedPrekey};
use entente_stanza::{Element, Jid, Ns};

/// The namespace of key stanzas.
pub const KEYS: Ns = Ns::known("urn:entente:keys:0");

/// The payload of an iq `set` that uploads prekeys.
pub fn upload(keys: &PrekeyUpload) -> Element {
    let mut element = Element::new("prekeys", KEYS);
    if let Some(signed) = &keys.signed {
        let child = key("signed", signed.id, &signed.key);
        element.push(child.with_attribute("sig", STANDARD.encode(&signed.signature)));
    }
    for one_time in &keys.one_time {
        element.push(key("one-time", one_time.id, &one_time.key));
    }
    if let Some(last) = &keys.last_resort {
        element.push(kyber("last-resort", last));
    }
    for prekey in &keys.kyber {
        element.push(kyber("kyber", prekey));
    }
    element
}

/// The payload of an iq `get` that counts the keys that wait.
pub const fn count_request() -> Element {
    Element::new("count", KEYS)
}

/// Reads the answer to an upload or a count.
pub fn read_count(answer: &Element) -> Option<PrekeyCount> {
    let count = answer.child("count", &KEYS)?;
    Some(PrekeyCount {
        one_time: count.attribute("one-time")?.parse().ok()?,
        kyber: count.attribute("kyber")?.parse().ok()?,
    })
}

/// The payload of an iq `get` for the bundle of a peer.
pub fn bundle_request(peer: &str) -> Element {
    Element::new("bundle", KEYS).with_attribute("jid", peer)
}

/// Reads the answer to [`bundle_request`].
pub fn read_bundle(answer: &Element) -> Option<Bundle> {
    let bundle = answer.child("bundle", &KEYS)?;
    let child = |name| bundle.child(name, &KEYS);
    let signed = child("signed")?;
    let last = child("last-resort");
    let prekey = child("kyber").or(last);
    Some(Bundle {
        account: Jid::parse(bundle.attribute("jid")?).ok()?.account()?,
        registration: bundle.attribute("registration")?.parse().ok()?,
        identity: bytes(child("identity")?)?.try_into().ok()?,
        signed: SignedPrekey {
            id: id(signed)?,
            key: bytes(signed)?.try_into().ok()?,
            signature: signature(signed)?,
        },
        one_time: match child("one-time") {
            Some(one_time) => Some(OneTimePrekey {
                id: id(one_time)?,
                key: bytes(one_time)?.try_into().ok()?,
            }),
            None => None,
        },
        kyber: match prekey {
            Some(prekey) => Some(KyberPrekey {
                id: id(prekey)?,
                key: bytes(prekey)?.into(),
                signature: signature(prekey)?,
            }),
            None => None,
        },
        last_resort: last.is_some(),
    })
}

fn key(name: &'static str, id: u32, key: &[u8]) -> Element {
    Element::new(name, KEYS)
        .with_attribute("id", id.to_string())
        .with_text(&STANDARD.encode(key))
}

fn kyber(name: &'static str, prekey: &KyberPrekey) -> Element {
    key(name, prekey.id, &prekey.key).with_attribute("sig", STANDARD.encode(&prekey.signature))
}

fn id(element: &Element) -> Option<u32> {
    element.attribute("id")?.parse().ok()
}

fn bytes(element: &Element) -> Option<Vec<u8>> {
    STANDARD.decode(element.text()).ok()
}

fn signature(element: &Element) -> Option<Bytes> {
    let text = element.attribute("sig")?;
    STANDARD.decode(text).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use entente_stanza::ns;

    use super::*;

    fn prekey(id: u32) -> KyberPrekey {
        KyberPrekey {
            id,
            key: Bytes::from(vec![8; 1569]),
            signature: Bytes::from(vec![9; 64]),
        }
    }

    #[test]
    fn an_upload_holds_each_kind_of_key() {
        let element = upload(&PrekeyUpload {
            signed: None,
            one_time: vec![OneTimePrekey {
                id: 1,
                key: [2; 32],
            }],
            last_resort: Some(prekey(3)),
            kyber: vec![prekey(4), prekey(5)],
        });
        let names: Vec<&str> = element.elements().map(Element::name).collect();
        assert_eq!(names, ["one-time", "last-resort", "kyber", "kyber"]);
        assert_eq!(id(element.child("last-resort", &KEYS).unwrap()), Some(3));
    }

    #[test]
    fn a_bundle_is_read_whole_or_not_at_all() {
        let sig = STANDARD.encode([9; 64]);
        let bundle = Element::new("bundle", KEYS)
            .with_attribute("jid", "7-2@gateway.test")
            .with_attribute("registration", "17")
            .with_child(Element::new("identity", KEYS).with_text(&STANDARD.encode([1; 32])))
            .with_child(key("signed", 1, &[2; 32]).with_attribute("sig", sig.as_str()))
            .with_child(kyber("last-resort", &prekey(6)));
        let answer = |bundle| Element::new("iq", ns::CLIENT).with_child(bundle);
        let read = read_bundle(&answer(bundle.clone())).unwrap();
        assert_eq!(
            (read.account.to_string().as_str(), read.registration),
            ("7-2", 17)
        );
        assert!(read.one_time.is_none() && read.last_resort);
        assert_eq!(read.kyber, Some(prekey(6)));

        let short = bundle.with_child(key("one-time", 2, &[2; 31]));
        assert_eq!(read_bundle(&answer(short)), None);
    }

    #[test]
    fn a_count_is_read() {
        let count = Element::new("count", KEYS)
            .with_attribute("one-time", "50")
            .with_attribute("kyber", "4");
        let answer = Element::new("iq", ns::CLIENT).with_child(count);
        let read = read_count(&answer).unwrap();
        assert_eq!((read.one_time, read.kyber), (50, 4));
        assert_eq!(read_count(&Element::new("iq", ns::CLIENT)), None);
    }
}
