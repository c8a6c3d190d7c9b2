//! What every table must do, as a suite that each implementation runs.
//!
//! `entente_table::conformance!(memory, start_paused = true, async { MemoryTable::default() });`
//! makes one test per story. Stories wait for levels with a deadline, so they hold on a paused
//! clock and on a server's clock alike. A story uses keys of its own, so one server may serve all.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::{Key, MAX_VALUE_BYTES, Rate, Table, TableError, Taken};

/// Life of entries that must outlive their story.
const LONG: Duration = Duration::from_secs(60);
/// Life of entries whose end a story awaits.
const SHORT: Duration = Duration::from_millis(200);
/// How long a story waits for a level before it fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at a level.
const LOOK: Duration = Duration::from_millis(10);

/// Makes a module of tests for one implementation.
///
/// Arguments: the module's name, `start_paused` for the test's clock, and an async expression that
/// makes the table.
#[macro_export]
macro_rules! conformance {
    ($name:ident, start_paused = $paused:literal, $make:expr) => {
        mod $name {
            use super::*;

            $crate::conformance!(@stories $paused, $make,
                a_key_is_inserted_once_until_its_end,
                a_value_lives_until_its_end,
                a_put_replaces_value_and_end,
                a_removed_key_may_be_inserted_again,
                one_of_many_racing_inserts_wins,
                a_bucket_gives_its_burst_and_refills,
                buckets_do_not_share_tokens,
                values_too_long_are_refused,
                binary_keys_and_values_are_kept,
            );
        }
    };
    (@stories $paused:literal, $make:expr, $($story:ident),* $(,)?) => {$(
        #[tokio::test(start_paused = $paused)]
        async fn $story() {
            let table = $make.await;
            $crate::conformance::$story(&table).await;
        }
    )*};
}

/// A second insert is refused while the first lives, and accepted after.
pub async fn a_key_is_inserted_once_until_its_end(table: &dyn Table) {
    let key = key("once");
    let insert = |value: &'static str| table.insert_if_absent(&key, value.into(), SHORT);
    assert_eq!(insert("first").await, Ok(true));
    assert_eq!(insert("second").await, Ok(false));
    assert_eq!(table.get(&key).await, Ok(Some("first".into())));
    let end = Instant::now() + PATIENCE;
    while insert("third").await != Ok(true) {
        assert!(Instant::now() < end, "the first insert never ended");
        sleep(LOOK).await;
    }
    assert_eq!(table.get(&key).await, Ok(Some("third".into())));
}

/// A value is there, and at its end it is not.
pub async fn a_value_lives_until_its_end(table: &dyn Table) {
    let (short, long) = (key("short"), key("long"));
    assert_eq!(table.get(&short).await, Ok(None));
    assert_eq!(table.put(&long, "kept".into(), LONG).await, Ok(()));
    assert_eq!(table.put(&short, "value".into(), SHORT).await, Ok(()));
    assert_eq!(table.get(&short).await, Ok(Some("value".into())));
    until_gone(table, &short).await;
    assert_eq!(table.get(&long).await, Ok(Some("kept".into())));
}

/// A later put wins and sets its own end.
pub async fn a_put_replaces_value_and_end(table: &dyn Table) {
    let key = key("replace");
    assert_eq!(table.put(&key, "one".into(), LONG).await, Ok(()));
    assert_eq!(table.put(&key, "two".into(), SHORT).await, Ok(()));
    assert_eq!(table.get(&key).await, Ok(Some("two".into())));
    until_gone(table, &key).await;
}

/// Remove says what was there and frees the key.
pub async fn a_removed_key_may_be_inserted_again(table: &dyn Table) {
    let key = key("remove");
    assert_eq!(table.remove(&key).await, Ok(false));
    assert_eq!(table.put(&key, "one".into(), LONG).await, Ok(()));
    assert_eq!(table.remove(&key).await, Ok(true));
    assert_eq!(table.get(&key).await, Ok(None));
    let again = table.insert_if_absent(&key, "two".into(), LONG);
    assert_eq!(again.await, Ok(true));
}

/// Exactly one of several callers is told that it inserted.
pub async fn one_of_many_racing_inserts_wins(table: &dyn Table) {
    let key = key("race");
    let insert = || table.insert_if_absent(&key, "mine".into(), LONG);
    let answers = tokio::join!(insert(), insert(), insert(), insert());
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let won = answers.iter().filter(|answer| **answer == Ok(true)).count();
    let lost = answers.iter().filter(|answer| **answer == Ok(false));
    assert_eq!((won, lost.count()), (1, 3));
}

/// The burst is there at once, then one token per interval.
pub async fn a_bucket_gives_its_burst_and_refills(table: &dyn Table) {
    let key = key("bucket");
    // Slow enough that no token comes back while the burst is taken from a server.
    let rate = Rate::new(3, Duration::from_secs(3));
    for _ in 0..3 {
        assert_eq!(table.take(&key, rate).await, Ok(Taken::Allowed));
    }
    let Ok(Taken::Denied { retry_after }) = table.take(&key, rate).await else {
        unreachable!("the bucket was empty");
    };
    assert!(retry_after > Duration::ZERO && retry_after <= rate.interval());
    let end = Instant::now() + PATIENCE;
    let empty = Instant::now();
    while table.take(&key, rate).await != Ok(Taken::Allowed) {
        assert!(Instant::now() < end, "the bucket never refilled");
        sleep(LOOK).await;
    }
    // A shared clock may tick in whole milliseconds: one is forgiven.
    assert!(empty.elapsed() + Duration::from_millis(1) >= retry_after);
}

/// Emptying one bucket leaves the others full.
pub async fn buckets_do_not_share_tokens(table: &dyn Table) {
    let rate = Rate::new(1, LONG);
    let (first, second) = (key("first"), key("second"));
    assert_eq!(table.take(&first, rate).await, Ok(Taken::Allowed));
    let denied = table.take(&first, rate).await;
    assert!(matches!(denied, Ok(Taken::Denied { .. })));
    assert_eq!(table.take(&second, rate).await, Ok(Taken::Allowed));
}

/// The bound on values is kept, and the longest allowed one fits.
pub async fn values_too_long_are_refused(table: &dyn Table) {
    let key = key("long value");
    let longest = Bytes::from(vec![7; MAX_VALUE_BYTES]);
    let longer = Bytes::from(vec![7; MAX_VALUE_BYTES + 1]);
    let put = table.put(&key, longer.clone(), LONG).await;
    assert_eq!(put, Err(TableError::BadValue));
    let insert = table.insert_if_absent(&key, longer, LONG).await;
    assert_eq!(insert, Err(TableError::BadValue));
    assert_eq!(table.put(&key, longest.clone(), LONG).await, Ok(()));
    assert_eq!(table.get(&key).await, Ok(Some(longest)));
}

/// Neither keys nor values are text.
pub async fn binary_keys_and_values_are_kept(table: &dyn Table) {
    let mut odd = key("").as_bytes().to_vec();
    odd.extend([0, 10, 13, 32, 123, 125, 255]);
    let key = key_of(odd);
    let value = Bytes::from_static(&[0, 255, 13, 10]);
    assert_eq!(table.put(&key, value.clone(), LONG).await, Ok(()));
    assert_eq!(table.get(&key).await, Ok(Some(value)));
}

async fn until_gone(table: &dyn Table, key: &Key) {
    let end = Instant::now() + PATIENCE;
    while table.get(key).await != Ok(None) {
        assert!(Instant::now() < end, "the value never ended");
        sleep(LOOK).await;
    }
}

/// A key that no earlier run on the same server has used.
fn key(word: &str) -> Key {
    let mut bytes = format!("conformance:{word}:").into_bytes();
    bytes.extend(entente_core::random_array::<16>());
    key_of(bytes)
}

#[expect(clippy::expect_used, reason = "words of the suite are short")]
fn key_of(bytes: Vec<u8>) -> Key {
    Key::new(bytes).expect("a short key")
}
