//! Faults that a gateway might have, put into clean histories.

use entente_history::{
    Deliver, Device, Drained, Event, Fail, Heal, Id, Line, Note, Passed, Receipt, ReceiptKind, Rule,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::sample::{Sample, partner};

mod messages;
mod others;

/// A kind of fault: its name, the rules that find it, and how it is put in. It gives false where a
/// history has no place for it.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [Rule],
    seed_in: fn(&mut Edit) -> bool,
}

pub(crate) fn kinds() -> Vec<Kind> {
    let mut kinds = messages::kinds();
    kinds.extend(others::kinds());
    kinds
}

impl Kind {
    /// The history with the fault in it; none if it has no place for it.
    pub(crate) fn apply(&self, sample: &Sample) -> Option<Sample> {
        let mut edit = Edit {
            rng: StdRng::seed_from_u64(sample.seed ^ 0xfa17),
            sample: sample.clone(),
        };
        (self.seed_in)(&mut edit).then_some(edit.sample)
    }
}

pub(crate) struct Edit {
    rng: StdRng,
    sample: Sample,
}

/// A line of a file, counted from 0.
type At = (usize, usize);

impl Edit {
    fn file(&self, file: usize) -> &[Line] {
        &self.sample.files[file]
    }

    fn event(&self, (file, line): At) -> &Event {
        &self.sample.files[file][line].event
    }

    fn event_mut(&mut self, (file, line): At) -> &mut Event {
        &mut self.sample.files[file][line].event
    }

    /// The places of some events, in an order by chance.
    fn places(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<At> {
        let mut found = Vec::new();
        for (file, lines) in self.sample.files.iter().enumerate() {
            for (line, it) in lines.iter().enumerate() {
                if wanted(&it.event) {
                    found.push((file, line));
                }
            }
        }
        found.shuffle(&mut self.rng);
        found
    }

    fn insert(&mut self, (file, line): At, event: Event) {
        let at = self.sample.files[file][line].at;
        self.sample.files[file].insert(line, Line { at, event });
    }

    fn remove_all(&mut self, unwanted: impl Fn(&Event) -> bool) {
        for lines in &mut self.sample.files {
            lines.retain(|line| !unwanted(&line.event));
        }
    }

    /// The acknowledgements of a connection from a line on cover more or fewer deliveries.
    fn shift(&mut self, (file, line): At, (device, epoch): (Device, u32), by: i64) {
        for it in self.sample.files[file].iter_mut().skip(line) {
            if let Event::Devack(ack) = &mut it.event
                && (ack.device, ack.epoch) == (device, epoch)
            {
                ack.count = ack.count.checked_add_signed(by).unwrap();
            }
        }
    }

    fn insert_delivery(&mut self, at: At, it: Deliver) {
        self.shift(at, (it.to, it.epoch), 1);
        self.insert(at, Event::Deliver(it));
    }

    fn remove_delivery(&mut self, at: At) -> Deliver {
        let Event::Deliver(it) = self.event(at).clone() else {
            panic!("no delivery at {at:?}")
        };
        self.sample.files[at.0].remove(at.1);
        self.shift(at, (it.to, it.epoch), -1);
        it
    }

    /// The first acknowledgement at or behind a line that covers a connection's deliveries up to it.
    fn ack_after(&self, (file, line): At, device: Device, epoch: u32) -> Option<usize> {
        let found = self.file(file).iter().skip(line).position(|it| {
            matches!(&it.event, Event::Devack(ack) if (ack.device, ack.epoch) == (device, epoch))
        });
        found.map(|after| line + after)
    }

    /// Where a connection ends: its `unbind`, or the end of its file.
    fn end_of(&self, (file, line): At, device: Device) -> usize {
        let found = self
            .file(file)
            .iter()
            .skip(line)
            .position(|it| match &it.event {
                Event::Unbind(it) => it.device == device,
                Event::Bind(it) => it.device == device,
                Event::Resume(it) => it.device == device,
                Event::Drained(it) => it.device == device,
                _ => false,
            });
        found.map_or(self.file(file).len(), |after| line + after)
    }

    fn deliveries(&self, from: Device, id: &Id) -> usize {
        let of =
            |it: &&Line| matches!(&it.event, Event::Deliver(it) if it.from == from && it.id == *id);
        self.sample.files.iter().flatten().filter(of).count()
    }

    fn counts(&self, from: Device, id: &Id, wanted: fn(&Event) -> Option<(Device, &Id)>) -> usize {
        let of = |it: &&Line| wanted(&it.event) == Some((from, id));
        self.sample.files.iter().flatten().filter(of).count()
    }

    fn drop_receipts(&mut self, from: Device, id: &Id) {
        self.remove_all(
            |event| matches!(event, Event::Receipt(it) if it.to == from && it.id == *id),
        );
    }

    /// Deliveries of messages that came once, were acknowledged over the connection they came over,
    /// and ended ok without doubt.
    fn plain(&mut self) -> Vec<(At, Deliver)> {
        let places = self.places(|event| matches!(event, Event::Deliver(it) if !it.copy));
        let mut plain = Vec::new();
        for at in places {
            let Event::Deliver(it) = self.event(at).clone() else {
                continue;
            };
            let once = self.deliveries(it.from, &it.id) == 1;
            let acked = self
                .ack_after(at, it.to, it.epoch)
                .is_some_and(|line| line < self.end_of(at, it.to));
            let sure = self.counts(it.from, &it.id, info) == 0
                && self.counts(it.from, &it.id, ok) == 1
                && self.counts(it.from, &it.id, sent) == 1;
            if once && acked && sure {
                plain.push((at, it));
            }
            if plain.len() == 40 {
                break;
            }
        }
        plain
    }
}

fn info(event: &Event) -> Option<(Device, &Id)> {
    match event {
        Event::Info(it) => Some((it.from, &it.id)),
        _ => None,
    }
}

fn ok(event: &Event) -> Option<(Device, &Id)> {
    match event {
        Event::Ok(it) => Some((it.from, &it.id)),
        _ => None,
    }
}

fn sent(event: &Event) -> Option<(Device, &Id)> {
    match event {
        Event::Invoke(it) => Some((it.from, &it.id)),
        _ => None,
    }
}
