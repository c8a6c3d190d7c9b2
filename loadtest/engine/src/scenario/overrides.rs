//! Overrides of single keys: `load.rate=1000`.

use serde::Deserialize;
use toml::{Table, Value};

use super::{Scenario, ScenarioError};

/// Reads text that was found good, with keys set otherwise.
pub(super) fn apply(text: &str, overrides: &[String]) -> Result<Scenario, ScenarioError> {
    let mut table: Table =
        toml::from_str(text).map_err(|error| ScenarioError::toml("scenario", text, &error))?;
    let mut scenario = None;
    for given in overrides {
        let wrong = |what: String| ScenarioError::Override {
            given: given.clone(),
            what,
        };
        let Some((key, value)) = given.split_once('=') else {
            return Err(wrong("write key=value, such as load.rate=1000".to_owned()));
        };
        set(&mut table, key.trim(), read(value.trim())).map_err(wrong)?;
        // Each by itself, so that the error names the one that does not fit.
        let read = Scenario::deserialize(Value::Table(table.clone()));
        scenario = Some(read.map_err(|error| wrong(error.message().trim_end().to_owned()))?);
    }
    Ok(scenario.unwrap_or_default())
}

/// A TOML value, or a bare word as a string.
fn read(text: &str) -> Value {
    let table: Result<Table, _> = toml::from_str(&format!("v = {text}"));
    table
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let Some((first, rest)) = key.split_once('.') else {
        if key.is_empty() {
            return Err("a part of the key is empty".to_owned());
        }
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    let inner = table
        .entry(first)
        .or_insert_with(|| Value::Table(Table::new()));
    match inner {
        Value::Table(inner) => set(inner, rest, value),
        _ => Err(format!("{first} is no table")),
    }
}
