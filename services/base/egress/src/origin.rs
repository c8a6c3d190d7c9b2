//! A server on loopback that says exactly what a test tells it to.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Policy, Target};

/// The server; it ends when dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Heads of the requests that [`Origin::saying`] has read.
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Origin {
    /// Runs the script for each connection.
    pub(crate) async fn running<F>(
        script: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (counted, noted) = (Arc::clone(&connections), Arc::clone(&heads));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                each.spawn(script(stream, Arc::clone(&noted)));
            }
        });
        Self {
            address,
            connections,
            heads,
            _tasks: tasks,
        }
    }

    /// Answers each request head with these bytes and keeps the connection open.
    pub(crate) async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::running(move |mut stream, heads| {
            let answer = answer.clone();
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    heads.lock().push(head);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers one request with these bytes and then closes.
    pub(crate) async fn closing_after(answer: &'static str) -> Self {
        Self::running(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _broken = stream.write_all(answer.as_bytes()).await;
        })
        .await
    }

    /// Answers with the first bytes, then with the others for ever.
    pub(crate) async fn endless(first: &'static str, others: &'static str) -> Self {
        Self::running(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _broken = stream.write_all(first.as_bytes()).await;
            while stream.write_all(others.as_bytes()).await.is_ok() {}
        })
        .await
    }

    /// Answers with these bytes and then says nothing more.
    pub(crate) async fn stalling_after(answer: &'static str) -> Self {
        Self::running(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _broken = stream.write_all(answer.as_bytes()).await;
            pending::<()>().await;
        })
        .await
    }

    pub(crate) fn target(&self, path: &str) -> Target {
        let text = format!("http://{}{path}", self.address);
        Target::parse(&text, &Policy::development()).unwrap()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request head and, as its length says, the body; nothing at the end of the stream.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}
