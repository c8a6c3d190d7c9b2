//! A Redis of a test's own on loopback. It is killed when the test ends, whatever happens.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use entente_redis::{RedisTable, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

/// A start takes some ten milliseconds; a loaded machine much more.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) port: u16,
    options: Vec<String>,
    folder: TempDir,
    process: Child,
}

impl Server {
    /// Starts a server that keeps nothing on disk, with more options as on its command line.
    pub(crate) fn start(options: &[&str]) -> Self {
        let port = free_port();
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let process = spawn(port, &options, folder.path());
        Self {
            port,
            options,
            folder,
            process,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A table with more parameters, as `&answer=100ms`.
    pub(crate) fn table(&self, more: &str) -> RedisTable {
        RedisTable::open(&self.settings(more)).unwrap()
    }

    pub(crate) fn settings(&self, more: &str) -> Settings {
        let url = format!("redis://127.0.0.1:{}/test?connect=5s{more}", self.port);
        Settings::from_url(&url).unwrap()
    }

    /// One command, past the table.
    pub(crate) fn run(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut client.get_connection().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.port, &self.options, self.folder.path());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, options: &[String], folder: &Path) -> Child {
    let process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is needed: `apt-get install redis-server`");
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
