//! The file of secrets: what every node of a deployment shares and nobody else may read.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::{SealKey, Secret, random_array};
use serde::Deserialize;

/// The secrets of a deployment.
#[derive(Debug)]
pub struct Secrets {
    /// Under which envelopes and commands are sealed.
    pub seal: SealKey,
    /// From which tokens for quick logins are derived.
    pub fast: Secret<[u8; 32]>,
    /// From which the shard of an account follows; none in files of before there were nodes.
    pub placement: Option<[u8; 16]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    seal_key: String,
    fast_key: String,
    placement_key: Option<String>,
}

/// Why the secrets are not taken.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A key is missing, or not so many bytes in base64.
    #[error("{0}: seal_key and fast_key must be 32 bytes in base64, and placement_key 16")]
    Malformed(String),
}

impl Secrets {
    /// Reads the file. Who else may read it is looked at by [`crate::keyfiles`].
    ///
    /// # Errors
    /// [`SecretsError`]; the text of the file is never shown.
    pub fn read(path: &Path) -> Result<Self, SecretsError> {
        let file = || path.display().to_string();
        let io = |source| SecretsError::Io {
            file: file(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let malformed = || SecretsError::Malformed(file());
        let read: File = toml::from_str(&text).map_err(|_| malformed())?;
        let placement = read.placement_key.as_deref().map(key);
        let placement = placement.map(|key| key.ok_or_else(malformed)).transpose()?;
        Ok(Self {
            placement,
            seal: SealKey::new(&key(&read.seal_key).ok_or_else(malformed)?),
            fast: Secret::new(key(&read.fast_key).ok_or_else(malformed)?),
        })
    }

    /// Draws new secrets and writes them where no file is yet.
    ///
    /// # Errors
    /// [`SecretsError::Io`], also if the file exists.
    pub fn create(path: &Path) -> Result<(), SecretsError> {
        let io = |source| SecretsError::Io {
            file: path.display().to_string(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let draw = || STANDARD.encode(random_array::<32>());
        let place = STANDARD.encode(random_array::<16>());
        write!(
            file,
            "# Every node of the deployment needs the same values. Keep them from everybody else.\n\
             # Another seal_key makes the log unreadable; another placement_key is refused.\n\
             seal_key = \"{}\"\nfast_key = \"{}\"\nplacement_key = \"{place}\"\n",
            draw(),
            draw()
        )
        .and_then(|()| file.sync_all())
        .map_err(io)
    }
}

fn key<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        Secrets::create(&path).unwrap();
        Secrets::read(&path).unwrap();
        assert!(matches!(
            Secrets::create(&path),
            Err(SecretsError::Io { .. })
        ));
        assert_eq!(crate::keyfiles::look(&path).unwrap(), None);
    }
}
