//! The gateway under load: a fresh folder, partners for its users, and the process on one core.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use entente_core::PartnerId;
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, GatewayTrust, JWKS_PATH, Partner, PartnerConfig};
use entente_kit::process::{Ports, Process, ProcessConfig};
use entente_kit::trust::{DevAuthority, Trust};
use entente_probe::Page;
use rustls::client::Resumption;
use tempfile::TempDir;
use tokio::process::Command;

use crate::line::Door;

/// The deployment's domain.
pub const DOMAIN: &str = "interop.localhost";
/// Where the gateway publishes the keys with which it signs wake-ups.
const GATEWAY_JWKS: &str = "/.well-known/jwks";
const AUDIENCE: &str = "https://gateway.test";
/// What it publishes that is worth a line in a result.
const PUBLISHED: &[&str] = &["entente_connection_*", "entente_router_*", "process_*"];
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
    /// Its log, if that is not in the folder.
    pub log: Option<String>,
    /// Lines of configuration that are appended.
    pub extra: String,
    /// How the partners sign.
    pub algorithm: Algorithm,
    /// Partners.
    pub partners: u16,
    /// The number of the first.
    pub first: u16,
    /// Records of partners that run elsewhere.
    pub others: String,
    /// Set in its environment, beside what this process has.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the partners' push endpoints show a certificate for another host.
    pub wrong_certificate: bool,
}

/// A gateway that runs, with its partner.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    process: Process,
    config: ProcessConfig,
    partners: Vec<Host>,
    xmpp: SocketAddr,
    websocket: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

/// A partner, its number, and where it is woken if that is elsewhere.
#[derive(Debug)]
pub struct Host {
    /// The partner.
    pub partner: Arc<Partner>,
    /// Its number.
    pub number: PartnerId,
    /// Another server for wake-ups.
    elsewhere: Option<Partner>,
}

impl Host {
    /// Starts a partner, on a free port or on one that is known.
    ///
    /// # Errors
    /// If it cannot listen, or the number is 0.
    pub async fn start(
        number: u16,
        algorithm: Algorithm,
        at: Option<SocketAddr>,
        wrong_certificate: bool,
    ) -> anyhow::Result<Self> {
        let config = |tls| PartnerConfig {
            issuer: issuer(number),
            audience: AUDIENCE.to_owned(),
            algorithm,
            tls,
        };
        let at = at.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let partner = Partner::start_at(config(None), at).await;
        let partner = partner.with_context(|| format!("the built-in partner at {at}"))?;
        let elsewhere = if wrong_certificate {
            let authority = DevAuthority::new()?;
            let tls = authority.server_config(&["elsewhere.test"], &["http/1.1"])?;
            Some(Partner::start(config(Some(tls))).await?)
        } else {
            None
        };
        Ok(Self {
            partner: Arc::new(partner),
            number: PartnerId::new(number).context("a partner's number is 1 to 65535")?,
            elsewhere,
        })
    }

    /// Where it is woken.
    fn push(&self) -> String {
        self.elsewhere.as_ref().unwrap_or(&self.partner).own_url()
    }

    /// Has the push endpoint believe the gateway behind a door, whose keys it fetches.
    ///
    /// # Errors
    /// If there are none.
    pub async fn trust(&self, target: HttpTarget, domain: &str) -> anyhow::Result<()> {
        let desk = self.partner.push();
        desk.set_trust(GatewayTrust {
            target,
            path: GATEWAY_JWKS.to_owned(),
            issuer: format!("https://{domain}"),
            audience: self.push(),
        });
        desk.learn()
            .await
            .with_context(|| format!("fetching https://{domain}{GATEWAY_JWKS}"))
    }

    /// The record that a gateway needs of it.
    pub fn record(&self) -> String {
        let algorithm = self.partner.signer().algorithm();
        let keys = self.partner.own_url();
        record(self.number, algorithm, &keys, &self.push())
    }
}

/// The record that a gateway needs of a partner: where its keys are, and where it is woken.
pub fn record(number: PartnerId, algorithm: Algorithm, keys: &str, push: &str) -> String {
    let (issuer, algorithm) = (issuer(number.number()), algorithm.name());
    format!(
        r#"[[partner]]
number = {number}
name = "load-{number}"
kind = "partner"
state = "active"
issuer = "{issuer}"
audience = "{AUDIENCE}"
algorithms = ["{algorithm}"]
jwks = "{keys}{JWKS_PATH}"
push = "{push}"
[partner.quotas]
enlistments_per_minute = 10000000
bundles_per_minute = 10000000
messages_per_second = 10000000
sessions = 1000000
"#
    )
}

fn issuer(number: u16) -> String {
    format!("https://partner-{number}.test")
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
        let mut partners = Vec::new();
        for number in (config.first..).take(config.partners.into()) {
            let wrong = config.wrong_certificate;
            partners.push(Host::start(number, config.algorithm, None, wrong).await?);
        }
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
        let records: String = partners.iter().map(Host::record).collect();
        fs::write(path.join("partners.toml"), records + &config.others)?;
        let file = path.join("entente.toml");
        let text = fs::read_to_string(&file)?;
        fs::write(&file, settings(&text, config))?;
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
            environment: config.environment.clone(),
            log: folder.path().join("entente.log"),
            admin,
            ready_within: READY_WITHIN,
        };
        let started = Process::start(process.clone()).await;
        let log = || fs::read_to_string(&process.log).unwrap_or_default();
        Ok(Self {
            process: started.with_context(log)?,
            folder,
            partners,
            config: process,
            xmpp,
            websocket,
            http,
            admin,
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

    /// Its process, to be struck and started again.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it logged.
    pub fn log(&self) -> &Path {
        &self.config.log
    }

    /// Ends the process and leaves its folder; says where it is.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
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

    /// A token of its first partner.
    ///
    /// # Errors
    /// If there is none, or its key does not sign.
    pub fn mint(&self, visible: &str) -> anyhow::Result<String> {
        let host = self.partners.first().context("no partner")?;
        Ok(host.partner.mint(visible)?)
    }

    /// Its partners.
    pub fn partners(&self) -> &[Host] {
        &self.partners
    }

    /// Where clients connect: over TLS, and by WebSocket.
    pub const fn doors(&self) -> (SocketAddr, SocketAddr) {
        (self.xmpp, self.websocket)
    }

    /// Where users enlist, as an address.
    pub const fn https(&self) -> SocketAddr {
        self.http
    }

    /// What it publishes, for a probe.
    pub fn page(&self) -> Page {
        page(self.admin)
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.process.ended()?.map(|status| status.to_string()))
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
        let mut tls = Arc::unwrap_or_clone(tls);
        tls.resumption = Resumption::disabled();
        Door::new(self.xmpp, DOMAIN, tls.into())
    }
}

/// The page of a gateway's admin port.
pub fn page(address: SocketAddr) -> Page {
    Page {
        name: "entente".to_owned(),
        address,
        path: "/metrics".to_owned(),
        names: PUBLISHED.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// What `init` wrote, with the limits out of the way that hold back a single account.
fn settings(text: &str, config: &NodeConfig) -> String {
    let NodeConfig { fsync, extra, .. } = config;
    let log = config.log.as_deref().unwrap_or("file:data/log");
    let text = text
        .replace("fsync = \"always\"", &format!("fsync = \"{fsync}\""))
        .replace("log = \"file:data/log\"", &format!("log = \"{log}\""));
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
    fn the_log_and_its_sync_are_replaced_and_limits_are_appended() {
        let config = |log: Option<&str>| NodeConfig {
            program: PathBuf::new(),
            core: 0,
            folder: PathBuf::new(),
            fsync: "never".to_owned(),
            log: log.map(str::to_owned),
            extra: "[x]".to_owned(),
            algorithm: Algorithm::EdDsa,
            partners: 1,
            first: 7,
            wrong_certificate: false,
            others: String::new(),
            environment: Vec::new(),
        };
        let given = "log = \"file:data/log\"   # what\nfsync = \"always\"   # why\n";
        let text = settings(given, &config(Some("kafka://b:1/p")));
        assert!(text.starts_with("log = \"kafka://b:1/p\"   # what\nfsync = \"never\"   # why\n"));
        let text = settings(given, &config(None));
        assert!(text.starts_with("log = \"file:data/log\"   # what\n"));
        assert!(text.contains("bind_burst") && text.ends_with("[x]\n"));
    }
}
