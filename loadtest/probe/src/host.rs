//! What a machine is, for the head of a report.

use std::fs;

/// A machine and its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: u32,
}

impl Host {
    /// Reads what this machine says of itself; what it does not say is `unknown`.
    pub fn read() -> Self {
        let line = |path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let text = text.trim();
            if text.is_empty() { "unknown" } else { text }.to_owned()
        };
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu: model(&cpus).unwrap_or("unknown").to_owned(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
        }
    }
}

fn model(cpus: &str) -> Option<&str> {
    let mut lines = cpus.lines().filter_map(|line| line.split_once(':'));
    let (_, name) = lines.find(|(field, _)| field.trim() == "model name")?;
    Some(name.trim()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_where_the_kernel_names_it() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Xeon: 8\n"),
            Some("Xeon: 8")
        );
        assert_eq!(model("processor\t: 0\nCPU implementer\t: 0x41\n"), None);
        assert_eq!(model("model name\t:\n"), None);
        assert!(Host::read().cores >= 1);
    }
}
