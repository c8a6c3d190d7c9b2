//! A disk and a clock that fail on demand: a small library that the process is started with, built here
//! by the C compiler, and a page of memory that says what fails now.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

const SOURCE: &str = include_str!("preload.c");
/// Names the page to the library.
const PAGE: &str = "ENTENTE_FAULT_PAGE";
/// Errors of Linux.
const EIO: i64 = 5;
const ENOSPC: i64 = 28;

/// What the library does; the order is that of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knob {
    SyncDelayMicros,
    SyncErrno,
    WriteErrno,
    SkewMillis,
}

const KNOBS: [Knob; 4] = [
    Knob::SyncDelayMicros,
    Knob::SyncErrno,
    Knob::WriteErrno,
    Knob::SkewMillis,
];

/// See the module.
#[derive(Debug)]
pub struct Preload {
    library: PathBuf,
    path: PathBuf,
    page: File,
}

impl Preload {
    /// Builds the library in a folder, which must outlive it.
    ///
    /// # Errors
    /// If there is no C compiler `cc`, or the folder cannot be written.
    pub fn build(folder: &Path) -> anyhow::Result<Self> {
        let (source, library) = (folder.join("preload.c"), folder.join("preload.so"));
        std::fs::write(&source, SOURCE).with_context(|| source.display().to_string())?;
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()
            .context("faults of the disk and the clock need the C compiler `cc`")?;
        if !built.status.success() {
            bail!("cc: {}", String::from_utf8_lossy(&built.stderr));
        }
        let path = folder.join("page");
        let page = File::create(&path).with_context(|| path.display().to_string())?;
        let preload = Self {
            library,
            path,
            page,
        };
        preload.clear()?;
        Ok(preload)
    }

    /// What the process is to be started with.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            (PAGE.into(), self.path.clone().into()),
        ]
    }

    /// Nothing fails any more.
    pub(crate) fn clear(&self) -> io::Result<()> {
        KNOBS.into_iter().try_for_each(|knob| self.set(knob, 0))
    }

    /// Each sync takes so much longer.
    pub(crate) fn slow_sync(&self, by: Duration) -> io::Result<()> {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.set(Knob::SyncDelayMicros, micros)
    }

    /// Each sync fails.
    pub(crate) fn break_sync(&self) -> io::Result<()> {
        self.set(Knob::SyncErrno, EIO)
    }

    /// Syncs succeed again.
    pub(crate) fn mend_sync(&self) -> io::Result<()> {
        self.set(Knob::SyncErrno, 0)
    }

    /// The disk of the log is full, or not any more.
    pub(crate) fn fill(&self, full: bool) -> io::Result<()> {
        self.set(Knob::WriteErrno, if full { ENOSPC } else { 0 })
    }

    /// The wall clock is ahead, or behind.
    pub(crate) fn skew(&self, by: Duration, behind: bool) -> io::Result<()> {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.set(Knob::SkewMillis, if behind { -millis } else { millis })
    }

    fn set(&self, knob: Knob, value: i64) -> io::Result<()> {
        let at = KNOBS.iter().position(|other| *other == knob);
        let at = u64::try_from(at.unwrap_or_default()).unwrap_or_default();
        let width = u64::from(i64::BITS / 8);
        self.page.write_all_at(&value.to_ne_bytes(), at * width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is removed.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ok = std::fs::remove_dir_all(&self.0);
        }
    }

    /// What a program prints under the library.
    fn run(preload: &Preload, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .envs(preload.environment())
            .output()
            .unwrap();
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_program_sees_what_the_page_says_and_nothing_once_it_is_cleared() {
        let folder = Folder::new("preload");
        let preload = Preload::build(&folder.0).unwrap();
        let file = folder.0.join("page");
        let file = file.to_str().unwrap();
        let sync = || run(&preload, "sync", &["--data", file]);
        let year = || {
            run(&preload, "date", &["--utc", "+%s"])
                .trim()
                .parse::<i64>()
                .unwrap()
        };
        let before = year();
        assert_eq!(sync(), "");
        preload.break_sync().unwrap();
        assert!(sync().contains("Input/output error"), "{}", sync());
        preload.skew(Duration::from_hours(24), true).unwrap();
        assert!(year() < before - 80_000);
        preload.skew(Duration::from_hours(24), false).unwrap();
        assert!(year() > before + 80_000);
        preload.slow_sync(Duration::from_millis(1)).unwrap();
        preload.fill(true).unwrap();
        preload.clear().unwrap();
        assert_eq!(sync(), "");
        assert!((before..before + 600).contains(&year()));
    }
}
