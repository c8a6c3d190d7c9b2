//! Campaigns as people run them: strict files, and a short one against the program `entente` that lies
//! beside the tests' folder (build it first: `cargo build -p entente-gateway`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{run, text};

/// The gateway's program, built in the same profile.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let program = profile.join("entente");
    assert!(program.exists(), "{} is not built", program.display());
    program
}

const SHORT: &str = r#"
seed = 7
rounds = 2
round = "3s"
calm = "500ms"
recovery = "500ms"
drain = "15s"

[load]
scenario = "pairs"
set = ["sessions.users=12", "load.pattern=any", "load.arrivals=poisson", "load.rate=100"]

[faults]
gap = "500ms..900ms"

[faults.kill]
weight = 2
down = "0ms..50ms"

[faults.cut]
share = 0.8
within = "0ms..100ms"

[faults.stop]
time = "50ms..300ms"

[faults.restart]
down = "0s"

[minimums]
ok = 100
delivered = 100
faults = 4
"#;

/// What the program says about its faults: all that is before the messages under way, without times.
fn faults(said: &str) -> Vec<&str> {
    let lines = said.lines().filter_map(|line| line.split_once("  round "));
    lines
        .map(|(_, line)| line.split(',').next().unwrap())
        .collect()
}

/// Two campaigns of one seed begin with the same faults; nothing that was accepted is lost in either, and
/// one that asks for more than happened proves nothing.
#[test]
fn a_short_campaign_holds_and_its_seed_repeats_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = program().display().to_string();
    fs::write(folder.path().join("short.toml"), SHORT).unwrap();
    let greedy = SHORT.replace("ok = 100\n", "ok = 1000000\n");
    fs::write(folder.path().join("greedy.toml"), greedy).unwrap();
    let mut told = Vec::new();
    for (name, rounds, code, outcome) in [("short", "2", 0, "held"), ("greedy", "1", 98, "vacuous")]
    {
        let file = format!("{name}.toml");
        let mut arguments = vec!["campaign", &file, "--server", &server, "--out", name];
        arguments.extend(["--rounds", rounds]);
        let output = run(folder.path(), &arguments);
        let said = text(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(code),
            "seed 7: {said}{}",
            text(&output.stderr)
        );
        assert!(said.ends_with(&format!("seed 7\nverdict: {name}/verdict.json\n")));
        let verdict = fs::read(folder.path().join(name).join("verdict.json")).unwrap();
        let verdict: Value = serde_json::from_slice(&verdict).unwrap();
        assert_eq!(verdict["campaign"], outcome);
        assert_eq!(verdict["counts"]["ok"], verdict["counts"]["delivered"]);
        assert_eq!(verdict["counts"]["drained"], 12);
        let made = verdict["counts"]["faults"].as_u64().unwrap();
        assert_eq!(usize::try_from(made).unwrap(), faults(&said).len());
        let first = faults(&said)
            .into_iter()
            .filter(|line| line.starts_with("1/"));
        told.push(
            first
                .map(|line| line.replacen("1/2", "1/1", 1))
                .collect::<Vec<_>>(),
        );
        // What `check` says of the same files.
        let events = format!("{name}/events");
        let checked = run(folder.path(), &["check", &events]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
    }
    assert_eq!(told.first(), told.last());
    assert!(told.first().is_some_and(|first| !first.is_empty()));
    // A second campaign would mix its history with the first.
    let output = run(
        folder.path(),
        &[
            "campaign",
            "short.toml",
            "--out",
            "short",
            "--server",
            &server,
        ],
    );
    assert_eq!(output.status.code(), Some(2));
}

/// Faults of machine and network reach the gateway, beside each other and beside kills, and nothing that was
/// accepted is lost in them.
#[test]
fn a_short_campaign_holds_in_bad_weather() {
    let folder = tempfile::tempdir().unwrap();
    let server = program().display().to_string();
    let (head, _) = SHORT.split_once("[faults]").unwrap();
    let kinds = [
        ("kill", "down = '0s'"),
        ("broken-sync", "down = '0s'"),
        ("slow-sync", "by = '5ms..30ms'\ntime = '100ms..300ms'"),
        ("full-disk", "time = '50ms..200ms'"),
        ("skew", "by = '1s..5s'\ntime = '100ms..300ms'"),
        (
            "delay",
            "by = '1ms..20ms'\nloss = 0.05\ntime = '100ms..300ms'",
        ),
        ("partition", "time = '50ms..200ms'"),
        ("zombie", "share = 1.0\nwithin = '0s'\nlingers = '200ms'"),
    ];
    let tables = kinds.map(|(kind, text)| format!("[faults.{kind}]\n{text}\n"));
    let text = format!(
        "{head}[faults]\ngap = '50ms..300ms'\noverlap = true\n{}[minimums]\nok = 100\nfaults = 16\n",
        tables.concat()
    );
    fs::write(folder.path().join("weather.toml"), text).unwrap();
    let arguments = [
        "campaign",
        "weather.toml",
        "--server",
        &server,
        "--out",
        "out",
    ];
    let output = run(folder.path(), &arguments);
    let said = text_of(&output);
    assert_eq!(output.status.code(), Some(0), "seed 7: {said}");
    let verdict = fs::read(folder.path().join("out").join("verdict.json")).unwrap();
    let verdict: Value = serde_json::from_slice(&verdict).unwrap();
    for (kind, _) in kinds {
        assert!(
            verdict["strikes"][kind].as_u64() > Some(0),
            "{kind}: {said}"
        );
    }
}

fn text_of(output: &std::process::Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_broken_campaign_is_a_usage_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "[faults.kill]",
            "[faults.kill]\nsignal = 9",
            "c.toml:17:1: unknown field `signal`",
        ),
        ("rounds = 2", "rounds = two", "c.toml:3:10: "),
        (
            "load.rate=100",
            "load.rote=100",
            "--set load.rote=100: unknown",
        ),
        ("\"pairs\"", "\"pears\"", "pears: No such file"),
        (
            "load.rate=100",
            "sessions.manage=false",
            "sessions.manage: ",
        ),
        ("load.rate=100", "target.kind=xmpp", "target."),
        ("load.rate=100", "run.cores=[4096]", "there is no core 4096"),
    ];
    for (old, new, wanted) in cases {
        assert!(SHORT.contains(old), "{old}");
        fs::write(folder.path().join("c.toml"), SHORT.replacen(old, new, 1)).unwrap();
        let output = run(folder.path(), &["campaign", "c.toml", "--out", "out"]);
        let said = text(&output.stderr);
        assert!(said.contains(wanted), "{new}: {said}");
        assert_eq!(output.status.code(), Some(2), "{new}");
    }
}

#[test]
fn a_gateway_that_does_not_start_is_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.toml"), SHORT).unwrap();
    let arguments = [
        "campaign",
        "c.toml",
        "--server",
        "/bin/false",
        "--out",
        "out",
    ];
    let output = run(folder.path(), &arguments);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(98), "{said}");
    assert!(said.contains("INVALID: starting the gateway"), "{said}");
}
