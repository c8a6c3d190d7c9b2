//! What the engine tells a history beside messages: delivered receipts, and calls of the partner's push
//! endpoint. A server that behaves is judged and held; one that does not is found by the right rule.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use entente_core::Timestamp;
use entente_engine::account::{Account, Secret};
use entente_engine::scenario::Scenario;
use entente_history::{
    Finding, Header, Options, Rule, Tally, Verdict, Writer, WriterOptions, check,
};
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, GatewayTrust, JWKS_PATH, PUSH_PATH, Partner, PartnerConfig};
use entente_report::Counters;
use serde_json::json;
use tokio::runtime::Runtime;

use super::stub::{DOMAIN, Habits, Stub};
use super::{SEED, drive};

const ISSUER: &str = "https://gateway.test";
const AUDIENCE: &str = "https://partner.test";

/// How the gateway's push service behaves, played beside the stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushes {
    /// Each time that somebody is missed, twice, as if the first answer had been lost.
    Again,
    /// For somebody else.
    Astray,
    /// Nobody is woken.
    Never,
    /// Signed by a stranger.
    Unsigned,
}

/// A partner, and who calls it.
struct Bed {
    runtime: Runtime,
    partner: Arc<Partner>,
    gateway: Arc<Partner>,
    stranger: Arc<Partner>,
}

impl Bed {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let start = |issuer: &str, algorithm| {
            let config = PartnerConfig {
                issuer: issuer.to_owned(),
                audience: ISSUER.to_owned(),
                algorithm,
                tls: None,
            };
            Arc::new(runtime.block_on(Partner::start(config)).unwrap())
        };
        let partner = start(AUDIENCE, Algorithm::EdDsa);
        // Partners play the gateway here: they too publish a key and sign with it.
        let gateway = start(ISSUER, Algorithm::Rs256);
        let stranger = start(ISSUER, Algorithm::EdDsa);
        partner.push().set_trust(GatewayTrust {
            target: HttpTarget::plain(gateway.address()),
            path: JWKS_PATH.to_owned(),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
        });
        runtime.block_on(partner.push().learn()).unwrap();
        Self {
            runtime,
            partner,
            gateway,
            stranger,
        }
    }

    fn accounts(&self, count: usize) -> Vec<Account> {
        let account = |n| Account {
            localpart: format!("u{n}").into(),
            partner: 1,
            secret: Secret::Token(Arc::clone(&self.partner), format!("u{n}").into()),
        };
        (0..count).map(account).collect()
    }

    /// Wakes those whom the stub misses, until it ends.
    fn wake(&self, stub: &mut Stub, pushes: Pushes) -> JoinHandle<()> {
        let missed = stub.missed.take().unwrap();
        let handle = self.runtime.handle().clone();
        let target = HttpTarget::plain(self.partner.address());
        let signer = match pushes {
            Pushes::Unsigned => Arc::clone(&self.stranger),
            Pushes::Again | Pushes::Astray | Pushes::Never => Arc::clone(&self.gateway),
        };
        std::thread::spawn(move || {
            for (number, user) in (1..).zip(missed) {
                let (user, times) = match pushes {
                    Pushes::Again => (user, 2),
                    Pushes::Astray => ("u0".to_owned(), 1),
                    Pushes::Never => (user, 0),
                    Pushes::Unsigned => (user, 1),
                };
                for _ in 0..times {
                    handle.block_on(call(&target, &signer, &user, number));
                }
            }
        })
    }
}

/// Calls a push endpoint as the gateway does.
async fn call(target: &HttpTarget, signer: &Partner, user: &str, number: u32) {
    let now = Timestamp::now().secs();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3600, "jti": format!("w{number}"),
    });
    let token = signer.signer().sign(&signer.header(), &claims).unwrap();
    let body = json!({ "to": user }).to_string();
    let request = target
        .request("POST", PUSH_PATH)
        .header("authorization", format!("Bearer {token}"))
        .body(body.into())
        .unwrap();
    target.send(request).await.unwrap();
}

/// A run with a history, and what the checker says of it.
fn judged(habits: Habits, pushes: Pushes, text: &str, more: &[&str]) -> (Verdict, Counters) {
    let bed = Bed::new();
    let mut stub = Stub::start(habits);
    let waking = bed.wake(&mut stub, pushes);
    let mut overrides = vec![
        "target.kind=entente".to_owned(),
        "target.enlist=\"127.0.0.1:1\"".to_owned(),
        "target.partner=\"127.0.0.1:1\"".to_owned(),
        format!("target.domain={DOMAIN}"),
        format!("target.address=\"{}\"", stub.address),
        "run.cores=[0]".to_owned(),
        "sessions.users=4".to_owned(),
    ];
    overrides.extend(more.iter().map(|&text| text.to_owned()));
    let scenario = Scenario::parse("test", text, &overrides).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let header = Header::new("load-0", "run", SEED);
    let writer = Writer::create(folder.path(), &header, WriterOptions::default()).unwrap();
    let accounts = bed.accounts(scenario.sessions.users);
    let (_, all) = drive(&scenario, accounts, Some(writer.recorder()));
    writer.close().unwrap();
    drop(stub);
    waking.join().unwrap();
    (verdict(folder.path()), all)
}

fn verdict(folder: &Path) -> Verdict {
    let options = Options {
        wake_within: Duration::from_millis(200),
        ..Options::default()
    };
    check(folder, &options).unwrap()
}

fn tally(verdict: &Verdict, rule: Rule) -> Tally {
    verdict.rules.get(&rule).copied().unwrap_or_default()
}

fn first(verdict: &Verdict, rule: Rule) -> &Finding {
    let mut findings = verdict.findings.iter();
    findings.find(|finding| finding.rule == rule).unwrap()
}

const RECEIPTS: [&str; 2] = ["load.delivered_receipts=0.5", "run.time=400ms"];

#[test]
fn delivered_receipts_are_judged_and_held_when_the_device_acknowledged_before() {
    let (verdict, all) = judged(Habits::default(), Pushes::Never, "", &RECEIPTS);
    assert!(all.delivered_receipts > 20, "{all:?}");
    assert!(all.delivered_receipts < all.sent, "half of them ask");
    assert_eq!(verdict.counts.receipts, all.delivered_receipts);
    let wanted = Tally {
        judged: all.delivered_receipts,
        ..Tally::default()
    };
    assert_eq!(tally(&verdict, Rule::R10), wanted);
    let broken: u64 = verdict.rules.values().map(|tally| tally.broken).sum();
    assert_eq!(broken, 0, "{:?}", verdict.findings);
}

#[test]
fn a_receipt_before_the_acknowledgement_or_given_twice_breaks_the_rule_of_receipts() {
    let hasty = Habits {
        hasty: true,
        ..Habits::default()
    };
    let repeat = Habits {
        repeat: true,
        ..Habits::default()
    };
    for (habits, says) in [
        (hasty, "had not acknowledged yet"),
        (repeat, "got two receipts for one message"),
    ] {
        let (verdict, _) = judged(habits, Pushes::Never, "", &RECEIPTS);
        assert!(tally(&verdict, Rule::R10).broken > 5, "{habits:?}");
        let what = &first(&verdict, Rule::R10).what;
        assert!(what.contains(says), "{what}");
        let others = verdict.findings.iter();
        assert_eq!(others.filter(|it| it.rule != Rule::R10).count(), 0);
    }
}

/// Both receivers are away for longer than a wake-up may take, while messages come.
const AWAY: &str = "[offline]\nshare = 1.0\naway = '900ms'\nstay = '0s'\nwithin = '0s'\n";
const STEADY: [&str; 3] = ["load.arrivals=constant", "load.rate=100", "run.time=600ms"];

#[test]
fn whoever_is_away_and_woken_is_judged_and_held() {
    let (verdict, _) = judged(Habits::default(), Pushes::Again, AWAY, &STEADY);
    assert_eq!((verdict.counts.wakes_due, verdict.counts.pushes), (2, 4));
    let wanted = Tally {
        judged: 6,
        ..Tally::default()
    };
    assert_eq!(tally(&verdict, Rule::R12), wanted, "{:?}", verdict.findings);
}

#[test]
fn a_push_that_is_missing_or_bad_breaks_the_rule_of_wake_ups() {
    for (pushes, broken, says) in [
        (Pushes::Never, 2, "and was not called"),
        // Its own call is no call for those who wait.
        (Pushes::Astray, 2, "and was not called"),
        // And so is one that anybody may have made.
        (Pushes::Unsigned, 4, "has a bad signature"),
    ] {
        let (verdict, _) = judged(Habits::default(), pushes, AWAY, &STEADY);
        let found = tally(&verdict, Rule::R12).broken;
        assert_eq!(found, broken, "{pushes:?}: {:?}", verdict.findings);
        let what = &first(&verdict, Rule::R12).what;
        assert!(what.contains(says), "{pushes:?}: {what}");
        assert_eq!(tally(&verdict, Rule::R10).broken, 0);
    }
}

/// An endpoint that is to fail promises nothing, so nobody is judged by it.
#[test]
fn wake_ups_are_not_judged_when_the_endpoint_is_told_to_fail() {
    let settings = [STEADY.as_slice(), &["target.push=refuse"]].concat();
    let (verdict, _) = judged(Habits::default(), Pushes::Again, AWAY, &settings);
    assert_eq!(tally(&verdict, Rule::R12), Tally::default());
    let notes = verdict.notes.join("; ");
    assert!(notes.contains("R12"), "{notes}");
}
