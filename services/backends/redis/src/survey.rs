//! What an operator should hear before it matters: whether the server is there, new enough, keeps
//! what lives, and lets the user do what the table needs.

use entente_table::{Key, Rate, Table};
use redis::Value;

use crate::table::RedisTable;

/// The oldest version that has functions.
const OLDEST: (u32, u32) = (7, 0);

/// Something that should be otherwise, though the table works.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Entries go before their end when memory is short.
    #[error("maxmemory-policy is {0}: it has to be noeviction, or a used token may be good again")]
    Evicts(String),
    /// The user may not ask for the server's version and settings.
    #[error("the user may not use INFO: version and settings are not known")]
    Unseen,
}

/// Why the table would not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    /// It does not answer, or refuses the login.
    #[error("Redis does not answer, or refuses the login")]
    Away,
    /// It has no functions.
    #[error("Redis {0} is too old: 7.0 is the first that has functions")]
    Old(String),
    /// A command is refused.
    #[error("the user may not do what the table needs: {0}")]
    Refused(&'static str),
}

impl RedisTable {
    /// Tries everything that the table does, on an entry of its own.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn survey(&self) -> Result<Vec<Finding>, SurveyError> {
        let connection = self.shared.connection().await;
        let (mut connection, _) = connection.ok_or(SurveyError::Away)?;
        let mut findings = Vec::new();
        match connection.call(redis::cmd("INFO").arg("everything")).await {
            Ok(info) => findings.extend(judge(&text(&info))?),
            Err(error) if error.code() == Some("NOPERM") => findings.push(Finding::Unseen),
            Err(_) => return Err(SurveyError::Away),
        }
        let key = Key::new(entente_core::random_array::<16>().to_vec());
        let key = key.map_err(|_| SurveyError::Refused("keys"))?;
        let life = std::time::Duration::from_secs(1);
        let rate = Rate::new(1, life);
        let put = self.put(&key, "survey".into(), life).await;
        put.map_err(|_| SurveyError::Refused("SET"))?;
        let got = self.get(&key).await;
        got.map_err(|_| SurveyError::Refused("GET"))?;
        let removed = self.remove(&key).await;
        removed.map_err(|_| SurveyError::Refused("DEL"))?;
        let taken = self.take(&key, rate).await;
        taken
            .map_err(|_| SurveyError::Refused("FCALL, or FUNCTION LOAD by this user or another"))?;
        Ok(findings)
    }
}

/// The reports of one server, or of all nodes of a cluster.
fn text(info: &Value) -> String {
    match info {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.clone(),
        Value::Map(nodes) => nodes.iter().map(|(_, info)| text(info)).collect(),
        Value::Array(parts) => parts.iter().map(text).collect(),
        _ => String::new(),
    }
}

fn judge(info: &str) -> Result<Vec<Finding>, SurveyError> {
    let values = |name: &'static str| {
        info.lines()
            .filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    for version in values("redis_version") {
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found < OLDEST {
            return Err(SurveyError::Old(version.to_owned()));
        }
    }
    let evicts = values("maxmemory_policy").find(|policy| *policy != "noeviction");
    Ok(evicts
        .map(|policy| Finding::Evicts(policy.to_owned()))
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_judged_by_version_and_eviction() {
        let report =
            |version, policy| format!("redis_version:{version}\r\nmaxmemory_policy:{policy}\r\n");
        assert_eq!(judge(&report("7.0.15", "noeviction")), Ok(vec![]));
        assert_eq!(
            judge(&report("6.2.1", "noeviction")),
            Err(SurveyError::Old("6.2.1".into()))
        );
        let evicts = vec![Finding::Evicts("allkeys-lru".into())];
        assert_eq!(judge(&report("8.2.2", "allkeys-lru")), Ok(evicts));
        let nodes = report("7.2.4", "noeviction") + &report("5.0.0", "noeviction");
        assert!(judge(&nodes).is_err());
    }
}
