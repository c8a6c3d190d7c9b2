//! The recipient shard's fold, as far as senders can see it.
//!
//! **Invariants**
//! - The first record of an id decides: accepted or refused. A second message is a duplicate.
//! - A message whose predecessor of the same sender is open is held; only evidence closes the hole.
//! - A message that comes after its own refusal causes a failure notice, nothing else.

use super::{MESSAGES, SENDER_OF};
use crate::Bug;

/// A record of the recipient shard's input log.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Record {
    /// A message.
    Message(usize),
    /// "This message was refused", by the edge that is about to answer an error.
    Refused(usize),
}

/// What the log says about a message.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the mailbox.
    Accepted,
    /// It waits for its predecessor.
    Held,
    /// It is not to be delivered.
    Refused,
    /// The log has nothing about it.
    #[default]
    Unseen,
}

/// The fold of the whole log.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// Per message.
    pub verdicts: [Verdict; MESSAGES],
    /// The mailbox, in order.
    pub accepted: Vec<usize>,
    /// Messages whose sender got a failure notice.
    pub noticed: [bool; MESSAGES],
    /// A duplicate was dropped.
    pub suppressed: bool,
    /// A refusal came after the message itself and changed nothing.
    pub voided: bool,
    /// A message was held and then released.
    pub released: bool,
}

impl Fold {
    /// Folds the log.
    pub fn of(log: &[Record], bug: Bug) -> Self {
        let mut fold = Self::default();
        for record in log {
            fold.apply(*record, bug);
        }
        fold
    }

    fn apply(&mut self, record: Record, bug: Bug) {
        match record {
            Record::Message(id) => match self.verdicts[id] {
                Verdict::Unseen if bug == Bug::NoLink => self.accept(id),
                Verdict::Unseen => self.verdicts[id] = Verdict::Held,
                Verdict::Refused => self.noticed[id] = true,
                Verdict::Accepted if bug == Bug::NoDedupe => self.accept(id),
                Verdict::Accepted | Verdict::Held => self.suppressed = true,
            },
            Record::Refused(id) => match self.verdicts[id] {
                Verdict::Unseen => self.verdicts[id] = Verdict::Refused,
                Verdict::Accepted | Verdict::Held => self.voided = true,
                Verdict::Refused => {}
            },
        }
        let subject = match record {
            Record::Message(id) | Record::Refused(id) => id,
        };
        for (id, sender) in SENDER_OF.iter().enumerate() {
            let open = |before| matches!(self.verdicts[before], Verdict::Unseen | Verdict::Held);
            let first = (0..id)
                .filter(|before| SENDER_OF[*before] == *sender)
                .any(open);
            if self.verdicts[id] == Verdict::Held && !first {
                self.released |= id != subject;
                self.accept(id);
            }
        }
    }

    fn accept(&mut self, id: usize) {
        self.verdicts[id] = Verdict::Accepted;
        self.accepted.push(id);
    }
}
