//! A user whose Signal half is the Rust libsignal, for checks with Signal's own library on the other
//! side (`ops/clients/signal_checks.mjs`).
//!
//! It enlists, logs in, uploads prekeys and then does two things: whatever it decrypts it sends back
//! with `re: ` before it, encrypted; and on `greet ADDRESS` on its standard input it opens a session
//! with that user from its bundle and says hello. It says on standard output who it is, and stops
//! when its input ends.
//!
//! **Invariants**
//! - A message that does not decrypt ends it with an error: nothing is skipped.

mod peer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use peer::{Gateway, Peer};

/// Answers Signal messages with Signal messages.
#[derive(Debug, Parser)]
struct Arguments {
    /// The gateway's domain.
    #[arg(long)]
    domain: String,
    /// Where XMPP over TLS is.
    #[arg(long)]
    xmpp: SocketAddr,
    /// Where enlistment is.
    #[arg(long)]
    http: SocketAddr,
    /// PEM file of the authority that the gateway's certificate comes from.
    #[arg(long)]
    authority: PathBuf,
    /// Where the sample partner is.
    #[arg(long)]
    partner: SocketAddr,
    /// The visible id to enlist.
    #[arg(long)]
    visible: String,
    /// One-time keys of each kind to upload; who comes later gets the last-resort key.
    #[arg(long, default_value_t = 1)]
    one_time: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Box::pin(run(Arguments::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("entente-signal-peer: {error:#}\n");
            let _nobody_reads = tokio::io::stderr().write_all(line.as_bytes()).await;
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let authority = std::fs::read_to_string(&arguments.authority)
        .with_context(|| arguments.authority.display().to_string())?;
    let gateway = Gateway {
        domain: arguments.domain,
        xmpp: arguments.xmpp,
        http: arguments.http,
        authority,
        partner: arguments.partner,
    };
    let mut peer = Box::pin(Peer::enlist(gateway, &arguments.visible)).await?;
    peer.upload(arguments.one_time).await?;
    say(&format!("ready {}", peer.address())).await?;

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => obey(&mut peer, &line).await?,
                None => break,
            },
            event = peer.next() => peer.take(event?).await?,
        }
    }
    peer.leave().await
}

async fn obey(peer: &mut Peer, line: &str) -> anyhow::Result<()> {
    let address = line
        .strip_prefix("greet ")
        .with_context(|| format!("not a command: {line}"))?;
    peer.greet(address).await
}

async fn say(line: &str) -> anyhow::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(format!("{line}\n").as_bytes()).await?;
    Ok(out.flush().await?)
}
