//! Key bundles over XMPP (`urn:entente:keys:0`, described in `proto/README.md`): uploads of prekeys,
//! their count, bundles of peers, and leaving.
//!
//! Only shapes are checked here; signatures are the identity service's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entente_core::{Bundle, KyberPrekey, OneTimePrekey, PrekeyCount, PrekeyUpload, SignedPrekey};
use entente_stanza::{Element, Jid, Ns, StanzaCondition};

use super::Session;
use super::ask::Ask;
use super::iq::Reply;

/// The namespace of key stanzas.
pub(super) const KEYS: Ns = Ns::known("urn:entente:keys:0");

/// Key ids have 24 bits, as in the framework's enlistment form.
const MAX_ID: u32 = (1 << 24) - 1;

impl Session {
    pub(super) fn keys(&self, what: &Element, get: bool) -> Reply {
        let ask = match (what.name(), get) {
            ("prekeys", false) => read_upload(what).map(|keys| Ask::Upload(Box::new(keys))),
            ("count", true) => Ok(Ask::Count),
            ("bundle", true) => self.read_target(what),
            ("unenlist", false) => Ok(Ask::Unenlist),
            _ => Err(StanzaCondition::BadRequest),
        };
        match ask {
            Ok(ask) => Reply::Ask(ask),
            Err(condition) => condition.into(),
        }
    }

    fn read_target(&self, what: &Element) -> Result<Ask, StanzaCondition> {
        let jid = what.attribute("jid").ok_or(StanzaCondition::BadRequest)?;
        let jid = Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?;
        let account = jid.account().ok_or(StanzaCondition::ItemNotFound)?;
        if jid.domain() == self.rules.domain.as_str() {
            Ok(Ask::Bundle(account))
        } else {
            Err(StanzaCondition::ItemNotFound)
        }
    }

    pub(super) fn bundle_element(&self, bundle: &Bundle) -> Element {
        let jid = Jid::of_account(bundle.account, &self.rules.domain);
        let mut element = Element::new("bundle", KEYS)
            .with_attribute("jid", &jid)
            .with_attribute("registration", bundle.registration.to_string())
            .with_child(Element::new("identity", KEYS).with_text(&encode(&bundle.identity)))
            .with_child(
                key("signed", bundle.signed.id, &bundle.signed.key)
                    .with_attribute("sig", encode(&bundle.signed.signature)),
            );
        if let Some(one_time) = &bundle.one_time {
            element.push(key("one-time", one_time.id, &one_time.key));
        }
        if let Some(kyber) = &bundle.kyber {
            let name = if bundle.last_resort {
                "last-resort"
            } else {
                "kyber"
            };
            element.push(
                key(name, kyber.id, &kyber.key).with_attribute("sig", encode(&kyber.signature)),
            );
        }
        element
    }
}

pub(super) fn count_element(count: PrekeyCount) -> Element {
    Element::new("count", KEYS)
        .with_attribute("one-time", count.one_time.to_string())
        .with_attribute("kyber", count.kyber.to_string())
}

fn key(name: &'static str, id: u32, key: &[u8]) -> Element {
    Element::new(name, KEYS)
        .with_attribute("id", id.to_string())
        .with_text(&encode(key))
}

fn read_upload(what: &Element) -> Result<PrekeyUpload, StanzaCondition> {
    let mut upload = PrekeyUpload::default();
    for child in what.elements() {
        if child.ns() != &KEYS {
            return Err(StanzaCondition::BadRequest);
        }
        match child.name() {
            "signed" if upload.signed.is_none() => upload.signed = Some(read_signed(child)?),
            "one-time" => upload.one_time.push(OneTimePrekey {
                id: read_id(child)?,
                key: read_key(child)?,
            }),
            "last-resort" if upload.last_resort.is_none() => {
                upload.last_resort = Some(read_kyber(child)?);
            }
            "kyber" => upload.kyber.push(read_kyber(child)?),
            _ => return Err(StanzaCondition::BadRequest),
        }
    }
    Ok(upload)
}

fn read_signed(element: &Element) -> Result<SignedPrekey, StanzaCondition> {
    Ok(SignedPrekey {
        id: read_id(element)?,
        key: read_key(element)?,
        signature: read_signature(element)?,
    })
}

fn read_kyber(element: &Element) -> Result<KyberPrekey, StanzaCondition> {
    Ok(KyberPrekey {
        id: read_id(element)?,
        key: decode(&element.text())?.into(),
        signature: read_signature(element)?,
    })
}

fn read_id(element: &Element) -> Result<u32, StanzaCondition> {
    element
        .attribute("id")
        .and_then(|id| id.parse().ok())
        .filter(|id| *id <= MAX_ID)
        .ok_or(StanzaCondition::BadRequest)
}

fn read_key(element: &Element) -> Result<[u8; 32], StanzaCondition> {
    decode(&element.text())?
        .try_into()
        .map_err(|_| StanzaCondition::BadRequest)
}

fn read_signature(element: &Element) -> Result<Bytes, StanzaCondition> {
    let text = element
        .attribute("sig")
        .ok_or(StanzaCondition::BadRequest)?;
    decode(text).map(Bytes::from)
}

fn decode(text: &str) -> Result<Vec<u8>, StanzaCondition> {
    STANDARD
        .decode(text.trim())
        .map_err(|_| StanzaCondition::BadRequest)
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(children: impl IntoIterator<Item = Element>) -> Element {
        children
            .into_iter()
            .fold(Element::new("prekeys", KEYS), Element::with_child)
    }

    #[test]
    fn reads_each_kind_of_key() {
        let sig = encode(&[7; 64]);
        let element = upload([
            key("signed", 1, &[2; 32]).with_attribute("sig", sig.as_str()),
            key("one-time", 3, &[4; 32]),
            key("one-time", MAX_ID, &[5; 32]),
            key("last-resort", 6, &[8; 1569]).with_attribute("sig", sig.as_str()),
            key("kyber", 9, &[8; 1569]).with_attribute("sig", sig.as_str()),
        ]);
        let read = read_upload(&element).unwrap();
        assert_eq!(read.signed.unwrap().key, [2; 32]);
        assert_eq!(read.one_time.len(), 2);
        assert_eq!(read.last_resort.unwrap().id, 6);
        assert_eq!(read.kyber[0].key.len(), 1569);
    }

    #[test]
    fn refuses_what_is_not_whole() {
        for bad in [
            key("one-time", 1, &[4; 31]),
            key("one-time", MAX_ID + 1, &[4; 32]),
            key("signed", 1, &[4; 32]),
            key("unknown", 1, &[4; 32]),
            Element::new("one-time", KEYS).with_text("AAAA"),
            Element::new("one-time", Ns::NONE),
        ] {
            assert_eq!(
                read_upload(&upload([bad.clone()])),
                Err(StanzaCondition::BadRequest),
                "{bad:?}"
            );
        }
    }
}
