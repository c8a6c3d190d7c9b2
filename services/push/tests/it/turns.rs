//! Several services of which one works on a partition at a time: what one has not done the next one does.

use std::collections::BTreeSet;
use std::sync::Arc;

use entente_core::ShardId;
use entente_log::{Log, MemoryLog};
use entente_shard::Assignment;
use tokio::sync::watch;

use crate::receiver::{Receiver, Reply};
use crate::rig::{Life, World, account, until};

type Told = watch::Sender<Option<BTreeSet<ShardId>>>;

fn turns(told: &Told, partitions: &[u32]) {
    let shards = partitions.iter().copied().map(ShardId::new).collect();
    told.send_replace(Some(shards));
}

fn turn(told: &Told, works: bool) {
    turns(told, if works { &[0, 1] } else { &[] });
}

/// How often a user was asked for, with the answer 200 or another.
fn woken(partner: &Receiver, number: u64, well: bool) -> usize {
    let body = format!(r#"{{"to":"user\"{number}@a.test"}}"#);
    let calls = partner.calls().into_iter();
    let calls = calls.filter(|call| call.well == well && call.body == body);
    calls.count()
}

/// At least once, as everywhere; what was done and stored is not done again.
#[tokio::test]
async fn the_one_whose_turn_it_is_wakes_and_knows_what_the_other_did() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    let journal = Arc::new(MemoryLog::new(2));
    let tell: [Told; 2] = [watch::Sender::new(None), watch::Sender::new(None)];
    let start = |told: &Told| world.start_among(Assignment::Told(told.subscribe()), &journal);
    let lives = [start(&tell[0]), start(&tell[1])];
    world.wake(account(1, 2), 1).await;
    tokio::task::yield_now().await;
    assert_eq!(journal.end(0).value(), 0, "it is nobody's turn");
    turn(&tell[1], false);
    turn(&tell[0], true);
    partner.until_calls(1).await;
    world.covered().await;
    // The second one takes the rows while the first, who was not told, still believes that it works.
    turn(&tell[1], true);
    world.wake(account(1, 4), 2).await;
    turn(&tell[0], false);
    until("user 4 is woken", || woken(&partner, 4, true) > 0).await;
    world.covered().await;
    // What is pending goes over.
    partner.always(Some(Reply::Status(500)));
    world.wake(account(1, 6), 3).await;
    until("user 6 is asked for", || woken(&partner, 6, false) > 0).await;
    world.covered().await;
    turn(&tell[1], false);
    turn(&tell[0], true);
    partner.always(None);
    until("user 6 is woken", || woken(&partner, 6, true) > 0).await;
    assert_eq!(woken(&partner, 2, true), 1, "done, and known to be");
    for life in lives {
        life.finish().await;
    }
}

#[tokio::test]
async fn two_share_the_partitions_and_one_goes_on_alone() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    let journal = Arc::new(MemoryLog::new(2));
    let tell: [Told; 2] = [watch::Sender::new(None), watch::Sender::new(None)];
    let start = |told: &Told| world.start_among(Assignment::Told(told.subscribe()), &journal);
    let lives = [start(&tell[0]), start(&tell[1])];
    turns(&tell[0], &[0]);
    turns(&tell[1], &[1]);
    let requests = |life: &Life| life.shows(r#"entente_push_attempts_total{partner="1""#);
    world.wake(account(1, 2), 1).await;
    until("user 2 is woken", || woken(&partner, 2, true) > 0).await;
    assert!(requests(&lives[0]) && !requests(&lives[1]));
    world.wake(account(1, 3), 1).await;
    until("user 3 is woken", || woken(&partner, 3, true) > 0).await;
    assert!(requests(&lives[1]));
    world.covered().await;
    // One is asked for in vain by the second, which then has the partition no more.
    partner.always(Some(Reply::Status(500)));
    world.wake(account(1, 5), 2).await;
    let held = r#"entente_push_held{partner="1"} 1"#;
    until("user 5 is asked for", || woken(&partner, 5, false) > 0).await;
    lives[1].until_shows(held).await;
    world.covered().await;
    turns(&tell[1], &[]);
    lives[1]
        .until_shows(r#"entente_push_held{partner="1"} 0"#)
        .await;
    turns(&tell[0], &[0, 1]);
    lives[0].until_shows(held).await;
    partner.always(None);
    until("user 5 is woken", || woken(&partner, 5, true) > 0).await;
    assert_eq!(woken(&partner, 3, true), 1, "done, and known to be");
    for life in lives {
        life.finish().await;
    }
}
