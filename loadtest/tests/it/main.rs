//! The program as people call it: what it says and how it exits when things are not as they should.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod campaign;
mod generators;
mod runs;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use entente_report::{FindingKind, RunResult};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_entente-loadtest"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A scenario against an address where nobody listens.
fn nowhere(more: &[&str]) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("target.address=\"{}\"", listener.local_addr().unwrap());
    let mut arguments = vec!["run".to_owned(), "pairs".to_owned(), "--plain".to_owned()];
    for set in ["target.kind=xmpp", &address, "run.cores=[0]", "run.time=1s"]
        .iter()
        .chain(more)
    {
        arguments.extend(["--set".to_owned(), (*set).to_owned()]);
    }
    arguments
}

fn all(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn a_broken_scenario_is_a_usage_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("my.toml"),
        "about = 'x'\n[load]\n  rote = 5\n",
    )
    .unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["run", "my.toml"], "my.toml:3:3: unknown field `rote`"),
        (&["run", "not-there.toml"], "not-there.toml: No such file"),
        (
            &["run", "media"],
            "media: the gateway has no media role yet",
        ),
        (
            &["run", "pairs", "--set", "load.rote=1"],
            "--set load.rote=1: unknown field",
        ),
        (
            &["run", "pairs", "--set", "load.receipts=7"],
            "load.receipts: must be 0 to 1",
        ),
        (&["run", "pairs", "--threshold", "p98_ms < 3"], "p98_ms"),
        (
            &["run", "pairs", "--set", "run.cores=[4096]"],
            "there is no core 4096",
        ),
    ];
    for (arguments, wanted) in cases {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_server_that_is_not_there_leaves_a_result_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &all(&nowhere(&[])));
    assert_eq!(output.status.code(), Some(98), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("cannot log in as load1 at 127.0.0.1"),
        "{said}"
    );
    assert!(said.contains("Connection refused"), "{said}");
    let result = RunResult::read(&folder.path().join("results/pairs/result.json")).unwrap();
    assert!(!result.valid());
    assert!(
        result
            .findings
            .iter()
            .any(|finding| finding.kind == FindingKind::Partial)
    );
    assert!(result.scenario.text.contains("[load]"));
}

#[test]
fn a_history_that_is_none_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["check", "nothing-here"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("nothing-here"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn scenarios_are_listed_shown_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let list = text(&run(folder.path(), &["scenario", "--list"]).stdout);
    assert!(
        list.lines().count() >= 11 && list.contains("reconnect-storm"),
        "{list}"
    );
    let shown = run(
        folder.path(),
        &["scenario", "pairs", "--set", "load.window=7"],
    );
    assert!(text(&shown.stdout).contains("window = 7"));
    let reference = text(&run(folder.path(), &["scenario", "--reference"]).stdout);
    assert!(
        reference.contains("## `[load]`") && reference.contains("`poisson`"),
        "{reference}"
    );
    let help = text(&run(folder.path(), &["run", "--help"]).stdout);
    assert!(
        help.contains("--history") && help.contains("--set"),
        "{help}"
    );
    let bash = run(folder.path(), &["completions", "bash"]);
    assert!(text(&bash.stdout).contains("entente-loadtest"));
}
