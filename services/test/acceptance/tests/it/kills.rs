//! Nothing acknowledged is lost, whatever is killed, cut or restarted.

use entente_acceptance::kills::{Fault, Kills, Outcome};

use crate::program;

async fn campaign(fault: Fault, rounds: u32, config: &str) -> Outcome {
    let kills = Kills {
        fault,
        program: program(),
        rounds,
        users: 6,
        seed: 7,
        config: config.to_owned(),
    };
    let outcome = Box::pin(kills.run(&mut std::io::sink())).await.unwrap();
    assert!(outcome.findings.is_clean(), "{outcome:?}");
    assert_eq!(
        outcome.errors, 0,
        "an error that nobody announced is in the log"
    );
    // Without these the campaign would prove nothing.
    assert!(outcome.findings.accepted > 100, "{outcome:?}");
    assert!(outcome.kills_in_flight >= rounds / 2, "{outcome:?}");
    outcome
}

/// T178: a short campaign; the long one is `cargo run -p entente-acceptance --bin kills`.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_gateway_is_killed() {
    let outcome = campaign(Fault::Kill, 5, "").await;
    assert!(outcome.resumed > 0 && outcome.rebound > 0, "{outcome:?}");
}

/// T32: at full speed over many resumes, what waited comes first and the order of each pair holds.
#[tokio::test(flavor = "multi_thread")]
async fn order_holds_over_a_hundred_resumes() {
    let outcome = campaign(Fault::Cut, 20, "").await;
    assert!(outcome.resumed >= 100, "{outcome:?}");
}

/// T40: a restart in order ends with status 0, paced, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_under_load_loses_nothing() {
    let outcome = campaign(Fault::Terminate, 2, "[drain]\nbudget = \"2s\"\n").await;
    assert!(outcome.rebound > 0, "{outcome:?}");
}

/// T184, T147: the disk of the log fills up, tears writes and tails, and fails syncs, under the whole
/// gateway. It says so, ends where it must, and loses nothing that it acknowledged. The long one is
/// `cargo run -p entente-acceptance --bin kills -- --fault disk`.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_disk_fails() {
    let kills = Kills {
        fault: Fault::Disk,
        program: program(),
        rounds: 5,
        users: 6,
        seed: 7,
        config: entente_acceptance::disk::CONFIG.to_owned(),
    };
    let outcome = Box::pin(kills.run(&mut std::io::stderr())).await.unwrap();
    assert!(outcome.findings.is_clean(), "{outcome:?}");
    assert_eq!(outcome.findings.refused, 0, "{outcome:?}");
    assert!(outcome.findings.accepted > 100, "{outcome:?}");
    let struck = &outcome.struck;
    assert_eq!((struck.ended, struck.torn), (2, 1), "{outcome:?}");
    assert_eq!(struck.filled + struck.spaceless, 2, "{outcome:?}");
    assert!(struck.parked > 0, "{outcome:?}");
}
