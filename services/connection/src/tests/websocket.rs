//! XMPP over WebSocket, from the opening handshake to a session.

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::secure::{Files, connect, trusting};
use super::stub::{TOKEN, World};
use crate::accept::{Built, build};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='chat.example' version='1.0'/>";

async fn started(files: &Files, world: &World) -> Built {
    let mut config = files.config();
    config.listen.clear();
    config.websocket.listen = vec![([127, 0, 0, 1], 0).into()];
    config.websocket.origins = vec!["https://app.example".to_owned()];
    build(config, world.deps()).await.unwrap()
}

async fn tls(files: &Files, built: &Built) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(built.websocket_addresses[0])
        .await
        .unwrap();
    let config = trusting(&files.config().tls.certificate, Some(b"http/1.1"));
    connect(socket, config).await.unwrap()
}

async fn upgrade(
    files: &Files,
    built: &Built,
    protocol: Option<&'static str>,
    origin: Option<&'static str>,
) -> Result<Socket, u16> {
    let mut request = "wss://chat.example/xmpp-websocket"
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    if let Some(protocol) = protocol {
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    }
    if let Some(origin) = origin {
        headers.insert("Origin", HeaderValue::from_static(origin));
    }
    let socket = tls(files, built).await;
    match Box::pin(client_async(request, socket)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

async fn hear(socket: &mut Socket) -> String {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Close(_) => return "closed".to_owned(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn each_message_is_one_element_with_its_namespaces() {
    let (world, files) = (World::new(), Files::new());
    let built = started(&files, &world).await;
    let mut socket = upgrade(&files, &built, Some("xmpp"), None).await.unwrap();
    say(&mut socket, OPEN).await;
    assert!(
        hear(&mut socket)
            .await
            .starts_with("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'")
    );
    let features = hear(&mut socket).await;
    assert!(features.starts_with("<stream:features"), "{features}");
    assert!(features.contains("xmlns:stream='http://etherx.jabber.org/streams'"));
    let plain = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("\0{}\0{TOKEN}", "1-7"),
    );
    say(
        &mut socket,
        &format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"),
    )
    .await;
    assert!(hear(&mut socket).await.starts_with("<success"));
    say(&mut socket, OPEN).await;
    hear(&mut socket).await;
    hear(&mut socket).await;
    say(
        &mut socket,
        "<iq xmlns='jabber:client' type='set' id='b'>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    )
    .await;
    let bound = hear(&mut socket).await;
    assert!(bound.starts_with("<iq xmlns='jabber:client'"), "{bound}");
    let big = format!(
        "<message xmlns='jabber:client' to='1-7@chat.example' id='m'><body>{}</body></message>",
        "x".repeat(100_000)
    );
    say(&mut socket, &big).await;
    let received = loop {
        let text = hear(&mut socket).await;
        if text.contains("id='m'") {
            break text;
        }
    };
    assert!(received.len() > 100_000);
    say(
        &mut socket,
        "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
    )
    .await;
    loop {
        if hear(&mut socket).await.starts_with("<close") {
            break;
        }
    }
}

#[tokio::test]
async fn two_elements_in_a_message_or_none_at_all_end_the_stream() {
    let (world, files) = (World::new(), Files::new());
    let built = started(&files, &world).await;
    for bad in [
        format!("{OPEN}{OPEN}"),
        "<?xml version='1.0'?>".to_owned(),
        "x".repeat(20_000),
    ] {
        let mut socket = upgrade(&files, &built, Some("xmpp"), None).await.unwrap();
        say(&mut socket, &bad).await;
        assert!(hear(&mut socket).await.starts_with("<open"));
        assert!(hear(&mut socket).await.starts_with("<stream:error"));
    }
}

#[tokio::test]
async fn only_allowed_origins_and_the_subprotocol_are_upgraded() {
    let (world, files) = (World::new(), Files::new());
    let built = started(&files, &world).await;
    let refused = upgrade(&files, &built, Some("xmpp"), Some("https://evil.example")).await;
    assert_eq!(refused.err(), Some(403));
    let refused = upgrade(&files, &built, None, None).await;
    assert_eq!(refused.err(), Some(400));
    let good = upgrade(&files, &built, Some("xmpp"), Some("https://app.example")).await;
    assert!(good.is_ok());
}

#[tokio::test]
async fn host_meta_tells_where_the_stream_is() {
    let (world, files) = (World::new(), Files::new());
    let built = started(&files, &world).await;
    for (path, wanted) in [
        (
            "/.well-known/host-meta",
            "href='wss://chat.example/xmpp-websocket'",
        ),
        (
            "/.well-known/host-meta.json",
            "\"href\":\"wss://chat.example/xmpp-websocket\"",
        ),
        ("/other", "404 Not Found"),
    ] {
        let mut http = tls(&files, &built).await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n");
        http.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _end = http.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(wanted), "{path}: {answer}");
    }
}
