//! The bytes below a stream: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// While TLS begins on it.
    Gone,
}

/// Output memory that is kept once all is written.
const KEEP_BYTES: usize = 16 * 1024;

impl Io {
    /// Reads into the room given; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        room: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        let polled = match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, &mut room),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, &mut room),
            Self::Gone => Poll::Ready(Ok(())),
        };
        polled.map_ok(|()| room.filled().len())
    }

    /// Writes all; what was written leaves the buffer.
    pub(super) fn poll_drain(
        &mut self,
        out: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let polled = match self {
                Self::Plain(socket) => Pin::new(socket).poll_write(cx, out),
                Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, out),
                Self::Gone => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
            let count = ready!(polled)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.advance(count);
        }
        if out.capacity() > KEEP_BYTES {
            *out = BytesMut::new();
        } else {
            out.clear();
        }
        match self {
            // TCP has nothing to flush; TLS may hold a record that the socket did not take.
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::Plain(_) | Self::Gone => Poll::Ready(Ok(())),
        }
    }

    pub(super) async fn shut(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
            Self::Gone => Ok(()),
        }
    }
}
