//! A gateway on paper, and the clients that write down what they see of it: clean histories from a
//! seed, with kills, resumes, copies, unknown outcomes, notices, prekeys and wake-ups.

mod episodes;

use std::collections::{HashSet, VecDeque};

use entente_history::{
    Deliver, Devack, Device, DeviceIs, Digest, Drained, Event, Fail, Handled, Header, Heal, Id,
    Invoke, Line, Passed, Push, Receipt, ReceiptKind, SCHEMA, write_whole,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Devices of a process, and processes of a run.
pub(crate) const DEVICES: u32 = 5;
pub(crate) const PROCESSES: u32 = 3;
const SECOND: u64 = 1_000_000_000;

/// The files of a run, each its lines.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) seed: u64,
    pub(crate) files: Vec<Vec<Line>>,
    /// Devices that had to be called, each for one absence and with a sender in their own file.
    pub(crate) due: Vec<Device>,
}

#[derive(Clone, Debug)]
struct Message {
    from: Device,
    to: Device,
    id: Id,
    n: u64,
    digest: Digest,
    delayed: bool,
}

#[derive(Default)]
struct Side {
    epoch: u32,
    live: bool,
    node: u32,
    since: u64,
    n: u64,
    /// Written by the client in this session, and by the gateway taken in.
    sent: u64,
    handled: u64,
    /// Written and not covered by an `h`, with whether the gateway took it in and accepted it.
    open: VecDeque<(usize, Option<bool>)>,
    /// For it, not acknowledged.
    mailbox: VecDeque<usize>,
    /// How many of the mailbox were delivered over this connection, and of those before.
    shown: usize,
    shown_all: u64,
    acked: u64,
    seen: HashSet<usize>,
    receipts: VecDeque<usize>,
    called: bool,
    version: u64,
    keys: u64,
}

pub(crate) struct World {
    rng: StdRng,
    now: u64,
    sample: Sample,
    sides: Vec<Side>,
    messages: Vec<Message>,
    accepted: HashSet<usize>,
    blocked: HashSet<(Device, Device)>,
    wakes: u64,
    /// Steps until the killed node is up again.
    down: u32,
}

pub(crate) fn file_of(device: Device) -> usize {
    usize::try_from(device / DEVICES).unwrap()
}

pub(crate) fn partner(device: Device) -> u16 {
    u16::try_from(1 + device % 3).unwrap()
}

fn place(device: Device) -> usize {
    usize::try_from(device).unwrap()
}

pub(crate) fn write(dir: &std::path::Path, sample: &Sample, compress: bool) {
    for (number, lines) in sample.files.iter().enumerate() {
        let header = Header {
            history: SCHEMA,
            process: format!("gen-{number}"),
            pid: 1,
            seed: sample.seed,
            run: "sample".into(),
            wall_ms: 1_700_000_000_000,
        };
        write_whole(dir, &header, lines, compress).unwrap();
    }
}

/// A clean history of some `steps`.
pub(crate) fn clean(seed: u64, steps: usize) -> Sample {
    let mut world = World::new(seed);
    world.start();
    for _ in 0..steps {
        world.step();
    }
    world.absence();
    world.end();
    world.sample
}

impl World {
    fn new(seed: u64) -> Self {
        let files = (0..PROCESSES).map(|_| Vec::new()).collect();
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            sample: Sample {
                seed,
                files,
                due: Vec::new(),
            },
            sides: (0..DEVICES * PROCESSES).map(|_| Side::default()).collect(),
            messages: Vec::new(),
            accepted: HashSet::new(),
            blocked: HashSet::new(),
            wakes: 0,
            down: 0,
        }
    }

    /// Every file has a clock of its own.
    fn note(&mut self, file: usize, event: Event) {
        self.now += self.rng.random_range(1000..2_000_000);
        let at = self.now + 77 * SECOND * file as u64;
        self.sample.files[file].push(Line { at, event });
    }

    fn by(&mut self, device: Device, event: Event) {
        self.note(file_of(device), event);
    }

    fn everywhere(&mut self, event: &Event) {
        for file in 0..self.sample.files.len() {
            self.note(file, event.clone());
        }
    }

    fn side(&mut self, device: Device) -> &mut Side {
        &mut self.sides[place(device)]
    }

    fn any(&mut self) -> Device {
        self.rng.random_range(0..DEVICES * PROCESSES)
    }

    fn start(&mut self) {
        for file in 0..self.sample.files.len() {
            for device in 0..DEVICES * PROCESSES {
                let is = DeviceIs {
                    device,
                    partner: partner(device),
                    account: format!("user{device}"),
                    endpoint: Some(format!("push-{}", partner(device))),
                };
                self.note(file, Event::Device(is));
            }
        }
        for device in 0..DEVICES * PROCESSES {
            self.bind(device);
        }
    }

    fn step(&mut self) {
        if self.down > 0 {
            self.down -= 1;
            if self.down == 0 {
                self.everywhere(&episodes::killed(false));
            }
        }
        let device = self.any();
        let live = self.side(device).live;
        match self.rng.random_range(0..100) {
            0..30 if live => {
                let to = (device + self.rng.random_range(1..4)) % (DEVICES * PROCESSES);
                self.send(device, to);
            }
            30..45 if live => self.take(device),
            45..55 if live => self.cover(device),
            55..75 if live => self.show(device),
            75..85 if live => self.acknowledge(device),
            85..89 if live => self.tell(device),
            89..92 if live => self.cut(device),
            0..92 => self.back(device),
            92 => self.kill(),
            93..96 => self.prekey(device),
            96 => self.give_up(device),
            97 => self.block(device),
            _ => self.now += self.rng.random_range(0..3 * SECOND),
        }
    }

    fn send(&mut self, from: Device, to: Device) {
        let n = self.side(from).n;
        self.side(from).n += 1;
        // One device writes ids as somebody else's client would.
        let id = match from {
            3 => Id::Foreign(format!("x-{n:04x}").into()),
            _ => Id::own(from, n),
        };
        let message = Message {
            from,
            to,
            id,
            n,
            digest: Digest(self.rng.random()),
            delayed: false,
        };
        self.messages.push(message);
        self.invoke(self.messages.len() - 1);
    }

    fn invoke(&mut self, at: usize) {
        let it = self.messages[at].clone();
        let side = self.side(it.from);
        side.sent += 1;
        side.open.push_back((at, None));
        let quiet = it.n % 7 == 6;
        let invoke = Invoke {
            from: it.from,
            to: it.to,
            id: it.id,
            n: it.n,
            digest: it.digest,
            quiet,
        };
        self.by(it.from, Event::Invoke(invoke));
    }

    /// The gateway reads the next stanza of a device: into the log, or refused at once.
    fn take(&mut self, device: Device) {
        let side = self.side(device);
        let Some(entry) = side.open.iter().position(|(_, taken)| taken.is_none()) else {
            return;
        };
        let at = side.open[entry].0;
        side.handled += 1;
        let it = self.messages[at].clone();
        let known = self.accepted.contains(&at);
        let refused = !known
            && (self.blocked.contains(&(it.to, device)) || self.rng.random_range(0..20) == 0);
        self.side(device).open[entry].1 = Some(!refused);
        if refused {
            let (from, id, reason) = (device, it.id, "policy-violation".into());
            self.by(device, Event::Fail(Fail { from, id, reason }));
        } else if !known {
            self.accepted.insert(at);
            let away = !self.side(it.to).live;
            self.messages[at].delayed = away;
            self.side(it.to).mailbox.push_back(at);
            if away {
                self.call(it.to);
            }
        }
    }

    fn call(&mut self, to: Device) {
        if std::mem::replace(&mut self.side(to).called, true) {
            return;
        }
        self.wakes += 1;
        for attempt in 1..=self.rng.random_range(1..3) {
            let push = Push {
                endpoint: format!("push-{}", partner(to)),
                to,
                wake: format!("w{}", self.wakes),
                attempt,
                sig_ok: true,
            };
            self.by(to, Event::Push(push));
        }
    }

    /// An `h` comes, and what it covers is ok.
    fn cover(&mut self, device: Device) {
        let side = self.side(device);
        let (epoch, value, sent) = (side.epoch, side.handled, side.sent);
        let handled = Handled {
            device,
            epoch,
            value,
            sent,
        };
        self.by(device, Event::H(handled));
        self.covered(device);
    }

    fn covered(&mut self, device: Device) {
        while let Some((at, Some(accepted))) = self.side(device).open.front().copied() {
            self.side(device).open.pop_front();
            if accepted {
                let (id, epoch) = (self.messages[at].id.clone(), self.side(device).epoch);
                let from = device;
                self.by(device, Event::Ok(Passed { from, id, epoch }));
            }
        }
    }

    /// The gateway writes the next message of a mailbox.
    fn show(&mut self, device: Device) {
        let side = self.side(device);
        let Some(at) = side.mailbox.get(side.shown).copied() else {
            return;
        };
        side.shown += 1;
        side.shown_all += 1;
        let copy = !side.seen.insert(at);
        let epoch = side.epoch;
        let it = self.messages[at].clone();
        let deliver = Deliver {
            to: device,
            from: it.from,
            id: it.id,
            digest: it.digest,
            epoch,
            delayed: it.delayed,
            copy,
            seq: None,
        };
        self.by(device, Event::Deliver(deliver));
    }

    fn acknowledge(&mut self, device: Device) {
        let side = self.side(device);
        let shown = side.shown;
        if shown == 0 {
            return;
        }
        side.acked += shown as u64;
        side.shown = 0;
        let (epoch, count) = (side.epoch, side.acked);
        let done: Vec<_> = side.mailbox.drain(..shown).collect();
        self.by(
            device,
            Event::Devack(Devack {
                device,
                epoch,
                count,
            }),
        );
        for at in done {
            let from = self.messages[at].from;
            self.side(from).receipts.push_back(at);
        }
    }

    fn tell(&mut self, device: Device) {
        while let Some(at) = self.side(device).receipts.pop_front() {
            let (epoch, it) = (self.side(device).epoch, self.messages[at].clone());
            let receipt = Receipt {
                to: device,
                of: it.to,
                id: it.id,
                kind: ReceiptKind::Delivered,
                epoch,
            };
            self.by(device, Event::Receipt(receipt));
        }
    }

    /// The gateway takes all in that a device wrote, and says so.
    fn settle(&mut self, device: Device) {
        while self
            .side(device)
            .open
            .iter()
            .any(|(_, taken)| taken.is_none())
        {
            self.take(device);
        }
        self.cover(device);
    }

    fn end(&mut self) {
        self.everywhere(&Event::Heal(Heal {}));
        for device in 0..DEVICES * PROCESSES {
            if !self.side(device).live {
                self.bind(device);
            }
        }
        for device in 0..DEVICES * PROCESSES {
            self.settle(device);
        }
        for device in 0..DEVICES * PROCESSES {
            self.drain(device);
        }
        for device in 0..DEVICES * PROCESSES {
            self.tell(device);
            self.by(device, Event::Drained(Drained { device }));
        }
    }
}
