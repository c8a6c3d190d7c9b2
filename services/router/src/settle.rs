//! settle: from a device's acknowledgement to the fold, which lets go of the mailbox entries.
//!
//! Acknowledgements become one command per account in each record of commands.

use entente_core::{AccountId, Position, SessionId};
use entente_shard::Command;

use crate::events::Step;
use crate::owner::Owner;
use crate::twin::Twin;

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
            self.ground.events.count(Step::Settled, count);
        }
        // The window moved: what waited behind it may go. An error here shows in the next turn.
        self.pumps.push(account);
    }

    pub(crate) fn flush_settles(&mut self) {
        for (account, (epoch, through, handled)) in self.settles.drain() {
            // Before anything else of the turn: a later Open or Leave would void the epoch.
            self.commands.insert(
                0,
                Command::Settle {
                    account,
                    epoch,
                    through,
                    handled,
                },
            );
        }
    }

    /// Puts what is owed of a session that ends in front of what ends it.
    pub(crate) fn settle_now(&mut self, account: AccountId, _twin: &Twin) {
        if let Some((epoch, through, handled)) = self.settles.remove(&account) {
            self.commands.insert(
                0,
                Command::Settle {
                    account,
                    epoch,
                    through,
                    handled,
                },
            );
        }
    }
}
