//! Bodies as they travel: in the clear, or encrypted by the sender and decrypted by the receiver.

use crate::device::{Delivered, Device};
use crate::scenario::Payload;
use crate::seal::{self, SealError, Sealed};
use crate::xml::body;

use super::Worker;

impl Worker {
    /// What a stanza, or the part of it that carries the body, has for one: what histories digest.
    pub(super) fn travels<'a>(&self, stanza: &'a [u8]) -> &'a [u8] {
        let found = match self.common.scenario.load.payload {
            Payload::Plain => body(stanza),
            Payload::Signal => seal::text(stanza),
        };
        found.unwrap_or_default()
    }

    /// Appends the encrypted body of a message, which is made at its first sending.
    pub(super) fn write_sealed(&self, device: &mut Device, n: u32, to: u32, text: &mut Vec<u8>) {
        let number = device.number;
        let known = device.message(n).and_then(|(open, _)| open.sealed.clone());
        let element = match (known, &mut device.sealer) {
            (Some(element), _) => element,
            (None, Some(sealer)) => {
                let mut plain = Vec::new();
                self.common.payloads.write(number, n, &mut plain);
                match sealer.seal(to, &plain) {
                    Ok(sealed) => sealed.element(),
                    Err(error) => {
                        self.refused(&error);
                        return;
                    }
                }
            }
            (None, None) => return,
        };
        text.extend_from_slice(&element);
        if let Some((open, _)) = device.message(n) {
            open.sealed = Some(element);
        }
    }

    /// Whether a delivery carries the body that its sender gave it. Of an encrypted message that is
    /// told of the first delivery alone: it cannot be decrypted again.
    pub(super) fn is_whole(
        &self,
        me: usize,
        (sender, n): (u32, u32),
        stanza: &[u8],
        delivered: Delivered,
    ) -> bool {
        let payloads = &self.common.payloads;
        match (self.common.scenario.load.payload, delivered) {
            (Payload::Plain, _) => payloads.is_of(sender, n, self.travels(stanza)),
            (Payload::Signal, Delivered::Copy | Delivered::Twice) => true,
            (Payload::Signal, Delivered::First { .. } | Delivered::Invented) => {
                let plain = self.open(me, sender, stanza);
                plain.is_ok_and(|plain| payloads.is_of(sender, n, &plain))
            }
        }
    }

    fn open(&self, me: usize, sender: u32, stanza: &[u8]) -> Result<Vec<u8>, SealError> {
        let none = |what: &str| SealError(what.to_owned());
        let sealed = Sealed::read(stanza).ok_or_else(|| none("no ciphertext"))?;
        let mut device = self
            .device(me)
            .ok_or_else(|| none("no device"))?
            .borrow_mut();
        let sealer = device.sealer.as_mut().ok_or_else(|| none("no keys"))?;
        let opened = sealer.open(sender, &sealed);
        drop(device);
        opened.inspect_err(|error| self.refused(error))
    }

    /// The cipher refused: it is counted, and some of what it says is told.
    fn refused(&self, error: &SealError) {
        let mut tally = self.tally.borrow_mut();
        tally.error(self.stage(), "the cipher refused".to_owned());
        if tally.left.len() < super::DESCRIBED {
            tally.left.push(format!("the cipher refused: {error}"));
        }
    }
}
