//! Encrypted bodies, with a cipher that is none but has what matters of one: a key for each pair, a
//! counter that makes another text of the same words, and no second opening of a text.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use entente_engine::engine::{Engine, EngineError, Supplies};
use entente_engine::scenario::Scenario;
use entente_engine::seal::{SealError, Sealed, Sealer, Sealing};
use entente_history::{Header, Options, Rule, Writer, WriterOptions, check};

use super::stub::{Habits, Stub};
use super::{SEED, accounts, scenario, supplied};

#[derive(Debug)]
struct Toy;

#[derive(Debug)]
struct Half {
    me: u32,
    peers: HashSet<u32>,
    sent: u32,
    opened: HashMap<u32, HashSet<u32>>,
}

fn pad(from: u32, to: u32, counter: u32, bytes: &[u8]) -> Vec<u8> {
    let key = [from, to, counter].map(u32::to_be_bytes).concat();
    let key = key.iter().cycle();
    bytes
        .iter()
        .zip(key)
        .map(|(byte, key)| byte ^ key)
        .collect()
}

impl Sealing for Toy {
    fn sealers(
        &self,
        users: &[u32],
        pairs: &[(u32, u32)],
    ) -> Result<Vec<Box<dyn Sealer>>, SealError> {
        let half = |me: &u32| {
            let peers = pairs.iter().filter(|(from, _)| from == me);
            Box::new(Half {
                me: *me,
                peers: peers.map(|(_, to)| *to).collect(),
                sent: 0,
                opened: HashMap::new(),
            }) as Box<dyn Sealer>
        };
        Ok(users.iter().map(half).collect())
    }
}

impl Sealer for Half {
    fn seal(&mut self, to: u32, plain: &[u8]) -> Result<Sealed, SealError> {
        if !self.peers.contains(&to) {
            return Err(SealError("no session".to_owned()));
        }
        self.sent += 1;
        let mut bytes = self.sent.to_be_bytes().to_vec();
        bytes.extend(pad(self.me, to, self.sent, plain));
        Ok(Sealed {
            form: "toy".into(),
            bytes,
        })
    }

    fn open(&mut self, from: u32, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        assert_eq!(&*sealed.form, "toy");
        let (counter, bytes) = sealed.bytes.split_first_chunk().unwrap();
        let counter = u32::from_be_bytes(*counter);
        if !self.opened.entry(from).or_default().insert(counter) {
            return Err(SealError("opened before".to_owned()));
        }
        Ok(pad(from, self.me, counter, bytes))
    }
}

fn supplies(scenario: &Scenario) -> Supplies {
    Supplies {
        accounts: accounts(scenario.sessions.users),
        seed: SEED,
        history: None,
        sealing: Some(Arc::new(Toy)),
    }
}

#[test]
fn what_the_sender_encrypted_is_what_the_receiver_decrypts() {
    let stub = Stub::start(Habits::default());
    let settings = ["load.payload=signal", "load.window=5", "run.time=400ms"];
    let scenario = scenario(&stub, "", &settings);
    let (tally, all) = supplied(&scenario, supplies(&scenario));
    assert!(all.sent > 50, "{all:?}");
    assert_eq!((all.delivered, all.acked), (all.sent, all.sent));
    assert_eq!((all.corrupt, all.errors.len()), (0, 0), "{all:?}");
    assert_eq!(tally.left, Vec::<String>::new());
}

#[test]
fn one_changed_byte_of_a_ciphertext_shows() {
    let stub = Stub::start(Habits {
        corrupt: Some(10),
        ..Habits::default()
    });
    let settings = [
        "load.payload=signal",
        "load.arrivals=poisson",
        "load.rate=500",
        "run.time=400ms",
    ];
    let scenario = scenario(&stub, "", &settings);
    let (_, all) = supplied(&scenario, supplies(&scenario));
    assert!(all.sent > 50, "{all:?}");
    assert_eq!(all.corrupt, all.sent / 10, "{all:?}");
}

/// A message that is sent again is the same text, and a copy of it is not decrypted again: the checker,
/// which compares texts, finds nothing.
#[test]
fn a_message_that_goes_out_again_is_encrypted_once() {
    // It stands still while connections are cut, so that what was written has no answer then.
    let stall = (Duration::from_millis(150), Duration::from_millis(400));
    let stub = Stub::start(Habits {
        double: Some(3),
        stall: Some(stall),
        ..Habits::default()
    });
    let text = "[reconnect]\nevery = '100ms'\nwithin = '20ms'\n";
    let settings = [
        "load.payload=signal",
        "load.arrivals=constant",
        "load.rate=400",
        "run.time=1s",
        // What the stub lost at a cut never comes.
        "run.drain=1s",
    ];
    let scenario = scenario(&stub, text, &settings);
    let folder = tempfile::tempdir().unwrap();
    let header = Header::new("load-0", "run", SEED);
    let writer = Writer::create(folder.path(), &header, WriterOptions::default()).unwrap();
    let supplies = Supplies {
        history: Some(writer.recorder()),
        ..supplies(&scenario)
    };
    let (_, all) = supplied(&scenario, supplies);
    writer.close().unwrap();
    assert_eq!((all.corrupt, all.errors.len()), (0, 0), "{all:?}");
    let verdict = check(folder.path(), &Options::default()).unwrap();
    assert!(verdict.counts.resent > 0 && verdict.counts.wire_duplicates > 0);
    let other_bodies = verdict.rules.get(&Rule::R2).map(|tally| tally.broken);
    assert_eq!(other_bodies, Some(0), "{:?}", verdict.findings);
}

#[test]
fn payloads_that_nobody_encrypts_are_refused_before_load() {
    let stub = Stub::start(Habits::default());
    let scenario = scenario(&stub, "", &["load.payload=signal"]);
    let supplies = Supplies {
        sealing: None,
        ..supplies(&scenario)
    };
    assert!(matches!(
        Engine::start(&scenario, supplies),
        Err(EngineError::Unsealed)
    ));
}
