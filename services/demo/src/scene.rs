//! What the demonstration stands on: a folder, three partners' servers and the gateway process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entente_core::PartnerId;
use entente_kit::client::Transport;
use entente_kit::cluster::Layout;
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, GatewayTrust, JWKS_PATH, Partner, PartnerConfig};
use entente_kit::process::{Ports, Process, ProcessConfig, ProcessError};
use entente_kit::trust::Trust;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::DemoOptions;
use crate::cluster::Cluster;
use crate::error::DemoError;

/// The deployment's domain.
pub(crate) const DOMAIN: &str = "interop.localhost";
/// The `aud` of tokens and the `iss` of wake-ups.
const GATEWAY: &str = "https://interop.localhost";
/// Where the gateway publishes its own keys.
const GATEWAY_JWKS: &str = "/.well-known/jwks";
/// A start replays the log; a debug build on a busy machine takes seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the gateway may take to end in order.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The users of the demonstration lose their connections far more often than people do, so the
/// slowing-down of accounts that bind again and again is set aside.
const CONFIG: &str = "\n[connection.limits]\nbind_burst = 1000\n";

/// One partner of the scene.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) id: PartnerId,
    pub(crate) name: &'static str,
    pub(crate) server: Arc<Partner>,
}

/// What is killed and started.
#[derive(Debug)]
enum Gateway {
    Cluster(Cluster),
    Process(Box<Process>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scene {
    gateway: Gateway,
    pub(crate) parties: Vec<Party>,
    xmpp: Vec<SocketAddr>,
    pub(crate) https: HttpTarget,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    folder: PathBuf,
    temporary: Option<TempDir>,
}

impl Scene {
    /// Starts the partners and the gateway, whose folder `entente init` writes; or tells the nodes of
    /// a cluster of the partners.
    pub(crate) async fn set(options: &DemoOptions) -> Result<Self, DemoError> {
        if let (Some(folder), Some(control)) = (&options.cluster, &options.control) {
            return Self::of_cluster(folder, control).await;
        }
        let (folder, temporary) = folder(options)?;
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(DemoError::file("this program"))?,
        };
        let ports = Ports::reserve(4).map_err(DemoError::file("ports of loopback"))?;
        let addresses = ports.addresses();
        let addresses = addresses.map_err(DemoError::file("ports of loopback"))?;
        let &[xmpp, websocket, http, admin] = addresses.as_slice() else {
            return Err(DemoError::Init("no ports".to_owned()));
        };
        init(&program, &folder, [xmpp, websocket, http, admin]).await?;
        let parties = parties(&folder).await?;
        let (https, tls) = trust(&folder, http, &parties)?;
        ports.release();
        let log = folder.join("gateway.log");
        let config = ProcessConfig {
            program,
            arguments: vec![
                "run".into(),
                "--config".into(),
                folder.join("entente.toml").into(),
            ],
            environment: Vec::new(),
            log: log.clone(),
            admin,
            ready_within: READY_WITHIN,
        };
        let started = Process::start(config).await;
        let started = started.map_err(|error| failed(error, &log))?;
        Ok(Self {
            gateway: Gateway::Process(Box::new(started)),
            parties,
            xmpp: vec![xmpp],
            https,
            tls,
            folder,
            temporary,
        })
    }

    async fn of_cluster(folder: &Path, control: &Path) -> Result<Self, DemoError> {
        let layout = Layout::read(folder)?;
        let doors = (layout.xmpp(), layout.enlistment());
        let (xmpp, Some(http)) = doors else {
            return Err(DemoError::Init("no door for enlistment".to_owned()));
        };
        let cluster = Cluster::new(layout, control.to_owned());
        let parties = parties(folder).await?;
        let (https, tls) = trust(folder, http, &parties)?;
        cluster.reload().await?;
        Ok(Self {
            xmpp,
            gateway: Gateway::Cluster(cluster),
            parties,
            https,
            tls,
            folder: folder.to_owned(),
            temporary: None,
        })
    }

    /// Which gateway it is.
    pub(crate) fn gateway(&self) -> String {
        match &self.gateway {
            Gateway::Cluster(_) => format!("{} connection nodes", self.xmpp.len()),
            Gateway::Process(process) => format!("pid {}", process.id().unwrap_or_default()),
        }
    }

    /// Where a user connects, in the order in which it tries: each begins with another door.
    pub(crate) fn doors(&self, user: usize) -> Vec<SocketAddr> {
        let mut doors = self.xmpp.clone();
        let first = user % doors.len().max(1);
        doors.rotate_left(first);
        doors
    }

    /// Kills the gateway, or a node of the cluster, with SIGKILL and starts it again; returns how long
    /// it did not answer.
    pub(crate) async fn kill(&mut self) -> Result<Duration, DemoError> {
        let process = match &mut self.gateway {
            Gateway::Cluster(cluster) => return cluster.kill().await,
            Gateway::Process(process) => process,
        };
        let since = Instant::now();
        let log = self.folder.join("gateway.log");
        let killed = process.kill().await;
        killed.map_err(|error| failed(error, &log))?;
        let restarted = process.restart().await;
        restarted.map_err(|error| failed(error, &log))?;
        Ok(since.elapsed())
    }

    /// Ends a gateway of one process with SIGTERM and says how it ended. A cluster goes on.
    pub(crate) async fn stop(&mut self) -> Result<String, DemoError> {
        let Gateway::Process(process) = &mut self.gateway else {
            return Ok("the cluster goes on".to_owned());
        };
        let log = self.folder.join("gateway.log");
        let ended = process.stop(STOP_WITHIN).await;
        let status = ended.map_err(|error| failed(error, &log))?;
        crate::error::check(
            status.success(),
            "the gateway ends in order",
            &format!("{status}; {}", last_lines(&log)),
        )?;
        Ok(status.to_string())
    }

    /// Where the files are, if they stay.
    pub(crate) fn leftovers(&self) -> String {
        match self.temporary {
            Some(_) => String::new(),
            None => format!("; this gateway's files are in {}", self.folder.display()),
        }
    }
}

/// The gateway's HTTPS door and how clients trust it; partners learn where its keys are.
fn trust(
    folder: &Path,
    http: SocketAddr,
    parties: &[Party],
) -> Result<(HttpTarget, Arc<rustls::ClientConfig>), DemoError> {
    let authority = fs::read_to_string(folder.join("ca.crt"));
    let authority = authority.map_err(DemoError::file("ca.crt"))?;
    let trust = Trust::Roots(Arc::from(authority));
    let https = HttpTarget::tls(http, DOMAIN, &trust)?;
    for party in parties {
        party.server.push().set_trust(GatewayTrust {
            target: https.clone(),
            path: GATEWAY_JWKS.to_owned(),
            issuer: GATEWAY.to_owned(),
            audience: party.server.base_url("127.0.0.1"),
        });
    }
    let tls = trust.client_config(Transport::DirectTls.alpn())?;
    Ok((https, tls))
}

fn folder(options: &DemoOptions) -> Result<(PathBuf, Option<TempDir>), DemoError> {
    if let Some(folder) = &options.dir {
        let made = fs::create_dir_all(folder).and_then(|()| fs::canonicalize(folder));
        return Ok((made.map_err(DemoError::file("the folder"))?, None));
    }
    let temporary = tempfile::Builder::new().prefix("entente-demo-").tempdir();
    let temporary = temporary.map_err(DemoError::file("a temporary folder"))?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

async fn init(
    program: &Path,
    folder: &Path,
    [xmpp, websocket, http, admin]: [SocketAddr; 4],
) -> Result<(), DemoError> {
    let output = Command::new(program)
        .args(["init", "--domain", DOMAIN, "--development", "--dir"])
        .arg(folder)
        .args(["--xmpp", &xmpp.to_string()])
        .args(["--websocket", &websocket.to_string()])
        .args(["--http", &http.to_string()])
        .args(["--admin", &admin.to_string()])
        .output()
        .await
        .map_err(DemoError::file("the gateway's program"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(DemoError::Init(said.trim().to_owned()));
    }
    let config = folder.join("entente.toml");
    let text = fs::read_to_string(&config).map_err(DemoError::file("entente.toml"))?;
    fs::write(&config, text + CONFIG).map_err(DemoError::file("entente.toml"))
}

/// Two partners and the host, each with keys of another kind, and the gateway's file of them.
async fn parties(folder: &Path) -> Result<Vec<Party>, DemoError> {
    let cast = [
        ("one", "partner", Algorithm::Rs256),
        ("two", "partner", Algorithm::Es256),
        ("host", "host", Algorithm::EdDsa),
    ];
    let mut parties = Vec::new();
    let mut file = String::new();
    for (number, (name, kind, algorithm)) in (1_u16..).zip(cast) {
        let server = Partner::start(PartnerConfig {
            issuer: format!("https://{name}.example"),
            audience: GATEWAY.to_owned(),
            algorithm,
            tls: None,
        })
        .await?;
        let base = server.base_url("127.0.0.1");
        file.push_str(&format!(
            "[[partner]]\nnumber = {number}\nname = \"{name}\"\nkind = \"{kind}\"\n\
             state = \"active\"\nissuer = \"{issuer}\"\naudience = \"{GATEWAY}\"\n\
             algorithms = [\"{algorithm}\"]\njwks = \"{base}{JWKS_PATH}\"\npush = \"{base}\"\n\n",
            issuer = server.issuer(),
            algorithm = algorithm.name(),
        ));
        let id = PartnerId::new(number).ok_or_else(|| DemoError::Init("no number".to_owned()))?;
        parties.push(Party {
            id,
            name,
            server: Arc::new(server),
        });
    }
    fs::write(folder.join("partners.toml"), file).map_err(DemoError::file("partners.toml"))?;
    Ok(parties)
}

fn failed(error: ProcessError, log: &Path) -> DemoError {
    DemoError::Process(error, last_lines(log))
}

/// What the gateway said last, which mostly tells why it ended.
fn last_lines(log: &Path) -> String {
    const LINES: usize = 3;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}
