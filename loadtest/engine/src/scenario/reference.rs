//! The reference of scenario files, made from the types and their comments.

use std::fmt::Write;

use schemars::schema_for;
use serde_json::Value;

use super::Scenario;

/// All keys with what they mean, what they take and what they are by default, as Markdown.
pub fn reference() -> String {
    let schema = schema_for!(Scenario).to_value();
    let defaults = schema_defaults();
    let mut out = String::from(
        "Keys of a scenario file. Each can be set from the command line: `--set load.rate=1000`.\n\
         Spans of time are written `250us`, `5ms`, `2.5s`, `10m` or `1h`.\n",
    );
    let (mut plain, mut tables) = (Vec::new(), Vec::new());
    for (name, property) in properties(&schema) {
        match table_of(&schema, property) {
            Some(_) => tables.push((name, property)),
            None => plain.push((name, property)),
        }
    }
    rows(&mut out, &schema, "", &plain, &defaults);
    for (name, property) in tables {
        section(&mut out, &schema, name, property, defaults.get(name));
    }
    out
}

fn section(
    out: &mut String,
    schema: &Value,
    name: &str,
    property: &Value,
    defaults: Option<&Value>,
) {
    let Some(table) = table_of(schema, property) else {
        return;
    };
    let optional = if defaults.is_none() {
        " (off unless it is there)"
    } else {
        ""
    };
    // Writing to a string cannot fail.
    let _ok = writeln!(
        out,
        "\n## `[{name}]`\n\n{}{optional}",
        text(property, table)
    );
    let own = table_defaults(name).unwrap_or(Value::Null);
    let defaults = defaults.unwrap_or(&own);
    let (mut plain, mut inner) = (Vec::new(), Vec::new());
    for (key, property) in properties(table) {
        match table_of(schema, property) {
            Some(_) if !is_list(property) => inner.push((key, property)),
            _ => plain.push((key, property)),
        }
    }
    rows(out, schema, "", &plain, defaults);
    for (key, property) in inner {
        section(
            out,
            schema,
            &format!("{name}.{key}"),
            property,
            defaults.get(key),
        );
    }
}

fn rows(out: &mut String, schema: &Value, prefix: &str, keys: &[(&str, &Value)], defaults: &Value) {
    if keys.is_empty() {
        return;
    }
    out.push_str("\n| key | takes | default | meaning |\n|---|---|---|---|\n");
    for (key, property) in keys {
        let default = defaults.get(key).map(Value::to_string);
        let default = default.filter(|text| text != "null");
        let _ok = writeln!(
            out,
            "| `{prefix}{key}` | {} | {} | {} |",
            takes(schema, property),
            default.map(|text| format!("`{text}`")).unwrap_or_default(),
            text(property, property),
        );
    }
}

fn properties(table: &Value) -> Vec<(&str, &Value)> {
    let map = table.get("properties").and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

/// What a property refers to, through `Option`.
fn resolved<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    let mut at = property;
    if let Some(all) = property.get("anyOf").and_then(Value::as_array) {
        at = all.first().unwrap_or(property);
    }
    let path = at.get("$ref").and_then(Value::as_str);
    let named = path.and_then(|path| path.strip_prefix('#'));
    named.and_then(|path| schema.pointer(path)).unwrap_or(at)
}

fn table_of<'a>(schema: &'a Value, property: &'a Value) -> Option<&'a Value> {
    let table = resolved(schema, property);
    table.get("properties").is_some().then_some(table)
}

fn is_list(property: &Value) -> bool {
    property.get("type").and_then(Value::as_str) == Some("array")
}

fn text(property: &Value, fallback: &Value) -> String {
    let found = property
        .get("description")
        .or_else(|| fallback.get("description"));
    let text = found.and_then(Value::as_str).unwrap_or_default();
    text.replace("\n\n", " ").replace('\n', " ")
}

fn takes(schema: &Value, property: &Value) -> String {
    let inner = resolved(schema, property);
    if let Some(items) = property.get("items") {
        let keys: Vec<String> = properties(resolved(schema, items))
            .iter()
            .map(|(key, _)| (*key).to_owned())
            .collect();
        if keys.is_empty() {
            return format!("list of {}", takes(schema, items));
        }
        return format!("list of `{{ {} }}`", keys.join(", "));
    }
    let mut words = Vec::new();
    let listed = inner.get("enum").and_then(Value::as_array);
    words.extend(listed.into_iter().flatten());
    let each = inner.get("oneOf").and_then(Value::as_array);
    for one in each.into_iter().flatten() {
        words.extend(one.get("const"));
        words.extend(
            one.get("enum")
                .and_then(Value::as_array)
                .into_iter()
                .flatten(),
        );
    }
    if !words.is_empty() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    match inner.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds
                .iter()
                .filter(|kind| **kind != "null")
                .copied()
                .collect::<Vec<_>>()
                .join(" or ")
        }
        _ => String::new(),
    }
}

fn schema_defaults() -> Value {
    serde_json::to_value(Scenario::default()).unwrap_or_default()
}

/// Defaults of a table that is off by default.
fn table_defaults(name: &str) -> Option<Value> {
    use super::{Logins, Noisy, Offline, Prekeys, Reconnect, Slow};
    match name {
        "logins" => serde_json::to_value(Logins::default()),
        "noisy" => serde_json::to_value(Noisy::default()),
        "offline" => serde_json::to_value(Offline::default()),
        "prekeys" => serde_json::to_value(Prekeys::default()),
        "reconnect" => serde_json::to_value(Reconnect::default()),
        "slow" => serde_json::to_value(Slow::default()),
        _ => return None,
    }
    .ok()
}
