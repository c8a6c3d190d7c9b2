//! The SASL mechanisms: bytes of an initial response to an account and what it shows for itself.
//!
//! In: base64 text of `<auth/>`, `<initial-response/>` or `<response/>`. Out: a [`Claim`], which the
//! identity service judges. Nothing here knows a secret.
//!
//! **Invariants**
//! - Who logs in is an internal id of our domain; an authorization identity, if any, is the same one.
//! - A token never appears in an error.

use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use entente_core::{AccountId, FaultKind, Secret};
use entente_proto::identity::Credential;

/// Longest token that is looked at, in bytes: what the framework's enlistment form allows.
pub(crate) const MAX_TOKEN_BYTES: usize = 4096;

/// A mechanism that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// XEP-0484 with draft-schmaus-kitten-sasl-ht, without channel binding.
    HtSha256None,
    /// RFC 7628.
    OAuthBearer,
    /// RFC 4616.
    Plain,
}

/// Who wants to log in, and with what.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) account: AccountId,
    pub(crate) credential: Credential,
}

/// Why a login failed (RFC 6120 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SaslFailure {
    Aborted,
    AccountDisabled,
    IncorrectEncoding,
    InvalidAuthzid,
    InvalidMechanism,
    MalformedRequest,
    NotAuthorized,
    TemporaryAuthFailure,
}

impl Mechanism {
    /// The mechanisms of RFC 6120 SASL and of SASL2, the preferred one first.
    pub(crate) const PASSWORDS: [Self; 2] = [Self::OAuthBearer, Self::Plain];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HtSha256None => "HT-SHA-256-NONE",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::Plain => "PLAIN",
        }
    }

    pub(crate) fn from_wire(name: &str) -> Option<Self> {
        [Self::HtSha256None, Self::OAuthBearer, Self::Plain]
            .into_iter()
            .find(|mechanism| mechanism.as_str() == name)
    }

    /// Reads the client's message of this mechanism.
    pub(crate) fn read(self, data: &[u8], domain: &str) -> Result<Claim, SaslFailure> {
        match self {
            Self::HtSha256None => read_hashed_token(data, domain),
            Self::OAuthBearer => read_bearer(data, domain),
            Self::Plain => read_plain(data, domain),
        }
    }
}

impl SaslFailure {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AccountDisabled => "account-disabled",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

impl From<FaultKind> for SaslFailure {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Forbidden => Self::AccountDisabled,
            // Unknown accounts and wrong proofs look the same.
            FaultKind::NotFound | FaultKind::PeerMisbehaved | FaultKind::Unauthenticated => {
                Self::NotAuthorized
            }
            FaultKind::Conflict
            | FaultKind::Deadline
            | FaultKind::Internal
            | FaultKind::Overloaded
            | FaultKind::Unavailable => Self::TemporaryAuthFailure,
        }
    }
}

/// Decodes what stands in a SASL element. `=` alone is an empty message (RFC 6120 6.4.2).
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, SaslFailure> {
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if dense == "=" {
        return Ok(Vec::new());
    }
    // Clients differ in padding; both forms say the same bytes.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    LENIENT
        .decode(dense)
        .map_err(|_| SaslFailure::IncorrectEncoding)
}

/// The account that an authentication identity names: `1-1085`, or the same at our domain.
fn account(name: &str, domain: &str) -> Result<AccountId, SaslFailure> {
    let local = match name.split_once('@') {
        Some((local, host)) if host.eq_ignore_ascii_case(domain) => local,
        Some(_) => return Err(SaslFailure::NotAuthorized),
        None => name,
    };
    local.parse().map_err(|_| SaslFailure::NotAuthorized)
}

fn token(text: &str) -> Result<Credential, SaslFailure> {
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES {
        return Err(SaslFailure::NotAuthorized);
    }
    Ok(Credential::Token(Secret::new(text.to_owned())))
}

fn text(data: &[u8]) -> Result<&str, SaslFailure> {
    std::str::from_utf8(data).map_err(|_| SaslFailure::MalformedRequest)
}

/// RFC 4616: `[authzid] NUL authcid NUL passwd`.
fn read_plain(data: &[u8], domain: &str) -> Result<Claim, SaslFailure> {
    let mut parts = text(data)?.split('\0');
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslFailure::MalformedRequest);
    };
    let claimed = account(authcid, domain)?;
    if !authzid.is_empty() {
        // RFC 6120 6.3.8: a bare address. Acting for another account is never possible here.
        let same = authzid.contains('@') && account(authzid, domain) == Ok(claimed);
        if !same {
            return Err(SaslFailure::InvalidAuthzid);
        }
    }
    Ok(Claim {
        account: claimed,
        credential: token(password)?,
    })
}

/// RFC 7628 3.1: a GS2 header, then key/value pairs between ^A. The `a=` part must name the account:
/// the token knows only the partner's own identifier.
fn read_bearer(data: &[u8], domain: &str) -> Result<Claim, SaslFailure> {
    const SEPARATOR: char = '\u{1}';
    let (header, pairs) = text(data)?
        .split_once(SEPARATOR)
        .ok_or(SaslFailure::MalformedRequest)?;
    let mut fields = header.split(',');
    let (Some("n" | "y"), Some(authzid), Some(""), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(SaslFailure::MalformedRequest);
    };
    let name = authzid
        .strip_prefix("a=")
        .ok_or(SaslFailure::InvalidAuthzid)?;
    let claimed = account(name, domain).map_err(|_| SaslFailure::InvalidAuthzid)?;
    let pairs = pairs
        .strip_suffix("\u{1}\u{1}")
        .ok_or(SaslFailure::MalformedRequest)?;
    let mut shown = pairs
        .split(SEPARATOR)
        .filter_map(|pair| pair.strip_prefix("auth="));
    let (Some(auth), None) = (shown.next(), shown.next()) else {
        return Err(SaslFailure::MalformedRequest);
    };
    // RFC 6750 2.1; schemes are compared without regard to case (RFC 9110 11.1).
    let (scheme, bearer) = auth.split_once(' ').ok_or(SaslFailure::NotAuthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(SaslFailure::NotAuthorized);
    }
    Ok(Claim {
        account: claimed,
        credential: token(bearer.trim())?,
    })
}

/// `authcid NUL initiator-hashed-token`; the hash is over what the token's owner holds.
fn read_hashed_token(data: &[u8], domain: &str) -> Result<Claim, SaslFailure> {
    const HASH_BYTES: usize = 32;
    let at = data
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(SaslFailure::MalformedRequest)?;
    let (name, rest) = data.split_at(at);
    let proof = rest.get(1..).unwrap_or_default();
    if proof.len() != HASH_BYTES {
        return Err(SaslFailure::MalformedRequest);
    }
    Ok(Claim {
        account: account(text(name)?, domain)?,
        credential: Credential::Fast {
            // The mechanism names no token: the account's own ones are tried.
            token: Box::default(),
            proof: proof.into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "chat.example";

    fn plain(data: &str) -> Result<String, SaslFailure> {
        let claim = Mechanism::Plain.read(data.as_bytes(), DOMAIN)?;
        let Credential::Token(token) = claim.credential else {
            panic!("PLAIN carries a token");
        };
        Ok(format!("{} {}", claim.account, token.expose()))
    }

    #[test]
    fn plain_takes_the_localpart_or_the_own_address() {
        for good in [
            "\u{0}1-1085\u{0}tok",
            "\u{0}1-1085@chat.example\u{0}tok",
            "1-1085@chat.example\u{0}1-1085\u{0}tok",
        ] {
            assert_eq!(plain(good).as_deref(), Ok("1-1085 tok"), "{good:?}");
        }
        for (bad, failure) in [
            ("\u{0}1-1085", SaslFailure::MalformedRequest),
            ("\u{0}1-1085\u{0}a\u{0}b", SaslFailure::MalformedRequest),
            ("\u{0}alice\u{0}tok", SaslFailure::NotAuthorized),
            ("\u{0}1-1085@other\u{0}tok", SaslFailure::NotAuthorized),
            ("\u{0}1-1085\u{0}", SaslFailure::NotAuthorized),
            (
                "1-1086@chat.example\u{0}1-1085\u{0}tok",
                SaslFailure::InvalidAuthzid,
            ),
            ("1-1085\u{0}1-1085\u{0}tok", SaslFailure::InvalidAuthzid),
        ] {
            assert_eq!(plain(bad), Err(failure), "{bad:?}");
        }
    }

    #[test]
    fn passwords_end_at_four_kilobytes() {
        let fits = "x".repeat(MAX_TOKEN_BYTES);
        assert!(plain(&format!("\u{0}1-1\u{0}{fits}")).is_ok());
        assert_eq!(
            plain(&format!("\u{0}1-1\u{0}{fits}x")),
            Err(SaslFailure::NotAuthorized)
        );
    }

    #[test]
    fn bearer_needs_the_account_and_one_token() {
        let read = |text: &str| {
            let claim = Mechanism::OAuthBearer.read(text.as_bytes(), DOMAIN)?;
            Ok((claim.account.to_string(), claim.credential))
        };
        let good = "n,a=1-7@chat.example,\u{1}host=chat.example\u{1}auth=Bearer t.o.k\u{1}\u{1}";
        let (name, credential) = read(good).unwrap();
        assert_eq!(name, "1-7");
        assert!(matches!(credential, Credential::Token(token) if token.expose() == "t.o.k"));
        for (bad, failure) in [
            (
                "n,,\u{1}auth=Bearer t\u{1}\u{1}",
                SaslFailure::InvalidAuthzid,
            ),
            (
                "n,a=1-7,\u{1}auth=Basic t\u{1}\u{1}",
                SaslFailure::NotAuthorized,
            ),
            ("n,a=1-7,\u{1}\u{1}\u{1}", SaslFailure::MalformedRequest),
            (
                "n,a=1-7,\u{1}auth=Bearer t\u{1}",
                SaslFailure::MalformedRequest,
            ),
            (
                "p=tls,a=1-7,\u{1}auth=Bearer t\u{1}\u{1}",
                SaslFailure::MalformedRequest,
            ),
            (
                "n,a=1-7,\u{1}auth=Bearer t\u{1}auth=Bearer u\u{1}\u{1}",
                SaslFailure::MalformedRequest,
            ),
        ] {
            assert_eq!(read(bad).map(|(name, _)| name), Err(failure), "{bad:?}");
        }
    }

    #[test]
    fn hashed_tokens_have_a_whole_hash() {
        let mut data = b"1-7\0".to_vec();
        data.extend([9; 32]);
        let claim = Mechanism::HtSha256None.read(&data, DOMAIN).unwrap();
        assert!(matches!(claim.credential, Credential::Fast { proof, .. } if *proof == [9; 32]));
        data.pop();
        assert_eq!(
            Mechanism::HtSha256None.read(&data, DOMAIN).unwrap_err(),
            SaslFailure::MalformedRequest
        );
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(decode("AGE=").as_deref(), Ok(&b"\0a"[..]));
        assert_eq!(decode(" AGE\n").as_deref(), Ok(&b"\0a"[..]));
        assert_eq!(decode("=").as_deref(), Ok(&b""[..]));
        assert_eq!(decode("A*==").unwrap_err(), SaslFailure::IncorrectEncoding);
    }
}
