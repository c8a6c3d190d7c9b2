use std::sync::Arc;

use entente_log::LogError;
use entente_shard::StoreError;
use parking_lot::Mutex;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

/// Keeps the levels of lines.
#[derive(Clone, Default)]
struct Levels(Arc<Mutex<Vec<Level>>>);

impl Subscriber for Levels {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.lock().push(*event.metadata().level());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn level(error: &RouterError, is_fixed: bool) -> Level {
    let levels = Levels::default();
    tracing::subscriber::with_default(levels.clone(), || {
        Events::gave_up(ShardId::new(3), error, error.needs_a_person(is_fixed));
    });
    let levels = levels.0.lock().clone();
    assert_eq!(levels.len(), 1);
    levels[0]
}

#[test]
fn a_shard_that_moves_is_no_error() {
    for error in [RouterError::Fenced, RouterError::Outrun] {
        assert_eq!(level(&error, false), Level::WARN, "{error}");
    }
}

#[test]
fn what_ends_with_the_log_is_told_as_an_error_by_the_log_alone() {
    for error in [
        RouterError::Log(LogError::Unavailable),
        RouterError::UnknownOutcome,
    ] {
        for is_fixed in [false, true] {
            assert_eq!(level(&error, is_fixed), Level::WARN, "{error}");
        }
    }
}

#[test]
fn what_waits_for_a_person_is_an_error() {
    for error in [
        RouterError::LogFailed("gone"),
        RouterError::LostRows,
        RouterError::Store(StoreError::Damaged),
        RouterError::Store(StoreError::Failed("the disk".to_owned())),
    ] {
        assert_eq!(level(&error, false), Level::ERROR, "{error}");
    }
    // The shard is on no other's list: two processes run under one name.
    assert_eq!(level(&RouterError::Fenced, true), Level::ERROR);
}
