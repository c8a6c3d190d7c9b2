use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

fn config(watch: Vec<Watch>) -> Config {
    Config {
        origin: Instant::now(),
        period: Duration::from_millis(20),
        pss_every: 2,
        watch,
        pages: Vec::new(),
    }
}

fn watch(name: &str, pid: u32) -> Watch {
    Watch {
        name: name.to_owned(),
        role: Role::Server,
        pid,
        children: false,
    }
}

/// Waits until a look fulfils what is asked.
async fn until(probe: &Probe, asked: impl Fn(&Glance) -> bool) {
    let mut glance = probe.glance.clone();
    let wait = glance.wait_for(asked);
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn this_process_and_one_that_dies_are_sampled() {
    let mut tasks = JoinSet::new();
    let own = std::process::id();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let (sampler, probe) = Sampler::new(config(vec![
        watch("own", own),
        watch("child", child.id()),
        watch("nobody", u32::MAX),
    ]));
    tasks.spawn(sampler.run());
    until(&probe, |glance| glance.processes.len() == 2).await;
    child.kill().unwrap();
    child.wait().unwrap();
    until(&probe, |glance| glance.processes.len() == 1).await;
    let mut next = Command::new("sleep").arg("600").spawn().unwrap();
    assert!(probe.watch(watch("child", next.id())).await.unwrap());
    probe.mark().await.unwrap();
    let spare = probe.clone();
    let seen = probe.stop().await.unwrap();
    next.kill().unwrap();
    next.wait().unwrap();

    let names: Vec<&str> = seen
        .processes
        .iter()
        .map(|process| process.name.as_str())
        .collect();
    assert_eq!(names, ["own", "child", "child"]);
    let [own, dead, successor] = &seen.processes[..] else {
        panic!("three processes");
    };
    assert!(own.ended_us.is_none() && successor.ended_us.is_none());
    assert!(dead.ended_us.is_some() && !dead.samples.is_empty());
    assert!(successor.samples.len() >= 2, "a mark and the last one");
    let last = own.samples.last().unwrap();
    assert!(last.rss > 100_000 && last.pss.is_some() && last.threads >= 2);
    assert!(last.cpu_us > 0 && last.descriptors.unwrap() >= 3);
    assert!(own.samples.iter().map(|sample| sample.cpu_us).is_sorted());
    assert!(own.samples.iter().map(|sample| sample.at_us).is_sorted());
    assert!(seen.cores >= 1 && seen.samples.len() >= 3);
    assert_eq!(seen.troubles.len(), 1, "{:?}", seen.troubles);
    assert!(seen.troubles[0].starts_with("nobody (pid 4294967295) cannot be watched"));
    assert_eq!(spare.mark().await, Err(Stopped));
}

#[tokio::test]
async fn cpu_time_is_that_of_the_work() {
    let mut tasks = JoinSet::new();
    // Half a second of arithmetic, then it waits for its input to close.
    let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo x; read y";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sampler, probe) = Sampler::new(config(vec![watch("work", child.id())]));
    tasks.spawn(sampler.run());
    let mut said = [0; 1];
    let mut out = child.stdout.take().unwrap();
    tokio::task::spawn_blocking(move || std::io::Read::read_exact(&mut out, &mut said))
        .await
        .unwrap()
        .unwrap();
    let seen = probe.stop().await.unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let last = seen.processes[0].samples.last().unwrap();
    let ticks = last.user_us + last.system_us;
    assert!(last.cpu_us >= 10_000, "{last:?}");
    // Both clocks tell the same, each tick count short of a tick.
    assert!(
        last.cpu_us >= ticks && last.cpu_us <= ticks + 40_000,
        "{last:?}"
    );
}

#[tokio::test]
async fn pages_are_read_and_their_troubles_said_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let count = Arc::new(AtomicU32::new(0));
    let served = Arc::clone(&count);
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let text = if request[..read].starts_with(b"GET /bad ") {
                "<html>".to_owned()
            } else {
                let count = served.fetch_add(1, Ordering::Relaxed);
                format!("seen_total {count}\nother 1\n")
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            // The sampler may have stopped.
            let _sent = stream.write_all((head + &text).as_bytes()).await;
        }
    });
    let page = |path: &str| Page {
        name: "server".to_owned(),
        address,
        path: path.to_owned(),
        names: vec!["seen*".to_owned()],
    };
    let (sampler, probe) = Sampler::new(Config {
        pages: vec![page("/metrics"), page("/bad")],
        ..config(vec![watch("own", std::process::id())])
    });
    tasks.spawn(sampler.run());
    // Each fetch is answered before the next begins.
    while count.load(Ordering::Relaxed) < 4 {
        let mut glance = probe.glance.clone();
        glance.mark_unchanged();
        glance.changed().await.unwrap();
    }
    let seen = probe.stop().await.unwrap();
    assert_eq!(seen.metrics.len(), 1);
    assert_eq!(seen.metrics[0].name, "seen_total");
    assert!(seen.metrics[0].readings.len() >= 3);
    assert_eq!(
        seen.troubles,
        ["page /bad of server: line 1: no name of a metric"]
    );
}

#[tokio::test]
async fn a_sampler_without_anybody_ends() {
    let (sampler, probe) = Sampler::new(config(Vec::new()));
    drop(probe);
    tokio::time::timeout(Duration::from_secs(20), sampler.run())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_machine_that_cannot_be_read_is_a_trouble() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stat"), "cpu x\n").unwrap();
    let proc = Proc {
        root: folder.path().to_owned(),
        tick_us: 10_000,
    };
    let (sampler, probe) = Sampler::over(config(Vec::new()), proc);
    let mut tasks = JoinSet::new();
    tasks.spawn(sampler.run());
    let seen = probe.stop().await.unwrap();
    assert_eq!(
        seen.troubles,
        ["the machine's CPU time: /proc/stat: no busy time"]
    );
    assert!(seen.samples.is_empty());
}

#[tokio::test]
async fn a_page_that_hangs_delays_no_mark() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sampler, probe) = Sampler::new(Config {
        pages: vec![Page {
            name: "server".to_owned(),
            address: listener.local_addr().unwrap(),
            path: "/metrics".to_owned(),
            names: vec!["*".to_owned()],
        }],
        ..config(vec![watch("own", std::process::id())])
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(sampler.run());
    // Accepted and never answered.
    let _held = listener.accept().await.unwrap();
    for _ in 0..20 {
        probe.mark().await.unwrap();
    }
    let seen = probe.stop().await.unwrap();
    // A fetch gives up after two seconds: had each mark waited for one, this were forty.
    let samples = &seen.processes[0].samples;
    let took = samples[samples.len() - 1].at_us - samples[0].at_us;
    assert!(samples.len() >= 20 && took < 20_000_000, "{took} µs");
}
