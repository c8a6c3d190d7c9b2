//! The table: one command a call, and a bound on how long and how many.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_table::{Key, Rate, Table, TableError, Taken, check_value};
use redis::{Cmd, RedisError, Value};
use tokio::sync::Semaphore;

use crate::connect::{Door, Shared};
use crate::function;
use crate::settings::Settings;

/// Longest life of an entry, as in memory: ten years.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A [`Table`] in Redis. Calls share one connection, which is made with the first.
///
/// An error of a call leaves open whether it was carried out. Dropping the future of a call too.
pub struct RedisTable {
    pub(crate) shared: Shared,
    prefix: String,
    calls: Semaphore,
}

/// Why a table cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that the URL names cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The settings do not make a client: as with a file that holds no certificate.
    #[error("the settings of the table do not hold: {0}")]
    Settings(String),
}

impl RedisTable {
    /// Prepares the table. Connects to nothing: Redis may come later.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it has to be.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let read =
            |path: &Path| fs::read(path).map_err(|error| OpenError::File(path.into(), error));
        let password = match &settings.password_file {
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| OpenError::File(path.into(), error))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => None,
        };
        let authorities = settings.ca.as_deref().map(read).transpose()?;
        let door = Door::new(settings, password, authorities)
            .map_err(|error| OpenError::Settings(error.category().to_owned()))?;
        Ok(Self {
            shared: Shared::new(door, settings.connect.get()),
            prefix: format!("{}:", settings.prefix),
            calls: Semaphore::new(settings.calls),
        })
    }

    async fn call(&self, command: &Cmd) -> Result<Value, TableError> {
        self.try_call(command).await?.map_err(|error| {
            tracing::debug!(code = error.code(), "a call of the table failed");
            TableError::Unavailable
        })
    }

    /// Carries a command out, if Redis is there and not behind.
    async fn try_call(&self, command: &Cmd) -> Result<Result<Value, RedisError>, TableError> {
        let _place = self
            .calls
            .try_acquire()
            .map_err(|_| TableError::Unavailable)?;
        let (mut connection, serial) = self
            .shared
            .connection()
            .await
            .ok_or(TableError::Unavailable)?;
        let outcome = connection.call(command).await;
        if outcome
            .as_ref()
            .is_err_and(RedisError::is_unrecoverable_error)
        {
            self.shared.broke(serial);
        }
        Ok(outcome)
    }

    /// The name under which an entry is kept.
    fn name(&self, key: &Key) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }
}

#[async_trait]
impl Table for RedisTable {
    async fn insert_if_absent(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, TableError> {
        check_value(&value)?;
        let mut set = redis::cmd("SET");
        set.arg(self.name(key))
            .arg(&value[..])
            .arg("NX")
            .arg("PX")
            .arg(millis(ttl));
        match self.call(&set).await? {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            _ => Err(TableError::Unavailable),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, TableError> {
        let mut get = redis::cmd("GET");
        get.arg(self.name(key));
        match self.call(&get).await? {
            Value::BulkString(value) => Ok(Some(value.into())),
            Value::Nil => Ok(None),
            _ => Err(TableError::Unavailable),
        }
    }

    async fn put(&self, key: &Key, value: Bytes, ttl: Duration) -> Result<(), TableError> {
        check_value(&value)?;
        let mut set = redis::cmd("SET");
        set.arg(self.name(key))
            .arg(&value[..])
            .arg("PX")
            .arg(millis(ttl));
        match self.call(&set).await? {
            Value::Okay => Ok(()),
            _ => Err(TableError::Unavailable),
        }
    }

    async fn remove(&self, key: &Key) -> Result<bool, TableError> {
        let mut delete = redis::cmd("DEL");
        delete.arg(self.name(key));
        match self.call(&delete).await? {
            Value::Int(count) => Ok(count > 0),
            _ => Err(TableError::Unavailable),
        }
    }

    async fn take(&self, key: &Key, rate: Rate) -> Result<Taken, TableError> {
        if rate.burst() == 0 {
            return Ok(Taken::Denied {
                retry_after: rate.per(),
            });
        }
        let interval = rate.interval();
        let room = interval.saturating_mul(rate.burst());
        let mut take = redis::cmd("FCALL");
        take.arg(function::TAKE).arg(1).arg(self.name(key));
        take.arg(micros(interval)).arg(micros(room));
        let mut outcome = self.try_call(&take).await?;
        if outcome.as_ref().is_err_and(function::is_missing) {
            // The server was replaced by an empty one. The call did nothing, so it may be repeated.
            let loaded = self.try_call(&function::load()).await?;
            if function::is_loaded(&loaded) {
                outcome = self.try_call(&take).await?;
            }
        }
        match outcome {
            Ok(Value::Int(0)) => Ok(Taken::Allowed),
            Ok(Value::Int(wait)) => {
                let wait = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
                Ok(Taken::Denied { retry_after: wait })
            }
            _ => Err(TableError::Unavailable),
        }
    }
}

/// What is shown is what the key of an entry is not.
impl fmt::Debug for RedisTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTable")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A life for Redis, which knows whole milliseconds and none of zero.
fn millis(ttl: Duration) -> u64 {
    let up = ttl.min(MAX_TTL).as_micros().div_ceil(1000);
    u64::try_from(up).unwrap_or(u64::MAX).max(1)
}

/// Fits Lua's numbers, which are exact up to 2^53, together with the time of day.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.min(MAX_TTL).as_micros()).unwrap_or(u64::MAX)
}
