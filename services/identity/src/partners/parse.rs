//! Reads the registry's file. An error names the file, the line and the key.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use entente_core::{PartnerId, Span};
use entente_egress::{Base, Policy, Target};
use serde::Deserialize;
use toml::Spanned;

use super::Partners;
use super::record::{Algorithm, Kid, Kind, Partner, Quotas, State, TokenType};

/// Why the registry's file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PartnersError {
    /// Two records claim the same thing.
    #[error("{file}: {what} of partner {first} is also claimed by partner {second}", file = .file.display())]
    Claimed {
        /// The file.
        file: PathBuf,
        /// What both claim.
        what: &'static str,
        /// Number of the one that stands first.
        first: u16,
        /// Number of the other.
        second: u16,
    },
    /// The file cannot be read.
    #[error("{file}: {source}", file = .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value is missing, unknown or out of range.
    #[error("{file}:{line}: `{key}`: {message}", file = .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What stands left of `=` there, or the line's text.
        key: String,
        /// What is wanted.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    partner: Vec<Record>,
}

/// A record as it stands in the file; what needs more than a type is checked with its line known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    number: Spanned<u16>,
    name: Spanned<String>,
    kind: Kind,
    state: State,
    issuer: Spanned<String>,
    audience: Spanned<String>,
    #[serde(default)]
    token_type: TokenType,
    token_life: Option<Spanned<Span>>,
    algorithms: Spanned<BTreeSet<Algorithm>>,
    jwks: Spanned<String>,
    push: Option<Spanned<String>>,
    media: Option<Spanned<String>>,
    #[serde(default)]
    enlist_hosts: Vec<Spanned<Box<str>>>,
    #[serde(default)]
    revoked_keys: BTreeSet<Kid>,
    #[serde(default)]
    quotas: Quotas,
}

/// What is wrong, and where in the text.
struct Wrong {
    at: Range<usize>,
    message: String,
}

impl Wrong {
    fn new<T>(value: &Spanned<T>, message: impl Into<String>) -> Self {
        Self {
            at: value.span(),
            message: message.into(),
        }
    }
}

pub(super) fn partners(
    file: &Path,
    text: &str,
    policy: &Policy,
) -> Result<Partners, PartnersError> {
    let read: File = toml::from_str(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        let message = error.message().to_owned();
        locate(file, text, Wrong { at, message })
    })?;
    let mut all = Partners::default();
    for record in read.partner {
        let record = check(record, policy).map_err(|wrong| locate(file, text, wrong))?;
        let number = record.number;
        for host in &record.enlist_hosts {
            if let Some(first) = all.by_host.insert(host.clone(), number) {
                return Err(claimed(file, "a host of enlist_hosts", first, number));
            }
        }
        // One issuer under two numbers would make every token good for both (T51).
        let live = |partner: &Partner| partner.state != State::Removed;
        let twin = all
            .by_number
            .values()
            .find(|other| other.issuer == record.issuer && live(other) && live(&record));
        if let Some(first) = twin {
            return Err(claimed(file, "the issuer", first.number, number));
        }
        if all.by_number.insert(number, record.into()).is_some() {
            return Err(claimed(file, "the number", number, number));
        }
    }
    Ok(all)
}

fn check(record: Record, policy: &Policy) -> Result<Partner, Wrong> {
    let number = PartnerId::new(*record.number.get_ref())
        .ok_or_else(|| Wrong::new(&record.number, "a number is 1 to 65535"))?;
    if record.algorithms.get_ref().is_empty() {
        let message = "at least one of RS256, ES256, EdDSA is needed";
        return Err(Wrong::new(&record.algorithms, message));
    }
    let base = |text: Option<Spanned<String>>| match text {
        Some(text) => Base::parse(text.get_ref(), policy)
            .map(Some)
            .map_err(|error| Wrong::new(&text, error.to_string())),
        None => Ok(None),
    };
    Ok(Partner {
        number,
        name: plain(record.name)?,
        kind: record.kind,
        state: record.state,
        issuer: plain(record.issuer)?,
        audience: plain(record.audience)?,
        token_type: record.token_type,
        token_life: token_life(record.token_life)?,
        algorithms: record.algorithms.into_inner(),
        jwks: Target::parse(record.jwks.get_ref(), policy)
            .map_err(|error| Wrong::new(&record.jwks, error.to_string()))?,
        push: base(record.push)?,
        media: base(record.media)?,
        enlist_hosts: record
            .enlist_hosts
            .into_iter()
            .map(host)
            .collect::<Result<_, _>>()?,
        revoked_keys: record.revoked_keys,
        quotas: record.quotas,
    })
}

fn plain(text: Spanned<String>) -> Result<String, Wrong> {
    let fits = (1..=MAX_TEXT_BYTES).contains(&text.get_ref().len());
    if fits && !text.get_ref().chars().any(char::is_control) {
        return Ok(text.into_inner());
    }
    let message = "this text has 1 to 256 bytes and no control characters";
    Err(Wrong::new(&text, message))
}

fn host(name: Spanned<Box<str>>) -> Result<Box<str>, Wrong> {
    let fits = (1..=MAX_HOST_BYTES).contains(&name.get_ref().len());
    let lower = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    if fits && name.get_ref().bytes().all(lower) {
        return Ok(name.into_inner());
    }
    let message = "a host name has lower-case letters, digits, `-` and `.`, and no port";
    Err(Wrong::new(&name, message))
}

fn token_life(span: Option<Spanned<Span>>) -> Result<Duration, Wrong> {
    let Some(span) = span else {
        return Ok(LONGEST_TOKEN);
    };
    let life = span.get_ref().get();
    if (SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&life) {
        return Ok(life);
    }
    Err(Wrong::new(&span, "a token lives 1m to 1h"))
}

fn claimed(file: &Path, what: &'static str, first: PartnerId, second: PartnerId) -> PartnersError {
    PartnersError::Claimed {
        file: file.to_owned(),
        what,
        first: first.number(),
        second: second.number(),
    }
}

fn locate(file: &Path, text: &str, wrong: Wrong) -> PartnersError {
    let before = text.get(..wrong.at.start).unwrap_or_default();
    let line = before.matches('\n').count();
    let row = text.lines().nth(line).unwrap_or_default();
    let key = row.split_once('=').map_or(row, |(key, _)| key).trim();
    PartnersError::Value {
        file: file.to_owned(),
        line: line + 1,
        key: key.to_owned(),
        message: wrong.message,
    }
}

/// Names, issuers and audiences: an address fits, a page of text does not.
const MAX_TEXT_BYTES: usize = 256;
/// RFC 1035 2.3.4.
const MAX_HOST_BYTES: usize = 253;
/// Shorter, and clocks that differ by the allowed skew could not use it.
const SHORTEST_TOKEN: Duration = Duration::from_secs(60);
/// Part C of the protocol: `exp` is at most an hour after `iat`.
const LONGEST_TOKEN: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[[partner]]
number = 7
name = "seven"
kind = "partner"
state = "active"
issuer = "https://id.seven.example"
audience = "https://gateway.example"
jwks = "https://id.seven.example/jwks"
algorithms = ["RS256", "ES256"]
push = "https://push.seven.example/interop"
token_life = "30m"
enlist_hosts = ["seven.gateway.example"]

[partner.quotas]
sessions = 10
"#;

    fn read(text: &str) -> Result<Partners, String> {
        read_under(text, &Policy::production())
    }

    fn read_under(text: &str, policy: &Policy) -> Result<Partners, String> {
        let read = partners(Path::new("partners.toml"), text, policy);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn reads_a_full_record() {
        let all = read(GOOD).unwrap();
        let record = all.by_number.values().next().unwrap();
        assert_eq!(record.quotas.sessions, 10);
        assert_eq!(record.quotas.bundles_per_minute, 6000);
        assert_eq!(record.token_type.text(), "entente+jwt");
        assert_eq!(record.algorithms.len(), 2);
        assert!(record.media.is_none());
        assert!(read("").unwrap().by_number.is_empty());
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (from, to, starts) in [
            (
                "number = 7",
                "number = 0",
                "partners.toml:2: `number`: a number is",
            ),
            (
                "number = 7",
                "number = \"7\"",
                "partners.toml:2: `number`: invalid type",
            ),
            (
                "kind = \"partner\"",
                "kind = \"friend\"",
                "partners.toml:4: `kind`: unknown variant",
            ),
            (
                "\"https://id.seven.example/jwks\"",
                "\"http://id.seven.example\"",
                "partners.toml:8: `jwks`: ",
            ),
            (
                "\"https://id.seven.example/jwks\"",
                "\"https://a@b/\"",
                "partners.toml:8: `jwks`: ",
            ),
            (
                "\"https://id.seven.example/jwks\"",
                "\"https://b/#a\"",
                "partners.toml:8: `jwks`: ",
            ),
            (
                "[\"RS256\", \"ES256\"]",
                "[\"HS256\"]",
                "partners.toml:9: `algorithms`: unknown variant",
            ),
            (
                "[\"RS256\", \"ES256\"]",
                "[]",
                "partners.toml:9: `algorithms`: at least one",
            ),
            (
                "push =",
                "pull =",
                "partners.toml:10: `pull`: unknown field",
            ),
            (
                "\"30m\"",
                "\"2h\"",
                "partners.toml:11: `token_life`: a token lives",
            ),
            (
                "seven.gateway.example\"]",
                "Seven:443\"]",
                "partners.toml:12: `enlist_hosts`: a host name",
            ),
            (
                "sessions = 10",
                "sessions = -1",
                "partners.toml:15: `sessions`: invalid value",
            ),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let error = read(&text).unwrap_err();
            assert!(error.starts_with(starts), "{error}");
        }
    }

    #[test]
    fn loopback_is_for_development() {
        let text = GOOD.replace(
            "https://id.seven.example/jwks",
            "http://127.0.0.1:8080/jwks",
        );
        assert!(read(&text).is_err());
        assert!(read_under(&text, &Policy::development()).is_ok());
    }

    /// T51: two records may not share number, host or issuer.
    #[test]
    fn nothing_is_claimed_twice() {
        let twice = |number: &str, host: &str, issuer: &str| {
            let other = GOOD
                .replace("number = 7", number)
                .replace("seven.gateway.example", host)
                .replace("https://id.seven.example\"", issuer);
            read(&format!("{GOOD}{other}"))
        };
        let nine = "https://id.nine.example\"";
        assert!(twice("number = 9", "nine.gateway.example", nine).is_ok());
        for refused in [
            twice("number = 7", "nine.gateway.example", nine),
            twice("number = 9", "seven.gateway.example", nine),
            twice(
                "number = 9",
                "nine.gateway.example",
                "https://id.seven.example\"",
            ),
        ] {
            assert!(refused.unwrap_err().contains("also claimed"));
        }
    }
}
