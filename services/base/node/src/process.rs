//! What `/proc` says about this process: memory, descriptors, processor time, start.
//!
//! Read when metrics are asked for. The names are those of the Prometheus client libraries, so that
//! common dashboards fit. What cannot be read is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// proc(5) counts time in units of `USER_HZ`, which Linux fixes at 100 for programs on every
/// architecture that this program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(crate) struct ProcessCollector;

impl ProcessCollector {
    pub(crate) const fn new() -> Self {
        Self
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(seconds) = processor_seconds() {
            let metric = ConstCounter::new(seconds);
            write(
                &mut encoder,
                "process_cpu",
                "Processor time used",
                Some(&Unit::Seconds),
                &metric,
            )?;
        }
        if let Some(bytes) = resident_bytes() {
            let metric = ConstGauge::new(bytes);
            let name = "process_resident_memory";
            write(
                &mut encoder,
                name,
                "Resident memory",
                Some(&Unit::Bytes),
                &metric,
            )?;
        }
        if let Some(open) = open_descriptors() {
            let metric = ConstGauge::new(open);
            write(
                &mut encoder,
                "process_open_fds",
                "Open descriptors",
                None,
                &metric,
            )?;
        }
        if let Some(most) = most_descriptors() {
            let metric = ConstGauge::new(most);
            write(
                &mut encoder,
                "process_max_fds",
                "Allowed descriptors",
                None,
                &metric,
            )?;
        }
        Ok(())
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, unit, metric.metric_type())?;
    metric.encode(encoder)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_descriptors() -> Option<i64> {
    // The directory itself is open while it is counted.
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(open.saturating_sub(1)).ok()
}

fn most_descriptors() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    ticks(&stat).map(|ticks| ticks / TICKS_PER_SECOND)
}

/// User and system time: fields 14 and 15 of proc(5), counted from the end of the name, which may
/// hold spaces and parentheses.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        assert!(resident_bytes().unwrap() > 100_000);
        let before = open_descriptors().unwrap();
        assert!(before >= 3 && before < most_descriptors().unwrap());
        assert!(processor_seconds().unwrap() >= 0.0);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn the_exposition_has_the_common_names() {
        let text = crate::Metrics::new().encode().unwrap();
        for name in [
            "\nprocess_cpu_seconds_total ",
            "\nprocess_resident_memory_bytes ",
            "\nprocess_open_fds ",
            "\nprocess_max_fds ",
        ] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }
}
