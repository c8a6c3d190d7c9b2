//! SASL over RFC 6120: PLAIN, OAUTHBEARER, SCRAM.

use ::sasl::client::Mechanism;
use ::sasl::client::mechanisms::Scram;
use ::sasl::common::Credentials;
use ::sasl::common::scram::{Sha1, Sha256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::account::Account;
use crate::scenario::Sasl;
use crate::wire::{Line, LineError};
use crate::xml::text_of;

const NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

pub(super) async fn authenticate(
    domain: &str,
    line: &mut Line,
    account: &Account,
    sasl: Sasl,
) -> Result<(), LineError> {
    match sasl {
        Sasl::Plain | Sasl::Sasl2 => {
            start(line, "PLAIN", &plain(account)?);
            success(line).await
        }
        Sasl::Oauthbearer => {
            let token = account.secret.text().ok_or(LineError::Unmet("token"))?;
            let who = &account.localpart;
            // RFC 7628 3.1.
            let data = format!("n,a={who}@{domain},\u{1}auth=Bearer {token}\u{1}\u{1}");
            start(line, "OAUTHBEARER", &STANDARD.encode(data));
            success(line).await
        }
        Sasl::ScramSha1 => {
            let mechanism = Scram::<Sha1>::from_credentials(credentials(account)?);
            scram(line, "SCRAM-SHA-1", mechanism.ok()).await
        }
        Sasl::ScramSha256 => {
            let mechanism = Scram::<Sha256>::from_credentials(credentials(account)?);
            scram(line, "SCRAM-SHA-256", mechanism.ok()).await
        }
    }
}

/// The initial response of PLAIN, in base64.
pub(super) fn plain(account: &Account) -> Result<String, LineError> {
    let secret = account.secret.text().ok_or(LineError::Unmet("token"))?;
    Ok(STANDARD.encode(format!("\0{}\0{secret}", account.localpart)))
}

fn credentials(account: &Account) -> Result<Credentials, LineError> {
    let secret = account.secret.text().ok_or(LineError::Unmet("token"))?;
    Ok(Credentials::default()
        .with_username(account.localpart.to_string())
        .with_password(secret))
}

/// RFC 5802; the server's proof is checked too.
async fn scram(
    line: &mut Line,
    name: &str,
    mechanism: Option<impl Mechanism>,
) -> Result<(), LineError> {
    const UNMET: LineError = LineError::Unmet("good SCRAM challenge");
    let mut mechanism = mechanism.ok_or(LineError::Unmet("credentials for SCRAM"))?;
    start(line, name, &STANDARD.encode(mechanism.initial()));
    let challenge = line.element().await?;
    if !challenge.starts_with(b"<challenge") {
        return Err(LineError::login(&challenge));
    }
    let data = text_of(&challenge, b"<challenge", b"</");
    let data = data
        .and_then(|text| STANDARD.decode(text.trim_ascii()).ok())
        .ok_or(UNMET)?;
    let response = mechanism.response(&data).map_err(|_| UNMET)?;
    line.queue(
        format!(
            "<response xmlns='{NS}'>{}</response>",
            STANDARD.encode(response)
        )
        .as_bytes(),
    );
    let mut answer = line.element().await?;
    if answer.starts_with(b"<challenge") {
        // The server's proof as a challenge of its own (RFC 6120 6.3.10 allows both).
        prove(&mut mechanism, &answer)?;
        line.queue(format!("<response xmlns='{NS}'/>").as_bytes());
        answer = line.element().await?;
        return if answer.starts_with(b"<success") {
            Ok(())
        } else {
            Err(LineError::login(&answer))
        };
    }
    if !answer.starts_with(b"<success") {
        return Err(LineError::login(&answer));
    }
    prove(&mut mechanism, &answer)
}

fn prove(mechanism: &mut impl Mechanism, answer: &[u8]) -> Result<(), LineError> {
    const UNMET: LineError = LineError::Unmet("good SCRAM proof of its own");
    let end = answer
        .split(|byte| *byte == b'>')
        .next()
        .map_or(0, <[u8]>::len);
    let rest = answer.get(end + 1..).ok_or(UNMET)?;
    let text = rest.split(|byte| *byte == b'<').next().unwrap_or_default();
    let data = STANDARD.decode(text.trim_ascii()).map_err(|_| UNMET)?;
    mechanism.success(&data).map_err(|_| UNMET)
}

fn start(line: &mut Line, mechanism: &str, data: &str) {
    line.queue(format!("<auth xmlns='{NS}' mechanism='{mechanism}'>{data}</auth>").as_bytes());
}

async fn success(line: &mut Line) -> Result<(), LineError> {
    let answer = line.element().await?;
    if answer.starts_with(b"<success") {
        return Ok(());
    }
    if answer.starts_with(b"<challenge") {
        // RFC 7628 3.2.3: the error comes as a challenge, and is acknowledged with ^A.
        line.queue(format!("<response xmlns='{NS}'>AQ==</response>").as_bytes());
        let answer = line.element().await?;
        return Err(LineError::login(&answer));
    }
    Err(LineError::login(&answer))
}
