//! Key bundles: what a server answers, checked as a client would check it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_history::{Event, Prekey};
use entente_keys::{Curve25519Key, Signature};

use crate::tally::{Count, span};
use crate::wire::condition;
use crate::xml::{attribute, number, text_of};

use super::Worker;

impl Worker {
    /// Takes the answer to a question for a bundle.
    pub(super) fn take_bundle(&self, me: usize, n: u32, element: &[u8], good: bool, now: u64) {
        let Some(device) = self.device(me) else {
            return;
        };
        let Some(ask) = device.borrow_mut().answered(n) else {
            return;
        };
        let stage = self.stage();
        self.moved(false);
        let mut tally = self.tally.borrow_mut();
        if !good {
            let at = memchr::memmem::find(element, b"<error").and_then(|at| element.get(at..));
            tally.refused(stage, condition(at.unwrap_or_default()));
            return;
        }
        let bundle = Bundle::read(element);
        tally.count(stage, Count::Acked);
        let took = now.saturating_sub(ask.at);
        tally.second.ack.record_us(took);
        let due = self.common.control.stage_of(ask.at);
        tally.at(due).latencies.ack.record(span(took), span(took));
        if !bundle.whole {
            tally.at(stage).counters.corrupt += 1;
        }
        drop(tally);
        if let Some(history) = &self.common.history {
            history.record(&Event::Prekey(Prekey {
                by: device.borrow().number,
                target: self.number(ask.target),
                key: bundle.one_time,
                sig_ok: bundle.whole,
                version: bundle.version,
                asked: ask.told,
            }));
        }
    }
}

/// What is of interest in a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bundle {
    one_time: Option<u64>,
    version: u64,
    /// The identity key's signature over the signed prekey holds.
    whole: bool,
}

impl Bundle {
    fn read(element: &[u8]) -> Self {
        Self {
            one_time: id(element, b"<one-time"),
            version: id(element, b"<signed").unwrap_or(0),
            whole: signed(element).unwrap_or(false),
        }
    }
}

fn id(element: &[u8], tag: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(element, tag)?;
    attribute(element.get(at..)?, b"id")
        .and_then(number)
        .map(u64::from)
}

fn signed(element: &[u8]) -> Option<bool> {
    let key = |tag: &[u8], end: &[u8]| {
        let bytes = STANDARD.decode(text_of(element, tag, end)?).ok()?;
        Curve25519Key::new(bytes.try_into().ok()?).ok()
    };
    let identity = key(b"<identity", b"</identity>")?;
    let signed = key(b"<signed", b"</signed>")?;
    let at = memchr::memmem::find(element, b"<signed")?;
    let signature = STANDARD
        .decode(attribute(element.get(at..)?, b"sig")?)
        .ok()?;
    let signature = Signature::from_slice(&signature).ok()?;
    Some(identity.verify(&signed.serialized(), &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use entente_keys::test::SigningKey;

    use super::*;

    #[test]
    fn a_bundle_is_whole_only_if_its_signature_holds() {
        let identity = SigningKey::new([1; 32]);
        let signed = SigningKey::new([2; 32]).public().unwrap();
        let signature = identity.sign(&signed.serialized());
        let text = |key: &[u8], signature: &[u8]| {
            format!(
                "<iq type='result'><bundle registration='1'><identity>{}</identity>\
                 <signed id='7' sig='{}'>{}</signed><one-time id='101'>x</one-time></bundle></iq>",
                STANDARD.encode(key),
                STANDARD.encode(signature),
                STANDARD.encode(signed.bytes())
            )
        };
        let public = identity.public().unwrap();
        let good = Bundle::read(text(public.bytes(), signature.bytes()).as_bytes());
        assert_eq!(
            good,
            Bundle {
                one_time: Some(101),
                version: 7,
                whole: true
            }
        );
        let other = SigningKey::new([3; 32]).public().unwrap();
        assert!(!Bundle::read(text(other.bytes(), signature.bytes()).as_bytes()).whole);
        assert!(!Bundle::read(b"<iq type='result'/>").whole);
    }
}
