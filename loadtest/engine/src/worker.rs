//! One thread of the generator: its devices, their connections, and what they saw.
//!
//! In: a [`Part`] of the plan. Out: a [`Tally`]. A connection is one task that reads all there is,
//! decides, and writes once; arrivals put messages into devices and wake those tasks.
//!
//! **Invariants**
//! - Devices of one thread write only to each other, so a delivery is judged where it arrives.
//! - No borrow of a device is held across an await, nor two at once but for sender and receiver.

mod bundle;
mod fill;
mod happen;
mod linger;
mod live;
mod receipt;
mod schedule;
mod sealed;
mod storm;
mod take;
mod talk;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use entente_history::Recorder;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::control::{Control, Cut, Stage};
use crate::device::{Device, Open};
use crate::login::How;
use crate::payload::Payloads;
use crate::scenario::Scenario;
use crate::tally::{Second, Tally};
use crate::wire::{Door, DoorError};

/// How long sessions may take to end in order.
const FAREWELL: Duration = Duration::from_secs(5);
/// Messages left at the end that a thread describes.
const DESCRIBED: usize = 5;

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) scenario: Scenario,
    pub(crate) control: Control,
    pub(crate) payloads: Payloads,
    /// Tells this run's stanzas from those of others.
    pub(crate) tag: Box<str>,
    pub(crate) history: Option<Recorder>,
    pub(crate) seed: u64,
    /// Devices that are connected for the first time, or given up.
    pub(crate) settled: AtomicUsize,
    /// Devices that could not be connected at all.
    pub(crate) given_up: AtomicUsize,
    /// Messages under way in all threads, for the drain.
    pub(crate) under_way: AtomicUsize,
    /// The latest cut that was asked for from outside.
    pub(crate) cuts: watch::Sender<Option<Cut>>,
    /// Seconds that are over.
    pub(crate) seconds: Mutex<Vec<Second>>,
    /// The first error that another try cannot mend.
    pub(crate) fatal: Mutex<Option<String>>,
}

/// What one thread is given.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) core: usize,
    /// Of the first device.
    pub(crate) first: u32,
    pub(crate) devices: Vec<Device>,
    /// Indexes of those who write.
    pub(crate) senders: Vec<usize>,
    /// Indexes of those who are written to.
    pub(crate) receivers: Vec<usize>,
    /// The thread's share of the rates.
    pub(crate) share: f64,
    /// The number of the partner that sends more than its share.
    pub(crate) noisy: Option<u16>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

/// See the module.
pub(crate) struct Worker {
    common: Arc<Common>,
    door: Door,
    how: How,
    devices: Vec<RefCell<Device>>,
    addresses: Vec<Box<[u8]>>,
    senders: Vec<usize>,
    receivers: Vec<usize>,
    share: f64,
    noisy: Option<u16>,
    first: u32,
    tally: RefCell<Tally>,
    random: RefCell<SmallRng>,
    logins: Semaphore,
    under_way: Cell<u64>,
    dues: storm::Dues,
    lingering: linger::Lingering,
    text: RefCell<Vec<u8>>,
}

/// Runs a thread's part until the run is over.
///
/// # Errors
/// If the target's address or name is no good, or the runtime cannot be made.
pub(crate) fn run(common: Arc<Common>, part: Part) -> Result<Tally, StartError> {
    crate::limits::pin(part.core);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(31)
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let worker = Rc::new(Worker::new(common, part)?);
        worker.all().await;
        let worker = Rc::try_unwrap(worker).map_err(|_| StartError::Busy)?;
        Ok(worker.finish())
    })
}

/// A thread that could not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A task went on after the end.
    #[error("a task of the generator did not end")]
    Busy,
    /// The target.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The runtime.
    #[error("the generator's runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl Worker {
    fn new(common: Arc<Common>, part: Part) -> Result<Self, StartError> {
        let scenario = &common.scenario;
        let door = Door::new(&scenario.target, part.tls, scenario.sessions.sources)?;
        let domain = &scenario.target.domain;
        let address =
            |device: &Device| format!("{}@{domain}", device.account.localpart).into_bytes();
        Ok(Self {
            how: How {
                sasl: scenario.target.sasl,
                manage: scenario.sessions.manage,
                resume: scenario.sessions.resume,
            },
            addresses: part
                .devices
                .iter()
                .map(|device| address(device).into())
                .collect(),
            devices: part.devices.into_iter().map(RefCell::new).collect(),
            senders: part.senders,
            receivers: part.receivers,
            share: part.share,
            noisy: part.noisy,
            first: part.first,
            tally: RefCell::new(Tally::new()),
            random: RefCell::new(SmallRng::seed_from_u64(
                common.seed ^ u64::try_from(part.index).unwrap_or(0).rotate_left(32),
            )),
            logins: Semaphore::new(scenario.sessions.at_once.div_ceil(scenario.run.cores.len())),
            under_way: Cell::new(0),
            dues: storm::Dues::default(),
            lingering: linger::Lingering::default(),
            text: RefCell::default(),
            door,
            common,
        })
    }

    /// Everything that goes on at once, to the end.
    async fn all(self: &Rc<Self>) {
        let mut tasks = JoinSet::new();
        let storm = self.common.scenario.logins.is_some();
        for me in 0..self.devices.len() {
            if storm {
                tasks.spawn_local(storm::again(Rc::clone(self), me));
            } else {
                tasks.spawn_local(live::live(Rc::clone(self), me));
            }
        }
        tasks.spawn_local(schedule::messages(Rc::clone(self)));
        tasks.spawn_local(schedule::bundles(Rc::clone(self)));
        tasks.spawn_local(happen::seconds(Rc::clone(self)));
        tasks.spawn_local(happen::absences(Rc::clone(self)));
        tasks.spawn_local(happen::cuts(Rc::clone(self)));
        tasks.spawn_local(happen::cuts_from_outside(Rc::clone(self)));
        tasks.spawn_local(happen::keep_alives(Rc::clone(self)));
        tasks.spawn_local(linger::lingering(Rc::clone(self)));
        self.common.control.reach(Stage::Close).await;
        for device in &self.devices {
            device.borrow().wake();
        }
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tasks.shutdown().await;
        }
    }

    fn finish(self) -> Tally {
        let mut tally = self.tally.replace(Tally::new());
        for device in &self.devices {
            let (lost, unknown) = device.borrow().missing(self.how.manage);
            let counters = &mut tally.at(Stage::Drain).counters;
            counters.lost += lost;
            counters.unknown += unknown;
            let room = DESCRIBED.saturating_sub(tally.left.len());
            let device = device.borrow();
            let open = device.left().take(room);
            tally
                .left
                .extend(open.map(|(open, to)| self.describe(&device, open, to)));
        }
        let last = tally.turn(u64::MAX);
        self.common.seconds.lock().push(last);
        tally
    }

    /// What is known of a message that is not over.
    fn describe(&self, device: &Device, open: &Open, to: u32) -> String {
        let seconds = |at: u64| Duration::from_micros(at).as_secs_f64();
        let wrote = match open.wrote {
            0 => "not written".to_owned(),
            at => format!("written at {:.2} s", seconds(at)),
        };
        let known = match (open.acked, open.delivered) {
            (true, _) => "acknowledged, not delivered",
            (false, true) => "delivered, not acknowledged",
            (false, false) => "neither acknowledged nor delivered",
        };
        let to = self.number(to);
        format!(
            "a message of user {} to user {to}, due at {:.2} s, {wrote}: {known}; the sender's \
             connection {} has h {} of {} stanzas",
            device.number,
            seconds(open.at),
            device.epoch,
            device.covered,
            u64::from(device.covered) + u64::try_from(device.written).unwrap_or(0),
        )
    }

    fn now(&self) -> u64 {
        self.common.control.now()
    }

    fn stage(&self) -> Stage {
        self.common.control.stage()
    }

    fn device(&self, index: usize) -> Option<&RefCell<Device>> {
        self.devices.get(index)
    }

    /// The index of a device of this thread by its number.
    fn index_of(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (index < self.devices.len()).then_some(index)
    }

    /// True with a probability.
    fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.random.borrow_mut().random_bool(share.min(1.0))
    }

    /// A moment within a span, in microseconds.
    fn within(&self, span: Duration) -> u64 {
        let most = crate::control::micros(span);
        if most == 0 {
            0
        } else {
            self.random.borrow_mut().random_range(0..most)
        }
    }

    /// A message more, or less, under way.
    fn moved(&self, more: bool) {
        let count = self.under_way.get();
        self.under_way.set(if more {
            count + 1
        } else {
            count.saturating_sub(1)
        });
        self.tally.borrow_mut().under_way = self.under_way.get();
        if more {
            self.common.under_way.fetch_add(1, Ordering::Relaxed);
        } else {
            self.common.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
