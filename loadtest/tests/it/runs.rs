//! Short runs against the program `entente` that lies beside the tests' folder, as people make them.

use std::path::Path;

use entente_report::RunResult;

use super::campaign::program;
use super::{run, text};

/// A second of a scenario with its own gateway; it must end with status 0.
fn second(folder: &Path, name: &str, settings: &[&str]) -> RunResult {
    let server = program().display().to_string();
    let history = format!("events-{name}");
    let mut arguments = vec![
        "run",
        "pairs",
        "--plain",
        "--server",
        &server,
        "--out",
        name,
        "--history",
        &history,
        "--time",
        "1s",
        "--users",
        "8",
        "--seed",
        "11",
        "--set",
        "run.warm_up=0s",
        "--set",
        "run.cores=[0]",
        "--threshold",
        "violations == 0",
    ];
    for setting in settings {
        arguments.extend(["--set", *setting]);
    }
    let output = run(folder, &arguments);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    let result = RunResult::read(&folder.join(name).join("result.json")).unwrap();
    let delivered = figure(&result, "delivered");
    assert!(delivered > 0.0, "{said}");
    result
}

fn figure(result: &RunResult, name: &str) -> f64 {
    result.figures.get(name).copied().unwrap()
}

/// `pairs` has `unknown == 0` among its thresholds: a connection that stands still fails the run.
#[test]
fn every_transport_and_window_leaves_nothing_unknown() {
    let folder = tempfile::tempdir().unwrap();
    for (transport, window) in [("websocket", 1), ("websocket", 10), ("tls", 10)] {
        let transport = format!("target.transport={transport}");
        let window = format!("load.window={window}");
        let name = window.replace('.', "-") + &transport.replace('.', "-");
        let result = second(folder.path(), &name, &[&transport, &window]);
        let held = result
            .thresholds
            .iter()
            .find(|it| it.text == "unknown == 0");
        assert_eq!(held.and_then(|it| it.value), Some(0.0));
    }
}

/// Users are away for less time than a wake-up may take, so that nobody is due; calls come all the same,
/// and each is signed as it should be.
#[test]
fn receipts_and_wake_ups_of_the_gateway_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "load.delivered_receipts=1.0",
        "load.window=5",
        "offline.share=1.0",
        "offline.away=1s",
        "offline.within=0s",
    ];
    let result = second(folder.path(), "receipts", &settings);
    assert_eq!(figure(&result, "violations"), 0.0);
    let receipts = figure(&result, "receipts_judged");
    assert!(receipts > 0.0);
    assert_eq!(receipts, figure(&result, "delivered_receipts"));
    assert!(figure(&result, "pushes_judged") >= 4.0, "four were away");
}

#[test]
fn signal_messages_arrive_as_they_were_said() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["load.payload=signal", "load.window=3"];
    let result = second(folder.path(), "signal", &settings);
    assert_eq!(
        (figure(&result, "corrupt"), figure(&result, "errors")),
        (0.0, 0.0)
    );
}
