//! What must hold in every state of the delivery model, and what must happen in some.

use stateright::Property;

use super::{Delivery, MESSAGES, State};

pub(super) fn all() -> Vec<Property<Delivery>> {
    vec![
        Property::always("no acknowledged loss", |_, state: &State| {
            (0..state.settled).all(|sequence| state.device.app.contains(&sequence))
        }),
        Property::always("receipt only after device ack", |_, state: &State| {
            let acked = &state.device.app[..state.device.acked];
            (0..state.settled).all(|sequence| acked.contains(&sequence))
        }),
        Property::always("fifo per sender", |_, state: &State| {
            state.device.app.is_sorted()
        }),
        Property::always("a session hands nothing over twice", |_, state: &State| {
            !state.repeated
        }),
        Property::always("one edge holds the newest session", |_, state: &State| {
            let newest = |epoch: usize| epoch == state.epoch;
            state
                .edges
                .iter()
                .flatten()
                .filter(|edge| newest(edge.positions.epoch))
                .count()
                <= 1
        }),
        Property::sometimes(
            "a resume succeeded with messages in flight",
            |_, state: &State| state.resumed,
        ),
        Property::sometimes(
            "the application dropped a repeated message",
            |_, state: &State| state.dropped,
        ),
        Property::sometimes(
            "an old session's acknowledgement was ignored",
            |_, state: &State| state.ignored,
        ),
        Property::sometimes(
            "an edge reported to a new owner in mid-delivery",
            |_, state: &State| {
                let owner = state.owners[1].as_ref();
                let twin = owner.and_then(|owner| owner.twin.as_ref());
                twin.is_some_and(|twin| twin.epoch == 1 && twin.items.len() > state.device.h)
            },
        ),
        Property::sometimes(
            "a zombie and its successor both hold a twin",
            |_, state: &State| {
                state
                    .owners
                    .iter()
                    .flatten()
                    .all(|owner| owner.twin.is_some())
                    && state.owners.iter().flatten().count() == 2
            },
        ),
        Property::sometimes(
            "all is settled after a takeover and a break",
            |_, state: &State| state.settled == MESSAGES && state.newest > 0 && state.breaks > 0,
        ),
    ]
}
