//! Durations as people write them: `250us`, `5ms`, `2.5s`, `10m`, `1h`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

const UNITS: [(&str, f64); 6] = [
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];
/// Longest span: a month.
const MAX_SECONDS: f64 = 31.0 * 86_400.0;

/// Reads one.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    let seconds = number.parse::<f64>().ok()? * seconds;
    (seconds <= MAX_SECONDS).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// Writes one so that [`parse`] reads it.
pub fn text(span: Duration) -> String {
    let micros = span.as_micros();
    if micros.is_multiple_of(1_000_000) {
        format!("{}s", micros / 1_000_000)
    } else if micros.is_multiple_of(1_000) {
        format!("{}ms", micros / 1_000)
    } else {
        format!("{micros}us")
    }
}

/// For `#[serde(with)]`.
///
/// # Errors
/// Of the serializer.
pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*span))
}

/// For `#[serde(with)]`.
///
/// # Errors
/// If it is no span.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is no span of time: write 250us, 5ms, 2.5s, 10m or 1h"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (given, millis) in [
            ("5ms", 5.0),
            ("2.5s", 2_500.0),
            ("1h", 3.6e6),
            ("250us", 0.25),
        ] {
            assert_eq!(parse(given).unwrap().as_secs_f64() * 1e3, millis, "{given}");
        }
        for bad in ["", "5", "s", "-1s", "5 parsecs", "1e9s", "99999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        for span in [1, 1_000, 1_500, 2_000_000, 90_000_000] {
            let span = Duration::from_micros(span);
            assert_eq!(parse(&text(span)), Some(span));
        }
    }
}
