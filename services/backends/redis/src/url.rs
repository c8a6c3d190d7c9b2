//! The URL of a table in Redis: `redis://host:port/prefix?user=entente&password_file=/etc/…`.
//!
//! `rediss://` encrypts; `redis-cluster://host:port,host:port/prefix` and `rediss-cluster://` name
//! some nodes of a cluster. Parameters: `user`, `password_file`, `ca`, `answer`, `connect`, `calls`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use entente_core::Span;

use crate::settings::{Node, Settings, SettingsError};

/// Bytes of a prefix: keys have a bound of their own, and this comes before each.
const MAX_PREFIX: usize = 64;

type Parameters = BTreeMap<String, String>;

impl Settings {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`SettingsError`] names what is wrong, and shows nothing that is secret.
    pub fn from_url(url: &str) -> Result<Self, SettingsError> {
        let (scheme, rest) = url.split_once("://").ok_or(SettingsError::Scheme)?;
        let (tls, cluster) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis-cluster" => (false, true),
            "rediss-cluster" => (true, true),
            _ => return Err(SettingsError::Scheme),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (nodes, prefix) = place.split_once('/').unwrap_or((place, ""));
        if nodes.contains('@') {
            return Err(SettingsError::Credentials);
        }
        let nodes: Vec<_> = nodes.split(',').map(node).collect::<Result<_, _>>()?;
        if nodes.len() > 1 && !cluster {
            return Err(SettingsError::Several);
        }
        let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.chars().all(inside) {
            return Err(SettingsError::Prefix);
        }
        let mut given = parameters(query)?;
        let mut settings = Self::new(nodes, prefix);
        (settings.tls, settings.cluster) = (tls, cluster);
        settings.user = given.remove("user");
        settings.password_file = path(&mut given, "password_file")?;
        settings.ca = path(&mut given, "ca")?;
        if settings.ca.is_some() && !tls {
            return Err(SettingsError::NoTls);
        }
        span(&mut given, "answer", &mut settings.answer)?;
        span(&mut given, "connect", &mut settings.connect)?;
        if let Some(text) = given.remove("calls") {
            let calls = text.parse().ok().filter(|calls| *calls > 0);
            settings.calls = calls.ok_or(SettingsError::Value {
                name: "calls",
                wanted: "a whole number above 0",
            })?;
        }
        match given.pop_first() {
            Some((name, _)) => Err(SettingsError::Unknown(name)),
            None => Ok(settings),
        }
    }
}

fn node(text: &str) -> Result<Node, SettingsError> {
    let wrong = || SettingsError::Node(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    let inside = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let good = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(inside),
    };
    match port.parse() {
        Ok(port) if good && port != 0 => Ok(Node {
            host: host.to_owned(),
            port,
        }),
        _ => Err(wrong()),
    }
}

fn parameters(query: &str) -> Result<Parameters, SettingsError> {
    let mut given = Parameters::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let name = name.into_owned();
        if given.insert(name.clone(), value.into_owned()).is_some() {
            return Err(SettingsError::Unknown(name));
        }
    }
    Ok(given)
}

fn path(given: &mut Parameters, name: &'static str) -> Result<Option<PathBuf>, SettingsError> {
    match given.remove(name) {
        None => Ok(None),
        Some(text) if Path::new(&text).is_absolute() => Ok(Some(text.into())),
        Some(_) => Err(SettingsError::Value {
            name,
            wanted: "an absolute path",
        }),
    }
}

fn span(given: &mut Parameters, name: &'static str, into: &mut Span) -> Result<(), SettingsError> {
    let Some(text) = given.remove(name) else {
        return Ok(());
    };
    match text.parse::<Span>() {
        Ok(span) if !span.get().is_zero() => {
            *into = span;
            Ok(())
        }
        _ => Err(SettingsError::Value {
            name,
            wanted: "a time such as `250ms`",
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_url_says_where_how_and_how_long() {
        let url = "rediss-cluster://a.example:6379,[::1]:6380/one?user=gate\
                   &password_file=/run/secret&ca=/etc/ca.pem&answer=40ms&calls=9";
        let settings = Settings::from_url(url).unwrap();
        let nodes: Vec<_> = settings
            .nodes
            .iter()
            .map(|node| (&*node.host, node.port))
            .collect();
        assert_eq!(nodes, [("a.example", 6379), ("::1", 6380)]);
        assert!(settings.tls && settings.cluster);
        assert_eq!(settings.prefix, "one");
        assert_eq!(settings.user.as_deref(), Some("gate"));
        assert_eq!(settings.answer.get(), Duration::from_millis(40));
        assert_eq!(settings.connect.get(), Duration::from_secs(1));
        assert_eq!(settings.calls, 9);
    }

    #[test]
    fn what_is_wrong_is_named() {
        use SettingsError::{Credentials, NoTls, Node, Prefix, Scheme, Several, Unknown};
        let cases = [
            ("memory:", Scheme),
            ("http://a:1/p", Scheme),
            ("redis://a/p", Node("a".into())),
            ("redis://a:0/p", Node("a:0".into())),
            ("redis://a b:1/p", Node("a b:1".into())),
            ("redis://[::x]:1/p", Node("[::x]:1".into())),
            ("redis://a:1", Prefix),
            ("redis://a:1/p{x}", Prefix),
            ("redis://a:1,b:1/p", Several),
            ("redis://me:secret@a:1/p", Credentials),
            ("redis://a:1/p?db=2", Unknown("db".into())),
            ("redis://a:1/p?user=a&user=b", Unknown("user".into())),
            ("redis://a:1/p?ca=/x", NoTls),
        ];
        for (url, wrong) in cases {
            assert_eq!(Settings::from_url(url), Err(wrong), "{url}");
        }
        for url in [
            "redis://a:1/p?answer=0s",
            "redis://a:1/p?calls=0",
            "redis://a:1/p?password_file=x",
        ] {
            let wrong = Settings::from_url(url).unwrap_err();
            assert!(matches!(wrong, SettingsError::Value { .. }), "{url}");
        }
        let secret = Settings::from_url("redis://me:secret@a:1/p").unwrap_err();
        assert!(!secret.to_string().contains("secret"));
    }
}
