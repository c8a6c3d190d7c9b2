//! The URL of a log in a cluster:
//! `kafka://host:port,host:port/prefix?replicas=3&min_insync=2&linger=1ms`.
//!
//! `kafka+tls://` encrypts. Parameters: `replicas`, `min_insync`, `producers`, `linger`, `delivery`,
//! `queue`, `record`, `session`, `compression` (`none`, `zstd`), `ca`, `certificate`, `key`, `sasl` (`plain`,
//! `scram-sha-256`, `scram-sha-512`), `user`, `password_file`, and `development=on`, without which
//! fewer than three copies are refused. Files are named by absolute paths.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::settings::{
    Broker, Compression, Identity, Mechanism, Sasl, Settings, SettingsError, Tls,
};

type Parameters = BTreeMap<String, String>;

impl Settings {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`SettingsError`] names what is wrong. What is secret is in files, so it cannot be shown.
    pub fn from_url(url: &str) -> Result<Self, SettingsError> {
        let (encrypted, rest) = match url.split_once("://") {
            Some(("kafka", rest)) => (false, rest),
            Some(("kafka+tls", rest)) => (true, rest),
            _ => return Err(SettingsError::Scheme),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (brokers, prefix) = place.split_once('/').unwrap_or((place, ""));
        let brokers = brokers.split(',').map(broker).collect::<Result<_, _>>()?;
        let mut given = parameters(query)?;
        let development = on(&mut given, "development")?;
        let mut settings = Self::new(brokers, prefix.to_owned());
        if development {
            settings = settings.development();
        }
        if encrypted {
            settings.tls = Some(tls(&mut given)?);
        }
        settings.sasl = sasl(&mut given)?;
        let number = "a whole number";
        let size = "a size such as `1MiB`";
        let span = "a time such as `5ms`";
        take(&mut given, "replicas", number, &mut settings.replicas)?;
        take(&mut given, "min_insync", number, &mut settings.min_insync)?;
        take(&mut given, "producers", number, &mut settings.producers)?;
        take(&mut given, "linger", span, &mut settings.linger)?;
        take(&mut given, "delivery", span, &mut settings.delivery)?;
        take(&mut given, "session", span, &mut settings.session)?;
        take(&mut given, "queue", size, &mut settings.queue)?;
        take(&mut given, "record", size, &mut settings.record)?;
        take(
            &mut given,
            "compression",
            "`none` or `zstd`",
            &mut settings.compression,
        )?;
        if let Some((name, _)) = given.pop_first() {
            return Err(SettingsError::Unknown(name));
        }
        settings.check(development)?;
        Ok(settings)
    }
}

fn broker(text: &str) -> Result<Broker, SettingsError> {
    let wrong = || SettingsError::Broker(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    let inside = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let address = bracketed.is_some() && host.parse::<std::net::Ipv6Addr>().is_ok();
    if !address && (bracketed.is_some() || host.is_empty() || !host.chars().all(inside)) {
        return Err(wrong());
    }
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(wrong)?;
    Ok(Broker {
        host: host.to_owned(),
        port,
    })
}

fn parameters(query: &str) -> Result<Parameters, SettingsError> {
    let mut given = Parameters::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if given
            .insert(name.clone().into_owned(), value.into_owned())
            .is_some()
        {
            return Err(SettingsError::Unknown(name.into_owned()));
        }
    }
    Ok(given)
}

fn take<T: FromStr>(
    given: &mut Parameters,
    name: &'static str,
    wanted: &'static str,
    into: &mut T,
) -> Result<(), SettingsError> {
    if let Some(text) = given.remove(name) {
        *into = text
            .parse()
            .map_err(|_| SettingsError::Value { name, wanted })?;
    }
    Ok(())
}

fn on(given: &mut Parameters, name: &'static str) -> Result<bool, SettingsError> {
    match given.remove(name).as_deref() {
        None | Some("off") => Ok(false),
        Some("on") => Ok(true),
        Some(_) => Err(SettingsError::Value {
            name,
            wanted: "`on` or `off`",
        }),
    }
}

fn file(given: &mut Parameters, name: &'static str) -> Result<Option<PathBuf>, SettingsError> {
    let path = given.remove(name).map(PathBuf::from);
    if path.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(SettingsError::Path(name));
    }
    Ok(path)
}

fn tls(given: &mut Parameters) -> Result<Tls, SettingsError> {
    let ca = file(given, "ca")?;
    let identity = match (file(given, "certificate")?, file(given, "key")?) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        _ => {
            return Err(SettingsError::Value {
                name: "certificate",
                wanted: "there with `key`",
            });
        }
    };
    Ok(Tls { ca, identity })
}

fn sasl(given: &mut Parameters) -> Result<Option<Sasl>, SettingsError> {
    let name = "sasl";
    let Some(mechanism) = given.remove(name) else {
        return Ok(None);
    };
    let wanted = "`plain`, `scram-sha-256` or `scram-sha-512`";
    let mechanism = mechanism
        .parse()
        .map_err(|()| SettingsError::Value { name, wanted })?;
    let user = given.remove("user").filter(|user| !user.is_empty());
    match (user, file(given, "password_file")?) {
        (Some(user), Some(password_file)) => Ok(Some(Sasl {
            mechanism,
            user,
            password_file,
        })),
        _ => Err(SettingsError::Value {
            name,
            wanted: "there with `user` and `password_file`",
        }),
    }
}

impl FromStr for Mechanism {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "plain" => Ok(Self::Plain),
            "scram-sha-256" => Ok(Self::ScramSha256),
            "scram-sha-512" => Ok(Self::ScramSha512),
            _ => Err(()),
        }
    }
}

impl FromStr for Compression {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "zstd" => Ok(Self::Zstd),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use entente_core::{ByteSize, Span};

    use super::*;

    #[test]
    fn brokers_and_a_prefix_are_enough() {
        let settings = Settings::from_url("kafka://a.example:9092,[::1]:9093/entente").unwrap();
        assert_eq!(settings.bootstrap(), "a.example:9092,[::1]:9093");
        assert_eq!(settings.prefix, "entente");
        assert_eq!((settings.replicas, settings.min_insync), (3, 2));
        assert_eq!((settings.tls, settings.sasl), (None, None));
    }

    #[test]
    fn every_parameter_is_taken() {
        let url = "kafka://b:1/p?replicas=5&min_insync=3&producers=4&linger=7ms&delivery=9s\
                   &queue=64MiB&record=2MiB&compression=zstd";
        let settings = Settings::from_url(url).unwrap();
        assert_eq!(
            (settings.replicas, settings.min_insync, settings.producers),
            (5, 3, 4)
        );
        assert_eq!(settings.linger.get().as_millis(), 7);
        assert_eq!(settings.delivery, Span::secs(9));
        assert_eq!(settings.queue, ByteSize::kib(64 * 1024));
        assert_eq!(settings.record, ByteSize::kib(2048));
        assert_eq!(settings.compression, Compression::Zstd);
    }

    /// Whether the program can encrypt is a part of the check, so this runs where it can or need not.
    #[cfg(any(feature = "tls", not(feature = "client")))]
    #[test]
    fn keys_and_passwords_are_in_files() {
        use std::path::Path;

        let url = "kafka+tls://b:1/p?ca=/etc/ca.pem&certificate=/etc/me.pem&key=/etc/me.key\
                   &sasl=scram-sha-512&user=en%26tente&password_file=%2Frun%2Fpassword";
        let settings = Settings::from_url(url).unwrap();
        let files = settings.key_files();
        assert_eq!(
            files,
            [Path::new("/etc/me.key"), Path::new("/run/password")]
        );
        let sasl = settings.sasl.unwrap();
        assert_eq!(sasl.mechanism, Mechanism::ScramSha512);
        assert_eq!(sasl.user, "en&tente");
        assert_eq!(settings.tls.unwrap().ca.unwrap(), Path::new("/etc/ca.pem"));
    }

    /// T147: fewer copies than survive a machine are refused unless development is declared.
    #[test]
    fn few_copies_are_for_development() {
        for (query, named) in [
            ("replicas=2", "replicas"),
            ("min_insync=1", "min_insync"),
            ("min_insync=3", "min_insync"),
            ("replicas=1&min_insync=1", "replicas"),
        ] {
            let refused = Settings::from_url(&format!("kafka://b:1/p?{query}")).unwrap_err();
            assert!(
                matches!(refused, SettingsError::Value { name, .. } if name == named),
                "{query}"
            );
        }
        let declared = Settings::from_url("kafka://b:1/p?development=on").unwrap();
        assert_eq!((declared.replicas, declared.min_insync), (1, 1));
        Settings::from_url("kafka://b:1/p?development=on&replicas=3&min_insync=2").unwrap();
        assert!(Settings::from_url("kafka://b:1/p?development=on&min_insync=2").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("redis://b:1/p", "kafka://"),
            ("kafka://b/p", "`b` is not `host:port`"),
            ("kafka://b:0/p", "`b:0` is not"),
            ("kafka://a:1,/p", "`` is not"),
            ("kafka://u@b:1/p", "`u@b:1` is not"),
            ("kafka://b:1", "`` is not the begin"),
            ("kafka://b:1/A", "`A` is not the begin"),
            ("kafka://b:1/a/b", "`a/b` is not the begin"),
            ("kafka://b:1/p?acks=1", "`acks` is no parameter"),
            (
                "kafka://b:1/p?linger=1ms&linger=2ms",
                "`linger` is no parameter, or",
            ),
            ("kafka://b:1/p?linger=1", "`linger` must be a time"),
            ("kafka://b:1/p?ca=x", "`ca` is no parameter"),
            (
                "kafka://b:1/p?development=yes",
                "`development` must be `on`",
            ),
            ("kafka://b:1/p?producers=0", "`producers` must be 1 to 16"),
            ("kafka://b:1/p?session=1ms", "`session` must be 1s to 5m"),
            ("kafka://b:1/p?queue=1MiB", "`queue` must be 4 times"),
            ("kafka://b:1/p?record=1KiB", "`record` must be 512KiB"),
            (
                "kafka+tls://b:1/p?ca=x",
                "`ca` must be a file's absolute path",
            ),
            (
                "kafka+tls://b:1/p?key=/x",
                "`certificate` must be there with `key`",
            ),
            (
                "kafka://b:1/p?sasl=plain&user=u",
                "`sasl` must be there with",
            ),
            ("kafka://b:1/p?sasl=none", "`sasl` must be `plain`"),
            (
                "kafka://b:1/p?sasl=plain&user=u&password_file=/f",
                "`sasl` must be used with",
            ),
        ];
        for (url, wanted) in cases {
            let error = Settings::from_url(url).unwrap_err().to_string();
            assert!(error.contains(wanted), "{url}: {error}");
        }
    }
}
