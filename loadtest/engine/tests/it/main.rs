//! The engine against a server that behaves, and one that does not.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod history;
mod sealed;
mod stub;

use std::sync::atomic::Ordering;
use std::time::Duration;

use entente_engine::account::{Account, Secret};
use entente_engine::control::{Cut, Stage};
use entente_engine::engine::{Engine, EngineError, Supplies, probe};
use entente_engine::scenario::Scenario;
use entente_engine::tally::Tally;
use entente_history::Recorder;
use entente_report::Counters;
use tokio::time::Instant;

use stub::{DOMAIN, Habits, Stub};

const SEED: u64 = 0x5eed;

fn scenario(stub: &Stub, text: &str, more: &[&str]) -> Scenario {
    let mut overrides = vec![
        "target.kind=xmpp".to_owned(),
        format!("target.domain={DOMAIN}"),
        format!("target.address=\"{}\"", stub.address),
        "run.cores=[0]".to_owned(),
        "sessions.users=4".to_owned(),
    ];
    overrides.extend(more.iter().map(|&text| text.to_owned()));
    Scenario::parse("test", text, &overrides).unwrap()
}

fn accounts(count: usize) -> Vec<Account> {
    let account = |n| Account {
        localpart: format!("u{n}").into(),
        partner: 0,
        secret: Secret::Password("p".into()),
    };
    (0..count).map(account).collect()
}

/// Waits for something, at most so long.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what}: seed {SEED}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// All stages of a scenario.
fn run(scenario: &Scenario) -> (Tally, Counters) {
    drive(scenario, accounts(scenario.sessions.users), None)
}

fn drive(
    scenario: &Scenario,
    accounts: Vec<Account>,
    history: Option<Recorder>,
) -> (Tally, Counters) {
    let supplies = Supplies {
        accounts,
        seed: SEED,
        history,
        sealing: None,
    };
    supplied(scenario, supplies)
}

fn supplied(scenario: &Scenario, supplies: Supplies) -> (Tally, Counters) {
    let users = supplies.accounts.len();
    let engine = Engine::start(scenario, supplies).unwrap();
    until("connected", || engine.settled().0 == users);
    engine.enter(Stage::Load);
    let control = engine.control();
    let span = u64::try_from(scenario.run.time.as_micros()).unwrap();
    until("load", || control.now() > control.start(Stage::Load) + span);
    engine.enter(Stage::Drain);
    let drain = Instant::now();
    until("drained", || {
        engine.under_way() == 0 || drain.elapsed() > scenario.run.drain
    });
    let (mut tallies, errors) = engine.finish();
    assert_eq!(errors, Vec::<String>::new());
    let tally = tallies.pop().unwrap();
    let mut all = Counters::default();
    for stage in &tally.stages {
        all.add(&stage.counters);
    }
    (tally, all)
}

#[test]
fn a_window_is_kept_and_everything_is_accounted_for() {
    let stub = Stub::start(Habits::default());
    let scenario = scenario(&stub, "", &["load.window=5", "run.time=500ms"]);
    let (tally, all) = run(&scenario);
    assert!(all.sent > 50, "{all:?}");
    assert_eq!((all.sent, all.sent), (all.acked, all.delivered));
    let clean = Counters {
        sent: all.sent,
        acked: all.sent,
        delivered: all.sent,
        logins: 4,
        binds: 4,
        ..Counters::default()
    };
    assert_eq!(all, clean);
    let load = &tally.stages[2].latencies;
    assert!(load.delivery.intended.count() > 0 && load.ack.intended.count() > 0);
}

#[test]
fn a_server_on_an_address_of_ipv6_is_loaded_like_any_other() {
    let stub = Stub::start(Habits {
        v6: true,
        ..Habits::default()
    });
    let scenario = scenario(&stub, "", &["run.time=200ms"]);
    assert!(scenario.target.address.unwrap().is_ipv6());
    let (_, all) = run(&scenario);
    assert!(all.sent > 10, "{all:?}");
    assert_eq!((all.delivered, all.acked), (all.sent, all.sent));
    // As people write it on a command line, without quotes.
    let bare = format!("target.address={}", stub.address);
    let again = self::scenario(&stub, "", &[&bare]);
    assert_eq!(again.target.address, Some(stub.address));
}

/// Coordinated omission: a server that stalls for a second in a run of three must show it. A loop
/// that waits for its answers would show one slow message for each sender.
#[test]
fn a_stall_of_the_server_shows_in_the_latencies_of_an_open_loop() {
    let stall = (Duration::from_secs(1), Duration::from_secs(1));
    let stub = Stub::start(Habits {
        stall: Some(stall),
        ..Habits::default()
    });
    let settings = ["load.arrivals=constant", "load.rate=500", "run.time=3s"];
    let scenario = scenario(&stub, "", &settings);
    let (tally, all) = run(&scenario);
    assert_eq!((all.sent, all.lost, all.unknown), (all.delivered, 0, 0));
    let due = tally.stages[2].latencies.delivery.intended.count();
    assert!(
        (1_490..=1_510).contains(&due),
        "arrivals went on while it stalled: {due}"
    );
    let delivery = &tally.stages[2].latencies.delivery.intended;
    let at = |share| delivery.quantile_us(share).unwrap();
    assert!(at(0.999) > 900_000, "p99.9 {}", at(0.999));
    assert!(
        at(0.9) > 600_000,
        "a third of all were due while it stalled: p90 {}",
        at(0.9)
    );
    assert!(at(0.5) < 300_000, "p50 {}", at(0.5));
    // A closed loop hides it, which is why it is not the measure of latency.
    let stub = Stub::start(Habits {
        stall: Some(stall),
        ..Habits::default()
    });
    let closed = self::scenario(&stub, "", &["run.time=3s"]);
    let (tally, _) = run(&closed);
    let slow = tally.stages[2]
        .latencies
        .delivery
        .intended
        .quantile_us(0.99)
        .unwrap();
    assert!(slow < 500_000, "{slow}");
}

#[test]
fn what_a_server_loses_doubles_or_corrupts_is_counted_as_that() {
    for (habits, wanted) in [
        (
            Habits {
                lose: Some(10),
                ..Habits::default()
            },
            "lost",
        ),
        (
            Habits {
                double: Some(10),
                ..Habits::default()
            },
            "duplicates",
        ),
        (
            Habits {
                corrupt: Some(10),
                ..Habits::default()
            },
            "corrupt",
        ),
    ] {
        let stub = Stub::start(habits);
        let settings = [
            "load.arrivals=poisson",
            "load.rate=1000",
            "run.time=500ms",
            "run.drain=3s",
        ];
        let (_, all) = run(&scenario(&stub, "", &settings));
        let counts = [
            ("lost", all.lost),
            ("duplicates", all.duplicates),
            ("corrupt", all.corrupt),
        ];
        for (name, count) in counts {
            let expected = if name == wanted { all.sent / 10 } else { 0 };
            assert_eq!(count, expected, "{name} of {habits:?}: {all:?}");
        }
        assert_eq!(all.sent, all.delivered + all.lost);
    }
}

#[test]
fn a_server_that_dies_leaves_a_run_that_ends_and_says_so() {
    let die = Some(Duration::from_millis(300));
    let stub = Stub::start(Habits {
        die,
        ..Habits::default()
    });
    let settings = [
        "load.arrivals=constant",
        "load.rate=200",
        "run.time=1s",
        "run.drain=200ms",
    ];
    let (_, all) = run(&scenario(&stub, "", &settings));
    assert!(all.unknown > 0, "{all:?}");
    let died = all.errors.values().sum::<u64>();
    assert_eq!(died, 4, "{all:?}");
    assert!(
        all.login_failures
            .keys()
            .all(|kind| kind.starts_with("connect")),
        "{all:?}"
    );
    assert!(all.login_failures.values().sum::<u64>() >= 4);
}

#[test]
fn the_first_login_says_what_is_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let login = |scenario: &Scenario| {
        let account = accounts(1).pop().unwrap();
        match runtime.block_on(probe(scenario, &account)) {
            Ok(()) => "in".to_owned(),
            Err(error @ EngineError::FirstLogin { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    let good = Stub::start(Habits::default());
    assert_eq!(login(&scenario(&good, "", &[])), "in");

    let other = entente_kit::trust::DevAuthority::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, other.pem()).unwrap();
    let trust = format!("target.tls.authority=\"{}\"", file.display());
    let strict = scenario(&good, "", &["target.tls.trust=file", &trust]);
    let said = login(&strict);
    assert!(said.contains("TLS: invalid peer certificate"), "{said}");
    std::fs::write(&file, &good.authority).unwrap();
    assert_eq!(login(&strict), "in");

    let refusing = Stub::start(Habits {
        refuse: true,
        ..Habits::default()
    });
    let said = login(&scenario(&refusing, "", &[]));
    assert!(
        said.ends_with("the login was refused: not-authorized"),
        "{said}"
    );

    let garbage = Stub::start(Habits {
        garbage: true,
        ..Habits::default()
    });
    let said = login(&scenario(&garbage, "", &[]));
    assert!(said.contains("no stream"), "{said}");

    let gone = scenario(&good, "", &[]);
    drop(good);
    let said = login(&gone);
    assert!(said.contains("connecting: Connection refused"), "{said}");
}

#[test]
fn logins_by_rate_count_from_when_they_were_due() {
    let stub = Stub::start(Habits::default());
    let text = "[logins]\nrate = 50\n[load]\npattern = 'none'\n[sessions]\nmanage = false\n";
    let (tally, all) = run(&scenario(&stub, text, &["run.time=1s"]));
    assert!((10..=90).contains(&all.logins), "{all:?}");
    assert!(all.login_failures.is_empty(), "{all:?}");
    let stages = tally.stages.iter();
    let counted: u64 = stages
        .map(|stage| stage.latencies.login.intended.count())
        .sum();
    assert_eq!(counted, all.logins, "{all:?}");
}

#[test]
fn cut_connections_come_back_and_every_message_is_accounted_for() {
    let stub = Stub::start(Habits::default());
    let text = "[reconnect]\nevery = '300ms'\nwithin = '50ms'\n";
    let settings = ["load.arrivals=constant", "load.rate=200", "run.time=1s"];
    let (_, all) = run(&scenario(&stub, text, &settings));
    assert!(all.binds > 8, "{all:?}");
    // The stub keeps nothing for a connection that broke, and drops no second copy.
    assert_eq!(all.sent, all.delivered + all.lost + all.unknown, "{all:?}");
    assert_eq!((all.corrupt, all.errors.len()), (0, 0), "{all:?}");
}

/// A bundle without a one-time key tells nothing of who else was given it.
#[test]
fn every_user_uploads_its_prekeys_once() {
    let stub = Stub::start(Habits::default());
    let text = "[prekeys]\nrate = 1\none_time = 3\n[reconnect]\nevery = '200ms'\nwithin = '0s'\n";
    let settings = ["target.kind=start", "run.time=1s", "run.drain=0s"];
    let (_, all) = run(&scenario(&stub, text, &settings));
    assert!(all.binds > 8, "{all:?}");
    assert_eq!(stub.seen.prekeys.load(Ordering::Relaxed), 4 * 3);
}

/// What a device left open writes on, but only after the device is back; and then it is closed.
#[test]
fn connections_that_linger_write_after_their_devices_are_back() {
    let stub = Stub::start(Habits::default());
    let settings = ["load.arrivals=constant", "load.rate=100"];
    let scenario = scenario(&stub, "", &settings);
    let supplies = Supplies {
        accounts: accounts(4),
        seed: SEED,
        history: None,
        sealing: None,
    };
    let engine = Engine::start(&scenario, supplies).unwrap();
    until("connected", || engine.settled().0 == 4);
    engine.enter(Stage::Load);
    let late = || stub.seen.late.load(Ordering::Relaxed);
    let cut = |lingers| Cut {
        share: 1.0,
        within: Duration::ZERO,
        lingers: Duration::from_millis(lingers),
    };
    engine.cut(cut(60_000));
    until("written on", || late() > 20);
    // Whoever lingers is left alone by the next cut, which breaks the others.
    let before = late();
    engine.cut(cut(0));
    until("written on", || late() > before + 20);
    engine.enter(Stage::Drain);
    let (mut tallies, errors) = engine.finish();
    assert_eq!(errors, Vec::<String>::new());
    let tally = tallies.pop().unwrap();
    let mut all = Counters::default();
    for stage in &tally.stages {
        all.add(&stage.counters);
    }
    assert_eq!(
        (all.logins, all.corrupt, all.errors.len()),
        (12, 0, 0),
        "{all:?}"
    );
}

/// What waited comes in one flight with the end of the login, and nothing comes after it.
#[test]
fn what_waited_for_a_user_who_was_away_is_taken_at_once() {
    let stub = Stub::start(Habits::default());
    let text = "[offline]\nshare = 1.0\naway = '700ms'\nstay = '0s'\nwithin = '0s'\n";
    let settings = ["load.arrivals=constant", "load.rate=200", "run.time=500ms"];
    let (tally, all) = run(&scenario(&stub, text, &settings));
    // The stub loses what crosses with the end of a connection, as a server without a log does.
    assert!(all.lost <= 3 && all.unknown == 0, "{all:?}");
    assert_eq!(all.sent, all.delivered + all.lost, "{all:?}");
    assert!(
        tally.backlog.waits.count() > 50,
        "{}",
        tally.backlog.waits.count()
    );
}
