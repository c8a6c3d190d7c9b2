use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use super::*;

/// A program without any readiness of its own, so that the test can play its admin port.
fn sleeper(log: &Path, admin: SocketAddr) -> ProcessConfig {
    ProcessConfig {
        program: "sh".into(),
        arguments: vec!["-c".into(), "echo started; exec sleep 60".into()],
        environment: Vec::new(),
        log: log.to_owned(),
        admin,
        ready_within: Duration::from_secs(10),
    }
}

async fn admin() -> (SocketAddr, tokio::task::JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let routes = axum::Router::new().route("/readyz", axum::routing::get(|| async { "ok" }));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (address, server)
}

fn log_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("entente-kit-{name}-{}.log", std::process::id()))
}

#[tokio::test]
async fn a_process_is_started_killed_and_started_again() {
    let (address, _server) = admin().await;
    let log = log_file("again");
    let mut process = Process::start(sleeper(&log, address)).await.unwrap();
    let first = process.id().unwrap();
    process.kill().await.unwrap();
    assert_eq!(process.id(), None);
    process.restart().await.unwrap();
    assert_ne!(process.id().unwrap(), first);
    assert_eq!(process.starts(), 2);
    let ended = process.stop(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ended.signal(), Some(15));
    let lines = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    assert!(lines.lines().all(|line| line == "started"), "{lines}");
}

#[tokio::test]
async fn a_process_that_ends_early_is_not_waited_for() {
    let ports = Ports::reserve(1).unwrap();
    let address = ports.addresses().unwrap()[0];
    ports.release();
    let log = log_file("early");
    let mut config = sleeper(&log, address);
    config.arguments = vec!["-c".into(), "exit 3".into()];
    let error = Process::start(config).await.unwrap_err();
    std::fs::remove_file(&log).unwrap();
    match error {
        ProcessError::Ended(status) => assert_eq!(status.code(), Some(3)),
        other => panic!("{other}"),
    }
}

#[test]
fn reserved_ports_are_different() {
    let ports = Ports::reserve(8).unwrap();
    let mut addresses = ports.addresses().unwrap();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 8);
}
