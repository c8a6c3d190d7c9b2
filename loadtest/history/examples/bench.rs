//! Writes a history of many messages and times its check.
//!
//! `cargo run --release -p entente-history --example bench [MESSAGES]`: a million by default, between
//! 2,000 devices of two processes, each with its acceptance, delivery and receipt, an
//! acknowledgement for every eight deliveries, and copies after a resume now and then.

use std::time::Duration;

use entente_history::{
    Bind, Deliver, Devack, Device, DeviceIs, Digest, Drained, Event, Handled, Header, Id, Invoke,
    Options, Passed, Receipt, ReceiptKind, Recorder, Resume, Unbind, Writer, WriterOptions, check,
};
use tokio::time::Instant;

const DEVICES: u32 = 2000;

struct Side {
    epoch: u32,
    n: u64,
    unacked: Vec<(Device, u64)>,
    shown: u64,
    acked: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let messages = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |it| it.parse::<u64>())?;
    let dir = tempfile::tempdir()?;
    let begun = cpu()?;
    let events = write(dir.path(), messages)?;
    report("recorded", events, cpu()?.saturating_sub(begun));
    let mut bytes = 0;
    for file in std::fs::read_dir(dir.path())? {
        bytes += file?.metadata()?.len();
    }
    let (begun, worked) = (Instant::now(), cpu()?);
    let verdict = check(dir.path(), &Options::default())?;
    let took = begun.elapsed();
    report("checked", events, cpu()?.saturating_sub(worked));
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    line(&format!(
        "{messages} messages, {events} events, {} MB of files, {} MB spilled: {:.2} s, {}",
        bytes >> 20,
        verdict.spilled_bytes >> 20,
        took.as_secs_f64(),
        peak.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    ));
    line(&format!("{:?}: {:?}", verdict.outcome, verdict.counts));
    Ok(())
}

/// What this thread has used of a core: others on the machine do not count.
fn cpu() -> Result<Duration, Failed> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn report(what: &str, events: u64, took: Duration) {
    let each = took.as_nanos() / u128::from(events.max(1));
    line(&format!(
        "{what}: {events} events in {:.2} s, {each} ns each",
        took.as_secs_f64()
    ));
}

#[expect(clippy::print_stdout, reason = "it is what this is for")]
fn line(text: &str) {
    println!("{text}");
}

fn write(dir: &std::path::Path, messages: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let begin = |process: &str| {
        Writer::create(
            dir,
            &Header::new(process, "bench", 1),
            WriterOptions::default(),
        )
    };
    let (even, odd) = (begin("gen-0")?, begin("gen-1")?);
    let recorders = [even.recorder(), odd.recorder()];
    let mut events = 0;
    let mut by = |device: Device, event: &Event| {
        events += 1;
        let [even, odd] = &recorders;
        let recorder: &Recorder = if device.is_multiple_of(2) { even } else { odd };
        recorder.record(event);
    };
    let mut sides: Vec<_> = (0..DEVICES).map(|_| Side::new()).collect();
    for device in 0..DEVICES {
        let is = DeviceIs {
            device,
            partner: 1,
            account: format!("user{device}"),
            endpoint: None,
        };
        by(device, &Event::Device(is.clone()));
        by(device + 1, &Event::Device(is));
    }
    for (device, side) in (0..).zip(&mut sides) {
        by(device, &side.bind(device));
    }
    for n in 0..messages {
        // Spread without a generator's cost.
        let draw = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let from = u32::try_from(draw % u64::from(DEVICES))?;
        let to = (from + 1 + u32::try_from(draw % 7)?) % DEVICES;
        send(&mut sides, (from, to), &mut by)?;
        if n % 5000 == 4999 {
            drop_connection(&mut sides, to, &mut by)?;
        }
    }
    for device in 0..DEVICES {
        acknowledge(&mut sides, device, &mut by)?;
        by(device, &Event::Drained(Drained { device }));
    }
    even.close()?;
    odd.close()?;
    Ok(events)
}

type Failed = Box<dyn std::error::Error>;

fn of(sides: &mut [Side], device: Device) -> Result<&mut Side, Failed> {
    Ok(sides
        .get_mut(usize::try_from(device)?)
        .ok_or("a device without a side")?)
}

fn send(
    sides: &mut [Side],
    (from, to): (Device, Device),
    by: &mut impl FnMut(Device, &Event),
) -> Result<(), Failed> {
    let sender = of(sides, from)?;
    let (n, epoch) = (sender.n, sender.epoch);
    sender.n += 1;
    let (id, digest) = (Id::own(from, n), Digest(n ^ u64::from(from) << 40));
    let invoke = Invoke {
        from,
        to,
        id: id.clone(),
        n,
        digest,
        quiet: false,
    };
    by(from, &Event::Invoke(invoke));
    if n % 8 == 7 {
        let (value, sent) = (n, n + 1);
        let device = from;
        by(
            from,
            &Event::H(Handled {
                device,
                epoch,
                value,
                sent,
            }),
        );
    }
    by(
        from,
        &Event::Ok(Passed {
            from,
            id: id.clone(),
            epoch,
        }),
    );
    let recipient = of(sides, to)?;
    recipient.unacked.push((from, n));
    recipient.shown += 1;
    let full = recipient.unacked.len() >= 8;
    let deliver = Deliver {
        to,
        from,
        id,
        digest,
        epoch: recipient.epoch,
        delayed: false,
        copy: false,
        seq: None,
    };
    by(to, &Event::Deliver(deliver));
    if full {
        acknowledge(sides, to, by)
    } else {
        Ok(())
    }
}

fn acknowledge(
    sides: &mut [Side],
    device: Device,
    by: &mut impl FnMut(Device, &Event),
) -> Result<(), Failed> {
    let side = of(sides, device)?;
    side.acked = side.shown;
    let (epoch, count) = (side.epoch, side.acked);
    let done = std::mem::take(&mut side.unacked);
    by(
        device,
        &Event::Devack(Devack {
            device,
            epoch,
            count,
        }),
    );
    for (to, n) in done {
        let receipt = Receipt {
            to,
            of: device,
            id: Id::own(to, n),
            kind: ReceiptKind::Delivered,
            epoch: of(sides, to)?.epoch,
        };
        by(to, &Event::Receipt(receipt));
    }
    Ok(())
}

/// A resume: what it had not acknowledged comes again.
fn drop_connection(
    sides: &mut [Side],
    device: Device,
    by: &mut impl FnMut(Device, &Event),
) -> Result<(), Failed> {
    let side = of(sides, device)?;
    let epoch = side.epoch;
    by(device, &Event::Unbind(Unbind { device, epoch }));
    side.epoch += 1;
    (side.shown, side.acked) = (0, 0);
    let resume = Resume {
        device,
        epoch: side.epoch,
        node: String::new(),
        h: side.n,
    };
    by(device, &Event::Resume(resume));
    for (from, n) in side.unacked.clone() {
        side.shown += 1;
        let deliver = Deliver {
            to: device,
            from,
            id: Id::own(from, n),
            digest: Digest(n ^ u64::from(from) << 40),
            epoch: side.epoch,
            delayed: true,
            copy: true,
            seq: None,
        };
        by(device, &Event::Deliver(deliver));
    }
    Ok(())
}

impl Side {
    const fn new() -> Self {
        Self {
            epoch: 1,
            n: 0,
            unacked: Vec::new(),
            shown: 0,
            acked: 0,
        }
    }

    fn bind(&self, device: Device) -> Event {
        Event::Bind(Bind {
            device,
            epoch: self.epoch,
            node: String::new(),
        })
    }
}
