//! The generator as a whole: threads, stages, and what they bring together.
//!
//! In: a scenario and accounts that exist. Out: tallies, second by second and at the end.
//!
//! **Invariants**
//! - Every run ends: each stage has a time limit, and a generator that is dropped ends its threads.
//! - What cannot be connected at all is told before load begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use entente_history::{DeviceIs, Event, Recorder};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::account::Account;
use crate::calls::{self, Calls};
use crate::control::{Conductor, Control, Cut, Stage};
use crate::limits::{TooFewFiles, raise_files};
use crate::login::{How, log_in};
use crate::payload::Payloads;
use crate::plan;
use crate::scenario::{Payload, Scenario};
use crate::seal::{SealError, Sealing};
use crate::tally::{Second, Tally};
use crate::wire::{Door, DoorError, LineError, tls};
use crate::worker::{self, Common, StartError};

/// How long the first login may take.
const PROBE_WITHIN: Duration = Duration::from_secs(15);

/// Why load cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The target.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The system.
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    /// The first login failed.
    #[error("cannot log in as {who} at {address}: {error}")]
    FirstLogin {
        /// The localpart.
        who: String,
        /// Where.
        address: String,
        /// Why.
        error: LineError,
    },
    /// Nobody to log in.
    #[error("there are no accounts")]
    NoAccounts,
    /// A session of the cipher could not be opened.
    #[error("load.payload: {0}")]
    Sealing(#[from] SealError),
    /// A thread did not start.
    #[error("starting a thread of the generator: {0}")]
    Thread(std::io::Error),
    /// Bodies are to be encrypted, and nobody does.
    #[error("load.payload = \"signal\": no cipher was given")]
    Unsealed,
}

/// What load is made with, beside the scenario.
#[derive(Debug, Default)]
pub struct Supplies {
    /// Who makes it; each exists.
    pub accounts: Vec<Account>,
    /// Where payloads and choices come from.
    pub seed: u64,
    /// Where what happens is recorded.
    pub history: Option<Recorder>,
    /// What encrypts bodies, if the scenario wants that.
    pub sealing: Option<Arc<dyn Sealing>>,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Engine {
    common: Arc<Common>,
    conductor: Conductor,
    threads: Vec<JoinHandle<Result<Tally, StartError>>>,
    devices: usize,
    /// Watched until the threads have ended.
    _calls: Calls,
}

/// Logs in one account and out again, to see whether load can be made at all. Call within a
/// `LocalSet` or a current-thread runtime.
///
/// # Errors
/// [`EngineError`], with what is wrong.
pub async fn probe(scenario: &Scenario, account: &Account) -> Result<(), EngineError> {
    let target = &scenario.target;
    let door = Door::new(target, tls(target)?, 1)?;
    let how = How {
        sasl: target.sasl,
        manage: scenario.sessions.manage,
        resume: false,
    };
    let login = async {
        let mut line = door.connect(0).await?;
        log_in(&door, &mut line, account, how, None).await?;
        Ok(line)
    };
    let failed = |error| EngineError::FirstLogin {
        who: account.localpart.to_string(),
        address: door.address().to_string(),
        error,
    };
    let line = tokio::time::timeout(PROBE_WITHIN, login)
        .await
        .unwrap_or(Err(LineError::Deadline(PROBE_WITHIN.as_secs())))
        .map_err(failed)?;
    // Whether it says goodbye is not the question here.
    let _goodbye = tokio::time::timeout(Duration::from_secs(2), line.close()).await;
    Ok(())
}

/// Tells a history who takes part, and has it told of wake-ups from now on.
fn declare(scenario: &Scenario, parts: &[worker::Part], history: &Recorder) -> Calls {
    let devices = || parts.iter().flat_map(|part| &part.devices);
    for device in devices() {
        history.record(&Event::Device(DeviceIs {
            device: device.number,
            partner: device.account.partner,
            account: format!("{}@{}", device.account.localpart, scenario.target.domain),
            endpoint: calls::endpoint(scenario, device),
        }));
    }
    Calls::watch(scenario, devices(), history)
}

impl Engine {
    /// Opens the cipher's sessions if there are any, which may take seconds, and starts the threads,
    /// which connect at once; stages are the caller's to [`Self::enter`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn start(scenario: &Scenario, supplies: Supplies) -> Result<Self, EngineError> {
        let Supplies {
            accounts,
            seed,
            history,
            sealing,
        } = supplies;
        if accounts.is_empty() {
            return Err(EngineError::NoAccounts);
        }
        let devices = accounts.len();
        raise_files(u64::try_from(devices).unwrap_or(u64::MAX))?;
        let tls = tls(&scenario.target)?;
        let mut parts = plan::parts(scenario, accounts, seed, &tls);
        if scenario.load.payload == Payload::Signal {
            let sealing = sealing.ok_or(EngineError::Unsealed)?;
            plan::seal(&mut parts, &*sealing)?;
        }
        // Checked here, so that a bad target is one error and not one for each thread.
        Door::new(&scenario.target, Arc::clone(&tls), 1)?;
        let calls = history
            .as_ref()
            .map(|history| declare(scenario, &parts, history));
        let conductor = Conductor::begin();
        let tag: [u8; 5] = entente_core::random_array();
        let common = Arc::new(Common {
            scenario: scenario.clone(),
            control: conductor.control(),
            payloads: Payloads::new(seed, &scenario.load.sizes),
            tag: tag
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into(),
            history,
            seed,
            settled: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            seconds: Mutex::default(),
            cuts: watch::Sender::new(None),
            fatal: Mutex::default(),
        });
        let mut threads = Vec::with_capacity(parts.len());
        for part in parts {
            let common = Arc::clone(&common);
            let thread = std::thread::Builder::new()
                .name(format!("load-{}", part.index))
                .spawn(move || worker::run(common, part))
                .map_err(EngineError::Thread)?;
            threads.push(thread);
        }
        Ok(Self {
            common,
            conductor,
            threads,
            devices,
            _calls: calls.unwrap_or_default(),
        })
    }

    /// The run's clock.
    pub fn control(&self) -> Control {
        self.conductor.control()
    }

    /// How many threads make the load.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Goes on to a stage and says when, in microseconds of the run.
    pub fn enter(&self, stage: Stage) -> u64 {
        self.conductor.enter(stage)
    }

    /// Cuts connections now, whatever the stage. Who is not connected is left alone; of several cuts
    /// within an instant, the last one counts.
    pub fn cut(&self, cut: Cut) {
        self.common.cuts.send_replace(Some(cut));
    }

    /// Devices that are connected for the first time or given up, those given up, and all.
    pub fn settled(&self) -> (usize, usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (
            load(&self.common.settled),
            load(&self.common.given_up),
            self.devices,
        )
    }

    /// Messages that are not delivered, or not acknowledged, yet.
    pub fn under_way(&self) -> usize {
        self.common.under_way.load(Ordering::Relaxed)
    }

    /// Takes the seconds that are over, of each thread by itself.
    pub fn seconds(&self) -> Vec<Second> {
        std::mem::take(&mut *self.common.seconds.lock())
    }

    /// The first error that another try cannot mend.
    pub fn fatal(&self) -> Option<String> {
        self.common.fatal.lock().clone()
    }

    /// Whether all threads have ended, which before the close is an error.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Ends the sessions and waits for the threads; blocks for seconds at most.
    pub fn finish(self) -> (Vec<Tally>, Vec<String>) {
        self.conductor.enter(Stage::Close);
        let (mut tallies, mut errors) = (Vec::new(), Vec::new());
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(tally)) => tallies.push(tally),
                Ok(Err(error)) => errors.push(error.to_string()),
                Err(_) => errors.push("a thread of the generator panicked".to_owned()),
            }
        }
        (tallies, errors)
    }
}
