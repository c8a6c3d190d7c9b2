//! The rules about messages once more, as plainly as they can be said, over all pairs of events; and
//! histories edited by chance, over which both must agree.

use std::collections::BTreeMap;

use entente_history::{
    Deliver, Device, Digest, Event, Id, Invoke, Line, Options, RULES, Rule, check,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sample::{self, Sample};

/// The rules that the model knows.
const KNOWN: [Rule; 7] = [
    Rule::R1,
    Rule::R2,
    Rule::R3,
    Rule::R4,
    Rule::R5,
    Rule::R8,
    Rule::R10,
];

struct Model<'a> {
    files: &'a [Vec<Line>],
    found: BTreeMap<Rule, u64>,
}

#[derive(Clone, Copy)]
struct At {
    file: usize,
    line: usize,
}

#[derive(Clone)]
struct Received<'a> {
    at: At,
    it: &'a Deliver,
    acked: Option<usize>,
}

/// What a sender's lines say of a message in the end.
#[derive(Default)]
struct Story {
    ok: bool,
    fail: bool,
    unsure: bool,
}

impl<'a> Model<'a> {
    fn broken(&mut self, rule: Rule) {
        *self.found.entry(rule).or_default() += 1;
    }

    fn all(&self) -> impl Iterator<Item = (At, &'a Event)> + use<'a> {
        let files = self.files;
        files.iter().enumerate().flat_map(|(file, lines)| {
            lines
                .iter()
                .enumerate()
                .map(move |(line, it)| (At { file, line }, &it.event))
        })
    }

    fn sender(id: &Id, claimed: Device) -> Device {
        match id {
            Id::Foreign(_) => claimed,
            Id::Own { sender, .. } => *sender,
        }
    }

    fn invokes(&self, from: Device, id: &Id) -> Vec<(At, &'a Invoke)> {
        self.all()
            .filter_map(|(at, event)| match event {
                Event::Invoke(it) if it.from == from && it.id == *id => Some((at, it)),
                _ => None,
            })
            .collect()
    }

    fn received(&self) -> Vec<Received<'a>> {
        let mut received = Vec::new();
        for (at, event) in self.all() {
            let Event::Deliver(it) = event else {
                continue;
            };
            let lines = &self.files[at.file];
            let same = |line: &Line| matches!(&line.event, Event::Deliver(other) if (other.to, other.epoch) == (it.to, it.epoch));
            let nth = lines[..=at.line].iter().filter(|line| same(line)).count();
            let acked = (at.line..lines.len()).find(|line| {
                matches!(&lines[*line].event, Event::Devack(ack)
                    if (ack.device, ack.epoch) == (it.to, it.epoch) && ack.count >= nth as u64)
            });
            received.push(Received { at, it, acked });
        }
        received
    }

    fn story(&self, from: Device, id: &Id) -> Story {
        let mut story = Story::default();
        let mut begun = false;
        for (_, event) in self.all() {
            match event {
                Event::Invoke(it) if it.from == from && it.id == *id => {
                    story.unsure |= begun && !story.ok && !story.fail;
                    story.fail = false;
                    begun = true;
                }
                Event::Ok(it) if it.from == from && it.id == *id && !story.fail => story.ok = true,
                Event::Fail(it) if it.from == from && it.id == *id && !story.ok => {
                    story.fail = true
                }
                Event::Info(it) if it.from == from && it.id == *id => {
                    story.unsure |= !story.ok && !story.fail;
                }
                _ => {}
            }
        }
        story
    }

    /// The first place of a message among its sender's, and the last it may claim.
    fn places(&self, from: Device, id: &Id) -> (usize, usize) {
        let sent = self.invokes(from, id);
        let ((first, it), mut last) = (sent[0], sent[0].0.line);
        let lines = &self.files[first.file];
        for (again, _) in &sent[1..] {
            let session = lines[..again.line]
                .iter()
                .rposition(|line| match &line.event {
                    Event::Bind(bind) => bind.device == from,
                    Event::Resume(resume) => resume.device == from,
                    _ => false,
                });
            let later = lines[..again.line].iter().enumerate().any(|(line, event)| {
                let (other, here) = match &event.event {
                    Event::Invoke(other) if other.from == from => (&other.id, session < Some(line)),
                    Event::Ok(other) if other.from == from => (&other.id, true),
                    _ => return false,
                };
                let other = self.invokes(from, other)[0];
                here && other.1.to == it.to && other.0.line > first.line
            });
            if later {
                last = again.line;
            }
        }
        (first.line, last)
    }

    fn judge(&mut self) {
        let received = self.received();
        let mut valid: Vec<(Received<'a>, Device)> = Vec::new();
        for got in &received {
            let from = Self::sender(&got.it.id, got.it.from);
            let Some((_, sent)) = self.invokes(from, &got.it.id).first().copied() else {
                self.broken(Rule::R2);
                continue;
            };
            if got.it.from != from {
                let other = sample::partner(from) != sample::partner(got.it.from);
                self.broken(if other { Rule::R8 } else { Rule::R2 });
            }
            if got.it.to != sent.to {
                self.broken(Rule::R2);
                continue;
            }
            if got.it.digest != sent.digest {
                self.broken(Rule::R2);
            }
            let story = self.story(from, &got.it.id);
            let copies: Vec<_> = valid
                .iter()
                .filter(|(other, sender)| *sender == from && other.it.id == got.it.id)
                .map(|(other, _)| other.clone())
                .collect();
            if copies.is_empty() {
                if story.fail && !story.unsure {
                    self.broken(Rule::R2);
                }
                self.order(got, from, &valid);
                self.blocked(got, from);
            } else if !got.it.copy || self.one_too_many(got, from, &copies) {
                self.broken(Rule::R3);
            }
            valid.push((got.clone(), from));
        }
        self.endings(&valid);
        self.receipts(&valid);
    }

    fn order(&mut self, got: &Received<'_>, from: Device, valid: &[(Received<'_>, Device)]) {
        let (_, last) = self.places(from, &got.it.id);
        let of_pair = valid
            .iter()
            .filter(|(other, sender)| (*sender, other.it.to) == (from, got.it.to));
        let firsts = of_pair.filter(|(other, _)| {
            let first = valid
                .iter()
                .find(|(it, sender)| *sender == from && it.it.id == other.it.id);
            first.is_some_and(|(first, _)| first.at.line == other.at.line)
        });
        let top = firsts.max_by_key(|(other, _)| self.places(from, &other.it.id).0);
        let Some((top, _)) = top else {
            return;
        };
        if self.places(from, &top.it.id).0 > last {
            let closed = top.acked.is_some_and(|acked| acked < got.at.line);
            self.broken(if closed { Rule::R5 } else { Rule::R4 });
        }
    }

    fn blocked(&mut self, got: &Received<'_>, from: Device) {
        let (sent, _) = self.invokes(from, &got.it.id)[0];
        let state = |line: usize| {
            self.files[got.at.file][..line].iter().rposition(|line| {
                matches!(&line.event, Event::Block(it) if (it.by, it.peer) == (got.it.to, from))
            })
        };
        let last = state(got.at.line);
        let on =
            |line: usize| matches!(&self.files[got.at.file][line].event, Event::Block(it) if it.on);
        if sent.file == got.at.file && last.is_some_and(on) && state(sent.line) == last {
            self.broken(Rule::R8);
        }
    }

    fn one_too_many(&self, got: &Received<'_>, from: Device, copies: &[Received<'_>]) -> bool {
        let acked = copies.iter().any(|other| {
            other.it.epoch == got.it.epoch && other.acked.is_some_and(|acked| acked < got.at.line)
        });
        let lines = &self.files[got.at.file];
        let began = lines.iter().position(|line| match &line.event {
            Event::Bind(it) => (it.device, it.epoch) == (got.it.to, got.it.epoch),
            Event::Resume(it) => (it.device, it.epoch) == (got.it.to, got.it.epoch),
            _ => false,
        });
        let told = lines[..began.unwrap()].iter().any(|line| {
            matches!(&line.event, Event::Receipt(it)
                if it.to == from && it.id == got.it.id && it.of == got.it.to)
        });
        acked || told
    }

    fn endings(&mut self, valid: &[(Received<'_>, Device)]) {
        let sent: Vec<_> = self
            .all()
            .filter_map(|(at, event)| match event {
                Event::Invoke(it) => Some((at, it)),
                _ => None,
            })
            .collect();
        for (at, it) in &sent {
            if self.invokes(it.from, &it.id)[0].0.line != at.line {
                continue;
            }
            let story = self.story(it.from, &it.id);
            let copies = valid
                .iter()
                .filter(|(got, from)| *from == it.from && got.it.id == it.id);
            let acked = copies.clone().any(|(got, _)| got.acked.is_some());
            let notices: Vec<_> = self
                .all()
                .filter_map(|(_, event)| match event {
                    Event::Notice(no) if no.to == it.from && no.id == it.id => Some(no.epoch),
                    _ => None,
                })
                .collect();
            for pair in notices.windows(2) {
                if pair[0] == pair[1] {
                    self.broken(Rule::R1);
                }
            }
            if !notices.is_empty() && (acked || story.fail) {
                self.broken(Rule::R1);
            }
            if story.ok && copies.count() == 0 && notices.is_empty() {
                self.broken(Rule::R1);
            }
        }
    }

    fn receipts(&mut self, valid: &[(Received<'_>, Device)]) {
        let mut told: Vec<(At, Device, &Id, u32)> = Vec::new();
        for (at, event) in self.all() {
            let Event::Receipt(it) = event else {
                continue;
            };
            let from = Self::sender(&it.id, it.to);
            let Some((_, sent)) = self.invokes(from, &it.id).first().copied() else {
                self.broken(Rule::R10);
                continue;
            };
            if it.to != from || it.of != sent.to {
                self.broken(Rule::R10);
                continue;
            }
            let last = told
                .iter()
                .rev()
                .find(|(_, to, id, _)| (*to, *id) == (it.to, &it.id));
            if let Some((_, _, _, epoch)) = last {
                if *epoch == it.epoch {
                    self.broken(Rule::R10);
                }
            } else {
                let copies = valid
                    .iter()
                    .filter(|(got, sender)| *sender == from && got.it.id == it.id);
                let acked = copies
                    .filter_map(|(got, _)| Some((got.at.file, got.acked?)))
                    .min();
                let honest = acked.is_some_and(|(file, acked)| file != at.file || acked < at.line);
                if !honest {
                    self.broken(Rule::R10);
                }
            }
            told.push((at, it.to, &it.id, it.epoch));
        }
    }
}

/// Some lines taken out, doubled, moved or changed by chance, and acknowledgements made possible again.
fn edited(sample: &Sample, seed: u64) -> Sample {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut sample = sample.clone();
    for _ in 0..rng.random_range(1..6) {
        let file = rng.random_range(0..sample.files.len());
        let lines = &mut sample.files[file];
        let wanted: Vec<_> = (0..lines.len())
            .filter(|line| loose(&lines[*line].event))
            .collect();
        let line = wanted[rng.random_range(0..wanted.len())];
        let to = (line + rng.random_range(1..25)).min(lines.len() - 1);
        match rng.random_range(0..4) {
            0 => drop(lines.remove(line)),
            1 => {
                let copy = lines[line].clone();
                lines.insert(to, copy);
            }
            2 => {
                let moved = lines.remove(line);
                lines.insert(to, moved);
            }
            _ => change(&mut lines[line].event, &mut rng),
        }
    }
    for lines in &mut sample.files {
        let mut ats: Vec<_> = lines.iter().map(|line| line.at).collect();
        ats.sort_unstable();
        let mut counts: BTreeMap<(Device, u32), (u64, u64)> = BTreeMap::new();
        for (line, at) in lines.iter_mut().zip(ats) {
            line.at = at;
            match &mut line.event {
                Event::Deliver(it) => counts.entry((it.to, it.epoch)).or_default().0 += 1,
                Event::Devack(it) => {
                    let (shown, acked) = counts.entry((it.device, it.epoch)).or_default();
                    *acked = it.count.min(*shown).max(*acked);
                    it.count = *acked;
                }
                _ => {}
            }
        }
    }
    sample
}

fn loose(event: &Event) -> bool {
    use Event::{Block, Deliver, Devack, Fail, Info, Notice, Ok, Receipt};
    matches!(
        event,
        Block(_) | Deliver(_) | Devack(_) | Fail(_) | Info(_) | Notice(_) | Ok(_) | Receipt(_)
    )
}

fn change(event: &mut Event, rng: &mut StdRng) {
    let device = rng.random_range(0..sample::DEVICES * sample::PROCESSES);
    match event {
        Event::Deliver(it) => match rng.random_range(0..4) {
            0 => it.digest = Digest(0),
            1 => it.from = device,
            2 => it.copy = !it.copy,
            _ => it.id = Id::own(it.from, rng.random_range(0..20)),
        },
        Event::Receipt(it) => it.of = device,
        Event::Notice(it) => it.id = Id::own(it.to, rng.random_range(0..20)),
        _ => {}
    }
}

#[test]
fn the_checker_agrees_with_a_plain_reading_of_its_rules() {
    let mut judged = BTreeMap::new();
    let mut refused = 0;
    for seed in 0..150 {
        let sample = edited(&sample::clean(seed, 250), seed);
        let dir = tempfile::tempdir().unwrap();
        sample::write(dir.path(), &sample, false);
        let verdict = match check(dir.path(), &Options::default()) {
            Ok(verdict) => verdict,
            // The edit made a history that no client could have written.
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("events-gen-"), "seed {seed}: {error}");
                refused += 1;
                continue;
            }
        };
        let mut model = Model {
            files: &sample.files,
            found: BTreeMap::new(),
        };
        model.judge();
        for rule in RULES.into_iter().filter(|rule| KNOWN.contains(rule)) {
            let broken = verdict.rules[&rule].broken;
            let plain = model.found.get(&rule).copied().unwrap_or_default();
            let told = verdict
                .findings
                .iter()
                .filter(|finding| finding.rule == rule);
            let told: Vec<_> = told.collect();
            assert_eq!(broken, plain, "seed {seed}, {rule:?}: {told:#?}");
            *judged.entry(rule).or_insert(0_u64) += broken;
        }
    }
    assert!(refused < 75, "{refused}");
    assert!(judged.values().all(|broken| *broken > 0), "{judged:?}");
}
