//! Two generators at once against one gateway, each with partners and users of its own, and one result
//! for both. Needs the program `entente` beside the tests' folder, as campaigns do.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use entente_core::PartnerId;
use entente_kit::partner::Algorithm;
use entente_kit::process::Ports;
use entente_loadtest::node::{Node, NodeConfig, record};
use entente_report::RunResult;

use super::campaign::program;
use super::{run, text};

/// The arguments of one of the generators.
fn arguments(node: &Node, part: u16, partner: SocketAddr) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "run",
        "pairs",
        "--plain",
        "--run",
        "r1",
        "--seed",
        "7",
        "--time",
        "1s",
        "--users",
        "6",
        "--history",
        "events",
        "--out",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("part-{part}"));
    let (xmpp, _) = node.doors();
    for set in [
        "target.kind=entente".to_owned(),
        format!("target.address={xmpp}"),
        format!("target.enlist={}", node.https()),
        format!("target.partner={partner}"),
        format!("target.partner_number={}", 7 + part),
        format!("run.part={part}"),
        "run.cores=[0]".to_owned(),
        "run.warm_up=0s".to_owned(),
    ] {
        arguments.extend(["--set".to_owned(), set]);
    }
    arguments
}

#[test]
fn two_generators_load_one_gateway_and_their_results_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ports = Ports::reserve(2).unwrap();
    let partners = ports.addresses().unwrap();
    let others = [0, 1].map(|part| {
        let base = format!("http://{}", partners[usize::from(part)]);
        let number = PartnerId::new(7 + part).unwrap();
        record(number, Algorithm::EdDsa, &base, &base)
    });
    let config = NodeConfig {
        program: program(),
        core: 0,
        folder: folder.path().to_owned(),
        fsync: "never".to_owned(),
        log: None,
        extra: String::new(),
        algorithm: Algorithm::EdDsa,
        partners: 0,
        first: 7,
        others: others.concat(),
        environment: Vec::new(),
        wrong_certificate: false,
    };
    let node = runtime.block_on(Box::pin(Node::start(&config))).unwrap();
    ports.release();
    let generators = [0, 1].map(|part| {
        let partner = partners[usize::from(part)];
        Command::new(env!("CARGO_BIN_EXE_entente-loadtest"))
            .args(arguments(&node, part, partner))
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for generator in generators {
        let Output { status, stdout, .. } = generator.wait_with_output().unwrap();
        assert_eq!(status.code(), Some(0), "{}", text(&stdout));
    }
    let merged = run(
        folder.path(),
        &[
            "merge",
            "part-0/result.json",
            "part-1/result.json",
            "--out",
            "both",
        ],
    );
    let said = text(&merged.stdout);
    assert_eq!(
        merged.status.code(),
        Some(0),
        "{said}{}",
        text(&merged.stderr)
    );
    let read = |name: &str| RunResult::read(&folder.path().join(name).join("result.json")).unwrap();
    let (one, other, both) = (read("part-0"), read("part-1"), read("both"));
    let delivered = |result: &RunResult| result.figures.get("delivered").copied().unwrap();
    assert!(delivered(&one) > 0.0 && delivered(&other) > 0.0);
    assert_eq!(delivered(&both), delivered(&one) + delivered(&other));
    assert_eq!(both.figures.get("violations"), Some(&0.0));
    assert_eq!(both.generators.len(), 2);
    // Their histories are one too: no number is used twice.
    let checked = run(folder.path(), &["check", "events"]);
    let said = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{said}");
    runtime.block_on(node.stop()).unwrap();
}
