use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Limits short enough to wait for, far enough apart to tell which one struck.
const HEAD: Duration = Duration::from_millis(200);
const CONNECTION: Duration = Duration::from_millis(1500);

/// Says what it was asked.
#[derive(Debug)]
struct Echo;

impl Pages for Echo {
    fn page(&self, path: &str, query: &str) -> Option<Answering> {
        let asked = path.strip_prefix("/echo/")?;
        let page = Page {
            status: if asked == "nobody" {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::OK
            },
            body: format!("{asked} {query}"),
        };
        Some(Box::pin(std::future::ready(page)))
    }
}

struct Rig {
    address: SocketAddr,
    readiness: Readiness,
    drain: Drain,
    tasks: Tasks,
}

async fn rig() -> Rig {
    let drain = Drain::new();
    let (tasks, metrics) = (Tasks::new(drain.clone()), Metrics::new());
    let readiness = Readiness::new(drain.clone());
    let admin = Admin {
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        drain: drain.clone(),
        pages: Some(Arc::new(Echo)),
    };
    let settings = AdminSettings {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        head: Span::new(HEAD),
        connection: Span::new(CONNECTION),
        max_connections: 4,
    };
    let accepts = AcceptMetrics::new(&metrics).unwrap();
    let bound = admin.bind(&settings, tasks.clone(), accepts, tasks.cancelled());
    let (address, serving) = bound.await.unwrap();
    tasks.spawn_vital("admin", serving);
    Rig {
        address,
        readiness,
        drain,
        tasks,
    }
}

impl Rig {
    async fn ask(&self, method: &str, path: &str) -> String {
        self.ask_as("a", method, path).await
    }

    async fn ask_as(&self, host: &str, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        answer
    }

    /// Writes, then waits for the server to close; how long that took.
    async fn closed_after(&self, said: &str) -> (Duration, String) {
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is a close too.
        let _end = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        (start.elapsed(), String::from_utf8(answer).unwrap())
    }
}

#[tokio::test]
async fn readiness_is_what_the_conditions_and_the_drain_say() {
    let rig = rig().await;
    let log = rig.readiness.condition("log");
    let answer = rig.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("waiting for log\n"), "{answer}");
    log.set(true);
    let answer = rig.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    let note = rig.readiness.note("certificate expired");
    note.set(true);
    let answer = rig.ask("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.ends_with("ready\nnote: certificate expired\n"),
        "{answer}"
    );
    note.set(false);
    for _ in 0..2 {
        let answer = rig.ask("POST", "/drain").await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    }
    rig.drain.begun().await;
    let answer = rig.ask("GET", "/readyz").await;
    assert!(answer.ends_with("draining\n"), "{answer}");
    let answer = rig.ask("GET", "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "a drain is healthy");
}

#[tokio::test]
async fn pages_of_others_are_answered_to_this_machine() {
    let rig = rig().await;
    let here = rig.address.to_string();
    let answer = rig.ask_as(&here, "GET", "/echo/a?b=c").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: application/json"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\na b=c"), "{answer}");
    let answer = rig.ask_as("[::1]:9600", "GET", "/echo/nobody").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("content-type: text/plain"), "{answer}");
    let answer = rig.ask_as(&here, "POST", "/echo/a").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    // A page of the browser on this machine, under a name that leads here.
    for host in ["a", "evil.example:9600", "192.0.2.1", "10.0.0.1:9600"] {
        let answer = rig.ask_as(host, "GET", "/echo/a").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
        let answer = rig.ask_as(host, "GET", "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let answer = rig().await.ask("GET", "/metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let counted = "entente_node_accept_total{listener=\"admin\",event=\"accepted\"} 1\n";
    assert!(answer.contains(counted), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn other_paths_and_verbs_are_refused() {
    let rig = rig().await;
    for (method, path, status) in [
        ("GET", "/", "404"),
        ("GET", "/metrics/", "404"),
        ("GET", "/debug/pprof", "404"),
        ("GET", "/drain", "405"),
        ("POST", "/metrics", "405"),
        ("DELETE", "/healthz", "405"),
    ] {
        let answer = rig.ask(method, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}"
        );
    }
    assert_eq!(rig.drain.phase(), crate::Phase::Running);
}

/// T154: the first byte, the head, the next head and the body have limits that strike.
#[tokio::test]
async fn slow_peers_are_closed_at_the_limit() {
    let rig = rig().await;
    let started = "GET /healthz HTTP/1.1\r\nhost: a\r\nx-slow";
    let whole = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    for (said, answered) in [("", false), ("G", false), (started, false), (whole, true)] {
        let (took, answer) = rig.closed_after(said).await;
        assert!(took >= HEAD && took < CONNECTION, "{said:?} took {took:?}");
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), answered, "{said:?}");
    }
    // The body is not read by any route, so the answer comes at once; then the connection ends.
    let body = "POST /drain HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nab";
    let (took, _) = rig.closed_after(body).await;
    assert!(took < CONNECTION * 2, "{took:?}");
}

/// T154: one byte now and then does not move the limit on the head.
#[tokio::test]
async fn a_trickled_head_is_closed_at_the_limit() {
    let rig = rig().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let start = Instant::now();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut tick = tokio::time::interval(HEAD / 10);
    let mut byte = [0];
    let trickled = timeout(PATIENCE, async {
        loop {
            tokio::select! {
                read = stream.read(&mut byte) => return read.unwrap_or(0),
                _ = tick.tick() => {
                    if stream.write_all(b"x").await.is_err() {
                        return 0;
                    }
                }
            }
        }
    });
    trickled.await.unwrap();
    assert!(start.elapsed() < CONNECTION, "{:?}", start.elapsed());
}

/// T154: a peer that never reads is cut by the limit on the connection.
#[tokio::test]
async fn a_peer_that_does_not_read_is_cut() {
    let rig = rig().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let many = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    let start = Instant::now();
    let cut = timeout(PATIENCE, async {
        // Written until the server, whose answers nobody takes, has closed.
        while stream.write_all(many.as_bytes()).await.is_ok() {}
    });
    cut.await.unwrap();
    assert!(start.elapsed() >= CONNECTION / 2, "{:?}", start.elapsed());
    let answer = rig.ask("GET", "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "others are served");
}

#[tokio::test]
async fn connections_over_the_cap_are_closed() {
    let rig = rig().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let (_, answer) = rig.closed_after("").await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn finish_closes_idle_connections() {
    let rig = rig().await;
    let mut idle = TcpStream::connect(rig.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    idle.read_u8().await.unwrap();
    assert_eq!(rig.tasks.finish(PATIENCE).await, Ok(()));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(!rig.tasks.failed());
}
