use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

fn page(names: &[&str]) -> Page {
    Page {
        name: "server".to_owned(),
        address: "127.0.0.1:1".parse().unwrap(),
        path: "/metrics".to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn a_recorded_page_gives_the_names_wanted() {
    let text = "# HELP entente_sessions Sessions.\n# TYPE entente_sessions gauge\n\
                entente_sessions 42\n\
                entente_stanzas_total{kind=\"message\",way=\"in\"} 1.5e3 1700000000000\n\
                entente_stanzas_total{kind=\"} 7 \\\" {\",way=\"out\"} 2\n\
                entente_age_seconds NaN\nentente_age_seconds_bucket{le=\"+Inf\"} +Inf\n\
                go_threads 9\nentente_seen_total 5 # {trace=\"a\"} 1\n# EOF\n";
    let taken = page(&["entente_*"]).take(text).unwrap();
    let wanted = [
        ("entente_sessions", 42.0),
        (
            "entente_stanzas_total{kind=\"message\",way=\"in\"}",
            1_500.0,
        ),
        (
            "entente_stanzas_total{kind=\"} 7 \\\" {\",way=\"out\"}",
            2.0,
        ),
        ("entente_seen_total", 5.0),
    ];
    assert_eq!(taken, wanted.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(page(&["go_threads"]).take(text).unwrap().len(), 1);
    assert_eq!(page(&["go_"]).take(text).unwrap().len(), 0);
}

#[test]
fn what_is_not_the_format_is_an_error_with_its_line() {
    for (text, line) in [
        ("a 1\n<html>", 2),
        ("a", 1),
        ("a ", 1),
        ("a one", 1),
        ("a{x=\"1\" 1", 1),
        ("a{x=\"\\\"} 1", 1),
        ("{} 1", 1),
        ("9a 1", 1),
        ("a{x=\"1\"}1", 1),
        ("\n\n\u{fffd}\u{0} 1", 3),
    ] {
        match page(&["*"]).take(text) {
            Err(PageError::Line { line: at, .. }) => assert_eq!(at, line, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let many: String = (0..300).map(|n| format!("a{{n=\"{n}\"}} 1\n")).collect();
    assert!(matches!(
        page(&["a"]).take(&many),
        Err(PageError::ManySeries)
    ));
    assert_eq!(page(&["b"]).take(&many).unwrap().len(), 0);
}

/// A server that answers each connection with the same bytes, and then waits or closes.
async fn served(answer: Vec<u8>, close: bool) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await;
            // The client may have gone already.
            let _sent = stream.write_all(&answer).await;
            if !close {
                held.push(stream);
            }
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn pages_are_fetched_in_each_way_that_servers_send_them() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nup 1\nx 2\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nup 1\n\r\n4\r\nx 2\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nup 1\nx 2\n",
    ] {
        let (address, _server) = served(answer.as_bytes().to_vec(), true).await;
        let page = Page {
            address,
            ..page(&["up"])
        };
        assert_eq!(
            page.fetch().await.unwrap(),
            [("up".to_owned(), 1.0)],
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_bad_server_is_an_error_and_no_wait() {
    let endless = {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(MOST_BYTES + 100_000, b'a');
        bytes
    };
    for (answer, wanted) in [
        (
            b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "status 503",
        ),
        (
            b"HTTP/1.1 302 No\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "status 302",
        ),
        (b"SSH-2.0-x\r\n".to_vec(), "invalid"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nup".to_vec(),
            "before message length",
        ),
        (endless, "length limit exceeded"),
    ] {
        let (address, _server) = served(answer, true).await;
        let page = Page {
            address,
            ..page(&["up"])
        };
        let error = page.fetch().await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    let refused = page(&["up"]).fetch().await.unwrap_err();
    assert!(matches!(refused, PageError::Http(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_costs_two_seconds() {
    let (address, _server) = served(b"HTTP/1.1 200 OK\r\n".to_vec(), false).await;
    let page = Page {
        address,
        ..page(&["up"])
    };
    assert!(matches!(page.fetch().await, Err(PageError::Slow)));
}
