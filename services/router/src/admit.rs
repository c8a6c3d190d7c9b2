//! admit, resolve: from a session's stanza to a record for the recipient's partition.
//!
//! In: envelopes that the edge stamped. Out: stanzas in their lanes, or ephemeral ones passed to the
//! owner of the recipient's shard. Who the sender is was settled at bind: an envelope that says
//! otherwise is a fault of the edge and goes nowhere.

use bytes::Bytes;
#[cfg(feature = "mutants")]
use entente_core::mutant::{self, Mutant};
use entente_core::{
    AccountId, Class, Content, Envelope, Fault, FaultKind, Position, SessionId, ShardId,
};
use entente_proto::edge::{CloseReason, Refusal, ToEdge, credit_cost};
use entente_shard::Command;
use tokio::sync::mpsc::error::TrySendError;

use crate::error::RouterError;
use crate::events::Step;
use crate::owner::{Call, Owner};

/// The longest durable stanza. Far below what a log takes as one record, and far above what an edge
/// lets through: a stanza that a log takes today and not tomorrow could be delivered and refused.
const STANZA_BYTES: usize = 512 * 1024;

const TOO_LARGE: Fault = Fault::new(FaultKind::PeerMisbehaved, "the stanza is too large");

impl Owner {
    pub(crate) fn submit(
        &mut self,
        session: SessionId,
        envelope: &Envelope,
    ) -> Result<(), RouterError> {
        let Some(account) = self.sessions.get(&session).copied() else {
            return Ok(());
        };
        let Some(twin) = self.twins.get_mut(&account) else {
            return Ok(());
        };
        let stamped = envelope.from == account && envelope.epoch == twin.epoch;
        #[cfg(feature = "mutants")]
        let stamped = stamped || (envelope.from == account && mutant::is(Mutant::NoFencing));
        if !stamped || envelope.position <= twin.received {
            self.ground.events.count(Step::Dropped, 1);
            return Ok(());
        }
        twin.received = envelope.position;
        let shard = match twin.peer {
            Some((peer, shard)) if peer == envelope.to => shard,
            _ => self.ground.placement.of_account(envelope.to),
        };
        twin.peer = Some((envelope.to, shard));
        match envelope.class {
            Class::Durable if envelope.payload.len() > STANZA_BYTES => {
                self.refuse(account, envelope);
            }
            Class::Durable => self.keep(account, shard, envelope),
            Class::Ephemeral => {
                twin.done(envelope.position);
                self.tell_handled(account);
                let payload = envelope.payload.clone();
                self.route(account, (envelope.to, shard), payload)?;
            }
        }
        Ok(())
    }

    /// Answers a stanza that no log takes. It is never tried, whoever sends it and how often: so
    /// none of its copies is stored, and the error is true.
    fn refuse(&mut self, account: AccountId, envelope: &Envelope) {
        let Some(twin) = self.twins.get_mut(&account) else {
            return;
        };
        let inbound = envelope.position;
        let refusal = twin.refuse(Refusal {
            position: inbound,
            inbound,
            id: envelope.id.clone(),
            to: envelope.to,
            fault: TOO_LARGE,
        });
        let (session, edge) = (twin.session, twin.edge);
        let too_many = twin.owes(self.ground.config.window_stanzas);
        self.ground.events.count(Step::Refused, 1);
        self.tell_refused(edge, session, refusal);
        self.tell_handled(account);
        if too_many {
            self.close(session, CloseReason::Stalled);
        }
    }

    /// The first stanza to a peer on a day is noted, so that the peer hears of a new identity key.
    pub(crate) fn note_peer(
        &mut self,
        account: AccountId,
        peer: AccountId,
    ) -> Result<(), RouterError> {
        if !self.shard.has_met(account, peer)? {
            let peers = vec![peer];
            self.commands.push(Command::Contacted { account, peers });
        }
        Ok(())
    }

    pub(crate) fn handled(&mut self, session: SessionId, position: Position) {
        if let Some((account, twin)) = self.twin(session) {
            twin.received = twin.received.max(position);
            twin.done(position);
            self.tell_handled(account);
        }
    }

    /// Passes an ephemeral stanza to the owner of its recipient, or drops it: it is now or never.
    fn route(
        &mut self,
        from: AccountId,
        (to, shard): (AccountId, ShardId),
        payload: Bytes,
    ) -> Result<(), RouterError> {
        if shard == self.shard.id() {
            return self.pass(from, to, payload);
        }
        let peer = usize::try_from(shard.index())
            .ok()
            .and_then(|at| self.ground.peers.get(at));
        let Some(peer) = peer else { return Ok(()) };
        match peer.try_send(Call::Ephemeral { from, to, payload }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.ground.events.count(Step::Dropped, 1);
            }
        }
        Ok(())
    }

    /// Delivers an ephemeral stanza to a session that can take it at once, and whose user does not
    /// block the sender.
    pub(crate) fn pass(
        &mut self,
        from: AccountId,
        to: AccountId,
        payload: Bytes,
    ) -> Result<(), RouterError> {
        let Some(twin) = self.twins.get_mut(&to) else {
            return Ok(());
        };
        let content = Content::Stanza(payload);
        let cost = credit_cost(&content);
        let can_take = twin.detached.is_none() && twin.started && twin.credit > 0;
        if !can_take || self.shard.blocks(to, from)? {
            self.ground.events.count(Step::Dropped, 1);
            return Ok(());
        }
        twin.credit -= i64::from(cost);
        let (session, edge, position) = (twin.session, twin.edge, twin.place());
        self.tell(
            edge,
            ToEdge::Deliver {
                session,
                position,
                sequence: None,
                content,
                delayed: None,
                trace: None,
            },
        );
        Ok(())
    }
}
