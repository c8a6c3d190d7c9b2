//! What can be seen of the pace of logins.

use entente_node::{Counters, Gauges, Label, LabelValue, Metrics, MetricsError};
use tokio::time::Instant;

use super::desk::{Desk, Errand};

/// The metrics, made once a process.
#[derive(Debug)]
pub(super) struct Meters {
    paced: Counters<(Outcome, Errand)>,
    waiting: Gauges<()>,
    under_way: Gauges<()>,
    rate: Gauges<()>,
    slow: Gauges<()>,
}

/// What became of one who wanted to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// At once.
    Admitted,
    /// After a wait.
    Held,
    /// Told when to come back.
    Refused,
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Admitted => "admitted",
            Self::Held => "held",
            Self::Refused => "refused",
        })
    }
}

impl Label for Errand {
    const NAME: &'static str = "errand";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Fresh => "fresh",
            Self::Resume => "resume",
            Self::Unsaid => "unsaid",
        })
    }
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            paced: metrics.counters(
                "entente_connection_paced_logins",
                "Logins before they are judged, by what became of them",
            )?,
            waiting: metrics.gauges(
                "entente_connection_login_numbers",
                "Accounts that were told to wait or to come back for their login",
            )?,
            under_way: metrics.gauges(
                "entente_connection_logins_under_way",
                "Logins that are judged, bound or resumed",
            )?,
            rate: metrics.gauges(
                "entente_connection_login_rate",
                "Logins a second that are taken on now",
            )?,
            slow: metrics.gauges(
                "entente_connection_slow",
                "1 while every stanza waits longer for the log than it should",
            )?,
        })
    }

    pub(super) fn count(&self, outcome: Outcome, errand: Errand) {
        self.paced.increment((outcome, errand));
    }

    pub(super) fn show(&self, desk: &Desk, now: Instant) {
        let figures = desk.figures();
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.set((), whole(figures.kept));
        self.under_way.set((), whole(figures.under_way));
        self.rate.set((), i64::from(figures.rate));
        self.slow.set((), i64::from(desk.is_slow(now)));
    }
}
