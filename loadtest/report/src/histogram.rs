//! Latency histograms: HDR, in microseconds, written as the V2 format's bytes in base64.
//!
//! The bytes are HdrHistogram's "V2", not deflated, so every HdrHistogram library reads them. They
//! are written and read here, because the library's own serializer comes with a decompressor.
//!
//! **Invariants**: all histograms of a kind have the same bounds and digits, so adding two is exact
//! and in any order; one that was made otherwise is not read. Reading takes memory that the digits
//! bound, whatever the text says.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest latency that is told from longer ones: an hour.
const HIGHEST_US: u64 = 3_600_000_000;
/// Digits of the histograms that figures come from: 0.1 %.
const FINE: u8 = 3;
/// Digits of the histograms of one second: 1 %.
const COARSE: u8 = 2;
/// V2 without compression, with words of variable length.
const COOKIE: u32 = 0x1c84_9303 | 0x10;
/// Cookie, length, offset, digits, lowest, highest, ratio.
const HEADER: usize = 40;
/// The most bytes of a V2 body: each count at its longest. A text that is longer is not decoded.
const MOST_BYTES: usize = 23 * 1024 * 9 + HEADER;

/// Why a histogram cannot be read or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not base64.
    #[error("histogram: not base64")]
    Base64,
    /// The bytes end early or go on too long, or counts overflow.
    #[error("histogram: damaged")]
    Damaged,
    /// Other digits than the one it is to be added to.
    #[error("histogram: other digits")]
    Digits,
    /// V2 bytes, but of other bounds or digits than those of this schema.
    #[error("histogram: not of this schema's bounds (1 µs to 1 h, two or three digits)")]
    Foreign,
}

/// A latency histogram in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    /// With the digits that figures come from.
    fn default() -> Self {
        Self::with_digits(FINE)
    }
}

impl Histogram {
    /// With two digits, for the latencies of one second.
    pub fn coarse() -> Self {
        Self::with_digits(COARSE)
    }

    fn with_digits(digits: u8) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "bounds and digits are constants in range"
        )]
        let inner = hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_US, digits)
            .expect("constants in range");
        Self(inner)
    }

    /// Counts a latency. One over an hour counts as an hour.
    pub fn record(&mut self, latency: Duration) {
        self.record_us(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a latency in microseconds. One over an hour counts as an hour.
    pub fn record_us(&mut self, latency: u64) {
        self.0.saturating_record(latency);
    }

    /// Adds another's counts; exact.
    ///
    /// # Errors
    /// If the other has other digits, or both together more counts than can be.
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        if self.0.sigfig() != other.0.sigfig() {
            return Err(Error::Digits);
        }
        // Sums over buckets must not overflow either.
        let total = self.count().checked_add(other.count());
        total.ok_or(Error::Damaged)?;
        self.0.add(&other.0).map_err(|_| Error::Digits)
    }

    /// Forgets all counts and keeps the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Latencies counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in microseconds that a share of all do not exceed, if there are any.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        (self.count() > 0).then(|| self.0.value_at_quantile(share))
    }

    /// The longest latency in microseconds, if there are any.
    pub fn max_us(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.0.max())
    }

    /// The mean latency in microseconds, if there are any.
    pub fn mean_us(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.0.mean())
    }

    /// V2 bytes in base64.
    pub fn encode(&self) -> String {
        STANDARD.encode(self.bytes())
    }

    /// Reads what [`Self::encode`] writes.
    ///
    /// # Errors
    /// If it is damaged, or has other bounds or digits than those of this schema.
    pub fn decode(text: &str) -> Result<Self, Error> {
        if text.len() > MOST_BYTES.div_ceil(3) * 4 {
            return Err(Error::Damaged);
        }
        let bytes = STANDARD.decode(text).map_err(|_| Error::Base64)?;
        Self::from_bytes(&bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut counts = Vec::new();
        let mut zeros: i64 = 0;
        let highest = self.0.max();
        for each in self.0.iter_all() {
            if each.count_at_value() == 0 {
                zeros += 1;
            } else {
                if zeros > 0 {
                    put(&mut counts, if zeros == 1 { 0 } else { -zeros });
                    zeros = 0;
                }
                put(
                    &mut counts,
                    i64::try_from(each.count_at_value()).unwrap_or(i64::MAX),
                );
            }
            if each.value_iterated_to() >= highest {
                break;
            }
        }
        if counts.is_empty() {
            put(&mut counts, 0);
        }
        let mut bytes = Vec::with_capacity(HEADER + counts.len());
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(
            u32::try_from(counts.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(u32::from(self.0.sigfig()).to_be_bytes());
        bytes.extend(self.0.low().to_be_bytes());
        bytes.extend(self.0.high().to_be_bytes());
        bytes.extend(1.0_f64.to_be_bytes());
        bytes.extend(counts);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (head, mut counts) = bytes.split_at_checked(HEADER).ok_or(Error::Damaged)?;
        let empty = [FINE, COARSE]
            .into_iter()
            .map(Self::with_digits)
            .find(|candidate| {
                let ours = candidate.bytes();
                // All but the length of what follows.
                ours.get(..4) == head.get(..4) && ours.get(8..HEADER) == head.get(8..)
            });
        let mut histogram = empty.ok_or(Error::Foreign)?;
        let length = head.get(4..8).and_then(|at| at.try_into().ok());
        let length = length.map(u32::from_be_bytes).map(usize::try_from);
        if length != Some(Ok(counts.len())) {
            return Err(Error::Damaged);
        }
        let digits = histogram.0.sigfig();
        let mut index: u64 = 0;
        let mut total: u64 = 0;
        while !counts.is_empty() {
            let number = take(&mut counts).ok_or(Error::Damaged)?;
            let Ok(count) = u64::try_from(number) else {
                index = index.saturating_add(number.unsigned_abs());
                continue;
            };
            if count > 0 {
                let value = value_at(index, digits).ok_or(Error::Damaged)?;
                total = total.checked_add(count).ok_or(Error::Damaged)?;
                histogram
                    .0
                    .record_n(value, count)
                    .map_err(|_| Error::Damaged)?;
            }
            index = index.saturating_add(1);
        }
        Ok(histogram)
    }
}

/// The lowest value of a place in the array of counts.
fn value_at(index: u64, digits: u8) -> Option<u64> {
    // Halves of the array's buckets: the powers of two that hold twice the digits, halved.
    let bits = if digits == FINE { 10 } else { 7 };
    let half = 1_u64 << bits;
    let bucket = index >> bits;
    if bucket == 0 {
        return Some(index);
    }
    let value = (index & (half - 1)) + half;
    let shift = u32::try_from(bucket - 1).ok()?;
    value
        .checked_shl(shift)
        .filter(|shifted| shift < 40 && *shifted <= 2 * HIGHEST_US)
}

/// Writes a number as ZigZag LEB128, nine bytes at most, the ninth whole.
fn put(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        let [low, ..] = rest.to_le_bytes();
        if rest < 0x80 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    bytes.push(low);
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut number: u64 = 0;
    for place in 0..9_u32 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = if place == 8 { *byte } else { byte & 0x7f };
        number |= u64::from(low) << (7 * place);
        if place == 8 || byte & 0x80 == 0 {
            break;
        }
    }
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::decode(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Histogram {
    fn schema_name() -> Cow<'static, str> {
        "Histogram".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            "description": "An HdrHistogram of microseconds: V2 bytes, not deflated, in base64; \
                            lowest 1, highest 3600000000, three digits (two in a series)."
        })
    }
}

/// How long things of one kind took, by both clocks that matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// From the moment at which it was to begin. A server that stalls cannot hide it.
    pub intended: Histogram,
    /// From the moment at which it did begin.
    pub actual: Histogram,
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latencies {
    /// From sending to the receiver.
    pub delivery: Timing,
    /// From sending to the server's acknowledgement.
    pub ack: Timing,
    /// From the first byte of a connection to a bound session.
    pub login: Timing,
    /// From sending to the receipt.
    pub receipt: Timing,
}

impl Timing {
    /// Counts one, by the time since it was to begin and since it did.
    pub fn record(&mut self, since_intended: Duration, since_actual: Duration) {
        self.intended.record(since_intended);
        self.actual.record(since_actual);
    }

    /// Adds another's counts; exact.
    ///
    /// # Errors
    /// If the other has other digits.
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        self.intended.add(&other.intended)?;
        self.actual.add(&other.actual)
    }
}

impl Latencies {
    /// Adds another's counts; exact.
    ///
    /// # Errors
    /// If the other has other digits.
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        self.delivery.add(&other.delivery)?;
        self.ack.add(&other.ack)?;
        self.login.add(&other.login)?;
        self.receipt.add(&other.receipt)
    }
}

#[cfg(test)]
mod tests;
