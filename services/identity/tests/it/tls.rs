//! A partner's key server over TLS, whose certificate goes bad.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{Span, Timestamp};
use entente_egress::{Client as HttpClient, Http, Settings};
use entente_identity::test::{Claims, Client, Issuer, MemoryDirectory, body};
use entente_identity::{Algorithm, Built, Clock, Config, JwksSettings, build};
use entente_node::Metrics;
use entente_table::MemoryTable;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{advance, pause, resume};
use tokio_rustls::TlsAcceptor;

use crate::bench::{AUDIENCE, NOW, PartnersFile, account, deps, form_request, record};

/// More than the cool-down of a fetch.
const COOL: Duration = Duration::from_secs(11);

/// What the server shows.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Good,
    Expired,
    OtherName,
    OtherAuthority,
    SelfSigned,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server's side of TLS for one of the cases.
fn shown(known: &Authority, what: Shown) -> Arc<ServerConfig> {
    let name = match what {
        Shown::OtherName => "elsewhere.example",
        _ => "localhost",
    };
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    if matches!(what, Shown::Expired) {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = match what {
        Shown::OtherAuthority => params.signed_by(&key, &authority()),
        Shown::SelfSigned => params.self_signed(&key),
        _ => params.signed_by(&key, known),
    };
    let chain = vec![CertificateDer::from(certificate.unwrap().der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}

/// What is served now: the certificate and the keys behind it.
type Now = Arc<Mutex<(Arc<ServerConfig>, String)>>;

async fn serve(listener: TcpListener, now: Now) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, keys) = now.lock().clone();
        connections.spawn(async move {
            let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else {
                return;
            };
            let service = service_fn(move |_: Request<hyper::body::Incoming>| {
                let answer = Response::builder()
                    .header("content-type", "application/json")
                    // Each fetch sees the certificate of its time.
                    .header("connection", "close")
                    .body(Full::new(Bytes::from(keys.clone())))
                    .unwrap();
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            drop(serving.await);
        });
    }
}

struct Service {
    built: Built,
    metrics: Metrics,
    authority: Authority,
    now: Now,
    _files: (PartnersFile, PartnersFile),
    _tasks: JoinSet<()>,
}

impl Service {
    async fn start(keys: String, stale_limit: Duration) -> Self {
        let authority = authority();
        let now = Arc::new(Mutex::new((shown(&authority, Shown::Good), keys)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&now)));
        let url = format!("https://localhost:{port}/jwks");
        let partners = PartnersFile::new(&record(7, "active", &url, ""));
        let roots = PartnersFile::new(&authority.pem());
        let settings = Settings {
            extra_roots: Some(roots.path()),
            ..Settings::development()
        };
        let http: Arc<dyn Http> = Arc::new(HttpClient::new(&settings).unwrap());
        let config = Config {
            partners: partners.path(),
            jwks: JwksSettings {
                deadline: Span::secs(2),
                patience: Span::secs(5),
                stale_limit: Span::new(stale_limit),
                ..JwksSettings::default()
            },
            ..Config::default()
        };
        let metrics = Metrics::new();
        let clock = Clock::new(|| Timestamp::from_secs(NOW));
        let directory = Arc::new(MemoryDirectory::default());
        let table = Arc::new(MemoryTable::default());
        let built = build(&config, deps(directory, table, http, clock, &metrics)).unwrap();
        tasks.spawn(Arc::clone(&built.jwks).run());
        Self {
            built,
            metrics,
            authority,
            now,
            _files: (partners, roots),
            _tasks: tasks,
        }
    }

    fn show(&self, what: Shown, keys: &str) {
        *self.now.lock() = (shown(&self.authority, what), keys.to_owned());
    }

    async fn enlist(&self, issuer: &Issuer) -> String {
        let claims = Claims::new("https://id7.example", AUDIENCE, "ada", NOW);
        let form = body(&Client::new(1).fields(&issuer.token(&claims)));
        let request = form_request("/3p/interop_reg?partner=7")
            .body(Full::new(Bytes::from(form)))
            .unwrap();
        let answer = self.built.enlist.answer(request).await;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        match answer["reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => {
                account(&answer);
                "ok".to_owned()
            }
        }
    }

    fn fetches(&self, outcome: &str) -> bool {
        let line = format!("{{partner=\"7\",outcome=\"{outcome}\"}}");
        self.metrics.encode().unwrap().contains(&line)
    }
}

async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// T54, T56: a key server whose certificate is expired, of another name, of another authority or of
/// nobody brings no key: those that are known serve until the limit, and then none; a good
/// certificate heals it.
#[tokio::test]
async fn a_bad_certificate_keeps_the_old_keys_until_the_limit() {
    for bad in [
        Shown::Expired,
        Shown::OtherName,
        Shown::OtherAuthority,
        Shown::SelfSigned,
    ] {
        let (honest, evil) = (key("honest"), key("evil"));
        let limit = Duration::from_secs(15 * 60);
        let service = Service::start(Issuer::set(&[&honest]), limit).await;
        assert_eq!(service.enlist(&honest).await, "ok", "{bad:?}");
        assert!(!service.fetches("tls"));

        service.show(bad, &Issuer::set(&[&evil]));
        pass(COOL).await;
        assert_eq!(service.enlist(&evil).await, "unavailable", "{bad:?}");
        assert!(
            service.fetches("tls"),
            "{}",
            service.metrics.encode().unwrap()
        );
        assert_eq!(service.enlist(&honest).await, "ok", "{bad:?}");

        pass(limit).await;
        assert_eq!(service.enlist(&honest).await, "unavailable", "{bad:?}");

        service.show(Shown::Good, &Issuer::set(&[&honest]));
        pass(COOL).await;
        assert_eq!(service.enlist(&honest).await, "ok", "{bad:?}");
        pass(COOL).await;
        assert_eq!(service.enlist(&evil).await, "bad_token", "{bad:?}");
    }
}

fn key(kid: &str) -> Issuer {
    Issuer::new(Algorithm::Es256, kid)
}
