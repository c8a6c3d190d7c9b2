//! The gateway as a process of its own: started, waited for, killed, started again.
//!
//! **Invariants**
//! - A process never outlives its [`Process`]: drop kills it.
//! - Only the process that was started here gets a signal.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::http::HttpTarget;

/// How often readiness is asked for while waiting.
const READY_POLL: Duration = Duration::from_millis(10);

/// What to start and how to know that it is ready.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Set in its environment, beside what this process has.
    pub environment: Vec<(OsString, OsString)>,
    /// Its output is appended here.
    pub log: PathBuf,
    /// Where `/readyz` answers.
    pub admin: SocketAddr,
    /// How long it may take to be ready.
    pub ready_within: Duration,
}

/// What went wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It ended by itself.
    #[error("the process ended while it was waited for: {0}")]
    Ended(ExitStatus),
    /// The operating system refused.
    #[error("process: {0}")]
    Io(#[from] io::Error),
    /// It is not running.
    #[error("the process is not running")]
    NotRunning,
    /// It was not ready in time.
    #[error("the process was not ready within {0:?}")]
    NotReady(Duration),
}

/// A child process.
#[derive(Debug)]
pub struct Process {
    config: ProcessConfig,
    child: Child,
    starts: u32,
}

impl Process {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// [`ProcessError`]. Dropping the future kills what was started.
    pub async fn start(config: ProcessConfig) -> Result<Self, ProcessError> {
        let child = spawn(&config)?;
        let mut process = Self {
            config,
            child,
            starts: 1,
        };
        process.wait_ready().await?;
        Ok(process)
    }

    /// Its process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it did by itself.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        Ok(self.child.try_wait()?)
    }

    /// How often it was started.
    pub const fn starts(&self) -> u32 {
        self.starts
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to end with SIGTERM; kills it after `grace`.
    ///
    /// # Errors
    /// [`ProcessError::Io`], or [`ProcessError::NotRunning`].
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        if let Ok(ended) = timeout(grace, self.child.wait()).await {
            return Ok(ended?);
        }
        self.child.start_kill()?;
        Ok(self.child.wait().await?)
    }

    /// Stops it from running until [`Process::resume`]: to its peers it is silent, not gone.
    ///
    /// # Errors
    /// [`ProcessError::NotRunning`], or [`ProcessError::Io`].
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Lets it run again.
    ///
    /// # Errors
    /// [`ProcessError::NotRunning`], or [`ProcessError::Io`].
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Starts it again after it ended, and waits until it is ready.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn restart(&mut self) -> Result<(), ProcessError> {
        self.child.kill().await?;
        self.child = spawn(&self.config)?;
        self.starts += 1;
        self.wait_ready().await
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// [`ProcessError::NotReady`] after the time in the configuration; [`ProcessError::Ended`].
    pub async fn wait_ready(&mut self) -> Result<(), ProcessError> {
        let target = HttpTarget::plain(self.config.admin);
        let deadline = Instant::now() + self.config.ready_within;
        let mut ticks = interval(READY_POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(status) = self.child.try_wait()? {
                return Err(ProcessError::Ended(status));
            }
            match timeout_at(deadline, target.fetch("/readyz")).await {
                Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
                Ok(_) if Instant::now() < deadline => {}
                _ => return Err(ProcessError::NotReady(self.config.ready_within)),
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let id = self.child.id().ok_or(ProcessError::NotRunning)?;
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(id.ok_or(ProcessError::NotRunning)?, signal).map_err(io::Error::from)?;
        Ok(())
    }
}

fn spawn(config: &ProcessConfig) -> Result<Child, ProcessError> {
    let log: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&config.log)?;
    Ok(Command::new(&config.program)
        .args(&config.arguments)
        .envs(config.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?)
}

/// Where ports are looked for: below those that Linux gives to outgoing connections, one of which
/// would keep a process that was killed from listening there again.
const LISTENED: Range<u16> = 10_240..32_768;
/// Ports that are tried before any will do.
const TRIES: usize = 64;

/// Ports of loopback that nobody else gets while this lives.
#[derive(Debug)]
pub struct Ports(Vec<TcpListener>);

impl Ports {
    /// Reserves `count` different ports.
    ///
    /// # Errors
    /// If the operating system has none left.
    pub fn reserve(count: usize) -> io::Result<Self> {
        let listeners: io::Result<Vec<_>> = (0..count).map(|_| listen()).collect();
        listeners.map(Self)
    }

    /// The addresses, in the order in which they were reserved.
    ///
    /// # Errors
    /// If the operating system does not know its own socket.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }

    /// Frees them for the process that is to listen there.
    pub fn release(self) {}
}

fn listen() -> io::Result<TcpListener> {
    let mut tried = (0..TRIES).map(|_| rand::random_range(LISTENED));
    let free = tried.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    free.map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
}

#[cfg(test)]
mod tests;
