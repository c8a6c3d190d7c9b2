//! A disk of the log that fails on command: a small file system that is filled and freed, tails that
//! are torn between a SIGKILL and the start, and system calls that fail (`shim/disk.c`).
//!
//! **Invariants**
//! - What is torn off a segment was never covered by a sync that had ended: no acknowledged record.
//! - What was mounted is unmounted when the rig is dropped.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use entente_kit::process::ProcessError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::stand::{Environment, Stand};

/// Settings for a campaign with a failing disk: short patience, so that rounds are short.
pub const CONFIG: &str = "[router]\nlog_patience = \"400ms\"\ncheckpoint = \"200ms\"\n\
                          [drain]\nbudget = \"500ms\"\n";
/// The source of the shim, which is compiled when a rig is made.
const SHIM: &str = include_str!("../shim/disk.c");
/// Size of the file system of the log. Segments are a sixteenth, so that floors free some.
const SPACE: &str = "16m";
/// How long a fault may take to show, and to be over.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a full disk stays full: longer than the router's patience.
const FULL: Duration = Duration::from_millis(1_200);
/// What a torn tail may end with, in bytes, beside what was cut.
const GARBAGE: usize = 4_096;

/// One way in which the disk fails.
#[derive(Clone, Copy, Debug)]
enum Strike {
    /// The file system is full for a while.
    Fill,
    /// Syncs take long; in the middle of one SIGKILL, and the tail is torn before the start.
    Torn,
    /// A sync fails; the process ends by itself.
    Sync,
    /// Writes fail for want of space, for a while.
    Space,
    /// A write stores half and fails; the process ends by itself.
    Tear,
}

const STRIKES: [Strike; 5] = [
    Strike::Torn,
    Strike::Sync,
    Strike::Fill,
    Strike::Tear,
    Strike::Space,
];

/// What was done, and what it showed.
#[derive(Clone, Debug, Default)]
pub struct Struck {
    /// Times that the disk was full, by a small file system.
    pub filled: u32,
    /// Times that writes failed for want of space, by the shim.
    pub spaceless: u32,
    /// Times that the process ended by itself after a sync or a write had failed.
    pub ended: u32,
    /// Tails torn.
    pub torn: u32,
    /// Bytes cut off torn tails.
    pub cut: u64,
    /// Connections that were closed since the log was full.
    pub parked: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Rig {
    rng: StdRng,
    round: usize,
    log: PathBuf,
    control: PathBuf,
    shim: PathBuf,
    is_small: bool,
    struck: Struck,
}

impl Rig {
    /// Compiles the shim, and gives the log of a node that was not started yet a file system of its
    /// own, if this process may mount one. Says on `out` what it does without.
    ///
    /// # Errors
    /// What is missing.
    pub fn new(node: &Path, seed: u64, out: &mut (dyn Write + Send)) -> anyhow::Result<Self> {
        let node = fs::canonicalize(node)?;
        let (control, log) = (node.join("shim"), node.join("data/log"));
        fs::create_dir_all(&control)?;
        fs::create_dir_all(&log)?;
        let (source, shim) = (control.join("disk.c"), control.join("disk.so"));
        fs::write(&source, SHIM)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]);
        run(compile.args([&shim, &source]).arg("-ldl")).context("cc cannot compile the shim")?;
        let config = node.join("entente.toml");
        let text = fs::read_to_string(&config)?;
        let small = text.replace("[storage]\n", "[storage]\nsegment = \"1MiB\"\n");
        ensure!(small != text, "the configuration has no [storage]");
        fs::write(&config, small)?;
        let size = format!("size={SPACE}");
        let mut mount = Command::new("mount");
        let mounted = run(mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&log));
        if let Err(why) = &mounted {
            writeln!(
                out,
                "SKIPPED: no small file system, since mounting is not permitted ({why}); \
                 writes are made to fail instead"
            )?;
        }
        Ok(Self {
            rng: StdRng::seed_from_u64(seed),
            round: 0,
            log,
            control,
            shim,
            is_small: mounted.is_ok(),
            struck: Struck::default(),
        })
    }

    /// What has to be in the environment of the gateway.
    pub fn environment(&self) -> Environment {
        let set = |name: &str, value: &Path| (OsString::from(name), value.to_owned().into());
        vec![
            set("LD_PRELOAD", &self.shim),
            set("SHIM_CONTROL", &self.control),
            set("SHIM_FOLDER", &self.log.join("input")),
        ]
    }

    /// What was done so far.
    pub fn struck(&self) -> Struck {
        self.struck.clone()
    }

    /// Lets the disk fail in the next way, and waits until the gateway is well again.
    ///
    /// # Errors
    /// If the fault does not show, shows wrongly, or is not over in time.
    pub async fn strike(&mut self, stand: &mut Stand) -> anyhow::Result<()> {
        let strike = STRIKES.get(self.round % STRIKES.len());
        self.round += 1;
        match strike {
            Some(Strike::Fill) if self.is_small => {
                let filler = self.log.join("filler");
                let full = self.full(stand, Some(&filler)).await;
                fs::remove_file(&filler)?;
                full?;
                self.struck.filled += 1;
            }
            Some(Strike::Fill | Strike::Space) => {
                self.on("full")?;
                let full = self.full(stand, None).await;
                self.off("full")?;
                full?;
                self.struck.spaceless += 1;
            }
            Some(Strike::Torn) => {
                self.on("slow")?;
                let moment = Duration::from_millis(self.rng.random_range(0..600));
                sleep(moment).await;
                stand.process.kill().await?;
                self.off("slow")?;
                self.tear()?;
                stand.process.restart().await?;
                return Ok(());
            }
            Some(Strike::Sync) => {
                return self
                    .fatal(stand, "fail-sync", "a sync of the log failed")
                    .await;
            }
            Some(Strike::Tear) | None => {
                return self.fatal(stand, "tear", "a write to the log failed").await;
            }
        }
        self.struck.parked += parked(&stand.metrics().await?);
        stand.process.wait_ready().await?;
        Ok(())
    }

    fn on(&self, name: &str) -> io::Result<()> {
        fs::write(self.control.join(name), "")
    }

    fn off(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.control.join(name))
    }

    /// While the disk is full `/readyz` names the log; the process lives on. With a filler, space
    /// that the log frees meanwhile is taken too; until then it may be well for a moment.
    async fn full(&self, stand: &Stand, filler: Option<&Path>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut full_until = None;
        loop {
            if let Some(filler) = filler {
                fill(filler)?;
            }
            let (is_ready, why) = stand.readiness().await?;
            if !is_ready {
                ensure!(why.contains("log"), "not ready for another reason: {why}");
            }
            match full_until {
                // The length of the fault: what waits for the log has to lose its patience.
                None if !is_ready => full_until = Some(Instant::now() + FULL),
                None => ensure!(Instant::now() < deadline, "a full disk was not noticed"),
                Some(_) if is_ready && filler.is_none() => bail!("ready on a full disk"),
                Some(until) if Instant::now() > until => return Ok(()),
                Some(_) => {}
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// T184: after a failed sync or write the process ends, with an error, and a start recovers.
    async fn fatal(&mut self, stand: &mut Stand, fault: &str, why: &str) -> anyhow::Result<()> {
        let before = stand.log()?.matches(why).count();
        self.on(fault)?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match stand.process.wait_ready().await {
                Err(ProcessError::Ended(status)) => break status,
                other => other?,
            }
            ensure!(Instant::now() < deadline, "the process lives on: {why}");
            sleep(Duration::from_millis(20)).await;
        };
        ensure!(!status.success(), "it ended as if nothing had happened");
        let told = stand.log()?.matches(why).count();
        ensure!(told > before, "the gateway's log does not say: {why}");
        let retried = self.control.join("retried");
        ensure!(!retried.exists(), "a failed sync was tried again");
        self.struck.ended += 1;
        stand.process.restart().await?;
        Ok(())
    }

    /// Tears the end of the newest segment, as a loss of power could have left it.
    fn tear(&mut self) -> anyhow::Result<()> {
        let mut segments: Vec<_> = fs::read_dir(self.log.join("input"))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .collect();
        segments.sort();
        let newest = segments.last().context("the log has no segment")?;
        let content = fs::read(newest)?;
        let end = content.iter().rposition(|byte| *byte != 0);
        let end = end.map_or(0, |last| last as u64 + 1);
        let file = OpenOptions::new().write(true).open(newest)?;
        let (size, inode) = (file.metadata()?.len(), file.metadata()?.ino());
        let synced = fs::read_to_string(self.control.join("synced"))?;
        let (of, bytes) = synced.split_once(' ').context("what was synced")?;
        let synced: u64 = bytes.parse()?;
        ensure!(
            of.parse() == Ok(inode) && synced <= size,
            "{synced} of {size} bytes were synced, of file {of} and not {inode}"
        );
        let keep = self.rng.random_range(synced..=end.max(synced));
        file.set_len(keep)?;
        if end < size {
            // It was written ahead: where the disk has nothing newer, it has the zeros.
            file.set_len(size)?;
        }
        if self.rng.random() {
            let mut garbage = vec![0; self.rng.random_range(1..GARBAGE)];
            self.rng.fill(&mut garbage[..]);
            file.write_all_at(&garbage, keep)?;
        }
        self.struck.cut += end.saturating_sub(keep);
        self.struck.torn += 1;
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.is_small {
            // Lazy: the gateway may end a little later.
            let done = run(Command::new("umount").arg("--lazy").arg(&self.log));
            done.unwrap_or_default();
        }
    }
}

/// Writes a file until there is no space.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // By halves, so that not even a frame fits in the end.
    let mut piece = 1 << 20;
    while piece > 0 {
        match file.write(&vec![0; piece]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => piece /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The counter of sessions whose connection was closed since the log took nothing.
fn parked(metrics: &str) -> u64 {
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.contains("step=\"parked\""));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let done = command.output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{}", said.trim());
    Ok(())
}
