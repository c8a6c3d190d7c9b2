//! What ends a connection, a login or a client.

use entente_stanza::StreamFault;
use tokio_tungstenite::tungstenite::Error as WebSocketError;

use super::ledger::BadCount;

/// Why a client could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server counted stanzas that were never sent.
    #[error(transparent)]
    BadCount(#[from] BadCount),
    /// The connection ended.
    #[error("the connection ended")]
    Closed,
    /// No credential could be made.
    #[error("no credential to show")]
    Credential,
    /// It took too long.
    #[error("no answer within the deadline")]
    Deadline,
    /// The domain is no address.
    #[error("the domain is not valid")]
    Domain,
    /// The server's bytes are not a stream.
    #[error("the server's stream is broken: {0:?}")]
    Fault(StreamFault),
    /// Too many stanzas wait for an acknowledgement.
    #[error("too many unacknowledged stanzas")]
    Full,
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// The login was refused, with the SASL condition.
    #[error("login refused: {0}")]
    Refused(String),
    /// The server ended the stream, with the stream condition.
    #[error("stream error: {0}")]
    Stream(String),
    /// The server left out or refused something that is needed.
    #[error("the server did not grant {0}")]
    Unmet(&'static str),
    /// The WebSocket failed.
    #[error("WebSocket: {0}")]
    WebSocket(Box<WebSocketError>),
}

impl ClientError {
    /// Whether connecting again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Closed | Self::Deadline | Self::Io(_) | Self::Stream(_) | Self::WebSocket(_) => {
                true
            }
            // A token that was refused once is refused again.
            Self::Refused(condition) => condition == "temporary-auth-failure",
            Self::BadCount(_)
            | Self::Credential
            | Self::Domain
            | Self::Fault(_)
            | Self::Full
            | Self::Unmet(_) => false,
        }
    }
}

impl From<StreamFault> for ClientError {
    fn from(fault: StreamFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<WebSocketError> for ClientError {
    fn from(error: WebSocketError) -> Self {
        Self::WebSocket(Box::new(error))
    }
}
