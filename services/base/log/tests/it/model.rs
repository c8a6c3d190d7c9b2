//! Random histories of a segment log against plain vectors.

use bytes::Bytes;
use entente_core::{ByteSize, Offset};
use entente_log::segment::sim::SimDisk;
use entente_log::{Log, LogError, SegmentConfig, SegmentLog};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use crate::faults::open;

const PARTITIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Action {
    /// One batch with payloads of these sizes, awaited.
    Append(u32, Vec<usize>),
    /// Several batches at once; the log is closed in good order while they wait.
    Close(Vec<(u32, Vec<usize>)>),
    /// Several batches at once; power goes while they wait.
    LosePower(u64, Vec<(u32, Vec<usize>)>),
    /// Up to the end, as a part of 256.
    RaiseFloor(u32, u8),
    /// From any place, as a part of 256 of what there is, at most so many bytes.
    Read(u32, u8, usize),
}

#[derive(Debug, Default)]
struct Model {
    /// Every record that was ever stored, by offset.
    records: Vec<Bytes>,
    floor: u64,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let batch = || (0..PARTITIONS, vec(0..300_usize, 1..6));
    let action = prop_oneof![
        6 => batch().prop_map(|(partition, sizes)| Action::Append(partition, sizes)),
        1 => vec(batch(), 0..6).prop_map(Action::Close),
        2 => (any::<u64>(), vec(batch(), 0..6)).prop_map(|(seed, b)| Action::LosePower(seed, b)),
        2 => (0..PARTITIONS, any::<u8>()).prop_map(|(p, part)| Action::RaiseFloor(p, part)),
        4 => (0..PARTITIONS, any::<u8>(), prop_oneof![Just(1), Just(500), Just(100_000)])
            .prop_map(|(p, part, max)| Action::Read(p, part, max)),
    ];
    vec(action, 1..40)
}

/// Payloads differ, so that a wrong record is never mistaken for the right one.
fn payloads(made: &mut u32, sizes: &[usize]) -> Vec<Bytes> {
    let payload = |size: &usize| {
        *made += 1;
        made.to_le_bytes().into_iter().cycle().take(*size).collect()
    };
    sizes.iter().map(payload).collect()
}

fn part_of(whole: u64, part: u8) -> u64 {
    whole * u64::from(part) / 255
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

struct History {
    disk: SimDisk,
    config: SegmentConfig,
    log: SegmentLog,
    models: Vec<Model>,
    made: u32,
}

impl History {
    fn new(segment_bytes: u64, recent_bytes: u64, index_bytes: u64, write_ahead: bool) -> Self {
        let disk = SimDisk::default();
        let config = SegmentConfig {
            segment_bytes: ByteSize::bytes(segment_bytes),
            recent_bytes: ByteSize::bytes(recent_bytes),
            index_bytes: ByteSize::bytes(index_bytes),
            write_ahead,
            ..SegmentConfig::new(PARTITIONS)
        };
        Self {
            log: open(&disk, &config),
            models: (0..PARTITIONS).map(|_| Model::default()).collect(),
            made: 0,
            disk,
            config,
        }
    }

    async fn take(&mut self, action: Action) {
        match action {
            Action::Append(partition, sizes) => {
                let batch = payloads(&mut self.made, &sizes);
                let appended = self.log.append(partition, batch.clone()).await.unwrap();
                let model = &mut self.models[partition as usize];
                assert_eq!(appended.first().value(), model.records.len() as u64);
                model.records.extend(batch);
                assert_eq!(appended.last().next().value(), model.records.len() as u64);
            }
            Action::Close(batches) => {
                let waiting = self.submit(batches);
                self.log.close().await;
                for (partition, batch, append) in waiting {
                    let _ = append.await.unwrap();
                    self.models[partition as usize].records.extend(batch);
                }
                self.log = open(&self.disk, &self.config);
            }
            Action::LosePower(seed, batches) => {
                let waiting = self.submit(batches);
                self.disk = self.disk.after_power_loss(seed);
                self.log = open(&self.disk, &self.config);
                self.accept_any_beginning(&waiting).await;
            }
            Action::RaiseFloor(partition, part) => {
                let model = &mut self.models[partition as usize];
                let floor = part_of(model.records.len() as u64 + 2, part);
                self.log
                    .raise_floor(partition, Offset::new(floor))
                    .await
                    .unwrap();
                model.floor = model.floor.max(floor.min(model.records.len() as u64));
            }
            Action::Read(partition, part, max_bytes) => self.read(partition, part, max_bytes).await,
        }
    }

    fn submit(&mut self, batches: Vec<(u32, Vec<usize>)>) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for (partition, sizes) in batches {
            let batch = payloads(&mut self.made, &sizes);
            let append = self.log.append(partition, batch.clone());
            waiting.push((partition, batch, append));
        }
        waiting
    }

    /// What waited when power went is there up to some record of each partition.
    async fn accept_any_beginning(&mut self, waiting: &[Waiting]) {
        for (partition, model) in (0..).zip(&mut self.models) {
            let batches = waiting.iter().filter(|(p, ..)| *p == partition);
            let all: Vec<_> = batches.flat_map(|(_, batch, _)| batch.clone()).collect();
            let known = model.records.len() as u64;
            let end = self.log.end(partition).value();
            assert!((known..=known + all.len() as u64).contains(&end));
            model
                .records
                .extend(all.into_iter().take(index(end - known)));
        }
    }

    async fn read(&self, partition: u32, part: u8, max_bytes: usize) {
        let model = &self.models[partition as usize];
        let from = part_of(model.records.len() as u64 + 1, part);
        let read = self.log.read(partition, Offset::new(from), max_bytes).await;
        if from < model.floor {
            let floor = Offset::new(model.floor);
            assert_eq!(read, Err(LogError::Truncated { floor }));
            return;
        }
        let read = read.unwrap();
        let rest = model.records.get(index(from)..).unwrap_or_default();
        assert_eq!(read.is_empty(), rest.is_empty());
        for (n, record) in (from..).zip(&read) {
            assert_eq!(record.offset.value(), n);
            assert_eq!(record.payload, model.records[index(n)]);
        }
        // The first record comes whatever its size.
        let bytes: usize = read.iter().map(|record| record.payload.len()).sum();
        assert!(bytes <= max_bytes.max(read.first().map_or(0, |record| record.payload.len())));
    }

    async fn check(&self) {
        for (partition, model) in (0..).zip(&self.models) {
            assert_eq!(self.log.floor(partition).value(), model.floor);
            assert_eq!(self.log.end(partition).value(), model.records.len() as u64);
            let stored = crate::faults::stored(&self.log, partition).await;
            assert_eq!(stored, model.records[index(model.floor)..]);
        }
    }
}

type Waiting = (u32, Vec<Bytes>, entente_log::Append);

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Acknowledged records, floors and ends survive every order of appends, closings, losses of
    /// power with torn writes, and removals.
    #[test]
    fn a_segment_log_is_a_list_of_vectors(
        actions in actions(),
        segment_bytes in 300..5000_u64,
        recent_bytes in prop_oneof![Just(0), 0..4000_u64],
        index_bytes in prop_oneof![Just(0), Just(1 << 20)],
        write_ahead: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut history = History::new(segment_bytes, recent_bytes, index_bytes, write_ahead);
            for action in actions {
                history.take(action).await;
            }
            history.check().await;
        });
    }
}
