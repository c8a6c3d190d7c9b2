//! What must hold in every state of the takeover model, and what must happen in some.

use stateright::Property;

use super::topic::held;
use super::{Entry, MESSAGES, Message, Owner, Record, State, Takeover};

pub(super) fn all() -> Vec<Property<Takeover>> {
    always().into_iter().chain(sometimes()).collect()
}

fn always() -> Vec<Property<Takeover>> {
    vec![
        Property::always("no acknowledged loss", |model: &Takeover, state: &State| {
            no_loss(model, state)
        }),
        Property::always("effectively once", |_, state: &State| !state.twice),
        Property::always("fifo per sender", |_, state: &State| {
            state.app.iter().map(|(_, message)| message.0).is_sorted()
        }),
        Property::always("receipt only after device ack", |_, state: &State| {
            let acked = |message| state.app.iter().any(|(_, had)| had == message);
            state.receipts.iter().all(acked)
        }),
        Property::always(
            "each settled message has one receipt",
            |model: &Takeover, state: &State| receipts_complete(model, state),
        ),
        Property::always("an epoch has one holder", |_, state: &State| {
            match (state.active(0), state.active(1)) {
                (Some(one), Some(other)) => one.epoch != other.epoch,
                _ => true,
            }
        }),
        Property::always(
            "replay equals the fold of the log",
            |model: &Takeover, state: &State| {
                let (rebuilt, truth) = (state.rebuilt(model.bug), state.truth());
                rebuilt.window.first == truth.window.first
                    && rebuilt.mailbox.entries == truth.mailbox.entries
                    && rebuilt.window.receipts == truth.window.receipts
            },
        ),
    ]
}

fn sometimes() -> Vec<Property<Takeover>> {
    vec![
        Property::sometimes("a duplicate was suppressed", |_, state: &State| {
            (0..MESSAGES).any(|id| {
                let record = Record::Message(Message(id));
                let last = state.input.iter().rposition(|other| *other == record);
                let first = state.input.iter().position(|other| *other == record);
                first != last
                    && (0..2)
                        .filter_map(|owner| state.active(owner))
                        .any(|active| {
                            last.is_some_and(|last| active.next > last)
                                && active.fold.window.first[id] == first
                        })
            })
        }),
        Property::sometimes("a takeover with messages in flight", |_, state: &State| {
            (0..2)
                .filter_map(|owner| state.active(owner))
                .any(|active| {
                    let waits = |entry: &(usize, Message)| !state.app.contains(entry);
                    active.epoch > 1 && active.fold.mailbox.entries.iter().any(waits)
                })
        }),
        Property::sometimes("a race for one epoch was lost", |_, state: &State| {
            let claims = |epoch: usize| {
                let same =
                    |entry: &&Entry| matches!(entry, Entry::Claim { epoch: e, .. } if *e == epoch);
                state.topic.iter().filter(same).count()
            };
            claims(2) == 2 && state.owners.contains(&Owner::Idle)
        }),
        Property::sometimes("a zombie write was overwritten", |_, state: &State| {
            let fresh = |owner| {
                state
                    .active(owner)
                    .is_some_and(|active| active.flushes == 0)
            };
            (0..2).any(fresh) && repaired(state)
        }),
        Property::sometimes(
            "a shard was rebuilt after input was deleted",
            |_, state: &State| {
                let late = |owner| state.active(owner).is_some_and(|active| active.epoch > 1);
                state.floor > 0 && (0..2).any(late)
            },
        ),
        Property::sometimes(
            "all is delivered, settled and receipted",
            |_, state: &State| state.receipts.len() == MESSAGES,
        ),
    ]
}

/// Each message in the log reached the application, or is in the mailbox that a new owner builds.
fn no_loss(model: &Takeover, state: &State) -> bool {
    let waiting = held(&state.rebuilt(model.bug).mailbox);
    state.input.iter().all(|record| match record {
        Record::Message(message) => {
            waiting[message.0] || state.app.iter().any(|(_, had)| had == message)
        }
        Record::Settle(_) => true,
    })
}

/// What the other shard has, and would take from a new owner, is one receipt per settled message.
fn receipts_complete(model: &Takeover, state: &State) -> bool {
    let mut taken = state.receipts.clone();
    for (counter, message) in state.rebuilt(model.bug).outbox {
        if counter == taken.len() + 1 {
            taken.push(message);
        }
    }
    taken
        == state
            .truth()
            .outbox
            .into_iter()
            .map(|(_, message)| message)
            .collect::<Vec<_>>()
}

/// A value of a lower epoch that does not count lies between two equal ones, the later of which
/// was written by a newer owner.
fn repaired(state: &State) -> bool {
    let mut newest = 0;
    for (position, entry) in state.topic.iter().enumerate() {
        match entry {
            Entry::Claim { epoch, .. } => newest = newest.max(*epoch),
            Entry::State { epoch, value } if *epoch < newest => {
                let (before, after) = state.topic.split_at(position);
                let mut earlier = before.iter().filter_map(|entry| match entry {
                    Entry::State { value: old, .. } if old.same_key(value) => Some(old),
                    _ => None,
                });
                let Some(old) = earlier.next_back() else {
                    continue;
                };
                let again = |entry: &Entry| matches!(entry, Entry::State { epoch, value } if *epoch >= newest && value == old);
                if old != value && after.iter().any(again) {
                    return true;
                }
            }
            Entry::State { .. } => {}
        }
    }
    false
}
