//! The table of figures, and how each is worked out.

use super::Better::{Higher, Lower, Neither};
use super::{Better, Figure, Source};
use crate::basis::{Basis, Spent, float};
use crate::{Histogram, Latencies};

/// All figures, in the order in which reports show them.
pub static FIGURES: &[Figure] = &[
    latency(
        "p50_ms",
        0.5,
        "Half of the deliveries, from the intended time of sending, took no longer",
        |l| &l.delivery.intended,
    ),
    latency(
        "p90_ms",
        0.9,
        "90 % of the deliveries, from the intended time of sending, took no longer",
        |l| &l.delivery.intended,
    ),
    latency(
        "p99_ms",
        0.99,
        "99 % of the deliveries, from the intended time of sending, took no longer",
        |l| &l.delivery.intended,
    ),
    latency(
        "p999_ms",
        0.999,
        "99.9 % of the deliveries, from the intended time of sending, took no longer",
        |l| &l.delivery.intended,
    ),
    latency(
        "max_ms",
        1.0,
        "The longest of the deliveries, from the intended time of sending",
        |l| &l.delivery.intended,
    ),
    latency(
        "actual_p50_ms",
        0.5,
        "Half of the deliveries, from the actual time of sending, took no longer",
        |l| &l.delivery.actual,
    ),
    latency(
        "actual_p90_ms",
        0.9,
        "90 % of the deliveries, from the actual time of sending, took no longer",
        |l| &l.delivery.actual,
    ),
    latency(
        "actual_p99_ms",
        0.99,
        "99 % of the deliveries, from the actual time of sending, took no longer",
        |l| &l.delivery.actual,
    ),
    latency(
        "actual_p999_ms",
        0.999,
        "99.9 % of the deliveries, from the actual time of sending, took no longer",
        |l| &l.delivery.actual,
    ),
    latency(
        "actual_max_ms",
        1.0,
        "The longest of the deliveries, from the actual time of sending",
        |l| &l.delivery.actual,
    ),
    latency(
        "ack_p50_ms",
        0.5,
        "Half of the acknowledgements by the server, from the intended time of sending, took no longer",
        |l| &l.ack.intended,
    ),
    latency(
        "ack_p90_ms",
        0.9,
        "90 % of the acknowledgements by the server, from the intended time of sending, took no longer",
        |l| &l.ack.intended,
    ),
    latency(
        "ack_p99_ms",
        0.99,
        "99 % of the acknowledgements by the server, from the intended time of sending, took no longer",
        |l| &l.ack.intended,
    ),
    latency(
        "ack_p999_ms",
        0.999,
        "99.9 % of the acknowledgements by the server, from the intended time of sending, took no longer",
        |l| &l.ack.intended,
    ),
    latency(
        "ack_max_ms",
        1.0,
        "The longest of the acknowledgements by the server, from the intended time of sending",
        |l| &l.ack.intended,
    ),
    latency(
        "login_p50_ms",
        0.5,
        "Half of the logins, from the intended time of connecting, took no longer",
        |l| &l.login.intended,
    ),
    latency(
        "login_p90_ms",
        0.9,
        "90 % of the logins, from the intended time of connecting, took no longer",
        |l| &l.login.intended,
    ),
    latency(
        "login_p99_ms",
        0.99,
        "99 % of the logins, from the intended time of connecting, took no longer",
        |l| &l.login.intended,
    ),
    latency(
        "login_p999_ms",
        0.999,
        "99.9 % of the logins, from the intended time of connecting, took no longer",
        |l| &l.login.intended,
    ),
    latency(
        "login_max_ms",
        1.0,
        "The longest of the logins, from the intended time of connecting",
        |l| &l.login.intended,
    ),
    latency(
        "receipt_p50_ms",
        0.5,
        "Half of the receipts, from the intended time of sending, took no longer",
        |l| &l.receipt.intended,
    ),
    latency(
        "receipt_p90_ms",
        0.9,
        "90 % of the receipts, from the intended time of sending, took no longer",
        |l| &l.receipt.intended,
    ),
    latency(
        "receipt_p99_ms",
        0.99,
        "99 % of the receipts, from the intended time of sending, took no longer",
        |l| &l.receipt.intended,
    ),
    latency(
        "receipt_p999_ms",
        0.999,
        "99.9 % of the receipts, from the intended time of sending, took no longer",
        |l| &l.receipt.intended,
    ),
    latency(
        "receipt_max_ms",
        1.0,
        "The longest of the receipts, from the intended time of sending",
        |l| &l.receipt.intended,
    ),
    worked(
        "rate",
        "1/s",
        Higher,
        "Messages delivered in each second of the load",
        |b| rate(b.load.delivered, b.load_us),
    ),
    worked(
        "sent_rate",
        "1/s",
        Neither,
        "Messages sent in each second of the load",
        |b| rate(b.load.sent, b.load_us),
    ),
    worked(
        "acked_rate",
        "1/s",
        Higher,
        "Messages that the server took over in each second of the load",
        |b| rate(b.load.acked, b.load_us),
    ),
    worked(
        "login_rate",
        "1/s",
        Higher,
        "Logins in each second of the parts for logins",
        |b| rate(b.login.logins, b.login_us),
    ),
    plain(
        "sent",
        Neither,
        "Messages sent, in all parts of the run",
        |b| Some(float(b.all.sent)),
    ),
    plain(
        "delivered",
        Neither,
        "Messages that reached a receiver, first copies alone, in all parts",
        |b| Some(float(b.all.delivered)),
    ),
    plain(
        "acked",
        Neither,
        "Messages that the server took over, in all parts",
        |b| Some(float(b.all.acked)),
    ),
    plain(
        "receipts",
        Neither,
        "Receipts that came back, in all parts",
        |b| Some(float(b.all.receipts)),
    ),
    plain(
        "delivered_receipts",
        Neither,
        "Messages of which the gateway said that their recipients' devices acknowledged them, in all parts",
        |b| Some(float(b.all.delivered_receipts)),
    ),
    plain(
        "logins",
        Neither,
        "Logins that ended with a session, in all parts",
        |b| Some(float(b.all.logins)),
    ),
    plain("resumes", Neither, "Sessions resumed, in all parts", |b| {
        Some(float(b.all.resumes))
    }),
    plain(
        "lost",
        Lower,
        "Messages that the server took over and nobody received",
        |b| Some(float(b.all.lost)),
    ),
    plain(
        "duplicated",
        Lower,
        "Second copies that a user would have seen",
        |b| Some(float(b.all.duplicates)),
    ),
    plain(
        "wire_copies",
        Neither,
        "Second copies that the protocol allows, because the first was not acknowledged",
        |b| Some(float(b.all.wire_copies)),
    ),
    plain(
        "out_of_order",
        Lower,
        "Messages that arrived before an earlier one of the same pair",
        |b| Some(float(b.all.out_of_order)),
    ),
    plain(
        "corrupt",
        Lower,
        "Messages that arrived changed, or that nobody sent",
        |b| Some(float(b.all.corrupt)),
    ),
    plain(
        "unknown",
        Lower,
        "Sends and requests whose outcome nobody knew at the end: neither acknowledged nor answered",
        |b| Some(float(b.all.unknown)),
    ),
    plain(
        "refused",
        Lower,
        "Messages that the server answered with an error",
        |b| Some(float(b.all.refusals())),
    ),
    plain(
        "errors",
        Lower,
        "Failed logins and all other errors, refused messages not included",
        |b| Some(float(b.all.failures())),
    ),
    plain(
        "violations",
        Lower,
        "Promises that the history checker found broken",
        |b| b.violations.map(float),
    ),
    plain(
        "receipts_judged",
        Neither,
        "Delivered receipts that the history checker judged (R10)",
        |b| b.receipts_judged.map(float),
    ),
    plain(
        "pushes_judged",
        Neither,
        "Calls of push endpoints that the history checker judged (R12)",
        |b| b.pushes_judged.map(float),
    ),
    plain(
        "wakes_judged",
        Neither,
        "Absences in which somebody was due to be woken, that the history checker judged (R12)",
        |b| b.wakes_judged.map(float),
    ),
    worked(
        "server_cpu_us_per_message",
        "µs",
        Lower,
        "CPU time of the server for each message delivered in the load",
        |b| each(b.server_load, |s| s.cpu_us, b.load.delivered),
    ),
    worked(
        "server_user_us_per_message",
        "µs",
        Lower,
        "The part of it in user mode, by the kernel's ticks",
        |b| each(b.server_load, |s| s.user_us, b.load.delivered),
    ),
    worked(
        "server_system_us_per_message",
        "µs",
        Lower,
        "The part of it in the kernel, by the kernel's ticks",
        |b| each(b.server_load, |s| s.system_us, b.load.delivered),
    ),
    plain(
        "server_switches_per_message",
        Lower,
        "Context switches of the server for each message delivered in the load",
        |b| each(b.server_load, |s| s.switches, b.load.delivered),
    ),
    worked(
        "server_cpu_us_per_login",
        "µs",
        Lower,
        "CPU time of the server for each login, in the parts for logins",
        |b| each(b.server_login, |s| s.cpu_us, b.login.logins),
    ),
    worked(
        "idle_cpu_us_per_session_second",
        "µs/s",
        Lower,
        "CPU time of the server for each second of an idle session",
        idle,
    ),
    worked(
        "bytes_per_session",
        "bytes",
        Lower,
        "Memory that the server gained from the first sample to the end of the idle part, for each session",
        |b| b.bytes_per_session,
    ),
    worked(
        "server_cores",
        "cores",
        Neither,
        "Cores that the server used in the load",
        |b| cores(b.server_load, b.load_us),
    ),
    worked(
        "server_max_bytes",
        "bytes",
        Lower,
        "Most resident memory of all server processes together",
        |b| b.most.rss.map(float),
    ),
    plain(
        "server_max_descriptors",
        Lower,
        "Most open file descriptors of all server processes together",
        |b| b.most.descriptors.map(float),
    ),
    plain(
        "server_max_threads",
        Lower,
        "Most threads of all server processes together",
        |b| b.most.threads.map(f64::from),
    ),
    worked(
        "memory_bytes_per_hour",
        "bytes/h",
        Lower,
        "Slope of the server's memory from the load's start to the run's end, of five minutes or more",
        |b| b.memory.map(|slope| slope.estimate),
    ),
    worked(
        "memory_growth_bytes_per_hour",
        "bytes/h",
        Lower,
        "Growth of the server's memory that is beyond doubt (95 %); zero if none is",
        |b| b.memory.map(|slope| slope.low.max(0.0)),
    ),
    worked(
        "descriptors_per_hour",
        "1/h",
        Lower,
        "Slope of the server's file descriptors from the load's start to the run's end, of five minutes or more",
        |b| b.descriptors.map(|slope| slope.estimate),
    ),
    worked(
        "descriptor_growth_per_hour",
        "1/h",
        Lower,
        "Growth of the server's file descriptors that is beyond doubt (95 %); zero if none is",
        |b| b.descriptors.map(|slope| slope.low.max(0.0)),
    ),
    worked(
        "generator_cpu_us_per_message",
        "µs",
        Neither,
        "CPU time of the generators for each message delivered in the load",
        |b| each(b.generator_load, |s| s.cpu_us, b.load.delivered),
    ),
    worked(
        "generator_cpu_percent",
        "%",
        Neither,
        "Share of its cores that the busiest generator used in the load",
        |b| b.generator_share,
    ),
    worked(
        "steal_percent",
        "%",
        Neither,
        "Share of the machines' CPU time that their hypervisors took in the load",
        |b| b.noise.map(|(steal, _)| steal),
    ),
    worked(
        "foreign_cpu_percent",
        "%",
        Neither,
        "Share of the machines' CPU time that unwatched processes used in the load",
        |b| b.noise.map(|(_, foreign)| foreign),
    ),
];

const fn latency(
    name: &'static str,
    share: f64,
    says: &'static str,
    of: fn(&Latencies) -> &Histogram,
) -> Figure {
    Figure {
        name,
        unit: "ms",
        better: Lower,
        says,
        source: Source::Latency(share, of),
    }
}

/// A figure without a unit.
const fn plain(
    name: &'static str,
    better: Better,
    says: &'static str,
    of: fn(&Basis) -> Option<f64>,
) -> Figure {
    worked(name, "", better, says, of)
}

const fn worked(
    name: &'static str,
    unit: &'static str,
    better: Better,
    says: &'static str,
    of: fn(&Basis) -> Option<f64>,
) -> Figure {
    Figure {
        name,
        unit,
        better,
        says,
        source: Source::Value(of),
    }
}

fn rate(count: u64, time_us: u64) -> Option<f64> {
    (time_us > 0).then(|| float(count) * 1e6 / float(time_us))
}

fn each(spent: Option<Spent>, what: fn(&Spent) -> f64, count: u64) -> Option<f64> {
    let spent = spent.filter(|_| count > 0)?;
    Some(what(&spent) / float(count))
}

fn idle(basis: &Basis) -> Option<f64> {
    let spent = basis.server_idle.filter(|_| basis.idle_session_us > 0)?;
    Some(spent.cpu_us * 1e6 / float(basis.idle_session_us))
}

fn cores(spent: Option<Spent>, time_us: u64) -> Option<f64> {
    let spent = spent.filter(|_| time_us > 0)?;
    Some(spent.cpu_us / float(time_us))
}
