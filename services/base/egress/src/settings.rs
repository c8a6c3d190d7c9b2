//! What the operator decides about connections to the outside.

use std::path::PathBuf;
use std::time::Duration;

use entente_core::Span;
use serde::{Deserialize, Serialize};

use crate::address;
use crate::{EgressError, Net, Target};

/// The `[egress]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Ports that partners may register.
    pub ports: Vec<u16>,
    /// Networks that are refused beside the built-in ones: NAT64 prefixes, metadata on public addresses.
    pub refuse: Vec<Net>,
    /// Networks that are reached although the built-in table refuses them. Loopback and link-local
    /// addresses stay refused.
    pub permit: Vec<Net>,
    /// The oldest TLS version that is spoken.
    pub minimum_tls: MinimumTls,
    /// A PEM file of certificate authorities that are trusted beside the public ones.
    pub extra_roots: Option<PathBuf>,
    /// Allows `http:`, any port and loopback addresses. For one machine without TLS, never a cluster.
    pub development: bool,
    /// Requests that are under way at once; more wait within their deadline.
    pub max_in_flight: usize,
    /// Connections kept open without a request, over all hosts.
    pub max_idle: usize,
    /// How long a connection without a request may be used again.
    pub idle: Span,
    /// Time for one TCP connection, so that a dead address leaves time for the next.
    pub connect: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: vec![443],
            refuse: Vec::new(),
            permit: Vec::new(),
            minimum_tls: MinimumTls::default(),
            extra_roots: None,
            development: false,
            max_in_flight: 256,
            max_idle: 64,
            idle: Span::secs(30),
            connect: Span::secs(3),
        }
    }
}

impl Settings {
    /// The defaults for one machine: `http:`, any port, loopback.
    pub fn development() -> Self {
        Self {
            development: true,
            ..Self::default()
        }
    }

    /// Names the first setting that cannot work.
    ///
    /// # Errors
    /// When a list is empty or a bound is zero.
    pub fn check(&self) -> Result<(), SettingsError> {
        let bad = |field| Err(SettingsError::Zero { field });
        if self.ports.is_empty() || self.ports.contains(&0) {
            return bad("ports");
        }
        if self.max_in_flight == 0 {
            return bad("max_in_flight");
        }
        if self.connect.get() == Duration::ZERO {
            return bad("connect");
        }
        Ok(())
    }

    /// The rules by which targets and addresses are judged.
    pub fn policy(&self) -> Policy {
        Policy {
            ports: self.ports.clone(),
            refuse: self.refuse.clone(),
            permit: self.permit.clone(),
            development: self.development,
        }
    }
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinimumTls {
    /// RFC 5246 with the ECDHE and AEAD suites only; partners' load balancers still need it.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file of extra roots cannot be read.
    #[error("egress.extra_roots cannot be read: {0}")]
    Roots(std::io::Error),
    /// The file of extra roots holds no certificate that can be used.
    #[error("egress.extra_roots holds no usable certificate")]
    NoRoots,
    /// The TLS library refuses the configuration.
    #[error("egress: {0}")]
    Tls(rustls::Error),
    /// Empty or zero where something is needed.
    #[error("egress.{field} must not be empty or zero")]
    Zero {
        /// The setting.
        field: &'static str,
    },
}

/// The rules by which targets and addresses are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    ports: Vec<u16>,
    refuse: Vec<Net>,
    permit: Vec<Net>,
    development: bool,
}

impl Policy {
    /// Public addresses, `https`, port 443.
    pub fn production() -> Self {
        Settings::default().policy()
    }

    /// Also loopback addresses, `http` and every port.
    pub fn development() -> Self {
        Settings::development().policy()
    }

    /// Whether a target that was perhaps parsed under other rules may be used under these.
    pub(crate) fn admits(&self, target: &Target) -> Result<(), EgressError> {
        let scheme = target.is_https() || self.development;
        let named = !target.is_single_label() || self.development;
        if scheme && named && self.admits_port(target.port()) {
            return Ok(());
        }
        Err(EgressError::TargetRefused)
    }

    pub(crate) const fn is_development(&self) -> bool {
        self.development
    }

    pub(crate) fn admits_port(&self, port: u16) -> bool {
        self.development || self.ports.contains(&port)
    }

    /// Whether a connection may be opened to the address.
    pub(crate) fn admits_address(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_loopback() {
            return self.development;
        }
        let listed = |nets: &[Net]| nets.iter().any(|net| net.contains(address));
        if listed(&self.refuse) || address::is_link_local(address) {
            return false;
        }
        listed(&self.permit) || address::refusal(address).is_none()
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::production()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_operator_writes_and_refuses_slips() {
        let text = "ports = [443, 8443]\nrefuse = [\"64:ff9b:2::/96\"]\nminimum_tls = \"1.3\"\nidle = \"5s\"";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.ports, [443, 8443]);
        assert_eq!(settings.minimum_tls, MinimumTls::V1_3);
        assert_eq!(settings.refuse, ["64:ff9b:2::/96".parse().unwrap()]);
        assert!(settings.check().is_ok() && !settings.development);
        for bad in ["port = [443]", "refuse = [\"10.0.0.1/8\"]", "idle = 5"] {
            assert!(toml::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_lists_and_zero_bounds_are_named() {
        let refused = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            settings.check().unwrap_err().to_string()
        };
        for (text, field) in [
            ("ports = []", "ports"),
            ("ports = [0]", "ports"),
            ("max_in_flight = 0", "max_in_flight"),
            ("connect = \"0ms\"", "connect"),
        ] {
            assert!(refused(text).contains(field), "{text}");
        }
    }
}
