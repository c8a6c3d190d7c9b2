//! A partner's key server on a loopback socket, which the test can make hostile.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What the server does with the next requests.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Keys, with the right type.
    Keys(String),
    /// Keys under another type.
    Typed(&'static str, String),
    /// A status and nothing else.
    Status(u16),
    /// A redirect to this address.
    Redirect(String),
    /// Takes the request and stays silent.
    Silent,
    /// A body without end.
    Endless,
    /// Compressed zeros.
    Compressed,
    /// Ends the connection in the middle of the body.
    Cut,
}

/// The server; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct KeyServer {
    pub(crate) url: String,
    mode: Arc<Mutex<Mode>>,
    hits: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl KeyServer {
    pub(crate) async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let mode = Arc::new(Mutex::new(mode));
        let hits = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&mode), Arc::clone(&hits)));
        Self {
            url,
            mode,
            hits,
            _tasks: tasks,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, mode: Arc<Mutex<Mode>>, hits: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (mode, hits) = (Arc::clone(&mode), Arc::clone(&hits));
        let service = service_fn(move |request: Request<Incoming>| {
            hits.fetch_add(1, Ordering::SeqCst);
            assert_eq!(request.uri().path(), "/jwks");
            answer(mode.lock().clone())
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

async fn answer(mode: Mode) -> Result<Answer, Infallible> {
    let full = |body: Bytes| Full::new(body).map_err(|never| match never {}).boxed();
    let json = "application/json";
    let (typed, body) = match mode {
        Mode::Keys(keys) => (json, full(keys.into())),
        Mode::Typed(typed, keys) => (typed, full(keys.into())),
        Mode::Status(status) => {
            let answer = Response::builder().status(status);
            return Ok(answer.body(full(Bytes::new())).unwrap());
        }
        Mode::Redirect(to) => {
            let answer = Response::builder().status(302).header("location", to);
            return Ok(answer.body(full(Bytes::new())).unwrap());
        }
        Mode::Silent => {
            sleep(Duration::from_secs(60)).await;
            (json, full(Bytes::new()))
        }
        Mode::Endless => {
            let chunk = || Ok(Frame::data(Bytes::from_static(&[b' '; 8192])));
            let chunks = futures::stream::repeat_with(chunk);
            (json, BodyExt::boxed(StreamBody::new(chunks)))
        }
        Mode::Compressed => {
            let answer = Response::builder()
                .header("content-type", json)
                .header("content-encoding", "gzip");
            // The head of a gzip file is enough: nothing may look at it.
            return Ok(answer
                .body(full(Bytes::from_static(&[0x1f, 0x8b, 8, 0])))
                .unwrap());
        }
        Mode::Cut => {
            let part = Ok(Frame::data(Bytes::from_static(br#"{"keys":["#)));
            let cut = Err(std::io::Error::other("cut"));
            let parts = futures::stream::iter([part, cut]);
            (json, BodyExt::boxed(StreamBody::new(parts)))
        }
    };
    let answer = Response::builder().header("content-type", typed);
    Ok(answer.body(body).unwrap())
}
