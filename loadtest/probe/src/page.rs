//! A Prometheus page: its text, and how it is fetched.
//!
//! In: an address, a path and the names wanted. Out: values of those names. The page is a stranger's:
//! its length, its lines and the time it takes are bounded, and what is not the format is an error
//! with the number of the line.

use std::error::Error;
use std::iter::successors;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest page that is read.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Series that are taken from one page: a name with a label for each session must not fill memory.
const MOST_SERIES: usize = 256;
/// Longest time for one page.
const PATIENCE: Duration = Duration::from_secs(2);

/// A page that is read while the run lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What a report calls it.
    pub name: String,
    /// Where it is served, over HTTP without TLS.
    pub address: SocketAddr,
    /// Its path, `/metrics` as a rule.
    pub path: String,
    /// Names to take; one that ends with `*` takes all that begin so.
    pub names: Vec<String>,
}

/// Why a page gave no values.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// No connection, or not HTTP.
    #[error("{0}")]
    Http(String),
    /// A line is not the format.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// More than 256 lines have a name that is wanted.
    #[error("more than {MOST_SERIES} lines of the names that are wanted")]
    ManySeries,
    /// It took longer than two seconds.
    #[error("no answer in {} s", PATIENCE.as_secs())]
    Slow,
    /// The server answered with another status than 200.
    #[error("status {0}")]
    Status(u16),
}

impl Page {
    /// Fetches the page and takes the wanted values, with their labels as the page writes them.
    /// Values that are infinite or not numbers are left out. Does not follow redirections.
    ///
    /// # Errors
    /// If it is not to be had, not in the format, too long or too slow.
    pub async fn fetch(&self) -> Result<Vec<(String, f64)>, PageError> {
        let body = timeout(PATIENCE, self.get()).await;
        let body = body.map_err(|_elapsed| PageError::Slow)??;
        self.take(&String::from_utf8_lossy(&body))
    }

    async fn get(&self) -> Result<Bytes, PageError> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|e| http(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| http(&e))?;
        let request = Request::get(self.path.as_str())
            .header("host", self.address.to_string())
            .header("accept", "text/plain; version=0.0.4")
            .header("connection", "close")
            .body(Empty::<Bytes>::new())
            .map_err(|e| http(&e))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|e| http(&e))?;
            if response.status().as_u16() != 200 {
                return Err(PageError::Status(response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), MOST_BYTES)
                .collect()
                .await;
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|e| http(&*e))
        };
        tokio::pin!(answer);
        // The connection moves only while it is polled; the answer decides.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            closed = connection => {
                closed.map_err(|e| http(&e))?;
                answer.await
            }
        }
    }

    fn take(&self, text: &str) -> Result<Vec<(String, f64)>, PageError> {
        let mut taken = Vec::new();
        for (place, line) in text.lines().enumerate() {
            let wrong = |what| PageError::Line {
                line: place + 1,
                what,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (series, value) = sample(line).map_err(wrong)?;
            let name = series.split('{').next().unwrap_or_default();
            if !self.wants(name) || !value.is_finite() {
                continue;
            }
            if taken.len() == MOST_SERIES {
                return Err(PageError::ManySeries);
            }
            taken.push((series.to_owned(), value));
        }
        Ok(taken)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| {
            wanted
                .strip_suffix('*')
                .map_or(wanted == name, |start| name.starts_with(start))
        })
    }
}

/// An error with its causes: hyper says what was being done, its cause what went wrong.
fn http(error: &(dyn Error + 'static)) -> PageError {
    let causes = successors(Some(error), |error| Error::source(*error));
    let said: Vec<String> = causes.take(4).map(ToString::to_string).collect();
    PageError::Http(said.join(": "))
}

/// Splits `name{labels} value timestamp` and reads the value.
fn sample(line: &str) -> Result<(&str, f64), &'static str> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !named(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no name of a metric");
    }
    let rest = if rest.starts_with('{') {
        labels(rest)?
    } else {
        rest
    };
    let series = line.strip_suffix(rest).unwrap_or(name);
    if !rest.starts_with([' ', '\t']) {
        return Err("no value after the name");
    }
    let value = rest
        .split_ascii_whitespace()
        .next()
        .ok_or("no value after the name")?;
    let value = value.parse().map_err(|_| "a value that is not a number")?;
    Ok((series, value))
}

/// What follows the labels.
fn labels(text: &str) -> Result<&str, &'static str> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Ok(text.split_at(place + 1).1),
            _ => {}
        }
    }
    Err("labels without an end")
}

#[cfg(test)]
mod tests;
