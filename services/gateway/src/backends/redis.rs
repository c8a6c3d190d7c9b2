//! The table of hints in Redis: its URL, and what is said of it before it is needed.

use std::path::PathBuf;
use std::sync::Arc;

use entente_redis::{RedisTable, Settings};
use entente_table::Table;

use super::BackendError;

/// Whether the URL can be used.
pub(super) fn known(url: &str) -> Result<(), String> {
    Settings::from_url(url)
        .map(drop)
        .map_err(|error| format!("storage.table: {error}"))
}

/// The file with the password, if the URL names one.
pub(super) fn key_files(url: &str) -> Option<PathBuf> {
    Settings::from_url(url).ok()?.password_file
}

pub(super) fn table(url: &str) -> Result<Arc<dyn Table>, BackendError> {
    Ok(Arc::new(open(url)?))
}

/// What should be otherwise, a line each.
pub(super) async fn survey(url: &str) -> Vec<String> {
    let table = match open(url) {
        Ok(table) => table,
        Err(error) => return vec![error.to_string()],
    };
    match table.survey().await {
        Ok(findings) => findings
            .iter()
            .map(|finding| format!("storage.table: {finding}"))
            .collect(),
        Err(error) => vec![format!("storage.table: {error}")],
    }
}

fn open(url: &str) -> Result<RedisTable, BackendError> {
    let settings = Settings::from_url(url);
    let settings = settings.map_err(|error| BackendError::Scheme(error.to_string()))?;
    Ok(RedisTable::open(&settings)?)
}
