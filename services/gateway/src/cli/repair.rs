//! `entente repair`: says what a shard would lose that begins anew, and lets it, if that is accepted.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use entente_gateway::config::Config;
use entente_gateway::repair::Repair;
use entente_gateway::secrets::Secrets;
use entente_shard::Remains;

use super::say;

#[derive(Args, Debug)]
pub(super) struct RepairArgs {
    /// The configuration file of a node of the deployment.
    #[arg(long, short, default_value = "entente.toml")]
    config: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A shard whose state is lost begins anew from what the log still holds of it. Accounts, keys, block
    /// lists and mailboxes of before are not in the log any more: they are lost. Refused if the state
    /// can be read, or if an owner writes it. Look for a copy of the state first.
    Shard {
        /// The number of the shard, from 0.
        number: u32,
        /// Does it. Without this, it is only said what would be lost.
        #[arg(long)]
        accept_loss: bool,
    },
}

pub(super) async fn repair(args: RepairArgs) -> anyhow::Result<()> {
    let What::Shard {
        number,
        accept_loss,
    } = args.what;
    let config = Config::read(&args.config)?;
    let secrets = Secrets::read(&config.secrets)?;
    let repair = Repair::open(&config, &secrets.seal, number).await?;
    let remains = repair.look().await?;
    for line in lines(number, &remains) {
        say(&line)?;
    }
    anyhow::ensure!(
        accept_loss,
        "nothing was changed: with --accept-loss the shard begins anew"
    );
    repair.begin(&remains).await?;
    repair.close().await;
    say(&format!("shard {number} begins anew: start its routers"))
}

fn lines(number: u32, remains: &Remains) -> Vec<String> {
    let (why, lost) = match (&remains.covered, &remains.damage) {
        (Some(covered), _) => (
            format!("those that are there are of an older copy, as of offset {covered} of its log"),
            "what happened between those and the log: who enlisted, keys that were uploaded or served, stanzas",
        ),
        (None, damage) => (
            damage
                .as_ref()
                .map_or_else(|| "there are none".to_owned(), ToString::to_string),
            "accounts with their keys, block lists and sessions, and what waited for them",
        ),
    };
    let mut lines = vec![
        format!("shard {number} has lost its rows: {why}"),
        format!(
            "the log holds offsets {} to {}, {} stanzas",
            remains.floor, remains.end, remains.stanzas
        ),
        format!("lost: {lost}"),
        format!(
            "left: {} accounts, for which {} stanzas and notices wait",
            remains.accounts, remains.waiting
        ),
        format!(
            "{} failure notices go to senders, some of stanzas that were delivered",
            remains.notices
        ),
    ];
    if !remains.unreadable.is_empty() {
        let shards: Vec<_> = remains.unreadable.iter().map(ToString::to_string).collect();
        let shards = shards.join(", ");
        lines.push(format!(
            "without rows too: {shards}; notices between those and this one may be lost"
        ));
    }
    lines
}
