use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

crate::conformance!(conformance, start_paused = true, async {
    MemoryTable::default()
});

const MINUTE: Duration = Duration::from_secs(60);

fn key(n: u8) -> Key {
    Key::new(vec![n]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_full_table_refuses_new_keys_and_keeps_the_old() {
    let table = MemoryTable::new(2);
    for n in 0..2 {
        let inserted = table.insert_if_absent(&key(n), "seen".into(), MINUTE).await;
        assert_eq!(inserted, Ok(true));
    }
    let third = table.insert_if_absent(&key(2), "seen".into(), MINUTE).await;
    assert_eq!(third, Err(TableError::Unavailable));
    let taken = table.take(&key(3), Rate::new(1, MINUTE)).await;
    assert_eq!(taken, Err(TableError::Unavailable));
    for n in 0..2 {
        let again = table.insert_if_absent(&key(n), "seen".into(), MINUTE).await;
        assert_eq!(again, Ok(false));
    }
    assert_eq!(table.put(&key(1), "new".into(), MINUTE).await, Ok(()));
    assert_eq!(table.get(&key(1)).await, Ok(Some("new".into())));
}

#[tokio::test(start_paused = true)]
async fn expired_entries_make_room() {
    let table = MemoryTable::new(2);
    for n in 0..2 {
        table.put(&key(n), "old".into(), MINUTE).await.unwrap();
    }
    advance(MINUTE).await;
    let inserted = table.insert_if_absent(&key(2), "new".into(), MINUTE).await;
    assert_eq!(inserted, Ok(true));
    assert_eq!(table.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wipe_forgets_and_the_table_goes_on() {
    let table = MemoryTable::new(1);
    table.put(&key(1), "old".into(), MINUTE).await.unwrap();
    table.wipe();
    assert_eq!(table.get(&key(1)).await, Ok(None));
    assert_eq!(table.put(&key(2), "new".into(), MINUTE).await, Ok(()));
}

#[derive(Clone, Debug)]
enum Action {
    Get(u8),
    Insert(u8, u8, u64),
    Pass(u64),
    Put(u8, u8, u64),
    Remove(u8),
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0..4u8;
    prop_oneof![
        key.clone().prop_map(Action::Get),
        (key.clone(), any::<u8>(), 1..50u64).prop_map(|(k, v, t)| Action::Insert(k, v, t)),
        (1..30u64).prop_map(Action::Pass),
        (key.clone(), any::<u8>(), 1..50u64).prop_map(|(k, v, t)| Action::Put(k, v, t)),
        key.prop_map(Action::Remove),
    ]
}

/// The plain model: values with an end in milliseconds, and a clock that only `Pass` moves.
#[derive(Default)]
struct Model {
    now: u64,
    entries: BTreeMap<u8, (u8, u64)>,
}

const MODEL_CAPACITY: usize = 3;

impl Model {
    fn put(&mut self, key: u8, value: u8, ttl: u64) -> Result<(), TableError> {
        self.entries.remove(&key);
        if self.entries.len() == MODEL_CAPACITY {
            return Err(TableError::Unavailable);
        }
        self.entries.insert(key, (value, self.now + ttl));
        Ok(())
    }

    async fn step(&mut self, table: &MemoryTable, action: Action) {
        let span = Duration::from_millis;
        match action {
            Action::Get(k) => {
                let expected = self.entries.get(&k).map(|(v, _)| Bytes::from(vec![*v]));
                assert_eq!(table.get(&key(k)).await, Ok(expected));
            }
            Action::Insert(k, v, t) => {
                let given = table
                    .insert_if_absent(&key(k), vec![v].into(), span(t))
                    .await;
                let expected = match self.entries.contains_key(&k) {
                    true => Ok(false),
                    false => self.put(k, v, t).map(|()| true),
                };
                assert_eq!(given, expected);
            }
            Action::Pass(t) => {
                self.now += t;
                self.entries.retain(|_, (_, end)| *end > self.now);
                advance(span(t)).await;
            }
            Action::Put(k, v, t) => {
                let given = table.put(&key(k), vec![v].into(), span(t)).await;
                assert_eq!(given, self.put(k, v, t));
            }
            Action::Remove(k) => {
                let expected = self.entries.remove(&k).is_some();
                assert_eq!(table.remove(&key(k)).await, Ok(expected));
            }
        }
        assert!(table.len() <= MODEL_CAPACITY);
    }
}

proptest! {
    #[test]
    fn agrees_with_a_plain_map(actions in prop::collection::vec(action(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (table, mut model) = (MemoryTable::new(MODEL_CAPACITY), Model::default());
            for action in actions {
                model.step(&table, action).await;
            }
        });
    }
}
