//! What `entente check` says: everything that would keep a node from starting, and what would
//! soon.
//!
//! In: a configuration. Out: warnings, one line each, or the first thing that must be mended. It
//! reads and never writes, takes no lock and opens no log or store, so it may run beside a node.

use entente_connection as connection;
use entente_core::Timestamp;
use entente_egress::Client;
use entente_identity as identity;

use entente_mesh::{Reach, Role, Target, reach};
use entente_node::Metrics;

use crate::cluster::{self, Place};
use crate::compose::StartError;
use crate::config::Config;
use crate::secrets::Secrets;
use crate::{deployment, keyfiles};

/// Why a configuration is not good.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The served certificate is over: a node would start, and no client would come.
    #[error("connection.tls.certificate: a certificate of the chain expired {0} days ago")]
    Expired(u64),
    /// A node would not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Reads everything that a configuration names, and starts nothing. Returns what is not wrong yet.
///
/// # Errors
/// The first thing that would keep a node from starting or from being of use.
pub fn preflight(config: &Config, place: Option<&Place>) -> Result<Vec<String>, PreflightError> {
    let has = |role| place.is_none_or(|place| place.roles.contains(&role));
    let groups = keyfiles::check(config, place).map_err(StartError::from)?;
    let mut warnings: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let secrets = Secrets::read(&config.secrets).map_err(StartError::from)?;
    if place.is_some() && secrets.placement.is_none() {
        return Err(StartError::NoPlacement.into());
    }
    if has(Role::Router) {
        deployment::compare(&config.storage).map_err(StartError::from)?;
    }
    if has(Role::Identity) || has(Role::Push) {
        identity::check(&config.identity, config.egress.policy()).map_err(StartError::from)?;
        config.push.signing_key().map_err(StartError::from)?;
    }
    Client::new(&config.egress).map_err(StartError::from)?;
    if has(Role::Connection) || has(Role::Identity) {
        let ends = connection::check(&config.connection).map_err(StartError::from)?;
        warnings.extend(ends.map(|ends| judge(config, ends)).transpose()?.flatten());
    }
    Ok(warnings)
}

/// How the nodes of the mesh are found by a process at a place: a line for each that says whether it
/// is ready, answers, or cannot be reached and why.
///
/// # Errors
/// If the certificates of the place cannot be used.
pub async fn survey(config: &Config, place: &Place) -> Result<Vec<String>, PreflightError> {
    let Some(settings) = &config.mesh else {
        return Ok(Vec::new());
    };
    let mesh = cluster::mesh(config, settings, place, &Metrics::new());
    let mesh = mesh.map_err(StartError::from)?;
    let endpoint = cluster::endpoint();
    let own: Vec<_> = place.roles.iter().map(|role| role.as_str()).collect();
    let mut lines = vec![format!("this is {} ({})", place.node, own.join(", "))];
    for node in &settings.nodes {
        let target = Target {
            role: node.role,
            node: node.name.as_deref().map(Into::into),
        };
        let found = match reach(mesh.channel(target, &endpoint)).await {
            Reach::Ready => "ready".to_owned(),
            Reach::NotReady => "answers, and is not ready".to_owned(),
            Reach::Unreachable(why) => format!("cannot be reached: {why}"),
        };
        let (role, address) = (node.role, &node.address);
        let name = node.name.as_deref().unwrap_or("(any)");
        lines.push(format!("{role} {name} at {address}: {found}"));
    }
    Ok(lines)
}

fn judge(config: &Config, ends: Timestamp) -> Result<Option<String>, PreflightError> {
    const DAY: u64 = 24 * 3600;
    let now = Timestamp::now();
    if ends <= now {
        return Err(PreflightError::Expired(now.since(ends).as_secs() / DAY));
    }
    let left = ends.since(now);
    let soon = left < config.connection.tls.expiry_warning.get();
    Ok(soon.then(|| {
        let days = left.as_secs() / DAY;
        format!("connection.tls.certificate: a certificate of the chain ends in {days} days")
    }))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::init::Init;

    fn node(folder: &Path) -> Config {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let init = Init {
            folder: folder.to_owned(),
            domain: "interop.localhost".to_owned(),
            xmpp: any,
            websocket: any,
            http: any,
            admin: any,
            development: true,
            mesh: Vec::new(),
            log: None,
            table: None,
        };
        init.write().unwrap();
        Config::read(&folder.join("entente.toml")).unwrap()
    }

    fn certificate_for(config: &Config, left: Duration) {
        let mut params = CertificateParams::new(vec!["interop.localhost".to_owned()]).unwrap();
        params.not_before = OffsetDateTime::now_utc() - Duration::days(100);
        params.not_after = OffsetDateTime::now_utc() + left;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let tls = &config.connection.tls;
        std::fs::write(&tls.certificate, certificate.pem()).unwrap();
        std::fs::write(&tls.key, key.serialize_pem()).unwrap();
    }

    /// T77: a chain that ends within the warning time is said, and one that is over is refused.
    #[test]
    fn the_end_of_the_certificate_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let config = node(folder.path());
        assert_eq!(preflight(&config, None).unwrap(), Vec::<String>::new());
        certificate_for(&config, Duration::days(29) + Duration::hours(1));
        let told = preflight(&config, None).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("ends in 29 days"), "{told:?}");
        certificate_for(&config, -Duration::days(2) - Duration::hours(1));
        let refused = preflight(&config, None).unwrap_err().to_string();
        assert!(refused.ends_with("expired 2 days ago"), "{refused}");
    }

    #[test]
    fn open_key_files_are_named_with_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let config = node(folder.path());
        for name in ["tls.key", "push-key.pem", "secrets.toml"] {
            let file = folder.path().join(name);
            let mode = |mode| {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(&file, mode).unwrap();
            };
            mode(0o644);
            let refused = preflight(&config, None).unwrap_err().to_string();
            assert!(
                refused.contains(name) && refused.contains("0644"),
                "{refused}"
            );
            mode(0o440);
            let told = preflight(&config, None).unwrap();
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].contains(name) && told[0].contains("0440"),
                "{told:?}"
            );
            mode(0o600);
        }
    }
}
