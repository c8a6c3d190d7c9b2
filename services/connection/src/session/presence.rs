//! Presence of the client. There are no rosters here and nobody sees another's presence (T39): it
//! tells the gateway that the client is ready, and is answered so that no client waits.

use entente_stanza::{Ns, Presence, PresenceType, StanzaError};

use super::{Effects, Session, UNAVAILABLE};

/// A join of a room (XEP-0045).
const MUC: Ns = Ns::known("http://jabber.org/protocol/muc");

impl Session {
    pub(super) fn presence(&mut self, presence: Presence, fx: &mut Effects<'_>) {
        fx.tally.presence += 1;
        match (&presence.head.to, presence.type_) {
            (None, PresenceType::Available) => {
                let priority = presence.priority();
                self.echo(presence, fx);
                self.take_priority(priority, fx);
            }
            (Some(_), PresenceType::Subscribe) => self.decline(presence, fx),
            (Some(_), PresenceType::Available) if presence.child("x", &MUC).is_some() => {
                fx.tally.refused += 1;
                if let Some(error) = presence.error(&StanzaError::new(UNAVAILABLE)) {
                    self.local(&error.into_element(), fx);
                }
            }
            // Directed presence, probes and answers to subscriptions lead nowhere, and say so to
            // nobody: an error would tell who exists.
            _ => fx.tally.dropped += 1,
        }
        self.handled_here(fx);
    }

    /// RFC 6121 4.2.2: initial presence goes to all resources of the sender, itself included.
    fn echo(&mut self, mut presence: Presence, fx: &mut Effects<'_>) {
        presence.head.to = Some(self.me.full.clone());
        self.local(&presence.into_element(), fx);
    }

    /// RFC 6121 3.1.3: the same answer for those who exist and those who do not.
    fn decline(&mut self, presence: Presence, fx: &mut Effects<'_>) {
        let to = presence.head.to.as_ref();
        let head = entente_stanza::Head {
            from: to.map(entente_stanza::Jid::to_bare),
            to: Some(self.me.full.clone()),
            id: presence.head.id.clone(),
            ..entente_stanza::Head::default()
        };
        let answer = Presence {
            head,
            type_: PresenceType::Unsubscribed,
            payload: Vec::new(),
        };
        self.local(&answer.into_element(), fx);
    }
}
