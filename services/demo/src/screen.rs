//! What the viewer sees: one line a step with its seconds, over any writer.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::DemoError;

/// See the module.
pub(crate) struct Screen<'a> {
    out: &'a mut (dyn Write + Send),
    started: Instant,
    step: Instant,
    live: bool,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(out: &'a mut (dyn Write + Send)) -> Self {
        let now = Instant::now();
        Self {
            out,
            started: now,
            step: now,
            live: io::stdout().is_terminal(),
        }
    }

    /// Since the demonstration began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), DemoError> {
        self.write(format_args!("{text}\n"))
    }

    /// Names a step that begins.
    pub(crate) fn begin(&mut self, step: &str) -> Result<(), DemoError> {
        self.step = Instant::now();
        self.write(format_args!("  {step} ... "))
    }

    /// Ends the step's line with what was found and its seconds.
    pub(crate) fn end(&mut self, found: &str) -> Result<(), DemoError> {
        let took = self.step.elapsed().as_secs_f64();
        self.write(format_args!("{found} ({took:.1} s)\n"))
    }

    /// Overwrites a line of its own on a terminal; elsewhere nothing.
    pub(crate) fn progress(&mut self, text: &str) -> Result<(), DemoError> {
        if self.live {
            self.write(format_args!("\r    {text}\x1b[K"))
        } else {
            Ok(())
        }
    }

    /// Removes the line of [`Screen::progress`].
    pub(crate) fn clear_progress(&mut self) -> Result<(), DemoError> {
        if self.live {
            self.write(format_args!("\r\x1b[K"))
        } else {
            Ok(())
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), DemoError> {
        let written = self.out.write_fmt(text).and_then(|()| self.out.flush());
        written.map_err(DemoError::file("the screen"))
    }
}
