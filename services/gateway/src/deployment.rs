//! What is fixed when a deployment is created: the number of shards and the key of the placement.
//!
//! Kept beside the log, for it belongs to it: with another placement every account would be looked
//! for in the wrong shard, so a start that does not match is refused.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::{Placement, random_array};
use serde::{Deserialize, Serialize};

use crate::config::Storage;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    shards: u32,
    placement_key: String,
}

/// Why a deployment is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The file cannot be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not what it was.
    #[error("{0} is damaged: restore it from a copy")]
    Malformed(String),
    /// The configuration has another number of shards.
    #[error("storage.shards is {wanted}, but the deployment was created with {found}")]
    Shards {
        /// What the configuration says.
        wanted: u32,
        /// What the deployment has.
        found: u32,
    },
}

/// Reads the placement of a deployment, or creates it with the first start.
///
/// # Errors
/// [`DeploymentError`].
pub fn placement(storage: &Storage) -> Result<Placement, DeploymentError> {
    let Some(folder) = storage.log.strip_prefix("file:") else {
        return Ok(Placement::new(storage.shards, &random_array()));
    };
    let path = Path::new(folder).join("deployment.toml");
    let name = path.display().to_string();
    let io = |source| DeploymentError::Io {
        file: name.clone(),
        source,
    };
    let malformed = || DeploymentError::Malformed(name.clone());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create(&path, storage.shards).map_err(io)?
        }
        Err(error) => return Err(io(error)),
    };
    let file: File = toml::from_str(&text).map_err(|_| malformed())?;
    if file.shards != storage.shards {
        return Err(DeploymentError::Shards {
            wanted: storage.shards,
            found: file.shards,
        });
    }
    let key = STANDARD.decode(&file.placement_key).ok();
    let key: Option<[u8; 16]> = key.and_then(|key| key.try_into().ok());
    Ok(Placement::new(file.shards, &key.ok_or_else(malformed)?))
}

/// Writes the file so that it is there whole or not at all.
fn create(path: &Path, shards: u32) -> std::io::Result<String> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    crate::backends::private_folder(&folder)?;
    let key = STANDARD.encode(random_array::<16>());
    let text = format!("shards = {shards}\nplacement_key = \"{key}\"\n");
    let draft = path.with_extension("new");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(&folder)?.sync_all()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use entente_core::{AccountId, PartnerId};

    #[test]
    fn another_number_of_shards_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = format!("file:{}", folder.path().display());
        let storage = Storage {
            log,
            shards: 4,
            ..Storage::default()
        };
        let account = AccountId::new(PartnerId::new(1).unwrap(), 99);
        let first = placement(&storage).unwrap().of_account(account);
        assert_eq!(placement(&storage).unwrap().of_account(account), first);
        let other = Storage {
            shards: 5,
            ..storage
        };
        let refused = placement(&other);
        assert!(matches!(
            refused,
            Err(DeploymentError::Shards {
                wanted: 5,
                found: 4
            })
        ));
    }
}
