//! Every metric and every log line of the mesh.
//!
//! Names of nodes are in lines; in labels there are roles alone.

use entente_node::{Counters, Gauges, Label, LabelValue, Metrics, MetricsError};

use crate::credentials::CredentialsError;
use crate::dial::DialError;
use crate::name::Role;

/// The metrics, made once a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Events {
    dials: Counters<(Role,)>,
    peers: Gauges<(Role, Found)>,
    refused: Counters<(Why,)>,
    credentials: Counters<(Files,)>,
    roles: Gauges<(Role,)>,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident as $label:literal { $($variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        enum $name {
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
    /// How a peer was found.
    Found as "state" {
        Reachable = "reachable",
        Unreachable = "unreachable",
    }
    /// Why a caller was refused.
    Why as "reason" {
        Call = "call",
        Handshake = "handshake",
        Late = "late",
    }
    /// What became of new certificate files.
    Files as "outcome" {
        Kept = "kept",
        Loaded = "loaded",
    }
}

impl Events {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            dials: metrics.counters(
                "entente_mesh_dials_failed",
                "Connections to other nodes that could not be made, by role",
            )?,
            peers: metrics.gauges(
                "entente_mesh_peers",
                "Other nodes by role, and whether they answer",
            )?,
            refused: metrics.counters(
                "entente_mesh_refused",
                "Connections and calls of other nodes that were refused",
            )?,
            credentials: metrics.counters(
                "entente_mesh_credentials",
                "Reloads of the mesh certificates by outcome",
            )?,
            roles: metrics.gauges("entente_mesh_role", "The roles of this process")?,
        })
    }

    /// Shows a role of this process.
    pub(crate) fn has_role(&self, role: Role) {
        self.roles.set((role,), 1);
    }

    pub(crate) fn dial_failed(&self, role: Role, error: &DialError) {
        self.dials.increment((role,));
        tracing::debug!(%role, %error, "a node is not reached");
    }

    pub(crate) fn caller_refused(&self, error: &std::io::Error) {
        self.refused.increment((Why::Handshake,));
        tracing::warn!(%error, "a connection of another node is refused");
    }

    pub(crate) fn caller_late(&self) {
        self.refused.increment((Why::Late,));
    }

    pub(crate) fn call_refused(&self, why: &str) {
        self.refused.increment((Why::Call,));
        tracing::warn!(why, "a call of another node is refused");
    }

    pub(crate) fn credentials_loaded(&self) {
        self.credentials.increment((Files::Loaded,));
        tracing::info!("new mesh certificates are in use");
    }

    pub(crate) fn credentials_kept(&self, error: &CredentialsError) {
        self.credentials.increment((Files::Kept,));
        tracing::error!(%error, "new mesh certificates cannot be used: the old ones stay");
    }

    /// Shows how many nodes of a role answer.
    pub(crate) fn peers(&self, role: Role, reachable: usize, unreachable: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.peers.set((role, Found::Reachable), number(reachable));
        self.peers
            .set((role, Found::Unreachable), number(unreachable));
    }
}
