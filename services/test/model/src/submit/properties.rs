//! What must hold in every state of the submission model, and what must happen in some.

use stateright::Property;

use super::{Fold, MESSAGES, RANGE, SENDER_OF, State, Submit};

pub(super) fn all() -> Vec<Property<Submit>> {
    vec![
        Property::always("no acknowledged loss", |model: &Submit, state: &State| {
            let fold = folded(model, state);
            acknowledged(state).all(|id| fold.accepted.contains(&id) || state.errors[id])
        }),
        Property::always(
            "never both accepted and refused",
            |model: &Submit, state: &State| {
                let fold = folded(model, state);
                (0..MESSAGES).all(|id| !(state.errors[id] && fold.accepted.contains(&id)))
            },
        ),
        Property::always("effectively once", |model: &Submit, state: &State| {
            let accepted = folded(model, state).accepted;
            accepted
                .iter()
                .enumerate()
                .all(|(at, id)| !accepted[..at].contains(id))
        }),
        Property::always("fifo per sender", |model: &Submit, state: &State| {
            let accepted = folded(model, state).accepted;
            (0..2).all(|sender| {
                accepted
                    .iter()
                    .filter(|id| SENDER_OF[**id] == sender)
                    .is_sorted()
            })
        }),
        Property::always("h never goes back", |_, state: &State| {
            state.clients.iter().all(|client| !client.went_back)
        }),
        Property::sometimes(
            "a duplicate was suppressed",
            |model: &Submit, state: &State| folded(model, state).suppressed,
        ),
        Property::sometimes(
            "a message was refused and the next one accepted",
            |model: &Submit, state: &State| {
                state.errors[0] && folded(model, state).accepted.contains(&1)
            },
        ),
        Property::sometimes(
            "what a full log did not take was delivered later",
            |model: &Submit, state: &State| {
                state.fulls > 0 && folded(model, state).accepted.starts_with(&[0, 1])
            },
        ),
        Property::sometimes(
            "a resume succeeded with messages open",
            |_, state: &State| {
                let open =
                    |sender: usize| state.clients[sender].h < RANGE[sender].1 - RANGE[sender].0;
                state.resumed && (0..2).any(|sender| state.clients[sender].h > 0 && open(sender))
            },
        ),
        Property::sometimes(
            "what an owner had under way was submitted through the next one",
            |model: &Submit, state: &State| {
                let alive = state.sessions[0].is_some() && state.edge_deaths == 0;
                let stored = folded(model, state).suppressed && state.clients[0].h == 2;
                alive && state.owner_deaths > 0 && stored
            },
        ),
        Property::sometimes(
            "edge and owner died and the client bound afresh",
            |_, state: &State| state.rebound,
        ),
        Property::sometimes(
            "all of a sender's messages are acknowledged",
            |_, state: &State| state.clients[0].h == 2,
        ),
    ]
}

fn folded(model: &Submit, state: &State) -> Fold {
    Fold::of(&state.log, model.bug)
}

/// Messages that an `h` covers.
fn acknowledged(state: &State) -> impl Iterator<Item = usize> + '_ {
    (0..MESSAGES).filter(|id| {
        let sender = SENDER_OF[*id];
        *id < RANGE[sender].0 + state.clients[sender].h
    })
}
