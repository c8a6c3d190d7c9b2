//! The charts of a run: which of its data become which lines.

use entente_probe::{Process, ProcessSample, Role};

use super::chart::{Axis, Band, Chart, Line, Tip};
use super::scale::{Scale, count, moment, short, times, with_unit};
use crate::basis::{float, of_role, server_moments};
use crate::{Histogram, Latencies, Point, RunResult, Series, histogram};

/// Points of a line at most: more would lie within a pixel.
const MOST_POINTS: usize = 240;
/// Stretches that can be pointed at.
const MOST_TIPS: usize = 80;

/// Faults that are shaded.
const MOST_BANDS: usize = 200;

/// Points with their times in seconds.
type Points = Vec<(f64, Option<f64>)>;
/// Reads a value of a sample.
type Of<T> = fn(&T) -> Option<f64>;

/// Latencies of one kind.
type Kind = fn(&Latencies) -> &Histogram;

/// The charts of a run, in the order of the page.
pub(crate) fn charts(run: &RunResult) -> Result<Vec<Chart>, histogram::Error> {
    let mut series = run.series.clone();
    while series.points.len() > MOST_POINTS {
        series.coarsen()?;
    }
    let mut charts = Vec::new();
    charts.extend(latency_over_time(run, &series)?);
    charts.extend(distribution(run)?);
    charts.extend(throughput(run, &series));
    charts.extend(errors(run, &series));
    charts.extend(sessions(run, &series));
    charts.extend(cpu(run));
    charts.extend(memory(run));
    Ok(charts)
}

/// A chart over time from lines; none if no line has a point.
fn over_time(
    run: &RunResult,
    head: [&str; 3],
    unit: &str,
    lines: Vec<Line>,
    log: bool,
) -> Option<Chart> {
    let values = || {
        lines
            .iter()
            .flat_map(|line| line.points.iter().filter_map(|(_, v)| *v))
    };
    let most = values().fold(f64::NAN, f64::max);
    if most.is_nan() {
        return None;
    }
    let scale = if log {
        Scale::logarithmic(values().filter(|v| *v > 0.0).fold(most, f64::min), most)
    } else {
        Scale::from_zero(most)
    };
    let until = (float(run.duration_us) / 1e6).max(1.0);
    let [title, says, caption] = head;
    Some(Chart {
        title: title.to_owned(),
        says: says.to_owned(),
        unit: caption.to_owned(),
        x: Axis {
            scale: Scale::Linear {
                low: 0.0,
                high: until,
            },
            ticks: times(until, 8),
            few: times(until, 4),
        },
        y: Axis::of(scale, unit),
        tips: tips(&lines, until, unit),
        lines,
        bands: bands(run, until),
        parts: run
            .phases
            .iter()
            .map(|phase| (float(phase.from_us) / 1e6, phase.name.clone()))
            .collect(),
    })
}

impl Axis {
    fn of(scale: Scale, unit: &str) -> Self {
        let label = |value: f64| {
            if unit.is_empty() {
                short(value)
            } else {
                with_unit(value, unit)
            }
        };
        let ticks: Vec<_> = scale
            .ticks()
            .into_iter()
            .map(|tick| (tick, label(tick)))
            .collect();
        Self {
            scale,
            few: ticks.clone(),
            ticks,
        }
    }
}

fn bands(run: &RunResult, until: f64) -> Vec<Band> {
    let band = |fault: &crate::Fault| Band {
        from: float(fault.from_us) / 1e6,
        until: fault.until_us.map_or(until, |at| float(at) / 1e6),
        label: format!("{} {}", fault.kind, fault.target),
    };
    run.faults.iter().take(MOST_BANDS).map(band).collect()
}

/// What each stretch says: the time, and each line's last value in it.
fn tips(lines: &[Line], until: f64, unit: &str) -> Vec<Tip> {
    let longest = lines
        .iter()
        .map(|line| line.points.len())
        .max()
        .unwrap_or(0);
    let stretches = longest.clamp(1, MOST_TIPS);
    let step = until / count(stretches);
    let mut places = vec![0; lines.len()];
    let mut tips = Vec::new();
    for stretch in 0..stretches {
        let (from, end) = (count(stretch) * step, count(stretch + 1) * step);
        let mut text = moment(end);
        let mut any = false;
        for (line, place) in lines.iter().zip(&mut places) {
            let mut last = None;
            while let Some((_, value)) = line.points.get(*place).filter(|(x, _)| *x <= end) {
                last = value.or(last);
                *place += 1;
            }
            if let Some(value) = last {
                any = true;
                text.push_str(&format!("\n{}: {}", line.name, with_unit(value, unit)));
            }
        }
        if any {
            let until = end;
            tips.push(Tip { from, until, text });
        }
    }
    tips
}

fn line(name: &str, points: Points) -> Line {
    Line {
        name: name.to_owned(),
        points,
    }
}

/// A line of what each step of the series says.
fn stepped(name: &str, series: &Series, of: impl Fn(&Point) -> Option<f64>) -> Line {
    let step = float(series.step_ms) / 1e3;
    let point = |(place, point): (usize, &Point)| ((count(place) + 0.5) * step, of(point));
    line(name, series.points.iter().enumerate().map(point).collect())
}

fn latency_over_time(run: &RunResult, series: &Series) -> Result<Option<Chart>, histogram::Error> {
    let opened = series.points.iter().map(|point| point.delivery.open());
    let opened = opened.collect::<Result<Vec<Histogram>, _>>()?;
    let step = float(series.step_ms) / 1e3;
    let percentile = |name: &str, share: f64| {
        let point = |(place, of): (usize, &Histogram)| {
            let value = of.quantile_us(share).map(|us| float(us) / 1e3);
            ((count(place) + 0.5) * step, value)
        };
        line(name, opened.iter().enumerate().map(point).collect())
    };
    let lines = vec![
        percentile("p50", 0.5),
        percentile("p90", 0.9),
        percentile("p99", 0.99),
        percentile("max", 1.0),
    ];
    let head = [
        "Latency of delivery over time",
        "From the intended time of sending to the receiver, by the second of arrival. Logarithmic.",
        "latency",
    ];
    Ok(over_time(run, head, "ms", lines, true))
}

fn distribution(run: &RunResult) -> Result<Option<Chart>, histogram::Error> {
    let basis = crate::basis::Basis::of(run)?;
    let of: [(&str, Kind); 4] = [
        ("delivery", |all| &all.delivery.intended),
        ("actual", |all| &all.delivery.actual),
        ("ack", |all| &all.ack.intended),
        ("login", |all| &all.login.intended),
    ];
    let shown = of.map(|(name, of)| (name, of(&basis.latencies)));
    let most_events = shown
        .iter()
        .map(|(_, each)| each.count())
        .max()
        .unwrap_or(0);
    if most_events == 0 {
        return Ok(None);
    }
    let nines = float(most_events).log10().clamp(2.0, 7.0).ceil();
    let lines: Vec<Line> = shown
        .into_iter()
        .filter(|(_, each)| each.count() > 0)
        .map(|(name, each)| line(name, percentiles(each)))
        .collect();
    let values = || {
        lines
            .iter()
            .flat_map(|line| line.points.iter().filter_map(|(_, v)| *v))
    };
    let most = values().fold(0.0, f64::max);
    let least = values().filter(|v| *v > 0.0).fold(most, f64::min);
    let ticks = percentile_ticks(nines);
    let tips = ticks
        .iter()
        .map(|(x, label)| Tip {
            from: x - 0.15,
            until: x + 0.15,
            text: lines.iter().fold(label.clone(), |text, line| {
                let at = line.points.iter().rev().find(|(at, _)| *at <= x + 1e-9);
                let value = at.and_then(|(_, value)| *value);
                value.map_or(text.clone(), |v| {
                    format!("{text}\n{}: {}", line.name, with_unit(v, "ms"))
                })
            }),
        })
        .collect();
    Ok(Some(Chart {
        title: "Distribution of latency".to_owned(),
        says:
            "Of the load and the logins: how long all but a share took. Both axes are logarithmic; \
               the line “actual” counts from the actual time of sending, and hides what a stalled \
               server does to those who wait."
                .to_owned(),
        unit: "latency".to_owned(),
        x: Axis {
            scale: Scale::Linear {
                low: 0.0,
                high: nines,
            },
            few: ticks
                .iter()
                .filter(|(x, _)| [0.0, 1.0, 3.0, 5.0, 7.0].contains(x))
                .cloned()
                .collect(),
            ticks: ticks.into_iter().filter(|(x, _)| *x > 0.0).collect(),
        },
        y: Axis::of(Scale::logarithmic(least, most), "ms"),
        lines,
        bands: Vec::new(),
        parts: Vec::new(),
        tips,
    }))
}

/// Ten points for each nine, as far as there are events.
fn percentiles(of: &Histogram) -> Points {
    let events = float(of.count());
    let mut points = Vec::new();
    for tenth in 0..=70 {
        let x = f64::from(tenth) / 10.0;
        let beyond = 10_f64.powf(-x);
        let value = of
            .quantile_us(1.0 - beyond)
            .map(|us| float(us.max(1)) / 1e3);
        points.push((x, value));
        if beyond * events < 1.0 {
            break;
        }
    }
    points
}

fn percentile_ticks(nines: f64) -> Vec<(f64, String)> {
    let all = [
        (0.0, "0 %"),
        (std::f64::consts::LOG10_2, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
        (6.0, "99.9999 %"),
        (7.0, "99.99999 %"),
    ];
    let within = all.into_iter().filter(|(x, _)| *x <= nines);
    within.map(|(x, label)| (x, label.to_owned())).collect()
}

fn throughput(run: &RunResult, series: &Series) -> Option<Chart> {
    let step = float(series.step_ms) / 1e3;
    let rate = |name: &str, of: fn(&Point) -> u64| {
        stepped(name, series, move |point| Some(float(of(point)) / step))
    };
    let lines = vec![
        rate("delivered", |point| point.delivered),
        rate("sent", |point| point.sent),
        rate("acked", |point| point.acked),
    ];
    let head = ["Throughput", "Messages in each second.", "messages/s"];
    over_time(run, head, "", lines, false)
}

/// Only where there are any: an empty chart says less than the count.
fn errors(run: &RunResult, series: &Series) -> Option<Chart> {
    if series.points.iter().all(|point| point.errors == 0) {
        return None;
    }
    let step = float(series.step_ms) / 1e3;
    let lines = vec![stepped("errors", series, |point| {
        Some(float(point.errors) / step)
    })];
    let head = [
        "Errors",
        "Refused messages, failed logins and all other errors.",
        "errors/s",
    ];
    over_time(run, head, "", lines, false)
}

fn sessions(run: &RunResult, series: &Series) -> Option<Chart> {
    let step = float(series.step_ms) / 1e3;
    let mut lines = vec![stepped("sessions", series, |point| {
        Some(float(point.sessions))
    })];
    if series.points.iter().any(|point| point.logins > 0) {
        lines.push(stepped("logins/s", series, move |point| {
            Some(float(point.logins) / step)
        }));
    }
    let head = [
        "Sessions",
        "Sessions that are open, and logins in each second.",
        "sessions",
    ];
    over_time(run, head, "", lines, false)
}

fn cpu(run: &RunResult) -> Option<Chart> {
    let mut lines = Vec::new();
    for (name, role) in [
        ("server", Role::Server),
        ("generator", Role::Generator),
        ("other", Role::Other),
    ] {
        let used = rate_of_roles(run, role);
        if !used.is_empty() {
            lines.push(line(name, used));
        }
    }
    let machine = |of: Of<entente_probe::MachineSample>| {
        let samples = run.machines.iter().map(|machine| {
            let points = machine.samples.iter();
            points
                .filter_map(|sample| Some((float(sample.at_us) / 1e6, of(sample)?)))
                .collect()
        });
        sum_of_rates(samples.collect(), run)
    };
    let steal = machine(|sample| Some(float(sample.steal_us)));
    if !steal.is_empty() {
        lines.push(line("steal", steal));
    }
    let foreign = machine(|sample| Some(float(sample.foreign_us)));
    if !foreign.is_empty() {
        lines.push(line("unwatched", foreign));
    }
    let head = [
        "CPU",
        "100 % is one core. Steal is what the hypervisor gave to others, unwatched what other \
         processes of these machines used: both make a run less certain.",
        "of one core",
    ];
    over_time(run, head, "%", lines, false)
}

fn rate_of_roles(run: &RunResult, role: Role) -> Points {
    let totals = of_role(run, role).map(|process: &Process| {
        let point = |sample: &ProcessSample| (float(sample.at_us) / 1e6, float(sample.cpu_us));
        process.samples.iter().map(point).collect()
    });
    sum_of_rates(totals.collect(), run)
}

/// From totals in microseconds at times in seconds: per cent of a core, summed over processes.
fn sum_of_rates(totals: Vec<Vec<(f64, f64)>>, run: &RunResult) -> Points {
    let until = (float(run.duration_us) / 1e6).max(1.0);
    let Some(longest) = totals.iter().max_by_key(|samples| samples.len()) else {
        return Vec::new();
    };
    let (Some((first, _)), Some((last, _)), true) =
        (longest.first(), longest.last(), longest.len() > 1)
    else {
        return Vec::new();
    };
    // Steps as long as the time between samples, so that each has one of its own.
    let between = (last - first) / count(longest.len() - 1);
    let most = count(MOST_POINTS);
    let step = between.max(until / most).max(0.01);
    let within = (0..MOST_POINTS).take_while(|at| count(*at) * step < until);
    let steps: Vec<usize> = within.collect();
    let mut sums: Points = steps
        .into_iter()
        .map(|at| ((count(at) + 0.5) * step, None))
        .collect();
    for samples in &totals {
        for (at, sum) in &mut sums {
            let (from, to) = (*at - step / 2.0, *at + step / 2.0);
            let Some(used) = total_at(samples, to).zip(total_at(samples, from)) else {
                continue;
            };
            // Before its first and after its last sample a process adds nothing.
            if samples.first().is_some_and(|(first, _)| to > *first)
                && samples.last().is_some_and(|(last, _)| from < *last)
            {
                *sum = Some(sum.unwrap_or(0.0) + (used.0 - used.1).max(0.0) / step / 1e4);
            }
        }
    }
    sums
}

fn total_at(samples: &[(f64, f64)], at: f64) -> Option<f64> {
    let after = samples.partition_point(|(time, _)| *time < at);
    let next = samples.get(after);
    let last = after.checked_sub(1).and_then(|before| samples.get(before));
    match (last, next) {
        (Some((x0, y0)), Some((x1, y1))) => Some(y0 + (y1 - y0) * (at - x0) / (x1 - x0).max(1e-9)),
        (one, other) => one.or(other).map(|(_, total)| *total),
    }
}

fn memory(run: &RunResult) -> Option<Chart> {
    let held = |samples: Vec<ProcessSample>, of: Of<ProcessSample>| -> Points {
        let every = samples.len().div_ceil(MOST_POINTS).max(1);
        let kept = samples.iter().step_by(every);
        kept.map(|sample| (float(sample.at_us) / 1e6, of(sample)))
            .collect()
    };
    let mut lines = Vec::new();
    let server = server_moments(run);
    if !server.is_empty() {
        lines.push(line(
            "server",
            held(server, |sample| Some(float(sample.rss))),
        ));
    }
    if let Some(generator) = of_role(run, Role::Generator).next() {
        let points = held(generator.samples.clone(), |sample| Some(float(sample.rss)));
        lines.push(line("generator", points));
    }
    let mut servers = of_role(run, Role::Server);
    if let (Some(only), None) = (servers.next(), servers.next()) {
        let with = only
            .samples
            .iter()
            .filter(|sample| sample.pss.is_some())
            .copied();
        let points = held(with.collect(), |sample| sample.pss.map(float));
        if points.len() > 1 {
            lines.push(line("server PSS", points));
        }
    }
    let head = [
        "Memory",
        "Resident memory of the server's processes together, and of a generator. PSS counts pages \
         that processes share in part.",
        "resident",
    ];
    over_time(run, head, "bytes", lines, false)
}
