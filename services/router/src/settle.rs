//! settle: from a device's acknowledgement to the fold, which lets go of the mailbox entries.
//!
//! Acknowledgements become one command per account in each record of commands. They wait a moment
//! for each other, unless another command goes anyway: nobody waits for a settle but the sender's
//! delivered receipt, and what is not settled comes again.

use std::time::Duration;

use entente_core::{AccountId, Epoch, Position, Sequence, SessionId};
use entente_shard::Command;
use tokio::time::Instant;

use crate::events::Step;
use crate::owner::Owner;

/// How long the first settle of a record waits for others. A record for each message would cost as
/// much as the message itself; a delivered receipt that is so much later is noticed by nobody.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

impl Owner {
    pub(crate) fn acked(&mut self, session: SessionId, through: Position) {
        let Some((account, twin)) = self.twin(session) else {
            return;
        };
        let before = twin.unacked.len();
        let settled = twin.acknowledge(through);
        let count = u64::try_from(before - twin.unacked.len()).unwrap_or_default();
        if let Some(sequence) = settled {
            let (epoch, h) = (twin.epoch, twin.h());
            self.settles.insert(account, (epoch, sequence, h));
            self.settle_at
                .get_or_insert_with(|| Instant::now() + SETTLE_PAUSE);
            self.ground.events.count(Step::Settled, count);
        }
        // The window moved: what waited behind it may go. An error here shows in the next turn.
        self.pumps.push(account);
    }

    /// Whether settles are all that there is to record, and others may still join them.
    pub(crate) fn settles_wait(&self) -> bool {
        self.commands.is_empty() && self.settle_at.is_some_and(|at| at > Instant::now())
    }

    pub(crate) fn flush_settles(&mut self) {
        self.settle_at = None;
        // Before anything else of the turn: a later Open or Leave would void the epoch.
        let settles = self.settles.drain().map(settle);
        drop(self.commands.splice(0..0, settles));
    }

    /// Puts what is owed of a session that ends in front of what ends it.
    pub(crate) fn settle_now(&mut self, account: AccountId) {
        if let Some(owed) = self.settles.remove(&account) {
            self.commands.insert(0, settle((account, owed)));
        }
    }
}

fn settle((account, (epoch, through, handled)): (AccountId, (Epoch, Sequence, u32))) -> Command {
    Command::Settle {
        account,
        epoch,
        through,
        handled,
    }
}
