//! `relay`: what TLS, system calls and the runtime cost alone.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use entente_relay::{Authority, Options, Relay, load};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// As in the gateway: a floor must not win or lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Hands messages between users over TLS 1.3, with SASL PLAIN that lets anybody in, and XEP-0198,
/// but without a log: the floor under the figures of real servers.
///
/// Prints one line with its address when it listens, and ends at SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(name = "relay", version)]
struct Arguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The domain of its users.
    #[arg(long, default_value = "relay.localhost")]
    domain: String,
    /// Its certificate chain (PEM); without it, one of a development authority is made.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// Writes the certificate of the development authority to this file.
    #[arg(long, conflicts_with = "cert")]
    ca: Option<PathBuf>,
    /// Writes everything that a connection has to say in one turn as one TLS record.
    #[arg(long)]
    gather: bool,
    /// Asks for an acknowledgement behind each message, as servers do.
    #[arg(long)]
    ask: bool,
    /// Messages that wait for one connection before its senders wait.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    queue: u32,
    /// Threads that serve connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    runtime(arguments.threads)?.block_on(run(arguments))
}

fn runtime(threads: u16) -> io::Result<Runtime> {
    if threads == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads.into()).enable_all().build()
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let tls = match (&arguments.cert, &arguments.key) {
        (Some(chain), Some(key)) => load(chain, key)?,
        _ => {
            let authority = Authority::new(&arguments.domain)?;
            if let Some(path) = &arguments.ca {
                std::fs::write(path, &authority.pem)?;
            }
            authority.config
        }
    };
    let options = Options {
        domain: arguments.domain,
        gather: arguments.gather,
        ask: arguments.ask,
        queue: usize::try_from(arguments.queue)?,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let relay = Relay::bind(arguments.listen, options)?;
    writeln!(io::stdout(), "listening on {}", relay.address()?)?;
    tokio::select! {
        () = relay.serve(tls) => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
