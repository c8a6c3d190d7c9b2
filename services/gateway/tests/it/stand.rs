//! A gateway process with a partner, in a folder of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, PartnerId};
use entente_kit::client::{Client, ClientConfig, Credential, Event, Mechanism, Transport};
use entente_kit::enlist::{EnlistError, EnlistForm};
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, Partner, PartnerConfig};
use entente_kit::process::{Ports, Process, ProcessConfig};
use entente_kit::signing::SigningPair;
use entente_kit::trust::Trust;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
pub(crate) const DOMAIN: &str = "interop.localhost";
const ISSUER: &str = "https://partner.example";
const AUDIENCE: &str = "https://gateway.example";
/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// See the module. Everything ends and is removed when it is dropped.
pub(crate) struct Stand {
    pub(crate) process: Process,
    pub(crate) xmpp: SocketAddr,
    pub(crate) http: SocketAddr,
    websocket: SocketAddr,
    pub(crate) trust: Trust,
    pub(crate) partner: Arc<Partner>,
    pub(crate) https: HttpTarget,
    pub(crate) admin: HttpTarget,
    folder: TempDir,
}

impl Stand {
    /// Starts a gateway whose configuration is changed so, under a limit on descriptors.
    pub(crate) async fn start(
        change: impl FnOnce(String) -> String,
        descriptors: Option<u32>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::reserve(4).unwrap();
        let addresses = ports.addresses().unwrap();
        let node = folder.path().join("node");
        let mut init = Command::new(PROGRAM);
        init.args(["init", "--development", "--domain", DOMAIN]);
        init.arg("--dir").arg(&node);
        let doors = ["--xmpp", "--websocket", "--http", "--admin"];
        for (flag, address) in doors.into_iter().zip(&addresses) {
            init.arg(flag).arg(address.to_string());
        }
        let made = init.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let partner = PartnerConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithm: Algorithm::EdDsa,
            tls: None,
        };
        let partner = Arc::new(Partner::start(partner).await.unwrap());
        std::fs::write(node.join("partners.toml"), record(&partner)).unwrap();
        let config = node.join("entente.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, change(text)).unwrap();
        // `exec`, so that the shell is gone and the process is the gateway.
        let limit = descriptors.map_or_else(String::new, |most| format!("ulimit -n {most}; "));
        let script = format!("{limit}exec \"$0\" run --config \"$1\"");
        let process = ProcessConfig {
            program: "/bin/sh".into(),
            arguments: [
                OsString::from("-c"),
                script.into(),
                PROGRAM.into(),
                config.into(),
            ]
            .into(),
            environment: Vec::new(),
            log: folder.path().join("gateway.log"),
            admin: addresses[3],
            ready_within: PATIENCE,
        };
        ports.release();
        let trust = Trust::Roots(std::fs::read_to_string(node.join("ca.crt")).unwrap().into());
        Self {
            process: Process::start(process).await.unwrap(),
            xmpp: addresses[0],
            http: addresses[2],
            websocket: addresses[1],
            https: HttpTarget::tls(addresses[2], DOMAIN, &trust).unwrap(),
            admin: HttpTarget::plain(addresses[3]),
            trust,
            partner,
            folder,
        }
    }

    /// A good token of a user.
    pub(crate) fn token(&self, visible: &str) -> String {
        self.partner.mint(visible).unwrap()
    }

    pub(crate) async fn enlist(&self, visible: &str) -> AccountId {
        let form = SigningPair::generate().enlist_form();
        self.enlist_with(&form, &self.token(visible)).await.unwrap()
    }

    pub(crate) async fn enlist_with(
        &self,
        form: &EnlistForm,
        token: &str,
    ) -> Result<AccountId, EnlistError> {
        form.send(&self.https, Self::partner_number(), token).await
    }

    /// The number of the one partner.
    pub(crate) fn partner_number() -> PartnerId {
        PartnerId::new(1).unwrap()
    }

    /// Enlists a user and connects its device.
    pub(crate) async fn online(&self, visible: &str) -> Client {
        let account = self.enlist(visible).await;
        self.connect(visible, account).await
    }

    /// Connects the device of a user.
    pub(crate) async fn connect(&self, visible: &str, account: AccountId) -> Client {
        self.over(visible, account, self.xmpp, Transport::DirectTls)
            .await
    }

    /// Enlists a user and connects its device over WebSocket.
    pub(crate) async fn websocket(&self, visible: &str) -> Client {
        let path = "/xmpp-websocket".to_owned();
        let account = self.enlist(visible).await;
        self.over(
            visible,
            account,
            self.websocket,
            Transport::WebSocket { path },
        )
        .await
    }

    async fn over(
        &self,
        visible: &str,
        account: AccountId,
        address: SocketAddr,
        transport: Transport,
    ) -> Client {
        let (partner, visible) = (Arc::clone(&self.partner), visible.to_owned());
        let config = ClientConfig {
            addresses: vec![address],
            domain: DOMAIN.to_owned(),
            tls: self.trust.client_config(transport.alpn()).unwrap(),
            localpart: account.to_string(),
            credential: Credential::Minted(Arc::new(move || partner.mint(&visible).ok())),
            mechanism: Mechanism::Plain,
            transport,
            stream_management: true,
            presence: true,
            login_within: PATIENCE,
        };
        Client::connect(config).await.unwrap()
    }

    /// The value of the series that begins so, 0 without one; nothing if nobody answers.
    pub(crate) async fn metric(&self, series: &str) -> Option<u64> {
        let answer = self.admin.fetch("/metrics").await.ok()?;
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        Some(line.map_or(0, |value| value.trim().parse().unwrap()))
    }

    /// Waits until the series has such a value.
    pub(crate) async fn until(&self, series: &str, good: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(series).await;
            if value.is_some_and(&good) {
                return;
            }
            assert!(Instant::now() < deadline, "{series} stays {value:?}");
            sleep(LOOK).await;
        }
    }

    /// The folder of the gateway.
    pub(crate) fn node(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("gateway.log")).unwrap()
    }

    /// Bytes of memory that the process holds now.
    pub(crate) fn resident(&self) -> u64 {
        let id = self.process.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }
}

fn record(partner: &Partner) -> String {
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

/// The id of the next message that a client gets.
pub(crate) async fn heard(client: &mut Client) -> String {
    let heard = async {
        loop {
            if let Event::Message(message) = client.recv().await.unwrap() {
                return message.id.to_string();
            }
        }
    };
    timeout(PATIENCE, heard).await.unwrap()
}
