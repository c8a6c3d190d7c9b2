//! Every metric and every log line of this service.
//!
//! **Invariants**
//! - Labels are closed sets; no event carries an address, a token or a body.

use entente_core::{FaultKind, ShardId, Timestamp};
use entente_node::{Counters, Gauges, Label, LabelValue, Metrics, MetricsError};

use crate::negotiate::sasl::SaslFailure;
use crate::secure::SecureError;
use crate::session::{Cause, Tally};

/// The metrics of the service, made once a process.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    open: Gauges<(Door,)>,
    sessions: Gauges<()>,
    ended: Counters<(Cause,)>,
    logins: Counters<(LoginOutcome,)>,
    resumes: Counters<(ResumeOutcome,)>,
    stanzas: Counters<(Kind,)>,
    handshakes: Counters<(HandshakeOutcome,)>,
    streams_lost: Counters<()>,
    reattached: Counters<()>,
    ownerless: Gauges<()>,
    revocations: Counters<()>,
    certificates: Counters<(CertificateOutcome,)>,
    certificate_left: Gauges<()>,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            open: metrics.gauges("entente_connection_open", "Open connections")?,
            sessions: metrics.gauges("entente_connection_sessions", "Bound sessions")?,
            ended: metrics.counters("entente_connection_ended", "Sessions that ended, by cause")?,
            logins: metrics.counters("entente_connection_logins", "Logins by outcome")?,
            resumes: metrics.counters("entente_connection_resumes", "Resumptions by outcome")?,
            stanzas: metrics.counters("entente_connection_stanzas", "Stanzas by kind")?,
            handshakes: metrics.counters(
                "entente_connection_handshakes",
                "Handshakes before a stream by outcome",
            )?,
            streams_lost: metrics.counters(
                "entente_connection_streams_lost",
                "Streams to shard owners that ended",
            )?,
            reattached: metrics.counters(
                "entente_connection_reattached",
                "Sessions that went on with another stream to their owner",
            )?,
            ownerless: metrics.gauges(
                "entente_connection_shards_without_owner",
                "Shards whose owner sessions or logins of this node are waiting for",
            )?,
            revocations: metrics
                .counters("entente_connection_revocations", "Revocations acted upon")?,
            certificates: metrics.counters(
                "entente_connection_certificates",
                "Certificate reloads by outcome",
            )?,
            certificate_left: metrics.gauges(
                "entente_connection_certificate_left_seconds",
                "Time until the first certificate of the served chain ends, negative after it",
            )?,
        })
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn open(&self, door: Door) -> OpenConnection {
        self.open.add((door,), 1);
        OpenConnection {
            gauge: self.open.clone(),
            door,
        }
    }

    /// Counts a session for as long as the guard lives.
    pub(crate) fn bound(&self) -> BoundSession {
        self.sessions.add((), 1);
        BoundSession(self.sessions.clone())
    }

    /// Counts a shard as one without an owner for as long as the guard lives.
    pub(crate) fn ownerless(&self) -> Ownerless {
        self.ownerless.add((), 1);
        Ownerless(self.ownerless.clone())
    }

    /// Shows how long the served chain is good.
    pub(crate) fn certificate_left(&self, ends: Timestamp, now: Timestamp) {
        let secs = |time: Timestamp| i64::try_from(time.secs()).unwrap_or(i64::MAX);
        self.certificate_left
            .set((), secs(ends).saturating_sub(secs(now)));
    }

    pub(crate) fn tally(&self, tally: &Tally) {
        if *tally == Tally::default() {
            return;
        }
        if tally.reattached > 0 {
            self.reattached.add((), tally.reattached);
        }
        let counts = [
            (Kind::Delivered, tally.delivered),
            (Kind::Dropped, tally.dropped),
            (Kind::Durable, tally.durable),
            (Kind::Ephemeral, tally.ephemeral),
            (Kind::Presence, tally.presence),
            (Kind::Refused, tally.refused),
            (Kind::Request, tally.requests),
        ];
        for (kind, count) in counts {
            if count > 0 {
                self.stanzas.add((kind,), count);
            }
        }
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    gauge: Gauges<(Door,)>,
    door: Door,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gauge.add((self.door,), -1);
    }
}

/// A session that is counted as bound.
#[derive(Debug)]
pub(crate) struct BoundSession(Gauges<()>);

impl Drop for BoundSession {
    fn drop(&mut self) {
        self.0.add((), -1);
    }
}

/// A shard whose owner is waited for.
#[derive(Debug)]
pub(crate) struct Ownerless(Gauges<()>);

impl Drop for Ownerless {
    fn drop(&mut self) {
        self.0.add((), -1);
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident as $label:literal { $($variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name {
            $($variant,)*
        }

        impl Label for $name {
            const NAME: &'static str = $label;

            fn value(&self) -> LabelValue {
                LabelValue::Word(match self {
                    $(Self::$variant => $word,)*
                })
            }
        }
    )*};
}

words! {
    /// Which listener.
    Door as "door" {
        Tls = "tls",
        WebSocket = "websocket",
    }
    /// How a handshake ended.
    HandshakeOutcome as "outcome" {
        Done = "done",
        Failed = "failed",
        Late = "late",
        NoProxyHeader = "no_proxy_header",
        Refused = "refused",
    }
    /// How a resumption ended.
    ResumeOutcome as "outcome" {
        Away = "away",
        Done = "done",
        Unknown = "unknown",
    }
    /// What a stanza was.
    Kind as "kind" {
        Delivered = "delivered",
        Dropped = "dropped",
        Durable = "durable",
        Ephemeral = "ephemeral",
        Presence = "presence",
        Refused = "refused",
        Request = "request",
    }
    /// What became of new certificate files.
    CertificateOutcome as "outcome" {
        Kept = "kept",
        Loaded = "loaded",
    }
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LoginOutcome {
    Failed(SaslFailure),
    Granted,
}

impl Label for LoginOutcome {
    const NAME: &'static str = "outcome";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Failed(failure) => failure.as_str(),
            Self::Granted => "granted",
        })
    }
}

impl Label for Cause {
    const NAME: &'static str = "cause";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Closed => "closed",
            Self::Conflict => "conflict",
            Self::Drained => "drained",
            Self::Gone => "gone",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::Misbehaved => "misbehaved",
            Self::Overflow => "overflow",
            Self::Revoked => "revoked",
            Self::Stalled => "stalled",
        })
    }
}

/// A handshake before a stream ended.
#[derive(Debug)]
pub(crate) struct Handshake(pub(crate) HandshakeOutcome);

impl Handshake {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.handshakes.increment((self.0,));
    }
}

/// A login was judged.
#[derive(Debug)]
pub(crate) struct Login(pub(crate) LoginOutcome);

impl Login {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.logins.increment((self.0,));
    }
}

/// A client asked to resume.
#[derive(Debug)]
pub(crate) struct Resume(pub(crate) ResumeOutcome);

impl Resume {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.resumes.increment((self.0,));
    }
}

/// A session ended.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Cause);

impl Ended {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.ended.increment((self.0,));
        tracing::debug!(cause = ?self.0, "session ended");
    }
}

/// No session could be opened for a login that was granted.
#[derive(Debug)]
pub(crate) struct NotSeated {
    pub(crate) kind: FaultKind,
}

impl NotSeated {
    pub(crate) fn emit(self) {
        tracing::debug!(kind = self.kind.label(), "no session for a login");
    }
}

/// The stream to the owner of a shard ended.
#[derive(Debug)]
pub(crate) struct StreamLost {
    pub(crate) shard: ShardId,
    pub(crate) sessions: usize,
}

impl StreamLost {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.streams_lost.increment(());
        let (shard, sessions) = (self.shard, self.sessions);
        tracing::info!(%shard, sessions, "stream to shard owner ended");
    }
}

/// No owner was found in time for sessions whose stream ended.
#[derive(Debug)]
pub(crate) struct OwnerNotFound {
    pub(crate) shard: ShardId,
    pub(crate) sessions: usize,
}

impl OwnerNotFound {
    pub(crate) fn emit(self) {
        let (shard, sessions) = (self.shard, self.sessions);
        tracing::warn!(%shard, sessions, "no owner of the shard found in time");
    }
}

/// Sessions were told to end because of a revocation.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// Whether revocations were missed, so that all sessions end.
    pub(crate) all: bool,
}

impl Revoked {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.revocations.increment(());
        tracing::info!(all = self.all, "sessions revoked");
    }
}

/// A new certificate is in use.
#[derive(Debug)]
pub(crate) struct CertificateLoaded;

impl CertificateLoaded {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.certificates.increment((CertificateOutcome::Loaded,));
        tracing::info!("certificate loaded");
    }
}

/// The served chain ends soon.
#[derive(Debug)]
pub(crate) struct CertificateEnds {
    /// In so many seconds.
    pub(crate) left: u64,
}

impl CertificateEnds {
    pub(crate) fn emit(self) {
        let days = self.left / 86_400;
        tracing::warn!(days, "certificate ends soon");
    }
}

/// The served chain is over; clients that check it stay away.
#[derive(Debug)]
pub(crate) struct CertificateExpired;

impl CertificateExpired {
    pub(crate) fn emit(self) {
        tracing::error!("certificate has expired");
    }
}

/// New certificate files are no good; the last good pair stays in use.
#[derive(Debug)]
pub(crate) struct CertificateKept<'a> {
    pub(crate) error: &'a SecureError,
}

impl CertificateKept<'_> {
    pub(crate) fn emit(self, meters: &Meters) {
        meters.certificates.increment((CertificateOutcome::Kept,));
        tracing::error!(error = %self.error, "new certificate is no good, the old one stays");
    }
}
