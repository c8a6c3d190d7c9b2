//! Enlists a user at the gateway's door, `POST /3p/interop_reg`, as a partner's client does.

use entente_core::{AccountId, PartnerId, SignedPrekey};
use serde::Deserialize;

use crate::http::{HttpError, HttpTarget};
use crate::partner::encode;

/// The framework's path.
pub const ENLIST_PATH: &str = "/3p/interop_reg";
/// The only key type: Curve25519.
const KEY_TYPE: u8 = 5;

/// What a client puts into the form.
#[derive(Clone, Debug)]
pub struct EnlistForm {
    /// Its static transport key.
    pub transport: [u8; 32],
    /// Its Signal registration id.
    pub registration: u32,
    /// Its Signal identity key.
    pub identity: [u8; 32],
    /// Its first signed prekey.
    pub signed: SignedPrekey,
}

/// An enlistment that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum EnlistError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The gateway refused, with its reason.
    #[error("enlistment refused: {0}")]
    Refused(String),
    /// The answer is not what the framework defines.
    #[error("the answer to an enlistment is malformed")]
    Malformed,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    login: Option<String>,
    reason: Option<String>,
}

impl EnlistForm {
    /// Sends the form with a token and returns the internal id.
    ///
    /// # Errors
    /// [`EnlistError`].
    pub async fn send(
        &self,
        target: &HttpTarget,
        partner: PartnerId,
        token: &str,
    ) -> Result<AccountId, EnlistError> {
        let path = format!("{ENLIST_PATH}?partner={partner}");
        let [_, id @ ..] = self.signed.id.to_be_bytes();
        let answer = target
            .post_form(
                &path,
                &[
                    ("authkey", &encode(&self.transport)),
                    ("e_keytype", &encode(&[KEY_TYPE])),
                    ("e_regid", &encode(&self.registration.to_be_bytes())),
                    ("e_ident", &encode(&self.identity)),
                    ("e_skey_id", &encode(&id)),
                    ("e_skey_val", &encode(&self.signed.key)),
                    ("e_skey_sig", &encode(&self.signed.signature)),
                    ("token", token),
                ],
            )
            .await?;
        let answer: Answer =
            serde_json::from_slice(answer.body()).map_err(|_| EnlistError::Malformed)?;
        if answer.status != "ok" {
            return Err(EnlistError::Refused(answer.reason.unwrap_or_default()));
        }
        let login = answer.login.ok_or(EnlistError::Malformed)?;
        let id = login.strip_suffix("@interop");
        id.and_then(|id| id.parse().ok())
            .ok_or(EnlistError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use bytes::Bytes;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    async fn answered(answer: &'static str) -> (Result<AccountId, EnlistError>, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = HttpTarget::plain(listener.local_addr().unwrap());
        let (seen, mut body) = tokio::sync::mpsc::channel(1);
        let door = post(move |uri: http::Uri, body: String| async move {
            seen.send(format!("{uri} {body}")).await.unwrap();
            answer
        });
        let mut server = JoinSet::new();
        let routes = axum::Router::new().route(ENLIST_PATH, door);
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let form = EnlistForm {
            transport: [1; 32],
            registration: 0x0102,
            identity: [2; 32],
            signed: SignedPrekey {
                id: 0x03_0405,
                key: [3; 32],
                signature: Bytes::from_static(&[4; 64]),
            },
        };
        let partner = PartnerId::new(7).unwrap();
        let outcome = form.send(&target, partner, "a.b-c_d").await;
        (outcome, body.recv().await.unwrap())
    }

    #[tokio::test]
    async fn the_form_has_the_framework_s_fields_and_gives_an_internal_id() {
        let (account, seen) = answered(r#"{"login":"7-12@interop","status":"ok"}"#).await;
        assert_eq!(account.unwrap().to_string(), "7-12");
        assert!(seen.starts_with("/3p/interop_reg?partner=7 authkey=AQEB"));
        for field in [
            "e_keytype=BQ&",
            "e_regid=AAABAg&",
            "e_skey_id=AwQF&",
            "&token=a.b-c_d",
        ] {
            assert!(seen.contains(field), "{seen}");
        }
    }

    #[tokio::test]
    async fn a_refusal_names_its_reason() {
        let (account, _) = answered(r#"{"reason":"bad_token","status":"fail"}"#).await;
        assert_eq!(
            account.unwrap_err().to_string(),
            "enlistment refused: bad_token"
        );
        let (account, _) = answered(r#"{"login":"nobody","status":"ok"}"#).await;
        assert!(matches!(account, Err(EnlistError::Malformed)));
    }
}
