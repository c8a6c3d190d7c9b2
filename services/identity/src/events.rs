//! Every log line and metric of the identity service.
//!
//! Neither shows a user, a token, a key or a key id: a partner's number is the finest grain.

use entente_core::PartnerId;
use entente_node::{Counters, Label, LabelValue, Metrics, MetricsError};

/// The counters of the service; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    bundles: Counters<(PartnerId, Outcome)>,
    enlistments: Counters<(Outcome,)>,
    fetches: Counters<(PartnerId, Outcome)>,
    logins: Counters<(PartnerId, Outcome)>,
    uploads: Counters<(PartnerId, Outcome)>,
}

impl Events {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            bundles: metrics.counters("entente_identity_bundles", "Key bundles asked for")?,
            enlistments: metrics.counters("entente_identity_enlistments", "Enlistments tried")?,
            fetches: metrics.counters("entente_identity_key_fetches", "Fetches of key sets")?,
            logins: metrics.counters("entente_identity_logins", "Logins tried")?,
            uploads: metrics.counters("entente_identity_uploads", "Uploads of prekeys tried")?,
        })
    }
}

/// What became of it, in a word of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome(pub(crate) &'static str);

impl Label for Outcome {
    const NAME: &'static str = "outcome";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.0)
    }
}

/// A key bundle was asked for.
pub(crate) struct BundleAsked {
    pub(crate) partner: PartnerId,
    pub(crate) outcome: &'static str,
}

impl BundleAsked {
    pub(crate) fn emit(self, events: &Events) {
        let labels = (self.partner, Outcome(self.outcome));
        events.bundles.increment(labels);
    }
}

/// An enlistment ended.
pub(crate) struct EnlistmentEnded {
    pub(crate) outcome: &'static str,
}

impl EnlistmentEnded {
    pub(crate) fn emit(self, events: &Events) {
        events.enlistments.increment((Outcome(self.outcome),));
        tracing::debug!(outcome = self.outcome, "enlistment ended");
    }
}

/// A key set was fetched, or was not.
pub(crate) struct KeysFetched {
    pub(crate) partner: PartnerId,
    pub(crate) outcome: Result<usize, &'static str>,
}

impl KeysFetched {
    pub(crate) fn emit(self, events: &Events) {
        let partner = self.partner.number();
        let outcome = match self.outcome {
            Ok(refused) => {
                if refused > 0 {
                    tracing::warn!(
                        partner,
                        refused,
                        "partner publishes keys that cannot be used"
                    );
                }
                "ok"
            }
            Err(reason) => {
                tracing::warn!(partner, reason, "keys of partner not fetched");
                reason
            }
        };
        events.fetches.increment((self.partner, Outcome(outcome)));
    }
}

/// A login ended. `outcome` tells the operator more than the client is told.
pub(crate) struct LoginEnded {
    pub(crate) partner: PartnerId,
    pub(crate) outcome: &'static str,
}

impl LoginEnded {
    pub(crate) fn emit(self, events: &Events) {
        let partner = self.partner.number();
        tracing::debug!(partner, outcome = self.outcome, "login ended");
        let labels = (self.partner, Outcome(self.outcome));
        events.logins.increment(labels);
    }
}

/// The registry was read again, or was not.
pub(crate) struct PartnersRead<'a> {
    pub(crate) outcome: Result<usize, &'a crate::partners::PartnersError>,
}

impl PartnersRead<'_> {
    pub(crate) fn emit(self) {
        match self.outcome {
            Ok(partners) => tracing::info!(partners, "partners read"),
            // The old partners stay in force, so a person must look.
            Err(error) => tracing::error!(%error, "partners not read"),
        }
    }
}

/// Prekeys were uploaded, or were not.
pub(crate) struct UploadEnded {
    pub(crate) partner: PartnerId,
    pub(crate) outcome: &'static str,
}

impl UploadEnded {
    pub(crate) fn emit(self, events: &Events) {
        let labels = (self.partner, Outcome(self.outcome));
        events.uploads.increment(labels);
    }
}
