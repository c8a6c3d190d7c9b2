//! A gateway process with a partner and enlisted users, in a folder of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use entente_core::{AccountId, PartnerId};
use entente_kit::client::{ClientConfig, Credential, Mechanism, Transport};
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, Partner, PartnerConfig};
use entente_kit::process::{Ports, Process, ProcessConfig};
use entente_kit::signing::SigningPair;
use entente_kit::trust::Trust;
use tempfile::TempDir;

/// The domain of the gateway under test.
pub const DOMAIN: &str = "interop.localhost";
pub(crate) const ISSUER: &str = "https://partner.example";
pub(crate) const AUDIENCE: &str = "https://gateway.example";
/// A first start on a busy machine with a slow disk.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// Variables of a process's environment.
pub type Environment = Vec<(OsString, OsString)>;

/// An enlisted user.
#[derive(Clone, Debug)]
pub struct User {
    /// What the partner calls it.
    pub visible: String,
    /// Its internal id.
    pub account: AccountId,
}

impl User {
    /// Its bare address.
    pub fn address(&self) -> String {
        format!("{}@{DOMAIN}", self.account)
    }
}

/// See the module. Everything ends and is removed when it is dropped.
#[derive(Debug)]
pub struct Stand {
    /// The gateway.
    pub process: Process,
    /// The partner of all users.
    pub partner: Arc<Partner>,
    xmpp: SocketAddr,
    https: HttpTarget,
    admin: HttpTarget,
    tls: Arc<rustls::ClientConfig>,
    folder: TempDir,
}

impl Stand {
    /// Starts a gateway with these lines added to its configuration. Before the start, `prepare` is
    /// given the node's folder; it returns what is to be in the process's environment.
    ///
    /// # Errors
    /// What did not start.
    pub async fn start(
        program: &Path,
        more_config: &str,
        prepare: impl FnOnce(&Path) -> anyhow::Result<Environment>,
    ) -> anyhow::Result<Self> {
        ensure!(
            program.is_file(),
            "{} is not there: build it first",
            program.display()
        );
        let folder = tempfile::tempdir()?;
        let ports = Ports::reserve(4)?;
        let addresses = ports.addresses()?;
        let [xmpp, websocket, https, admin] = addresses[..] else {
            anyhow::bail!("four ports")
        };
        let node = folder.path().join("node");
        let mut init = std::process::Command::new(program);
        init.args(["init", "--development", "--domain", DOMAIN])
            .arg("--dir")
            .arg(&node);
        let doors = [
            ("--xmpp", xmpp),
            ("--websocket", websocket),
            ("--http", https),
            ("--admin", admin),
        ];
        for (flag, address) in doors {
            init.arg(flag).arg(address.to_string());
        }
        let made = init.output()?;
        ensure!(
            made.status.success(),
            "init: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let partner = PartnerConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithm: Algorithm::EdDsa,
            tls: None,
        };
        let partner = Arc::new(Partner::start(partner).await?);
        std::fs::write(node.join("partners.toml"), record(&partner))?;
        let config = node.join("entente.toml");
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(&config, format!("{text}\n{more_config}"))?;
        let process = ProcessConfig {
            program: program.to_owned(),
            arguments: [OsString::from("run"), "--config".into(), config.into()].into(),
            environment: prepare(&node)?,
            log: folder.path().join("gateway.log"),
            admin,
            ready_within: READY_WITHIN,
        };
        ports.release();
        let trust = Trust::Roots(std::fs::read_to_string(node.join("ca.crt"))?.into());
        Ok(Self {
            process: Process::start(process)
                .await
                .context("the gateway does not start")?,
            partner,
            xmpp,
            https: HttpTarget::tls(https, DOMAIN, &trust)?,
            admin: HttpTarget::plain(admin),
            tls: trust.client_config(&["xmpp-client"])?,
            folder,
        })
    }

    /// Enlists users at the gateway's door.
    ///
    /// # Errors
    /// The first enlistment that was refused.
    pub async fn enlist(&self, count: usize) -> anyhow::Result<Vec<User>> {
        let number = PartnerId::new(1).context("a partner")?;
        let mut users = Vec::with_capacity(count);
        for index in 0..count {
            let visible = format!("user{index}@partner.example");
            let token = self.partner.mint(&visible)?;
            let form = SigningPair::generate().enlist_form();
            let account = form.send(&self.https, number, &token).await?;
            users.push(User { visible, account });
        }
        Ok(users)
    }

    /// How a device of a user connects.
    pub fn client(&self, user: &User) -> ClientConfig {
        let (partner, visible) = (Arc::clone(&self.partner), user.visible.clone());
        ClientConfig {
            addresses: vec![self.xmpp],
            domain: DOMAIN.to_owned(),
            tls: Arc::clone(&self.tls),
            localpart: user.account.to_string(),
            credential: Credential::Minted(Arc::new(move || partner.mint(&visible).ok())),
            mechanism: Mechanism::Plain,
            transport: Transport::DirectTls,
            stream_management: true,
            presence: true,
            login_within: Duration::from_secs(10),
        }
    }

    /// What `/metrics` says now.
    ///
    /// # Errors
    /// If the admin port does not answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let answer = self.admin.fetch("/metrics").await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }

    /// What `/readyz` says now: whether the gateway is ready, and if not, why.
    ///
    /// # Errors
    /// If the admin port does not answer.
    pub async fn readiness(&self) -> anyhow::Result<(bool, String)> {
        let answer = self.admin.fetch("/readyz").await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().is_success(), text))
    }

    /// The gateway's own log, so far.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(
            self.folder.path().join("gateway.log"),
        )?)
    }

    /// The folder of the gateway's data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("node/data")
    }

    /// Keeps the folder when this is dropped, and says where it is.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// The partner's record in the gateway's file.
pub(crate) fn record(partner: &Partner) -> String {
    let base = partner.base_url("127.0.0.1");
    format!(
        r#"[[partner]]
number = 1
name = "sample"
kind = "partner"
state = "active"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["EdDSA"]
jwks = "{base}/.well-known/oauth/openid/jwks"
push = "{base}"
[partner.quotas]
enlistments_per_minute = 100000
"#
    )
}
