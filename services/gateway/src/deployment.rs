//! What is fixed when a deployment is created: the number of shards and the key of the placement.
//!
//! Kept beside the log, for it belongs to it: with another placement every account would be looked
//! for in the wrong shard, so a start that does not match is refused. A log in a cluster has nothing
//! beside it. There the key of the placement comes from the key that seals records, without which the
//! log cannot be read anyway, and the number of shards is held against the partitions of the topic.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::{Placement, SealKey, random_array};
use serde::{Deserialize, Serialize};

use crate::backends;
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
    /// The secrets have another key: every account would be looked for elsewhere.
    #[error("{0} has another placement_key than the secrets")]
    Key(String),
    /// The log is there and the file is not: another key would look for every account elsewhere.
    #[error("{0} is missing beside a log that has records: restore it from a copy")]
    Missing(String),
    /// The configuration has another number of shards.
    #[error("storage.shards is {wanted}, but the deployment in {folder} was created with {found}")]
    Shards {
        /// Where the deployment lies.
        folder: String,
        /// What the configuration says.
        wanted: u32,
        /// What the deployment has.
        found: u32,
    },
}

/// What the key of a placement is drawn from, beside the key that seals.
const PLACEMENT_LABEL: &[u8] = b"entente placement\0";

/// The placement as a process has it that keeps no log of its own: `key` is what the nodes of the
/// deployment share.
pub fn told(storage: &Storage, seal: &SealKey, key: &[u8; 16]) -> Placement {
    if backends::is_remote(storage) {
        return Placement::new(storage.shards, &seal.tag(PLACEMENT_LABEL));
    }
    Placement::new(storage.shards, key)
}

/// Reads the placement of a deployment, or creates it with the first start. `key` is what the nodes
/// of the deployment share; without one, a first start draws its own.
///
/// # Errors
/// [`DeploymentError`].
pub fn placement(
    storage: &Storage,
    seal: &SealKey,
    key: Option<[u8; 16]>,
) -> Result<Placement, DeploymentError> {
    let drawn = || key.unwrap_or_else(random_array);
    if backends::is_remote(storage) {
        return Ok(told(storage, seal, &drawn()));
    }
    let Some(folder) = storage.log.strip_prefix("file:") else {
        return Ok(Placement::new(storage.shards, &drawn()));
    };
    let folder = Path::new(folder);
    if let Some(found) = existing(folder, storage.shards)? {
        return match key {
            Some(key) if key != found => {
                Err(DeploymentError::Key(file_of(folder).display().to_string()))
            }
            _ => Ok(Placement::new(storage.shards, &found)),
        };
    }
    let key = drawn();
    create(&file_of(folder), storage.shards, &key).map_err(|source| io(folder, source))?;
    Ok(Placement::new(storage.shards, &key))
}

/// Compares a configuration with the deployment that lies in its folder, if there is one. Nothing
/// is created, locked or opened for writing, so a node may be running there.
///
/// # Errors
/// [`DeploymentError`] says what differs.
pub fn compare(storage: &Storage) -> Result<(), DeploymentError> {
    let folder = storage.log.strip_prefix("file:").map(Path::new);
    folder
        .map_or(Ok(None), |folder| existing(folder, storage.shards))
        .map(drop)
}

fn file_of(folder: &Path) -> PathBuf {
    folder.join("deployment.toml")
}

fn io(folder: &Path, source: std::io::Error) -> DeploymentError {
    DeploymentError::Io {
        file: file_of(folder).display().to_string(),
        source,
    }
}

/// The key of a deployment that was created before.
fn existing(folder: &Path, shards: u32) -> Result<Option<[u8; 16]>, DeploymentError> {
    match std::fs::read_to_string(file_of(folder)) {
        Ok(text) => parse(folder, &text, shards).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // The file is written before the log: a log without it has lost it.
            let log = std::fs::read_dir(backends::input(folder));
            if log.is_ok_and(|mut files| files.next().is_some()) {
                let name = file_of(folder).display().to_string();
                return Err(DeploymentError::Missing(name));
            }
            Ok(None)
        }
        Err(error) => Err(io(folder, error)),
    }
}

fn parse(folder: &Path, text: &str, shards: u32) -> Result<[u8; 16], DeploymentError> {
    let malformed = || DeploymentError::Malformed(file_of(folder).display().to_string());
    let file: File = toml::from_str(text).map_err(|_| malformed())?;
    if file.shards != shards {
        return Err(DeploymentError::Shards {
            folder: folder.display().to_string(),
            wanted: shards,
            found: file.shards,
        });
    }
    let key = STANDARD.decode(&file.placement_key).ok();
    key.and_then(|key| key.try_into().ok())
        .ok_or_else(malformed)
}

/// Writes the file so that it is there whole or not at all.
fn create(path: &Path, shards: u32, key: &[u8; 16]) -> std::io::Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    backends::private_folder(&folder)?;
    let key = STANDARD.encode(key);
    let text = format!("shards = {shards}\nplacement_key = \"{key}\"\n");
    let draft = path.with_extension("new");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(&folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Keeps;
    use entente_core::{AccountId, PartnerId};

    fn seal() -> SealKey {
        SealKey::new(&[1; 32])
    }

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
        let first = placement(&storage, &seal(), None)
            .unwrap()
            .of_account(account);
        assert_eq!(
            placement(&storage, &seal(), None)
                .unwrap()
                .of_account(account),
            first
        );
        let other = Storage {
            shards: 5,
            ..storage
        };
        let refused = placement(&other, &seal(), None);
        assert!(matches!(
            refused,
            Err(DeploymentError::Shards {
                wanted: 5,
                found: 4,
                ..
            })
        ));
    }

    fn storage(folder: &Path, shards: u32) -> Storage {
        Storage {
            log: format!("file:{}", folder.join("log").display()),
            state: format!("fjall:{}", folder.join("state").display()),
            shards,
            ..Storage::default()
        }
    }

    fn files(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                // What the running node fills beforehand changes by itself, and its folder with it.
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else if entry.path().extension().is_none_or(|end| end != "tmp") {
                    let changed = metadata.modified().unwrap();
                    found.push((entry.path(), changed, metadata.len()));
                }
            }
        }
        found.sort();
        found
    }

    /// Nodes of one deployment place accounts alike, without a file between them.
    #[test]
    fn a_log_in_a_cluster_places_by_the_sealing_key() {
        let storage = Storage {
            log: "kafka://b:1/p".to_owned(),
            shards: 64,
            ..Storage::default()
        };
        let place = |key: u8| {
            let placement = placement(&storage, &SealKey::new(&[key; 32]), None).unwrap();
            let account = |number| AccountId::new(PartnerId::new(1).unwrap(), number);
            (0..64)
                .map(|n| placement.of_account(account(n)))
                .collect::<Vec<_>>()
        };
        assert_eq!(place(1), place(1));
        assert_ne!(place(1), place(2));
    }

    #[test]
    fn another_key_is_refused_and_the_shared_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path(), 4);
        let account = AccountId::new(PartnerId::new(1).unwrap(), 99);
        let first = placement(&storage, &seal(), Some([7; 16])).unwrap();
        let shared = Placement::new(4, &[7; 16]);
        assert_eq!(first.of_account(account), shared.of_account(account));
        placement(&storage, &seal(), None).unwrap();
        let refused = placement(&storage, &seal(), Some([8; 16]));
        assert!(matches!(refused, Err(DeploymentError::Key(_))));
    }

    #[test]
    fn a_comparison_creates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        compare(&storage(folder.path(), 4)).unwrap();
        assert!(files(folder.path()).is_empty());
        compare(&Storage {
            log: "memory:".to_owned(),
            ..Storage::default()
        })
        .unwrap();
    }

    #[tokio::test]
    async fn a_comparison_beside_a_running_node_says_what_differs_and_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let good = storage(folder.path(), 4);
        placement(&good, &seal(), None).unwrap();
        let logs = backends::logs(&good, &Keeps::all(4), &seal())
            .await
            .unwrap();
        let before = files(folder.path());
        compare(&good).unwrap();
        let said = compare(&storage(folder.path(), 8)).unwrap_err().to_string();
        assert!(said.starts_with("storage.shards is 8, but the deployment in "));
        assert!(said.ends_with(" was created with 4"), "{said}");
        assert_eq!(files(folder.path()), before);
        logs.close().await;
    }

    #[tokio::test]
    async fn a_log_without_its_placement_gets_no_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path(), 4);
        placement(&storage, &seal(), None).unwrap();
        backends::logs(&storage, &Keeps::all(4), &seal())
            .await
            .unwrap()
            .close()
            .await;
        let file = file_of(&folder.path().join("log"));
        std::fs::remove_file(&file).unwrap();
        for refused in [
            compare(&storage).err(),
            placement(&storage, &seal(), None).err(),
        ] {
            assert!(matches!(refused, Some(DeploymentError::Missing(_))));
        }
        assert!(!file.exists());
    }
}
