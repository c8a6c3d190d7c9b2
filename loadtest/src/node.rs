//! The gateway under load: a fresh folder, a partner for its users, and the process on one core.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use entente_core::PartnerId;
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, JWKS_PATH, Partner, PartnerConfig};
use entente_kit::process::{Ports, Process, ProcessConfig};
use entente_kit::trust::Trust;
use rustls::client::Resumption;
use tempfile::TempDir;
use tokio::process::Command;

use crate::line::Door;

/// The deployment's domain.
pub const DOMAIN: &str = "interop.localhost";
/// The partner's number.
const PARTNER: u16 = 7;
const ISSUER: &str = "https://partner.test";
const AUDIENCE: &str = "https://gateway.test";
/// How long the program may take to start: it may have a log to replay.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// How to run the gateway.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The program.
    pub program: PathBuf,
    /// The core on which it runs.
    pub core: usize,
    /// The folder in which its own folder is made.
    pub folder: PathBuf,
    /// When its log is synced.
    pub fsync: String,
    /// Lines of configuration that are appended.
    pub extra: String,
    /// How the partner signs.
    pub algorithm: Algorithm,
}

/// A gateway that runs, with its partner.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    process: Process,
    config: ProcessConfig,
    partner: Partner,
    number: PartnerId,
    xmpp: SocketAddr,
    http: SocketAddr,
}

impl Node {
    /// Makes the folder with the program's own `init` and starts it.
    ///
    /// # Errors
    /// If any of it fails.
    pub async fn start(config: &NodeConfig) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("entente-load-")
            .tempdir_in(&config.folder)?;
        let partner = Partner::start(PartnerConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithm: config.algorithm,
            tls: None,
        })
        .await?;
        let ports = Ports::reserve(4)?;
        let addresses = ports.addresses()?;
        let [xmpp, websocket, http, admin] = addresses[..] else {
            bail!("four ports were asked for");
        };
        let path = folder.path().join("node");
        let addresses = [
            ("--xmpp", xmpp),
            ("--websocket", websocket),
            ("--http", http),
            ("--admin", admin),
        ];
        let init = Command::new(&config.program)
            .args(["init", "--development", "--domain", DOMAIN, "--dir"])
            .arg(&path)
            .args(addresses.map(|(name, address)| format!("{name}={address}")))
            .output()
            .await
            .with_context(|| format!("{} init", config.program.display()))?;
        if !init.status.success() {
            bail!("init: {}", String::from_utf8_lossy(&init.stderr));
        }
        fs::write(path.join("partners.toml"), record(&partner))?;
        let file = path.join("entente.toml");
        let text = fs::read_to_string(&file)?;
        fs::write(&file, settings(&text, &config.fsync, &config.extra))?;
        ports.release();
        let arguments = [
            "-c".into(),
            config.core.to_string().into(),
            config.program.clone().into_os_string(),
            "run".into(),
            "--config".into(),
            file.into_os_string(),
        ];
        let process = ProcessConfig {
            // It replaces itself by what it starts, so the process id is the gateway's.
            program: "taskset".into(),
            arguments: arguments.into_iter().collect::<Vec<OsString>>(),
            environment: Vec::new(),
            log: folder.path().join("entente.log"),
            admin,
            ready_within: READY_WITHIN,
        };
        let started = Process::start(process.clone()).await;
        let log = || fs::read_to_string(&process.log).unwrap_or_default();
        Ok(Self {
            process: started.with_context(log)?,
            folder,
            partner,
            number: PartnerId::new(PARTNER).context("partner number")?,
            config: process,
            xmpp,
            http,
        })
    }

    /// Ends the process in order and starts it again on the same folder.
    ///
    /// # Errors
    /// If it does not end or does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop(STOP_WITHIN).await?;
        self.process = Process::start(self.config.clone()).await?;
        Ok(())
    }

    /// Ends the process in order and removes its folder; says how it ended, with the last line of
    /// its log.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub async fn stop(mut self) -> anyhow::Result<String> {
        let status = self.process.stop(STOP_WITHIN).await?;
        let log = fs::read_to_string(&self.config.log).unwrap_or_default();
        self.folder.close()?;
        let last = log.lines().next_back().unwrap_or_default();
        Ok(format!("{status}: {last}"))
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the gateway is not running")
    }

    /// Its partner, and the partner's number.
    pub const fn partner(&self) -> (&Partner, PartnerId) {
        (&self.partner, self.number)
    }

    /// Where users enlist.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn enlistment(&self) -> anyhow::Result<HttpTarget> {
        Ok(HttpTarget::tls(self.http, DOMAIN, &Trust::Anyone)?)
    }

    /// The XMPP door; every handshake is a full one.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn door(&self) -> anyhow::Result<Door> {
        let tls = Trust::Anyone.client_config(&["xmpp-client"])?;
        let mut tls = std::sync::Arc::unwrap_or_clone(tls);
        tls.resumption = Resumption::disabled();
        Door::new(self.xmpp, DOMAIN, tls.into())
    }
}

fn record(partner: &Partner) -> String {
    let algorithm = partner.signer().algorithm().name();
    let keys = partner.base_url("127.0.0.1");
    format!(
        r#"[[partner]]
number = {PARTNER}
name = "load"
kind = "partner"
state = "active"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["{algorithm}"]
jwks = "{keys}{JWKS_PATH}"
[partner.quotas]
enlistments_per_minute = 10000000
bundles_per_minute = 10000000
messages_per_second = 10000000
sessions = 1000000
"#
    )
}

/// What `init` wrote, with the limits out of the way that hold back a single account.
fn settings(text: &str, fsync: &str, extra: &str) -> String {
    let text = text.replace("fsync = \"always\"", &format!("fsync = \"{fsync}\""));
    format!(
        r#"{text}
[connection.limits]
bind_burst = 1000000            # one account logs in again and again here

[drain]
budget = "1s"
flush = "2s"
{extra}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sync_setting_is_replaced_and_limits_are_appended() {
        let text = settings("fsync = \"always\"   # why\n", "never", "[x]");
        assert!(text.starts_with("fsync = \"never\"   # why\n"));
        assert!(text.contains("bind_burst") && text.ends_with("[x]\n"));
    }
}
