//! When a served chain ends, and who is told how often (T77).
//!
//! In: certificates as they were read, and the time. Out: the moment at which the first of them
//! ends, and whether a line is due about it. X.509 is read for this one field only; whoever checks
//! a certificate is the client.

use std::time::Duration;

use entente_core::Timestamp;
use tokio::time::Instant;

/// A line that repeats itself more often would not be read.
const REPEAT: Duration = Duration::from_secs(24 * 3600);

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// Context tag of the version, which version 1 leaves out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// How near the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Less than the warning time is left: so many seconds.
    Soon(u64),
    /// It is over.
    Expired,
}

/// Decides when the end of a chain is worth a line.
#[derive(Debug)]
pub(crate) struct Watch {
    warn: Duration,
    said: Option<(Instant, bool)>,
}

impl Watch {
    /// A watch that speaks when less than `warn` is left.
    pub(crate) const fn new(warn: Duration) -> Self {
        Self { warn, said: None }
    }

    /// New files are in use: what was said of the old ones counts no more.
    pub(crate) const fn renew(&mut self) {
        self.said = None;
    }

    /// Says what is due now: at once, when it gets worse, and then once a day.
    pub(crate) fn due(&mut self, ends: Timestamp, now: Timestamp) -> Option<Alarm> {
        let Some(alarm) = judge(ends, now, self.warn) else {
            self.said = None;
            return None;
        };
        let expired = alarm == Alarm::Expired;
        let quiet = self
            .said
            .is_some_and(|(at, was_expired)| was_expired == expired && at.elapsed() < REPEAT);
        if quiet {
            return None;
        }
        self.said = Some((Instant::now(), expired));
        Some(alarm)
    }
}

/// What is to be said of a chain that ends then.
pub(crate) fn judge(ends: Timestamp, now: Timestamp, warn: Duration) -> Option<Alarm> {
    let left = ends.since(now);
    if left.is_zero() {
        return Some(Alarm::Expired);
    }
    (left < warn).then_some(Alarm::Soon(left.as_secs()))
}

/// The first end among certificates in DER. What cannot be read has none: no client takes it
/// either.
pub(crate) fn first_end<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> Option<Timestamp> {
    chain.into_iter().filter_map(not_after).min()
}

/// RFC 5280 4.1: `notAfter` is the second time of the fifth or fourth field.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = field(certificate, SEQUENCE)?;
    let (fields, _) = field(certificate, SEQUENCE)?;
    let fields = field(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (_serial, fields) = field(fields, INTEGER)?;
    let (_algorithm, fields) = field(fields, SEQUENCE)?;
    let (_issuer, fields) = field(fields, SEQUENCE)?;
    let (validity, _) = field(fields, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    moment(tag, text)
}

/// The content of the next element if it has this tag, and what follows it.
fn field(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(input)?;
    (tag == wanted).then_some((content, rest))
}

/// Tag, content and rest (X.690 8.1, definite lengths only).
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, input) = input.split_first()?;
    let (&first, input) = input.split_first()?;
    let (length, input) = match first {
        0..=0x7f => (usize::from(first), input),
        0x81..=0x83 => {
            let (bytes, input) = input.split_at_checked(usize::from(first - 0x80))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, input)
        }
        _ => return None,
    };
    let (content, rest) = input.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// RFC 5280 4.1.2.5: both forms end in seconds and `Z`.
fn moment(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let (b'Z', digits) = rest.split_last()? else {
        return None;
    };
    let mut parts = digits.chunks(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    if part().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let clock = hour * 3600 + minute * 60 + second;
    // What ended before 1970 ended.
    let days = days_since_1970(year, month, day).unwrap_or_default();
    Some(Timestamp::from_secs(days * 86_400 + clock))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Years are counted from March, so that leap days come last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn ending(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["chat.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn day(text: &str) -> Timestamp {
        // Days from 1970 as any calendar has them.
        let days = match text {
            "2000-02-29" => 11_016,
            "2026-11-25" => 20_782,
            "2049-12-31" => 29_219,
            "2050-01-01" => 29_220,
            "2100-03-01" => 47_541,
            _ => panic!("{text}"),
        };
        Timestamp::from_secs(days * 86_400)
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (date, text) in [
            ((2000, 2, 29), "2000-02-29"),
            ((2026, 11, 25), "2026-11-25"),
            ((2049, 12, 31), "2049-12-31"),
            ((2050, 1, 1), "2050-01-01"),
            ((2100, 3, 1), "2100-03-01"),
        ] {
            let (year, month, of_month) = date;
            let certificate = ending(year, month, of_month);
            assert_eq!(not_after(&certificate), Some(day(text)), "{text}");
        }
        assert_eq!(
            moment(GENERALIZED_TIME, b"99991231235959Z"),
            Some(Timestamp::from_secs(253_402_300_799))
        );
    }

    #[test]
    fn the_first_end_of_a_chain_counts_and_garbage_has_none() {
        let (late, soon) = (ending(2050, 1, 1), ending(2026, 11, 25));
        let chain = [&late[..], b"no certificate", &soon[..]];
        assert_eq!(first_end(chain), Some(day("2026-11-25")));
        assert_eq!(first_end([&b"\x30\x84"[..], b""]), None);
        for cut in 0..late.len() {
            assert_eq!(first_end([&late[..cut]]), None, "{cut}");
        }
    }

    /// T77: whoever runs it hears of the end 30 days before, at once, once a day, and when it is over.
    #[tokio::test(start_paused = true)]
    async fn the_alarm_comes_at_once_then_daily_and_when_it_is_over() {
        let mut watch = Watch::new(30 * DAY);
        let ends = day("2026-11-25");
        assert_eq!(watch.due(ends, ends.minus(31 * DAY)), None);
        let now = ends.minus(29 * DAY);
        assert_eq!(watch.due(ends, now), Some(Alarm::Soon(29 * 24 * 3600)));
        assert_eq!(watch.due(ends, now), None);
        tokio::time::advance(DAY).await;
        assert!(watch.due(ends, now).is_some());
        watch.renew();
        assert!(watch.due(ends, now).is_some(), "new files that end as soon");
        assert_eq!(watch.due(ends, ends), Some(Alarm::Expired));
        assert_eq!(watch.due(ends, ends), None);
        assert_eq!(watch.due(ends.plus(60 * DAY), ends), None);
        assert_eq!(watch.due(ends, ends), Some(Alarm::Expired), "worse again");
    }
}
