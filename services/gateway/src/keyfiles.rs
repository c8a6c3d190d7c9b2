//! Who may read the files that hold keys: the owner, and with a warning its group.
//!
//! In: the paths of a configuration. Out: nothing, a warning, or a refusal, each with file and mode.
//! A group that may read is what Kubernetes makes of a mounted secret with `fsGroup` (mode 0440),
//! so it is told and not refused; anything that lets a group write, or everybody in, is refused.
//! Links are followed: what counts is the file that is read.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use entente_mesh::Role;

use crate::backends;
use crate::cluster::Place;
use crate::config::Config;

/// What nobody but the owner may have: all that is not "the owner, or the group by reading".
const REFUSED: u32 = 0o037;
/// What is told.
const GROUP_READS: u32 = 0o040;

/// A file of keys that is not private.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be looked at.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others have access.
    #[error("{file} has mode {mode:04o}, which lets other users at a key: chmod 600 {file}")]
    Open {
        /// The file.
        file: String,
        /// Its permissions.
        mode: u32,
    },
}

/// A file of keys that its group may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReads {
    /// The file.
    pub file: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

impl fmt::Display for GroupReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, mode) = (self.file.display(), self.mode);
        write!(f, "{file} has mode {mode:04o}: its group may read a key")
    }
}

/// Looks at every file of keys that a process reads: with a place, what its roles need.
///
/// # Errors
/// [`KeyFileError`] of the first that is not private.
pub fn check(config: &Config, place: Option<&Place>) -> Result<Vec<GroupReads>, KeyFileError> {
    let has = |role| place.is_none_or(|place| place.roles.contains(&role));
    let mut keys = vec![&config.secrets];
    if has(Role::Connection) || has(Role::Identity) {
        keys.push(&config.connection.tls.key);
    }
    if has(Role::Push) || has(Role::Identity) {
        keys.push(&config.push.key);
        keys.extend(&config.push.publish);
    }
    if let Some(mesh) = config.mesh.as_ref().filter(|_| place.is_some()) {
        keys.push(&mesh.key);
    }
    let mut told = Vec::new();
    let backends = backends::key_files(&config.storage);
    for file in keys.into_iter().chain(&backends) {
        told.extend(look(file)?);
    }
    Ok(told)
}

/// Looks at one file of keys.
///
/// # Errors
/// [`KeyFileError`] if it is not private.
pub fn look(file: &Path) -> Result<Option<GroupReads>, KeyFileError> {
    let name = || file.display().to_string();
    let metadata = std::fs::metadata(file).map_err(|source| KeyFileError::Io {
        file: name(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & REFUSED != 0 {
        return Err(KeyFileError::Open { file: name(), mode });
    }
    Ok((mode & GROUP_READS != 0).then(|| GroupReads {
        file: file.to_owned(),
        mode,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tls.key");
        std::fs::write(&file, "key").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    #[test]
    fn the_owner_alone_passes_and_the_group_is_told() {
        for mode in [0o600, 0o400] {
            let (_folder, file) = with_mode(mode);
            assert_eq!(look(&file).unwrap(), None, "{mode:o}");
        }
        for mode in [0o440, 0o640] {
            let (_folder, file) = with_mode(mode);
            let told = look(&file).unwrap().unwrap().to_string();
            assert!(told.contains("tls.key has mode 0"), "{told}");
            assert!(told.contains(&format!("{mode:04o}")), "{told}");
        }
    }

    #[test]
    fn whatever_lets_others_in_is_refused_with_file_and_mode() {
        for mode in [
            0o644, 0o604, 0o602, 0o601, 0o660, 0o620, 0o610, 0o666, 0o777,
        ] {
            let (_folder, file) = with_mode(mode);
            let error = look(&file).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to() {
        let (folder, file) = with_mode(0o644);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(matches!(look(&link), Err(KeyFileError::Open { .. })));
        assert!(matches!(
            look(&folder.path().join("none")),
            Err(KeyFileError::Io { .. })
        ));
    }
}
