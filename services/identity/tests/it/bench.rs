//! A built service with partners 7 and 8, over ports in memory.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use entente_core::{AccountId, Fault, FaultKind, PartnerId, Secret, Timestamp};
use entente_egress::test::Answers;
use entente_egress::{Client as HttpClient, Http, Policy, Response, Settings};
use entente_identity::test::{Claims, Client, Issuer, MemoryDirectory, body};
use entente_identity::{Algorithm, Built, Clock, Config, Deps, build};
use entente_node::Metrics;
use entente_proto::identity::{Credential, LoggedIn};
use entente_proto::{Directory, DirectoryClient};
use entente_table::{MemoryTable, Table};
use http::Request;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

pub(crate) const AUDIENCE: &str = "https://gateway.example";

/// A moment in the middle of a day, in seconds.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) struct Bench {
    pub(crate) built: Built,
    pub(crate) directory: Arc<MemoryDirectory>,
    pub(crate) seven: Issuer,
    pub(crate) eight: Issuer,
    pub(crate) metrics: Metrics,
    now: Arc<Mutex<Timestamp>>,
    file: PartnersFile,
    _tasks: JoinSet<()>,
}

/// A file of partners that goes away with the test.
pub(crate) struct PartnersFile(PathBuf);

impl PartnersFile {
    pub(crate) fn new(text: &str) -> Self {
        let name: [u8; 8] = entente_core::random_array();
        let name = format!("entente-partners-{:x}.toml", u64::from_be_bytes(name));
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for PartnersFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

pub(crate) fn record(number: u16, state: &str, jwks: &str, rest: &str) -> String {
    format!(
        r#"
        [[partner]]
        number = {number}
        name = "{number}"
        kind = "partner"
        state = "{state}"
        issuer = "https://id{number}.example"
        audience = "{AUDIENCE}"
        jwks = "{jwks}"
        algorithms = ["ES256"]
        enlist_hosts = ["enlist{number}.example"]
        {rest}
        "#
    )
}

/// Both partners, active, whose keys a script answers.
pub(crate) fn both(rest: &str) -> String {
    record(7, "active", "https://id7.example/jwks", rest)
        + &record(8, "active", "https://id8.example/jwks", "")
}

pub(crate) fn partner(number: u16) -> PartnerId {
    PartnerId::new(number).unwrap()
}

pub(crate) fn config(file: &PartnersFile) -> Config {
    Config {
        partners: file.path(),
        ..Config::default()
    }
}

/// Everything but directory and table is of no interest to most tests.
pub(crate) fn deps(
    directory: Arc<dyn Directory>,
    table: Arc<dyn Table>,
    http: Arc<dyn Http>,
    clock: Clock,
    metrics: &Metrics,
) -> Deps {
    Deps {
        directory: DirectoryClient::local(directory),
        http,
        policy: Policy::development(),
        table,
        metrics: metrics.clone(),
        fast_secret: Secret::new([9; 32]),
        clock,
    }
}

/// The real client under the development policy.
pub(crate) fn real_http() -> Arc<dyn Http> {
    Arc::new(HttpClient::new(&Settings::development()).unwrap())
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with("", Arc::new(MemoryTable::default()))
    }

    /// With more in the record of partner 7, and over a table of the test's.
    pub(crate) fn with(rest: &str, table: Arc<dyn Table>) -> Self {
        let seven = Issuer::new(Algorithm::Es256, "k1");
        let eight = Issuer::new(Algorithm::Es256, "k1");
        let (keys7, keys8) = (Issuer::set(&[&seven]), Issuer::set(&[&eight]));
        let http = Answers::new(move |request| {
            let keys = match request.target.host() {
                "id7.example" => &keys7,
                _ => &keys8,
            };
            Ok(Response::json(keys.clone()))
        });
        let file = PartnersFile::new(&both(rest));
        let now = Arc::new(Mutex::new(Timestamp::from_secs(NOW)));
        let clock = {
            let now = Arc::clone(&now);
            Clock::new(move || *now.lock())
        };
        let directory = Arc::new(MemoryDirectory::default());
        let metrics = Metrics::new();
        let port: Arc<dyn Directory> = Arc::clone(&directory) as _;
        let deps = deps(port, table, Arc::new(http), clock, &metrics);
        let built = build(&config(&file), deps).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&built.jwks).run());
        Self {
            built,
            directory,
            seven,
            eight,
            metrics,
            now,
            file,
            _tasks: tasks,
        }
    }

    pub(crate) fn set_now(&self, secs: u64) {
        *self.now.lock() = Timestamp::from_secs(secs);
    }

    pub(crate) fn rewrite(&self, text: &str) {
        self.file.write(text);
        entente_identity::reload(&self.built.registry).unwrap();
    }

    pub(crate) fn claims(&self, partner: u16, subject: &str) -> Claims {
        let now = self.now.lock().secs();
        Claims::new(
            &format!("https://id{partner}.example"),
            AUDIENCE,
            subject,
            now,
        )
    }

    /// Posts a body to the door, for partner 7 by number; answers the JSON.
    pub(crate) async fn post(&self, body: String) -> Value {
        self.post_to("/3p/interop_reg?partner=7", body).await
    }

    pub(crate) async fn post_to(&self, target: &str, body: String) -> Value {
        let request = form_request(target).body(Full::new(Bytes::from(body)));
        self.send(request.unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Value {
        let answer = self.built.enlist.answer(request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    /// Enlists a user of partner 7 with the keys of a client.
    pub(crate) async fn enlist(&self, client: &Client, subject: &str) -> AccountId {
        let token = self.seven.token(&self.claims(7, subject));
        account(&self.post(body(&client.fields(&token))).await)
    }

    pub(crate) async fn login(&self, account: AccountId, token: String) -> Result<LoggedIn, Fault> {
        let credential = Credential::Token(Secret::new(token));
        self.built.client.login(account, credential).await
    }
}

pub(crate) fn form_request(target: &str) -> http::request::Builder {
    Request::post(target).header("content-type", "application/x-www-form-urlencoded")
}

/// The account of a good answer.
pub(crate) fn account(answer: &Value) -> AccountId {
    assert_eq!(answer["status"], "ok", "{answer}");
    let login = answer["login"].as_str().unwrap();
    login.strip_suffix("@interop").unwrap().parse().unwrap()
}

/// The reason of a refusal.
pub(crate) fn reason(answer: &Value) -> &str {
    assert_eq!(answer["status"], "fail", "{answer}");
    answer["reason"].as_str().unwrap()
}

pub(crate) fn kind<T>(result: Result<T, Fault>) -> Option<FaultKind> {
    result.err().map(Fault::kind)
}
