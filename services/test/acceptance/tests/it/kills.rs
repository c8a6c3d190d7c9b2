//! Nothing acknowledged is lost, whatever is killed.

use entente_acceptance::kills::Kills;

use crate::program;

/// A short campaign; the long one is `cargo run -p entente-acceptance --bin kills`.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_gateway_is_killed() {
    let kills = Kills {
        program: program(),
        rounds: 5,
        users: 6,
        seed: 7,
        config: String::new(),
    };
    let outcome = kills.run(&mut std::io::sink()).await.unwrap();
    assert!(outcome.findings.is_clean(), "{outcome:?}");
    assert_eq!(
        outcome.errors, 0,
        "an error that nobody announced is in the log"
    );
    // Without these the campaign would prove nothing.
    assert!(outcome.findings.accepted > 100, "{outcome:?}");
    assert!(outcome.kills_in_flight >= 3, "{outcome:?}");
    assert!(outcome.resumed > 0 && outcome.rebound > 0, "{outcome:?}");
}
