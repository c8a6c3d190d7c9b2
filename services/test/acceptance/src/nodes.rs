//! A deployment with a process for each role: two connection nodes, two routers, one identity, one
//! push, on loopback, from one configuration that `entente init` wrote.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::{AccountId, PartnerId, Placement, SealKey, ShardId};
use entente_kit::client::{ClientConfig, Credential, Io, Mechanism, Transport};
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, GatewayTrust, Partner, PartnerConfig};
use entente_kit::process::{Ports, Process, ProcessConfig};
use entente_kit::signing::SigningPair;
use entente_kit::trust::Trust;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::stand::{AUDIENCE, DOMAIN, ISSUER, READY_WITHIN, User, record};

/// Every node: its role, its name, and the shards that it owns.
const NODES: [(&str, &str, &str); 6] = [
    ("router", "r1", "0-3"),
    ("router", "r2", "4-7"),
    ("identity", "i1", ""),
    ("push", "p1", ""),
    ("connection", "c1", ""),
    ("connection", "c2", ""),
];
const SHARDS: u32 = 8;
/// Where partners find the keys that sign wake-ups.
const GATEWAY_JWKS: &str = "/.well-known/jwks";
/// Doors of each connection node, and one for HTTPS.
const DOORS: usize = 5;

/// See the module. Everything ends and is removed when it is dropped.
#[derive(Debug)]
pub struct Deployment {
    /// The partner of all users.
    pub partner: Arc<Partner>,
    /// The processes, by the names of their nodes.
    pub nodes: Vec<(&'static str, Process)>,
    xmpp: [SocketAddr; 2],
    admin: Vec<(&'static str, HttpTarget)>,
    https: HttpTarget,
    tls: Arc<rustls::ClientConfig>,
    placement: Placement,
    program: std::path::PathBuf,
    folder: TempDir,
}

impl Deployment {
    /// Writes the configuration and starts every process.
    ///
    /// # Errors
    /// What did not start.
    pub async fn start(program: &Path) -> anyhow::Result<Self> {
        Self::start_over(program, None).await
    }

    /// As [`start`](Self::start), over the log at a URL: the routers then share the shards.
    ///
    /// # Errors
    /// What did not start.
    pub async fn start_over(program: &Path, log: Option<&str>) -> anyhow::Result<Self> {
        ensure!(
            program.is_file(),
            "{} is not there: build it first",
            program.display()
        );
        let folder = tempfile::tempdir()?;
        let ports = Ports::reserve(DOORS + 2 * NODES.len())?;
        let addresses = ports.addresses()?;
        let (doors, of_nodes) = addresses.split_at(DOORS);
        let [first, second, first_web, second_web, https] = doors[..] else {
            anyhow::bail!("{DOORS} doors")
        };
        let root = folder.path().join("nodes");
        let mut init = std::process::Command::new(program);
        init.args(["init", "--development", "--domain", DOMAIN])
            .arg("--dir")
            .arg(&root)
            .args(["--http", &https.to_string()]);
        for ((role, name, shards), at) in NODES.iter().zip(of_nodes.chunks(2)) {
            let [address, admin] = at[..] else {
                anyhow::bail!("two addresses")
            };
            let mut node = format!("role={role},name={name},address={address},admin={admin}");
            match *name {
                "c1" => node += &format!(",xmpp={first},websocket={first_web}"),
                "c2" => node += &format!(",xmpp={second},websocket={second_web}"),
                _ if shards.is_empty() || log.is_some() => {}
                _ => node += &format!(",shards={shards}"),
            }
            init.args(["--mesh-node", &node]);
        }
        if let Some(log) = log {
            init.args(["--log", log]);
        }
        let made = init.output()?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "init: {said}");
        let partner = PartnerConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithm: Algorithm::EdDsa,
            tls: None,
        };
        let partner = Arc::new(Partner::start(partner).await?);
        std::fs::write(root.join("partners.toml"), record(&partner))?;
        ports.release();
        let mut nodes = Vec::new();
        let mut admins = Vec::new();
        for ((role, name, _), at) in NODES.iter().zip(of_nodes.chunks(2)) {
            let admin = at.last().context("an admin address")?;
            let config = process(program, folder.path(), (*role, *name), *admin);
            let started = Process::start(config).await;
            let started = started.with_context(|| {
                let log = std::fs::read_to_string(folder.path().join(format!("{name}.log")));
                format!("{name} does not start: {}", log.unwrap_or_default())
            })?;
            nodes.push((*name, started));
            admins.push((*name, HttpTarget::plain(*admin)));
        }
        let trust = Trust::Roots(std::fs::read_to_string(root.join("ca.crt"))?.into());
        let target = HttpTarget::tls(https, DOMAIN, &trust)?;
        // The key that push signs with is published by identity.
        partner.push().set_trust(GatewayTrust {
            target: target.clone(),
            path: GATEWAY_JWKS.to_owned(),
            issuer: format!("https://{DOMAIN}"),
            audience: partner.base_url("127.0.0.1"),
        });
        Ok(Self {
            placement: placement(&root.join("secrets.toml"), log.is_some())?,
            partner,
            nodes,
            xmpp: [first, second],
            admin: admins,
            https: target,
            tls: trust.client_config(&["xmpp-client"])?,
            program: program.to_owned(),
            folder,
        })
    }

    /// The process of a node.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn node(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        let found = self.nodes.iter_mut().find(|(node, _)| *node == name);
        found.map(|(_, process)| process).context("no such node")
    }

    /// Enlists users at the identity node's door until each of the two routers owns `count` of them;
    /// those of the first router come first.
    ///
    /// # Errors
    /// The first enlistment that was refused.
    pub async fn enlist(&self, count: usize) -> anyhow::Result<[Vec<User>; 2]> {
        let number = PartnerId::new(1).context("a partner")?;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for index in 0..1_000 {
            let visible = format!("user{index}@partner.example");
            let token = self.partner.mint(&visible)?;
            let form = SigningPair::generate().enlist_form();
            let account = form.send(&self.https, number, &token).await?;
            let of_router = if self.shard(account).index() < SHARDS / 2 {
                &mut first
            } else {
                &mut second
            };
            if of_router.len() < count {
                of_router.push(User { visible, account });
            }
            if first.len() == count && second.len() == count {
                return Ok([first, second]);
            }
        }
        anyhow::bail!("chance put everybody on one router")
    }

    /// The shard of an account.
    pub fn shard(&self, account: AccountId) -> ShardId {
        self.placement.of_account(account)
    }

    /// How a device of a user connects to one of the connection nodes.
    pub fn client(&self, user: &User, node: usize) -> ClientConfig {
        let (partner, visible) = (Arc::clone(&self.partner), user.visible.clone());
        ClientConfig {
            addresses: vec![self.door(node), self.door(node + 1)],
            domain: DOMAIN.to_owned(),
            tls: Arc::clone(&self.tls),
            localpart: user.account.to_string(),
            credential: Credential::Minted(Arc::new(move || partner.mint(&visible).ok())),
            mechanism: Mechanism::Plain,
            transport: Transport::DirectTls,
            stream_management: true,
            presence: true,
            login_within: Duration::from_secs(30),
        }
    }

    fn door(&self, node: usize) -> SocketAddr {
        let [first, second] = self.xmpp;
        if node.is_multiple_of(2) {
            first
        } else {
            second
        }
    }

    /// A connection to one of the connection nodes, for a client that was at another.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn connect(&self, node: usize) -> anyhow::Result<Box<dyn Io>> {
        let socket = TcpStream::connect(self.door(node)).await?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let name = ServerName::try_from(DOMAIN)?;
        Ok(Box::new(connector.connect(name, socket).await?))
    }

    /// What a page of a node's admin port says.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn page(&self, node: &str, path: &str) -> anyhow::Result<String> {
        let found = self.admin.iter().find(|(name, _)| *name == node);
        let (_, admin) = found.context("no such node")?;
        let answer = admin.fetch(path).await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }

    /// What `entente check` says from where a node stands.
    ///
    /// # Errors
    /// If it finds fault.
    pub fn check(&self, role: &str, node: &str) -> anyhow::Result<String> {
        let mut check = std::process::Command::new(&self.program);
        let config = self.folder.path().join("nodes/entente.toml");
        check.arg("check").arg("--config").arg(config);
        let said = check.args(["--role", role, "--node", node]).output()?;
        let fault = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "check: {fault}");
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// What `entente inspect` says beside a node, and its status.
    ///
    /// # Errors
    /// If the program does not start.
    pub fn inspect(
        &self,
        role: &str,
        node: &str,
        words: &[&str],
    ) -> anyhow::Result<std::process::Output> {
        let mut inspect = std::process::Command::new(&self.program);
        let config = self.folder.path().join("nodes/entente.toml");
        inspect.arg("inspect").arg("--config").arg(config);
        inspect.args(["--role", role, "--node", node, "--json"]);
        Ok(inspect.args(words).output()?)
    }

    /// The lines of level ERROR in the logs of all nodes, with the names of the nodes.
    ///
    /// # Errors
    /// If a log cannot be read.
    pub fn errors(&self) -> anyhow::Result<Vec<String>> {
        let mut errors = Vec::new();
        for (name, _) in &self.nodes {
            let log = std::fs::read_to_string(self.folder.path().join(format!("{name}.log")))?;
            let lines = log.lines().filter(|line| line.contains(" ERROR "));
            errors.extend(lines.map(|line| format!("{name}: {line}")));
        }
        Ok(errors)
    }
}

fn process(
    program: &Path,
    folder: &Path,
    (role, name): (&str, &str),
    admin: SocketAddr,
) -> ProcessConfig {
    let config = folder.join("nodes/entente.toml");
    let mut arguments: Vec<OsString> = vec!["run".into(), "--config".into(), config.into()];
    arguments.extend(["--role", role, "--node", name].map(OsString::from));
    ProcessConfig {
        program: program.to_owned(),
        arguments,
        environment: Vec::new(),
        log: folder.join(format!("{name}.log")),
        admin,
        ready_within: READY_WITHIN,
    }
}

/// Where accounts are: every node learns it from the secrets, in a cluster from the key that seals.
fn placement(secrets: &Path, in_cluster: bool) -> anyhow::Result<Placement> {
    let text = std::fs::read_to_string(secrets)?;
    let read = |name: &str| -> anyhow::Result<Vec<u8>> {
        let mut lines = text.lines();
        let key = lines.find_map(|line| line.strip_prefix(name));
        Ok(STANDARD.decode(key.context("a key")?.trim_matches('"'))?)
    };
    if in_cluster {
        let seal: [u8; 32] = read("seal_key = ")?.try_into().ok().context("32 bytes")?;
        let key = SealKey::new(&seal).tag(b"entente placement\0");
        return Ok(Placement::new(SHARDS, &key));
    }
    let key: [u8; 16] = read("placement_key = ")?
        .try_into()
        .ok()
        .context("16 bytes")?;
    Ok(Placement::new(SHARDS, &key))
}
