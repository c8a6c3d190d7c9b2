use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use entente_log::{Append, Faults, Health, MemoryLog, Record};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::store::{FjallStore, MemoryStore};

type Model = BTreeMap<Vec<u8>, Bytes>;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn journal(log: &Arc<MemoryLog>) -> Journal {
    Journal {
        log: Arc::<MemoryLog>::clone(log),
        shard: ShardId::new(0),
        key: SealKey::new(&[7; 32]),
        whole: true,
    }
}

fn take_over(runtime: &Runtime, log: &Arc<MemoryLog>, nonce: u8) -> JournalStore {
    let empty = || -> Arc<dyn StateStore> { Arc::new(MemoryStore::default()) };
    runtime
        .block_on(journal(log).take_over([nonce; 16], empty))
        .unwrap()
}

fn rows(store: &dyn StateStore) -> Model {
    let mut rows = Model::new();
    let keep = &mut |key: &[u8], row| {
        rows.insert(key.to_vec(), row);
        true
    };
    store.scan(&[], None, keep).unwrap();
    rows
}

fn apply(model: &mut Model, rows: &Rows) {
    for (key, row) in rows {
        match row {
            Some(row) => model.insert(key.clone(), row.clone()),
            None => model.remove(key),
        };
    }
}

/// Everything at or above the floor, one after the other.
fn payloads(runtime: &Runtime, log: &MemoryLog) -> Vec<Bytes> {
    let (mut at, mut all) = (log.floor(0), Vec::new());
    while at < log.end(0) {
        let records = runtime.block_on(log.read(0, at, READ_BYTES)).unwrap();
        at = records.last().unwrap().offset.next();
        all.extend(records.into_iter().map(|record| record.payload));
    }
    all
}

fn change() -> impl Strategy<Value = Rows> {
    let row = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..200));
    let key = proptest::collection::vec(0_u8..6, 1..4);
    proptest::collection::btree_map(key, row.prop_map(|row| row.map(Bytes::from)), 0..6)
}

#[derive(Clone, Debug)]
enum Act {
    Commit(Rows),
    TakeOver,
    /// The owner before the present one, who does not know that it is not.
    Zombie(Rows),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => change().prop_map(Act::Commit),
        1 => Just(Act::TakeOver),
        2 => change().prop_map(Act::Zombie),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever takes over has the rows of those who owned, and nothing of those who did not.
    #[test]
    fn rows_are_those_of_a_map(acts in proptest::collection::vec(act(), 1..120), seed: u64) {
        let faults = Faults { seed, hole: 0.1, duplicate: 0.1, ..Faults::default() };
        let log = Arc::new(MemoryLog::with_faults(1, faults));
        let runtime = runtime();
        let mut model = Model::new();
        let mut covered = 0;
        let (mut owner, mut zombie) = (take_over(&runtime, &log, 0), None::<JournalStore>);
        for (nonce, act) in (1_u8..).zip(acts) {
            match act {
                Act::Commit(rows) => {
                    covered += 1;
                    owner.commit(Offset::new(covered), &rows).unwrap();
                    apply(&mut model, &rows);
                }
                Act::TakeOver => {
                    zombie = Some(std::mem::replace(&mut owner, take_over(&runtime, &log, nonce)));
                }
                Act::Zombie(rows) => {
                    if let Some(zombie) = &zombie {
                        let refused = zombie.commit(Offset::new(covered + 1_000), &rows);
                        prop_assert!(matches!(refused, Err(StoreError::Fenced)));
                    }
                }
            }
            prop_assert_eq!(&rows_of(&owner), &model);
        }
        let next = take_over(&runtime, &log, 255);
        prop_assert_eq!(rows_of(&next), model);
        prop_assert_eq!(next.replay_from().unwrap(), Offset::new(covered));
    }

    /// A commit whose outcome was unknown is there as a whole or not at all.
    #[test]
    fn an_unknown_outcome_is_read_back(changes in proptest::collection::vec(change(), 1..40), seed: u64) {
        let faults = Faults { seed, lose_report: 0.2, refuse: 0.1, ..Faults::default() };
        let log = Arc::new(MemoryLog::with_faults(1, faults));
        let runtime = runtime();
        let mut model = Model::new();
        let mut owner = again(&runtime, &log);
        for (covered, change) in (1..).zip(changes) {
            let before = model.clone();
            apply(&mut model, &change);
            if owner.commit(Offset::new(covered), &change).is_ok() {
                continue;
            }
            prop_assert!(owner.commit(Offset::new(covered), &change).is_err());
            owner = again(&runtime, &log);
            if owner.replay_from().unwrap() != Offset::new(covered) {
                model = before;
            }
            prop_assert_eq!(&rows_of(&owner), &model);
        }
    }
}

fn rows_of(store: &JournalStore) -> Model {
    rows(store)
}

/// Takes over from a log that may refuse the claim, until it does not.
fn again(runtime: &Runtime, log: &Arc<MemoryLog>) -> JournalStore {
    let empty = || -> Arc<dyn StateStore> { Arc::new(MemoryStore::default()) };
    (0..=u8::MAX)
        .find_map(|nonce| {
            let taken = runtime.block_on(journal(log).take_over([nonce; 16], empty));
            taken.ok()
        })
        .unwrap()
}

/// The log is bounded by what there is, not by what there was, and forgets what was removed.
#[test]
fn old_records_go_and_with_them_what_was_erased() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let owner = take_over(&runtime, &log, 1);
    let secret = b"what is to be erased";
    let key = |number: u64| format!("row-{number:03}").into_bytes();
    let mut at = 0;
    let mut commit = |rows: Rows| {
        at += 1;
        owner.commit(Offset::new(at), &rows).unwrap();
    };
    for number in 0..100 {
        commit(Rows::from([(
            key(number),
            Some(Bytes::from_static(&[1; 400])),
        )]));
    }
    commit(Rows::from([(key(50), Some(Bytes::from_static(secret)))]));
    let holds = |payload: &Bytes| payload.windows(secret.len()).any(|part| part == secret);
    assert!(payloads(&runtime, &log).iter().any(holds));
    commit(Rows::from([(key(50), None)]));
    // Each pass over a hundred rows, one of which changes with each commit, takes a hundred at most.
    for number in 0..250 {
        commit(Rows::from([(
            key(number % 7),
            Some(Bytes::from_static(&[2; 400])),
        )]));
    }
    let left = payloads(&runtime, &log);
    assert!(!left.iter().any(holds), "erased content is in the log");
    let (bytes, state) = (left.iter().map(Bytes::len).sum::<usize>(), 99 * 407);
    assert!(bytes < 5 * state, "{bytes} bytes for a state of {state}");
    assert_eq!(rows_of(&take_over(&runtime, &log, 2)), rows_of(&owner));
}

/// A quiet shard forgets too: every commit carries the pass on, although it changes nothing.
#[test]
fn a_pass_ends_without_changes() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let owner = take_over(&runtime, &log, 1);
    let row = |number: u32| {
        (
            number.to_be_bytes().to_vec(),
            Some(Bytes::from_static(&[3; 64])),
        )
    };
    owner
        .commit(Offset::new(1), &(0..5_000).map(row).collect())
        .unwrap();
    let before = log.end(0);
    for _ in 0..2 * PASS_COMMITS + 2 {
        owner.commit(Offset::new(1), &Rows::new()).unwrap();
    }
    assert!(log.floor(0) >= before);
    assert_eq!(rows_of(&take_over(&runtime, &log, 2)).len(), 5_000);
}

/// What an owner has not finished, the claim of the next one ends.
#[test]
fn a_commit_without_its_last_part_is_none() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let owner = take_over(&runtime, &log, 1);
    let big = |byte| Some(Bytes::from(vec![byte; entry::PART_BYTES - 10]));
    let rows = Rows::from([(vec![1], big(1)), (vec![2], big(2)), (vec![3], big(3))]);
    let (place, key) = (ShardId::new(0), SealKey::new(&[7; 32]));
    let parts = parts((owner.epoch(), 1), Offset::new(9), &rows, Pass::default());
    assert_eq!(parts.len(), 3);
    let mut sealed: Vec<_> = parts
        .into_iter()
        .map(|part| Entry::Change(part).seal(place, &key))
        .collect();
    let last = sealed.pop().unwrap();
    runtime.block_on(log.append(0, sealed)).unwrap();
    let next = take_over(&runtime, &log, 2);
    runtime.block_on(log.append(0, vec![last])).unwrap();
    assert_eq!(rows_of(&next).len(), 0);
    let third = take_over(&runtime, &log, 3);
    assert_eq!(
        (rows_of(&third).len(), third.replay_from().unwrap()),
        (0, Offset::default())
    );
    assert!(matches!(
        owner.commit(Offset::new(9), &rows),
        Err(StoreError::Fenced)
    ));
    third.commit(Offset::new(9), &rows).unwrap();
    assert_eq!(rows_of(&take_over(&runtime, &log, 4)).len(), 3);
}

/// T142: records of other deployments and shards are counted and passed over.
#[test]
fn strangers_do_not_count() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let claim = Entry::Claim {
        epoch: Epoch::new(9),
        nonce: [9; 16],
    };
    let strange = [
        claim.seal(ShardId::new(1), &SealKey::new(&[7; 32])),
        claim.seal(ShardId::new(0), &SealKey::new(&[8; 32])),
        Bytes::from_static(b"x"),
    ];
    runtime.block_on(log.append(0, strange.to_vec())).unwrap();
    let owner = take_over(&runtime, &log, 1);
    assert_eq!((owner.strangers(), owner.epoch()), (3, Epoch::new(1)));
}

/// A pass goes on under the next owner, so owners that change often neither let the log grow nor keep
/// what was erased.
#[test]
fn passes_outlive_owners() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let row = |number: u32| {
        let row = Some(Bytes::from_static(&[9; 100]));
        (number.to_be_bytes().to_vec(), row)
    };
    let mut owner = take_over(&runtime, &log, 0);
    owner
        .commit(Offset::new(1), &(0..200).map(row).collect())
        .unwrap();
    for nonce in 1..=250 {
        owner = take_over(&runtime, &log, nonce);
        for _ in 0..7 {
            owner.commit(Offset::new(1), &Rows::from([row(0)])).unwrap();
        }
    }
    let (bytes, state) = (
        payloads(&runtime, &log)
            .iter()
            .map(Bytes::len)
            .sum::<usize>(),
        200 * 104,
    );
    assert!(bytes < 5 * state, "{bytes} bytes for a state of {state}");
    assert_eq!(rows_of(&owner).len(), 200);
}

/// The offset that fjall keeps among its rows is no row of the shard.
#[test]
fn rows_on_disk_are_the_same() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let folder = tempfile::tempdir().unwrap();
    let database = FjallStore::database(folder.path()).unwrap();
    let empty = || -> Arc<dyn StateStore> {
        Arc::new(FjallStore::open(&database, ShardId::new(0)).unwrap())
    };
    let taken = journal(&log).take_over([1; 16], empty);
    let owner = runtime.block_on(taken).unwrap();
    for at in 1..=5 {
        let row = (
            vec![1, u8::try_from(at).unwrap()],
            Some(Bytes::from_static(b"row")),
        );
        owner.commit(Offset::new(at), &Rows::from([row])).unwrap();
    }
    let next = take_over(&runtime, &log, 2);
    assert_eq!((rows_of(&next), rows_of(&next).len()), (rows_of(&owner), 5));
    assert_eq!(next.replay_from().unwrap(), Offset::new(5));
}

/// Of two that claim at once, one owns.
#[test]
fn racing_claims_have_one_winner() {
    let empty = || -> Arc<dyn StateStore> { Arc::new(MemoryStore::default()) };
    for seed in 0..50 {
        let max_delay = Duration::from_millis(4);
        let faults = Faults {
            seed,
            delay: 1.0,
            max_delay,
            ..Faults::default()
        };
        let log = Arc::new(MemoryLog::with_faults(1, faults));
        let (one, other) = runtime().block_on(async {
            let (one, other) = (journal(&log), journal(&log));
            tokio::join!(
                one.take_over([1; 16], empty),
                other.take_over([2; 16], empty)
            )
        });
        let fenced = [one, other].map(|taken| match taken {
            Ok(_) => false,
            Err(JournalError::Fenced) => true,
            Err(error) => panic!("{error}"),
        });
        assert_ne!(fenced[0], fenced[1], "seed {seed}");
    }
}

/// The owner that is to be replaced may raise the floor while its journal is read.
#[test]
fn a_floor_that_moves_begins_the_reading_anew() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let old = take_over(&runtime, &log, 1);
    let rows = Rows::from([(vec![1], Some(Bytes::from_static(b"row")))]);
    old.commit(Offset::new(1), &rows).unwrap();
    let before = log.floor(0);
    let begun = std::cell::Cell::new(0);
    let empty = || -> Arc<dyn StateStore> {
        begun.set(begun.get() + 1);
        Arc::new(MemoryStore::default())
    };
    let meanwhile = Meanwhile {
        log: Arc::clone(&log),
        owner: Mutex::new(Some((old, rows))),
    };
    let hooked = Journal {
        log: Arc::new(meanwhile),
        ..journal(&log)
    };
    let next = runtime.block_on(hooked.take_over([2; 16], empty)).unwrap();
    assert!(log.floor(0) > before);
    assert_eq!((begun.get(), rows_of(&next).len()), (2, 1));
}

/// What lies at a floor begins a pass. Rows of which only a part is there are not taken for all, unless
/// their owner can do without.
#[test]
fn rows_that_begin_in_the_middle_are_refused() {
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::new(1)));
    let owner = take_over(&runtime, &log, 1);
    for number in 1..=3 {
        let rows = Rows::from([(vec![number], Some(Bytes::from_static(b"row")))]);
        owner.commit(Offset::new(number.into()), &rows).unwrap();
    }
    let last = Offset::new(log.end(0).value() - 1);
    runtime.block_on(log.raise_floor(0, last)).unwrap();
    let empty = || -> Arc<dyn StateStore> { Arc::new(MemoryStore::default()) };
    let end = log.end(0);
    let refused = runtime.block_on(journal(&log).take_over([2; 16], empty));
    let torn = JournalError::Store(StoreError::Torn).to_string();
    assert_eq!(refused.unwrap_err().to_string(), torn);
    assert_eq!(log.end(0), end, "claimed all the same");
    let undemanding = Journal {
        whole: false,
        ..journal(&log)
    };
    let taken = runtime.block_on(undemanding.take_over([3; 16], empty));
    assert!(rows_of(&taken.unwrap()).contains_key(&vec![3]));
}

/// A log that has less than it acknowledged is told of, and nothing is written over the hole.
#[test]
fn a_log_that_lost_its_end_is_an_error() {
    let faults = Faults {
        lose_acknowledged: 3,
        ..Faults::default()
    };
    let (runtime, log) = (runtime(), Arc::new(MemoryLog::with_faults(1, faults)));
    let owner = take_over(&runtime, &log, 1);
    for at in 1..=10 {
        owner
            .commit(Offset::new(at), &Rows::from([(vec![1], None)]))
            .unwrap();
    }
    log.crash();
    let refused = owner.commit(Offset::new(11), &Rows::new()).unwrap_err();
    assert!(refused.to_string().contains("lost records"), "{refused}");
    assert!(matches!(
        owner.commit(Offset::new(11), &Rows::new()),
        Err(StoreError::Fenced)
    ));
}

/// A log in which something happens before the next append.
#[derive(Debug)]
struct Meanwhile {
    log: Arc<MemoryLog>,
    owner: Mutex<Option<(JournalStore, Rows)>>,
}

#[async_trait]
impl Log for Meanwhile {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        if let Some((owner, rows)) = self.owner.lock().take() {
            let commits = move || (0..90).try_for_each(|_| owner.commit(Offset::new(1), &rows));
            std::thread::spawn(commits).join().unwrap().unwrap();
        }
        self.log.append(partition, batch)
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.log.read(partition, from, max).await
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        self.log.readable(partition, from).await
    }

    fn end(&self, partition: u32) -> Offset {
        self.log.end(partition)
    }

    fn floor(&self, partition: u32) -> Offset {
        self.log.floor(partition)
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        self.log.raise_floor(partition, floor).await
    }

    fn health(&self) -> Health {
        self.log.health()
    }
}
