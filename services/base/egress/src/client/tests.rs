use std::net::TcpListener as StdListener;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::origin::{Origin, read_head};
use crate::{Method, Policy, StatusCode, Target};

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n\
                    Content-Length: 11\r\n\r\n{\"keys\":[]}";

/// Short, because these tests wait for it.
const SHORT: Duration = Duration::from_millis(250);

fn client() -> Client {
    Client::new(&Settings::development()).unwrap()
}

async fn fetch(origin: &Origin) -> Result<Response, EgressError> {
    client().send(Request::get(origin.target("/jwks"))).await
}

/// The honest twin of T54 and T108. T110 runs this with proxies in the environment.
#[tokio::test]
async fn fetches_from_the_origin_itself() {
    let origin = Origin::saying(JSON).await;
    let response = fetch(&origin).await.unwrap();
    assert_eq!(response, Response::json("{\"keys\":[]}"));
    assert_eq!(origin.connections(), 1);
    let head = origin.heads.lock().join("");
    assert!(head.starts_with("GET /jwks HTTP/1.1\r\n"), "{head}");
    let host = format!("\r\nhost: {}\r\n", origin.address);
    for line in [
        host.as_str(),
        "\r\nuser-agent: Entente\r\n",
        "\r\naccept-encoding: identity\r\n",
    ] {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
}

/// T110: a listener that the environment names as proxy for everything gets no connection.
#[test]
fn ignores_the_proxies_of_the_environment() {
    let proxy = StdListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "client::tests::fetches_from_the_origin_itself"]);
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, &url).env(name.to_ascii_uppercase(), &url);
    }
    child.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    let hit = proxy.accept().map(|_| ()).unwrap_err();
    assert_eq!(hit.kind(), std::io::ErrorKind::WouldBlock);
}

/// T108, T54: no redirect is followed, wherever it points.
#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let inside = Origin::saying(JSON).await;
    for status in [300, 301, 302, 303, 304, 305, 307, 308] {
        let inside = format!("http://{}/", inside.address);
        for to in [
            inside.as_str(),
            "file:///etc/passwd",
            "https://other.example/",
        ] {
            let answer =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            let origin = Origin::saying(answer).await;
            assert_eq!(
                fetch(&origin).await,
                Err(EgressError::Redirected),
                "{status}"
            );
        }
    }
    assert_eq!(inside.connections(), 0);
}

/// T54: errors of the origin come back with their status.
#[tokio::test]
async fn other_statuses_are_answers() {
    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let response = fetch(&Origin::saying(answer).await).await.unwrap();
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
}

/// T54: bodies are cut where the caller said, however they are framed.
#[tokio::test]
async fn a_body_over_the_bound_is_an_error() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = Origin::endless(head, "8\r\naaaaaaaa\r\n").await;
    assert_eq!(fetch(&chunked).await, Err(EgressError::BodyTooLarge));
    let unframed = Origin::endless("HTTP/1.1 200 OK\r\n\r\n", "aaaaaaaa").await;
    assert_eq!(fetch(&unframed).await, Err(EgressError::BodyTooLarge));
    // Nothing of this body is ever sent: the declared length is enough.
    let declared = "HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n";
    let declared = Origin::stalling_after(declared).await;
    assert_eq!(fetch(&declared).await, Err(EgressError::BodyTooLarge));
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_taken() {
    let origin = Origin::saying(JSON).await;
    let exact = Request::get(origin.target("/")).max_body(11);
    assert_eq!(client().send(exact).await.unwrap().body.len(), 11);
    let less = Request::get(origin.target("/")).max_body(10);
    assert_eq!(client().send(less).await, Err(EgressError::BodyTooLarge));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   6\r\n{\"keys\r\n5\r\n\":[]}\r\n0\r\n\r\n";
    let origin = Origin::saying(chunked).await;
    let exact = Request::get(origin.target("/")).max_body(11);
    assert_eq!(client().send(exact).await.unwrap().body.len(), 11);
}

/// T54: a compressed body is refused by its head and never inflated.
#[tokio::test]
async fn an_encoded_body_is_an_error() {
    for header in [
        "Content-Encoding: gzip",
        "Content-Encoding: identity, br",
        "Content-Encoding: identity\r\nContent-Encoding: zstd",
        "Transfer-Encoding: gzip, chunked",
    ] {
        let length = if header.starts_with('C') {
            "\r\nContent-Length: 0"
        } else {
            ""
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{header}{length}\r\n\r\n");
        let origin = Origin::saying(answer).await;
        assert_eq!(fetch(&origin).await, Err(EgressError::Encoded), "{header}");
    }
    let identity = "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok";
    let response = fetch(&Origin::saying(identity).await).await.unwrap();
    assert_eq!(response.body, "ok");
}

/// T54: the deadline covers connection, head and body alike.
#[tokio::test]
async fn slow_origins_cost_no_more_than_the_deadline() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n";
    for said in [
        "",
        "HTTP/1.1 200",
        head,
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"key",
    ] {
        let origin = Origin::stalling_after(said).await;
        let request = Request::get(origin.target("/")).deadline(SHORT);
        let start = Instant::now();
        assert_eq!(client().send(request).await, Err(EgressError::Deadline));
        assert!(start.elapsed() < SHORT * 8, "{:?}", start.elapsed());
    }
}

/// T54: a body that trickles is cut at the deadline too: it is not one of idleness.
#[tokio::test]
async fn a_trickling_body_does_not_move_the_deadline() {
    let origin = Origin::running(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
        let mut open = stream.write_all(head).await.is_ok();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while open {
            tick.tick().await;
            open = stream.write_all(b"a").await.is_ok();
        }
    })
    .await;
    let request = Request::get(origin.target("/")).deadline(SHORT);
    assert_eq!(client().send(request).await, Err(EgressError::Deadline));
}

#[tokio::test]
async fn what_is_not_a_whole_response_is_an_error() {
    for said in [
        "",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"key",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ] {
        let origin = Origin::closing_after(said).await;
        assert_eq!(fetch(&origin).await, Err(EgressError::Protocol), "{said}");
    }
    let head = Origin::endless("HTTP/1.1 200 OK\r\n", "X-Filler: aaaaaaaaaaaaaaaa\r\n").await;
    assert_eq!(fetch(&head).await, Err(EgressError::Protocol));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let gone = StdListener::bind("127.0.0.1:0").unwrap();
    let text = format!("http://{}/", gone.local_addr().unwrap());
    drop(gone);
    let target = Target::parse(&text, &Policy::development()).unwrap();
    let sent = client().send(Request::get(target)).await;
    assert_eq!(sent, Err(EgressError::Unreachable));
}

#[tokio::test]
async fn callers_cannot_set_headers_of_the_connection() {
    let origin = Origin::saying(JSON).await;
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        let request = Request::get(origin.target("/"));
        let request = request.header(name, HeaderValue::from_static("1"));
        assert_eq!(client().send(request).await, Err(EgressError::BadRequest));
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn requests_share_a_connection_that_was_left_clean() {
    let origin = Origin::saying(JSON).await;
    let client = client();
    for _ in 0..3 {
        let body = Bytes::from_static(b"{}");
        let json = HeaderValue::from_static("application/json");
        let post = Request::post(origin.target("/wake"), json, body);
        assert_eq!(client.send(post).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!((origin.connections(), origin.heads.lock().len()), (1, 3));
}

/// T111: a declared byte and then more: the rest is nobody's answer.
#[tokio::test]
async fn bytes_after_the_answer_spoil_the_connection_only() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n\
                  Content-Length: 6\r\n\r\nforged";
    let origin = Origin::saying(answer).await;
    let client = client();
    for _ in 0..2 {
        let response = client.send(Request::get(origin.target("/"))).await.unwrap();
        assert_eq!(response.body, "a");
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let origin = Origin::closing_after(JSON).await;
    let client = client();
    for _ in 0..3 {
        let mut post = Request::new(Method::Post, origin.target("/wake"));
        post.body = Bytes::from_static(b"once");
        assert_eq!(client.send(post).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn requests_over_the_cap_wait_within_their_deadline() {
    let settings = Settings {
        max_in_flight: 1,
        ..Settings::development()
    };
    let client = Client::new(&settings).unwrap();
    let (stuck, quick) = (Origin::stalling_after("").await, Origin::saying(JSON).await);
    let first = client.send(Request::get(stuck.target("/")).deadline(SHORT));
    let second = client.send(Request::get(quick.target("/")).deadline(SHORT * 8));
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, Err(EgressError::Deadline));
    assert!(second.is_ok());
}
