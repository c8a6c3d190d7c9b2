//! Log lines to standard error, in the form that the operator chose.
//!
//! In: the settings. Out: a handle that changes the level while the process runs. What may be in a
//! line is decided where it is written; this only formats.
//!
//! **Invariants**
//! - Of what was not written here nothing below `info` is shown, whatever the filter says: at those
//!   levels libraries show frames, names and headers as they pass, which are users' (T164).
//! - Of a panic the place is shown and not the message, which may hold what was being worked on.

use std::io;
use std::panic::PanicHookInfo;

use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The `[log]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// For people or for machines.
    pub format: LogFormat,
    /// Levels, such as `info` or `info,entente_router=debug`. Libraries say nothing below `info`.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            filter: "info".to_owned(),
        }
    }
}

impl LogSettings {
    /// Whether the filter can be read.
    ///
    /// # Errors
    /// [`LogError::BadFilter`].
    pub fn check(&self) -> Result<(), LogError> {
        parse(&self.filter).map(drop)
    }
}

/// For whom log lines are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Changes the level of the running process. Clones share it.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Puts another filter in place.
    ///
    /// # Errors
    /// When it cannot be read; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse(filter)?;
        self.0.reload(filter).map_err(|_| LogError::Gone)
    }
}

/// Why logging is not as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Logging was set up before in this process.
    #[error("logging is set up already")]
    AlreadySet,
    /// The filter cannot be read.
    #[error("log.filter `{given}` is not a list of levels")]
    BadFilter {
        /// The filter.
        given: String,
    },
    /// The logger does not exist any more.
    #[error("logging has ended")]
    Gone,
}

/// Sends the log lines of the whole process to standard error, and of its panics the place.
///
/// # Errors
/// When the filter cannot be read, or the process has a logger already.
pub fn init_logging(settings: &LogSettings) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = subscriber(settings, io::stderr)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(handle)
}

fn subscriber<W>(
    settings: &LogSettings,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogHandle), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(&settings.filter)?);
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match settings.format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default()
        .with(filter)
        .with(filter_fn(is_fit_to_show))
        .with(lines);
    Ok((subscriber, LogHandle(handle)))
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    tracing::error!(place = place.as_deref().unwrap_or("unknown"), "panic");
}

/// Whether a line may be shown at all.
fn is_fit_to_show(line: &Metadata<'_>) -> bool {
    line.target().starts_with(OWN) || *line.level() <= Level::INFO
}

/// What the targets of all crates of this repository begin with.
const OWN: &str = "entente";

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let bad = || LogError::BadFilter {
        given: filter.to_owned(),
    };
    if filter.trim().is_empty() {
        return Err(bad());
    }
    EnvFilter::try_new(filter).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings(format: LogFormat, filter: &str) -> LogSettings {
        LogSettings {
            format,
            filter: filter.to_owned(),
        }
    }

    fn lines(settings: &LogSettings, write: impl FnOnce(&LogHandle)) -> Vec<String> {
        let sink = Sink::default();
        let to = sink.clone();
        let (subscriber, handle) = subscriber(settings, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || write(&handle));
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_lines_have_fields() {
        let lines = lines(&settings(LogFormat::Json, "info"), |_| {
            tracing::info!(shard = 3, "taken over");
        });
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "taken over");
        assert_eq!(line["shard"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_filter_holds_and_can_be_changed() {
        let lines = lines(&settings(LogFormat::Human, "warn"), |handle| {
            tracing::info!("hidden");
            handle.set_filter("info").unwrap();
            tracing::info!("shown");
            assert!(handle.set_filter("entente=loud").is_err());
            tracing::info!("still shown");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].ends_with("shown") && !lines[0].contains('{'));
    }

    /// T164: of libraries nothing below `info` is shown, also if the operator asks for it.
    #[test]
    fn libraries_say_nothing_below_info() {
        for filter in ["trace", "tungstenite=trace,entente=trace"] {
            let lines = lines(&settings(LogFormat::Human, filter), |_| {
                tracing::trace!(target: "tungstenite::protocol", "a frame");
                tracing::debug!(target: "hyper::proto", "a header");
                tracing::trace!(target: "entente_router", "ours");
                tracing::warn!(target: "tungstenite::protocol", "a warning");
            });
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines[0].ends_with("ours") && lines[1].ends_with("a warning"));
        }
    }

    /// T164: a panic says where it was and not what it said.
    #[test]
    fn a_panic_shows_its_place_alone() {
        let before = std::panic::take_hook();
        let lines = lines(&settings(LogFormat::Human, "info"), |_| {
            std::panic::set_hook(Box::new(tell_panic));
            let caught = std::panic::catch_unwind(|| panic!("canary {}", 7));
            assert!(caught.is_err());
        });
        std::panic::set_hook(before);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("logging.rs:") && lines[0].contains("ERROR"));
        assert!(!lines[0].contains("canary"), "{lines:?}");
    }

    #[test]
    fn bad_filters_are_refused_at_start() {
        assert_eq!(LogSettings::default().check(), Ok(()));
        for bad in ["", " ", "entente=loud", "=="] {
            let made = subscriber(&settings(LogFormat::Human, bad), io::sink);
            assert!(matches!(made, Err(LogError::BadFilter { .. })), "{bad}");
            assert!(settings(LogFormat::Human, bad).check().is_err(), "{bad}");
        }
    }
}
