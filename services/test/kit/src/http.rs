//! One HTTP/1.1 request at a time over loopback: enlistments, JWKS, readiness.
//!
//! A connection a request and no pool: what is measured is the gateway, and a kill of it must not
//! leave a dead connection behind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::trust::{Trust, TrustError};

/// Largest answer that is read, in bytes: a JWKS of some tens of RSA keys fits.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How long one request may take: enlistment makes keys and waits for the log.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where to send requests.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    address: SocketAddr,
    host: String,
    tls: Option<Arc<ClientConfig>>,
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The answer was too large or broke off.
    #[error("the answer could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// No connection.
    #[error("connecting: {0}")]
    Connect(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer within the deadline")]
    Deadline,
    /// The host is no DNS name and no address.
    #[error("not a host name")]
    Host,
    /// The request itself cannot be sent.
    #[error("building the request: {0}")]
    Request(#[from] http::Error),
    /// HTTP went wrong.
    #[error("HTTP: {0}")]
    Talk(#[from] hyper::Error),
}

impl HttpTarget {
    /// Plain HTTP.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            tls: None,
        }
    }

    /// HTTPS for a server that calls itself `host`.
    ///
    /// # Errors
    /// [`TrustError`] if the roots cannot be read.
    pub fn tls(address: SocketAddr, host: &str, trust: &Trust) -> Result<Self, TrustError> {
        Ok(Self {
            address,
            host: host.to_owned(),
            tls: Some(trust.client_config(&["http/1.1"])?),
        })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`HttpError`]; every status is an answer.
    pub async fn fetch(&self, path: &str) -> Result<Response<Bytes>, HttpError> {
        let request = self.request("GET", path).body(Full::default())?;
        self.send(request).await
    }

    /// `POST path` with a form.
    ///
    /// # Errors
    /// [`HttpError`]; every status is an answer.
    pub async fn post_form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Response<Bytes>, HttpError> {
        let request = self
            .request("POST", path)
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(Full::new(Bytes::from(form(fields))))?;
        self.send(request).await
    }

    /// A request with this target's host, to which a body can be given.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, &self.host)
    }

    /// Sends one request over a connection of its own.
    ///
    /// # Errors
    /// [`HttpError`]; every status is an answer. Dropping the future closes the connection.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        tokio::time::timeout(DEADLINE, self.exchange(request))
            .await
            .map_err(|_| HttpError::Deadline)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        let socket = TcpStream::connect(self.address).await?;
        let Some(config) = &self.tls else {
            return exchange_over(socket, request).await;
        };
        let bare = self.host.split(':').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(bare).map_err(|_| HttpError::Host)?;
        let connector = TlsConnector::from(Arc::clone(config));
        exchange_over(connector.connect(name, socket).await?, request).await
    }
}

async fn exchange_over(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    // Ends with this function, whatever the server does with the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(HttpError::Body)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// Writes an `application/x-www-form-urlencoded` body.
pub fn form(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        escape(name, &mut body);
        body.push('=');
        escape(value, &mut body);
    }
    body
}

fn escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_escape_what_would_split_them() {
        let body = form(&[("a", "x.y-z_"), ("b", "1&2=3 é")]);
        assert_eq!(body, "a=x.y-z_&b=1%262%3D3%20%C3%A9");
    }
}
