//! What befalls the paper gateway's clients: connections that go and come, kills, keys, blocks.

use entente_history::{Bind, Block, Event, Fault, Info, Notice, Prekey, Resume, Unbind};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::{DEVICES, Device, PROCESSES, SECOND, World, file_of};

pub(super) fn killed(start: bool) -> Event {
    Event::Fault(Fault {
        kind: "kill".into(),
        target: "node-1".into(),
        start,
    })
}

impl World {
    pub(super) fn cut(&mut self, device: Device) {
        let side = self.side(device);
        side.live = false;
        side.called = false;
        let epoch = side.epoch;
        self.by(device, Event::Unbind(Unbind { device, epoch }));
        self.side(device).since = self.now;
    }

    pub(super) fn back(&mut self, device: Device) {
        if self.rng.random() {
            self.resume(device);
        } else {
            self.now += self.rng.random_range(0..20 * SECOND);
            self.bind(device);
        }
    }

    pub(super) fn connect(&mut self, device: Device) -> (u32, String) {
        let node = self.rng.random_range(0..3);
        let side = self.side(device);
        side.live = true;
        side.epoch += 1;
        (side.node, side.shown, side.acked, side.shown_all) = (node, 0, 0, 0);
        (side.epoch, format!("node-{node}"))
    }

    pub(super) fn bind(&mut self, device: Device) {
        let (epoch, node) = self.connect(device);
        let side = self.side(device);
        (side.sent, side.handled) = (0, 0);
        let open: Vec<_> = side.open.drain(..).collect();
        let bind = Bind {
            device,
            epoch,
            node,
        };
        self.by(device, Event::Bind(bind));
        let mut again = Vec::new();
        for (at, taken) in open {
            if taken == Some(false) {
                continue;
            }
            let (from, id) = (device, self.messages[at].id.clone());
            self.by(device, Event::Info(Info { from, id }));
            again.push(at);
        }
        // All of them or none: a client that left some out would change the order itself.
        if self.rng.random_range(0..3) > 0 {
            again.into_iter().for_each(|at| self.invoke(at));
        }
    }

    pub(super) fn resume(&mut self, device: Device) {
        self.acknowledge(device);
        let (epoch, node) = self.connect(device);
        let side = self.side(device);
        let h = side.handled;
        // What the gateway never read is written again, and counted again.
        side.sent = h;
        let lost: Vec<_> = side
            .open
            .iter()
            .filter(|open| open.1.is_none())
            .copied()
            .collect();
        side.open.retain(|open| open.1.is_some());
        let resume = Resume {
            device,
            epoch,
            node,
            h,
        };
        self.by(device, Event::Resume(resume));
        self.covered(device);
        lost.into_iter().for_each(|(at, _)| self.invoke(at));
    }

    pub(super) fn kill(&mut self) {
        if self.down > 0 {
            return;
        }
        self.down = 20;
        self.everywhere(&killed(true));
        for device in 0..DEVICES * PROCESSES {
            if self.side(device).live && self.side(device).node == 1 {
                self.cut(device);
            }
        }
    }

    pub(super) fn prekey(&mut self, target: Device) {
        let by = self.any();
        let asked = self.now + 77 * SECOND * file_of(by) as u64;
        let newer = self.rng.random_range(0..4) == 0;
        let side = self.side(target);
        side.version += u64::from(newer);
        side.keys += 1;
        let (version, key) = (side.version, Some(side.keys));
        let prekey = Prekey {
            by,
            target,
            key,
            sig_ok: true,
            version,
            asked,
        };
        self.by(by, Event::Prekey(prekey));
    }

    /// The gateway gives the last message of a mailbox up, if it was never shown.
    pub(super) fn give_up(&mut self, device: Device) {
        let side = self.side(device);
        let Some(at) = side.mailbox.back().copied() else {
            return;
        };
        let shown = side.seen.contains(&at);
        let it = self.messages[at].clone();
        if shown || !self.side(it.from).live {
            return;
        }
        self.side(device).mailbox.pop_back();
        let (to, id, epoch) = (it.from, it.id, self.side(it.from).epoch);
        let reason = "gone".into();
        self.by(
            to,
            Event::Notice(Notice {
                to,
                id,
                reason,
                epoch,
            }),
        );
    }

    /// A device blocks one of its process, is written to, and lifts the block.
    pub(super) fn block(&mut self, by: Device) {
        let peer = by / DEVICES * DEVICES + (by + 1) % DEVICES;
        if !self.side(by).live || !self.side(peer).live {
            return;
        }
        self.settle(peer);
        self.drain(by);
        let on = true;
        self.by(by, Event::Block(Block { by, peer, on }));
        self.blocked.insert((by, peer));
        self.send(peer, by);
        self.settle(peer);
        self.blocked.remove(&(by, peer));
        let on = false;
        self.by(by, Event::Block(Block { by, peer, on }));
    }

    pub(super) fn drain(&mut self, device: Device) {
        while self.side(device).shown < self.side(device).mailbox.len() {
            self.show(device);
        }
        self.acknowledge(device);
    }

    /// A device stays away with a message of a neighbour waiting, and is called.
    pub(super) fn absence(&mut self) {
        let devices: Vec<_> = (0..DEVICES * PROCESSES).collect();
        let away = *devices.choose(&mut self.rng).unwrap();
        let sender = away / DEVICES * DEVICES + (away + 1) % DEVICES;
        for device in [away, sender] {
            if !self.side(device).live {
                self.bind(device);
            }
        }
        self.block(away);
        self.settle(sender);
        self.cut(away);
        loop {
            // No quiet one, that need not wake anybody.
            while self.side(sender).n % 7 == 6 {
                self.side(sender).n += 1;
            }
            self.send(sender, away);
            self.settle(sender);
            if self.accepted.contains(&(self.messages.len() - 1)) {
                break;
            }
        }
        self.now += 60 * SECOND;
        self.sample.due.push(away);
        self.bind(away);
    }
}
