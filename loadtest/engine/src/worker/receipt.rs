//! The gateway's delivered receipts, as the senders see them.
//!
//! One comes as a headline from the recipient's address, `<receipt kind='delivered'>` with an `<id/>`
//! for each message that the recipient's device acknowledged. It goes into the history before anything
//! else is done with it; whether the device had acknowledged is for rule R10 to say.

use entente_history::{Event, Id, Receipt, ReceiptKind};

use crate::xml::{attribute, text_of};

use super::Worker;

/// How a history calls a device that is nobody's.
const NOBODY: u32 = u32::MAX;

impl Worker {
    /// Takes a message without an id of ours, if it is a delivered receipt.
    pub(super) fn take_receipt(&self, me: usize, element: &[u8]) {
        let Some(at) = memchr::memmem::find(element, b"<receipt ") else {
            return;
        };
        let receipt = element.get(at..).unwrap_or_default();
        if attribute(receipt, b"kind") != Some(b"delivered") {
            return;
        }
        let mut ids = 0;
        let mut rest = receipt;
        while let Some(id) = text_of(rest, b"<id", b"</id>") {
            rest = memchr::memmem::find(rest, b"</id>")
                .and_then(|at| rest.get(at + 5..))
                .unwrap_or_default();
            let mut marks = [0; 5];
            // Of another run, or no message of the load.
            let (Some(2), [sender, n, ..]) = (self.marks(id, &mut marks), marks) else {
                continue;
            };
            ids += 1;
            self.record_receipt(me, element, (sender, n));
        }
        let stage = self.stage();
        let mut tally = self.tally.borrow_mut();
        tally.at(stage).counters.delivered_receipts += ids;
    }

    fn record_receipt(&self, me: usize, element: &[u8], (sender, n): (u64, u64)) {
        let (Some(history), Some(device)) = (&self.common.history, self.device(me)) else {
            return;
        };
        let device = device.borrow();
        let peers = device.peers.iter().map(|peer| peer.to);
        history.record(&Event::Receipt(Receipt {
            to: device.number,
            of: self.who(element, peers).unwrap_or(NOBODY),
            id: Id::own(u32::try_from(sender).unwrap_or(NOBODY), n),
            kind: ReceiptKind::Delivered,
            epoch: device.epoch,
        }));
    }

    /// Whose address an element comes from; these are looked at first.
    fn who(&self, element: &[u8], mut likely: impl Iterator<Item = u32>) -> Option<u32> {
        let from = attribute(element, b"from")?;
        let bare = from.split(|byte| *byte == b'/').next()?;
        let is = |index: &u32| self.address(*index) == bare;
        let index = likely.find(is).or_else(|| {
            let place = self
                .addresses
                .iter()
                .position(|address| **address == *bare)?;
            u32::try_from(place).ok()
        })?;
        Some(self.number(index))
    }
}
