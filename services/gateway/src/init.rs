//! `entente init`: everything that a first start needs, in one folder.
//!
//! A configuration, secrets, a development certificate authority with a certificate for the domain,
//! the key that signs wake-ups, and a file for partners. Nothing that exists is overwritten.

mod mesh;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

pub use self::mesh::{MeshInitError, MeshNode};
use crate::config::{Config, ConfigError};
use crate::secrets::{Secrets, SecretsError};

/// Shards of a new deployment.
const SHARDS: u32 = 8;
/// Life of the development certificates: they are for a first day, not for a deployment.
const CERTIFICATE_DAYS: i64 = 90;

/// What to write.
#[derive(Clone, Debug)]
pub struct Init {
    /// The folder; made if it is not there.
    pub folder: PathBuf,
    /// The deployment's DNS domain.
    pub domain: String,
    /// Address of the direct TLS listener.
    pub xmpp: SocketAddr,
    /// Address of the WebSocket listener.
    pub websocket: SocketAddr,
    /// Address of the HTTPS door.
    pub http: SocketAddr,
    /// Address of the admin port.
    pub admin: SocketAddr,
    /// Whether partners may be on this machine, without TLS.
    pub development: bool,
    /// The nodes, if roles are to be processes of their own.
    pub mesh: Vec<MeshNode>,
    /// The log of a cluster (`kafka://…`). Routers then share the shards.
    pub log: Option<String>,
    /// The table that nodes share (`redis://…`).
    pub table: Option<String>,
}

/// Why the folder was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A certificate cannot be made, mostly because the domain is not a DNS name.
    #[error("the certificate for the domain cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What was asked for makes no configuration, mostly because the domain is not a DNS name.
    #[error("nothing was written: {0}")]
    Config(#[from] ConfigError),
    /// A file cannot be written.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The key that signs wake-ups cannot be made.
    #[error("the key that signs wake-ups: {0}")]
    Key(#[from] entente_push::KeyError),
    /// The nodes cannot be set up.
    #[error(transparent)]
    Mesh(#[from] MeshInitError),
    /// The secrets cannot be written.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

impl Init {
    /// Writes the folder. Returns the paths, in the order in which they were written.
    ///
    /// # Errors
    /// [`InitError`] at the first file that exists or cannot be written; those before it stay.
    /// Nothing is written if the configuration would not be taken.
    pub fn write(&self) -> Result<Vec<PathBuf>, InitError> {
        let config = self.config();
        Config::from_text("entente.toml", &self.folder, &config)?;
        std::fs::create_dir_all(&self.folder).map_err(|source| self.failed(".", source))?;
        let issuer = issuer()?;
        let (certificate, key) = leaf(&issuer, &self.domain)?;
        let nodes = mesh::files(&self.mesh, &self.domain)?;
        if !nodes.is_empty() {
            let folder = self.folder.join("mesh");
            std::fs::create_dir_all(folder).map_err(|source| self.failed("mesh", source))?;
        }
        let mut written = Vec::new();
        let files = [
            ("entente.toml", 0o644, config),
            ("partners.toml", 0o644, PARTNERS.to_owned()),
            ("ca.crt", 0o644, issuer.pem()),
            ("tls.crt", 0o644, certificate),
            ("tls.key", 0o600, key),
        ];
        let files = files.map(|(name, mode, text)| (name.to_owned(), mode, text));
        for (name, mode, text) in files.into_iter().chain(nodes) {
            let path = self.folder.join(&name);
            create(&path, mode, &text).map_err(|source| self.failed(&name, source))?;
            written.push(path);
        }
        let push = self.folder.join("push-key.pem");
        entente_push::SigningKey::create(&push)?;
        written.push(push);
        let secrets = self.folder.join("secrets.toml");
        Secrets::create(&secrets)?;
        written.push(secrets);
        Ok(written)
    }

    fn failed(&self, name: &str, source: io::Error) -> InitError {
        InitError::File {
            file: self.folder.join(name).display().to_string(),
            source,
        }
    }

    fn config(&self) -> String {
        let Self {
            domain,
            xmpp,
            websocket,
            http,
            admin,
            development,
            ..
        } = self;
        let node = if self.mesh.is_empty() { "" } else { "{node}/" };
        // Quoted as JSON is, which TOML reads alike.
        let (log, state) = match &self.log {
            Some(log) => (format!("{log:?}"), "\"journal:\"".to_owned()),
            None => (
                format!("\"file:data/{node}log\""),
                format!("\"fjall:data/{node}state\""),
            ),
        };
        let table = self.table.as_deref().unwrap_or("memory:");
        let wakes = if self.log.is_some() { SHARDS } else { 1 };
        let listed = self.log.is_none().then_some(SHARDS);
        let mesh = mesh::section(&self.mesh, listed);
        format!(
            r#"# What stands behind the @ of every address here. Clients check the certificate against it.
domain = "{domain}"

[connection]
listen = ["{xmpp}"]             # XMPP over direct TLS
[connection.tls]
certificate = "tls.crt"         # both are read again when they change; a warning 30 days before the end
key = "tls.key"
[connection.websocket]
listen = ["{websocket}"]        # XMPP over WebSocket, TLS too

[http]
listen = "{http}"               # enlistment and the gateway's public keys

[admin]
bind = "{admin}"                # /healthz /readyz /metrics, POST /drain: for operators only

[storage]
log = {log}      # what must not be lost
state = {state}  # rows folded from the log
fsync = "always"                # an acknowledgement means that it is on disk
shards = {SHARDS}                      # fixed with the first start
wake_partitions = {wakes}             # of the wake-ups, which push nodes share; fixed too
table = {table:?}               # hints, which may be lost; nodes can share one in Redis

[identity]
partners = "partners.toml"      # read again on SIGHUP

[push]
issuer = "https://{domain}"     # `iss` of the tokens that partners check
key = "push-key.pem"            # signs them; its public half is at /.well-known/jwks

[egress]
development = {development}             # true: partners on loopback and without TLS. Never in a deployment

# [callers]                     # connections that are not logged in; closed beyond these bounds
# strangers = 10000             # together: the rest of the connections is for those who are
# per_address = 128             # of one IPv4 address or IPv6 /64
# burst = 512                   # of one, at once; then one in each interval
# interval = "20ms"
# exempt = ["127.0.0.0/8"]      # no bound for each address: load balancers that pass on none

# [drain]                       # how it ends after SIGTERM
# settle = "0s"                 # from "not ready" to the first closed connection
# budget = "10s"                # time over which clients are told to go
# see_other_host = "b.{domain}:5223"    # another gateway of this domain: clients are sent there

[log]
format = "human"                # or "json"
filter = "info,fjall=warn,lsm_tree=warn"
{mesh}"#
        )
    }
}

const PARTNERS: &str = r#"# One record a partner. A change is taken on SIGHUP; a record that is wrong is refused as a whole.
#
# [[partner]]
# number = 1                                  # first part of its users' internal ids
# name = "example"                            # for people
# kind = "partner"                            # or "host"
# state = "active"                            # onboarding, active, suspended, removed
# issuer = "https://partner.example"          # `iss` of its tokens
# audience = "https://gateway.example"        # `aud` of its tokens
# algorithms = ["EdDSA", "ES256"]             # and RS256
# jwks = "https://partner.example/.well-known/oauth/openid/jwks"
# push = "https://partner.example/interop"    # wake-ups go to PUSH/push
"#;

fn create(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn issuer() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Entente development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    for_some_days(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn leaf(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    domain: &str,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![domain.to_owned(), "localhost".to_owned()])?;
    params
        .subject_alt_names
        .push(rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params.distinguished_name = named(domain);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    for_some_days(&mut params);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((
        format!("{}{}", certificate.pem(), issuer.pem()),
        key.serialize_pem(),
    ))
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn for_some_days(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(CERTIFICATE_DAYS);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn init(folder: PathBuf, domain: &str) -> Init {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Init {
            folder,
            domain: domain.to_owned(),
            xmpp: local(5223),
            websocket: local(5443),
            http: local(8443),
            admin: local(9600),
            development: true,
            mesh: Vec::new(),
            log: None,
            table: None,
        }
    }

    #[test]
    fn what_would_not_be_taken_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        for domain in ["a\"b", "A b", "", "x\"\n[log]\n"] {
            let init = init(folder.path().join("node"), domain);
            assert!(
                matches!(init.write(), Err(InitError::Config(_))),
                "{domain:?}"
            );
            assert!(!init.folder.exists(), "{domain:?}");
        }
    }

    #[test]
    fn only_the_owner_reads_keys_and_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let init = init(folder.path().join("node"), "interop.localhost");
        let written = init.write().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for secret in ["tls.key", "push-key.pem", "secrets.toml"] {
            let path = init.folder.join(secret);
            assert!(written.contains(&path));
            assert_eq!(mode(&path), 0o600, "{secret}");
        }
    }

    #[test]
    fn what_is_written_is_taken_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let init = init(folder.path().join("node"), "interop.localhost");
        assert_eq!(init.write().unwrap().len(), 7);
        let config = Config::read(&init.folder.join("entente.toml")).unwrap();
        assert_eq!(config.connection.listen, [init.xmpp]);
        assert!(config.egress.development);
        assert!(matches!(init.write(), Err(InitError::File { .. })));
    }
}
