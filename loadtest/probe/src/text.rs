//! The texts of `/proc`, read without trust: a name of a process may hold anything, and a kernel
//! may leave lines out.

/// A line or field that is not there, or is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: no {field}")]
pub struct TextError {
    /// Which file of `/proc`.
    pub file: &'static str,
    /// What was looked for.
    pub field: &'static str,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `R`, `S`, .. and `Z` for one that ended and was not waited for.
    pub(crate) state: char,
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) threads: u32,
    /// Ticks after boot.
    pub(crate) started: u64,
}

/// Totals of `/proc/stat` over all cores, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) busy: u64,
    pub(crate) steal: u64,
    pub(crate) cores: u32,
}

impl Stat {
    pub(crate) fn parse(text: &str) -> Result<Self, TextError> {
        let missing = |field| TextError {
            file: "stat",
            field,
        };
        // The name is in parentheses and may hold some itself: the last one ends it.
        let (_, rest) = text.rsplit_once(')').ok_or(missing("name"))?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc(5) counts from one, and pid and name went before.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at, name| {
            let parsed = field(at).and_then(|text| text.parse::<u64>().ok());
            parsed.ok_or(missing(name))
        };
        Ok(Self {
            state: field(3)
                .and_then(|state| state.chars().next())
                .ok_or(missing("state"))?,
            user_ticks: number(14, "utime")?,
            system_ticks: number(15, "stime")?,
            threads: u32::try_from(number(20, "num_threads")?).unwrap_or(u32::MAX),
            started: number(22, "starttime")?,
        })
    }
}

impl Totals {
    pub(crate) fn parse(text: &str) -> Result<Self, TextError> {
        let missing = |field| TextError {
            file: "/proc/stat",
            field,
        };
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("cpu "))
            .ok_or(missing("line of all cores"))?;
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let field = |place: usize| ticks.get(place).copied();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        let busy = [0, 1, 2, 5, 6]
            .into_iter()
            .try_fold(0_u64, |sum, place| Some(sum.saturating_add(field(place)?)));
        let cores = text
            .lines()
            .filter(|line| {
                line.strip_prefix("cpu")
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            })
            .count();
        Ok(Self {
            busy: busy.ok_or(missing("busy time"))?,
            // Absent on kernels that are not guests and very old.
            steal: field(7).unwrap_or(0),
            cores: u32::try_from(cores).unwrap_or(u32::MAX).max(1),
        })
    }
}

/// The number after a name at a line's start, as in `VmRSS:  5 kB`.
pub(crate) fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The same in kibibytes, as bytes.
pub(crate) fn bytes(text: &str, name: &str) -> Option<u64> {
    number(text, name).map(|kib| kib.saturating_mul(1024))
}

/// Nanoseconds on a core, the first number of `schedstat`.
pub(crate) fn ran_ns(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The pids of a `children` file.
pub(crate) fn pids(text: &str) -> Vec<u32> {
    let words = text.split_ascii_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "1234 (beam.smp) S 1 1234 1234 0 -1 4194304 54321 0 12 0 8123 1045 3 4 20 0 \
                        27 0 130923 3133440 41200 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 \
                        17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[test]
    fn a_recorded_process_is_read() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(stat.state, 'S');
        assert_eq!((stat.user_ticks, stat.system_ticks), (8_123, 1_045));
        assert_eq!((stat.threads, stat.started), (27, 130_923));
    }

    #[test]
    fn a_name_cannot_forge_fields() {
        let hostile = STAT.replace("beam.smp", ") Z 0 0 0 0 0 0 (x\n) R 1");
        assert_eq!(Stat::parse(&hostile), Stat::parse(STAT));
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in [
            "",
            ")",
            "1 (a",
            "1 (a) S",
            "1 (a) S 1 2 3 4 5 6 7 8 9 10 x 2 3 4",
            "\0",
        ] {
            assert!(Stat::parse(text).is_err(), "{text}");
        }
        for place in 0..STAT.find("130923").unwrap() {
            assert!(Stat::parse(STAT.split_at(place).0).is_err(), "{place}");
        }
        for text in [
            "",
            "cpu",
            "cpu  1 2 3",
            "cpu  a b c d e f g h",
            "cpu0 1 2 3 4 5 6 7 8",
        ] {
            assert!(Totals::parse(text).is_err(), "{text}");
        }
        assert_eq!(ran_ns(""), None);
        assert_eq!(ran_ns("-5 3 1"), None);
        assert_eq!(number("VmRSS:", "VmRSS:"), None);
        assert_eq!(number("xVmRSS: 5", "VmRSS:"), None);
        assert_eq!(pids("12 x -3 99999999999 7 "), [12, 7]);
        assert_eq!(
            bytes("Pss: 18446744073709551615 kB", "Pss:"),
            Some(u64::MAX)
        );
    }

    #[test]
    fn recorded_totals_are_read() {
        let text = "cpu  124101 71442 43198 20004 1434 5 291 378 9 0\n\
                    cpu0 1 2 3 4 5 6 7 8 9 0\ncpu1 1 2 3 4 5 6 7 8 9 0\nintr 5\nctxt 7\n";
        let totals = Totals::parse(text).unwrap();
        assert_eq!(totals.busy, 124_101 + 71_442 + 43_198 + 5 + 291);
        assert_eq!((totals.steal, totals.cores), (378, 2));
        let full = "cpu  18446744073709551615 18446744073709551615 3 4 5 6 7 8\n";
        assert_eq!(Totals::parse(full).unwrap().busy, u64::MAX);
    }

    #[test]
    fn a_recorded_status_is_read() {
        let status = "Name:\tbeam.smp\nVmHWM:\t  164000 kB\nVmRSS:\t  164800 kB\nThreads:\t27\n\
                      voluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(164_800 * 1024));
        assert_eq!(number(status, "voluntary_ctxt_switches:"), Some(17));
        assert_eq!(number(status, "nonvoluntary_ctxt_switches:"), Some(3));
        assert_eq!(ran_ns("186370304 12007361 471\n"), Some(186_370_304));
    }
}
