//! Axes: where a value lies, where ticks go, and how numbers are written.

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Equal steps are equal lengths.
    Linear { low: f64, high: f64 },
    /// Equal ratios are equal lengths. Both ends are above zero.
    Log { low: f64, high: f64 },
}

impl Scale {
    /// From zero to a round number over the largest value.
    pub(crate) fn from_zero(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / 4.0);
        Self::Linear {
            low: 0.0,
            high: (most / step).ceil() * step,
        }
    }

    /// From a round number under the least value to one over the largest.
    pub(crate) fn logarithmic(least: f64, most: f64) -> Self {
        let least = least.max(1e-6);
        let low = 10_f64.powf(least.log10().floor());
        let high = *rounds(most.max(least))
            .iter()
            .find(|round| **round >= most)
            .unwrap_or(&most);
        Self::Log {
            low: if least >= 5.0 * low {
                5.0 * low
            } else if least >= 2.0 * low {
                2.0 * low
            } else {
                low
            },
            high: high.max(low * 10.0),
        }
    }

    /// Where a value lies, from 0 to 1; values outside go to the ends.
    pub(crate) fn place(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => {
                (value.max(low).log10() - low.log10()) / (high / low).log10()
            }
        };
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Values for ticks; at most seven or so.
    pub(crate) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { low, high } => {
                let step = round_step((high - low) / 4.0);
                let mut ticks = Vec::new();
                let mut tick = (low / step).ceil() * step;
                while tick <= high + step * 1e-6 && ticks.len() < 12 {
                    ticks.push(tick);
                    tick += step;
                }
                ticks
            }
            Self::Log { low, high } => {
                let decades = (high / low).log10();
                let factors: &[f64] = if decades <= 2.0 {
                    &[1.0, 2.0, 5.0]
                } else {
                    &[1.0]
                };
                let mut ticks = Vec::new();
                let mut decade = 10_f64.powf(low.log10().floor());
                while decade <= high * 1.000_001 && ticks.len() < 24 {
                    let near = factors.iter().map(|factor| factor * decade);
                    ticks.extend(
                        near.filter(|tick| *tick >= low * 0.999_999 && *tick <= high * 1.000_001),
                    );
                    decade *= 10.0;
                }
                ticks
            }
        }
    }
}

/// 1, 2 or 5 times the power of ten that is next to a step.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-12).log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

fn rounds(near: f64) -> [f64; 4] {
    let power = 10_f64.powf(near.log10().floor());
    [power, 2.0 * power, 5.0 * power, 10.0 * power]
}

/// Ticks of an axis of time in seconds, with their labels.
pub(crate) fn times(until: f64, most: usize) -> Vec<(f64, String)> {
    const STEPS: [f64; 20] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
        7_200.0, 14_400.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
    ];
    let fits = |step: &&f64| until / **step <= count(most);
    let step = STEPS.iter().find(fits).copied().unwrap_or(until);
    let mut ticks = Vec::new();
    let mut tick = 0.0;
    while tick <= until && ticks.len() <= most {
        ticks.push((tick, moment(tick)));
        tick += step.max(1.0);
    }
    ticks
}

/// A time since the start: `45 s`, `2 min`, `1:30 min`, `1:05 h`.
pub(crate) fn moment(seconds: f64) -> String {
    let seconds = seconds.round();
    let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
    if seconds < 120.0 && (rest > 0.0 || minutes == 0.0) {
        format!("{seconds} s")
    } else if seconds < 3_600.0 {
        if rest == 0.0 {
            format!("{minutes} min")
        } else {
            format!("{minutes}:{rest:02} min")
        }
    } else {
        format!("{}:{:02} h", (minutes / 60.0).floor(), minutes % 60.0)
    }
}

/// A number for people: three digits, with k, M or G.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    for (least, sign) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if size >= least {
            return format!("{}{sign}", digits(value / least));
        }
    }
    digits(value)
}

/// A number of a unit for people; bytes and milliseconds in what suits their size.
pub(crate) fn with_unit(value: f64, unit: &str) -> String {
    let size = value.abs();
    match unit {
        "" => whole(value),
        "1/s" => format!("{}/s", whole(value)),
        "%" => format!("{} %", digits(value)),
        "ms" if size >= 1_000.0 => format!("{} s", digits(value / 1_000.0)),
        "ms" if size > 0.0 && size < 0.1 => format!("{} µs", digits(value * 1_000.0)),
        "bytes" | "bytes/h" => {
            let per = unit.strip_prefix("bytes").unwrap_or_default();
            let (divisor, name) = match size {
                1e9.. => (1e9, "GB"),
                1e6.. => (1e6, "MB"),
                1e4.. => (1e3, "kB"),
                _ => (1.0, "B"),
            };
            format!("{} {name}{per}", digits(value / divisor))
        }
        _ => format!("{} {unit}", whole(value)),
    }
}

/// A whole number with its thousands apart, or three digits.
fn whole(value: f64) -> String {
    if value.fract() != 0.0 && value.abs() < 1_000.0 || value.abs() >= 1e15 {
        return digits(value);
    }
    let text = format!("{value:.0}");
    let (sign, number) = text
        .strip_prefix('-')
        .map_or(("", text.as_str()), |n| ("-", n));
    let mut grouped = String::from(sign);
    for (place, digit) in number.chars().enumerate() {
        if place > 0 && (number.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn digits(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        0.0 => return "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        0.000_1.. => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    };
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "numbers of ticks and points")]
pub(crate) const fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(
            Scale::from_zero(37.0).ticks(),
            [0.0, 10.0, 20.0, 30.0, 40.0]
        );
        assert_eq!(Scale::from_zero(0.0).ticks(), [0.0, 0.5, 1.0]);
        let log = Scale::logarithmic(0.3, 420.0);
        assert_eq!(
            log,
            Scale::Log {
                low: 0.2,
                high: 500.0
            }
        );
        assert_eq!(log.ticks(), [1.0, 10.0, 100.0]);
        for most in [1e-9, 0.001, 1.0, 99.0, 1e6, 1e15] {
            for scale in [Scale::from_zero(most), Scale::logarithmic(most / 3.0, most)] {
                let ticks = scale.ticks();
                assert!((2..=9).contains(&ticks.len()), "{scale:?}: {ticks:?}");
                assert!((scale.place(most) - scale.place(0.0)).abs() > 0.2 || most < 1e-5);
            }
        }
        assert!((Scale::logarithmic(1.0, 100.0).place(10.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn odd_values_have_a_place() {
        for scale in [Scale::from_zero(10.0), Scale::logarithmic(1.0, 10.0)] {
            for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
                assert!(
                    (0.0..=1.0).contains(&scale.place(value)),
                    "{scale:?} {value}"
                );
            }
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        let written = [
            (0.0, "", "0"),
            (1_234_567.0, "", "1,234,567"),
            (-999.0, "", "-999"),
            (31.041, "µs", "31 µs"),
            (0.04, "ms", "40 µs"),
            (8.5, "ms", "8.5 ms"),
            (1_000.0, "ms", "1 s"),
            (12_345.0, "ms", "12.3 s"),
            (3_856.2, "1/s", "3,856/s"),
            (22_300.0, "bytes", "22.3 kB"),
            (1.5e9, "bytes/h", "1.5 GB/h"),
            (0.05, "%", "0.05 %"),
        ];
        for (value, unit, wanted) in written {
            assert_eq!(with_unit(value, unit), wanted);
        }
        assert_eq!(short(54_093.0), "54.1k");
        let labels: Vec<String> = times(150.0, 6)
            .into_iter()
            .map(|(_, label)| label)
            .collect();
        assert_eq!(
            labels,
            ["0 s", "30 s", "1 min", "90 s", "2 min", "2:30 min"]
        );
        assert_eq!(moment(3_900.0), "1:05 h");
    }
}
