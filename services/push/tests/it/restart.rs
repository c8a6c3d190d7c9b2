//! Lives of the service that end in the middle, over a log and a store that stay.

use std::collections::BTreeSet;
use std::time::Duration;

use entente_core::Span;
use tokio::runtime::Runtime;

use crate::receiver::{Receiver, Reply};
use crate::rig::{World, account, until};

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// Drops every task where it stands. A commit under way ends first: no process outlives its kill.
fn kill(life: Runtime) {
    life.shutdown_timeout(Duration::from_secs(10));
}

/// T131: killed again and again, with a partner that fails half of the time, nobody is forgotten.
#[test]
fn killed_at_any_moment_it_wakes_everybody() {
    let outside = runtime();
    let (world, partner) = outside.block_on(async { (World::new(), Receiver::start().await) });
    world.partners.set(1, &partner.base("v1"), true);
    for life in 0..15 {
        let inside = runtime();
        inside.block_on(async {
            let before = partner.calls().len();
            partner.script((0..20).map(|each| Reply::Status([500, 200][each % 2])));
            let _life = world.start();
            for number in life * 20..life * 20 + 20 {
                world.wake(account(1, number), number / 2 + 1).await;
            }
            // Another moment in each life, some before a request and some after many.
            let calls = usize::try_from(life * 7 % 12).unwrap();
            partner.until_calls(before + calls).await;
        });
        kill(inside);
    }
    partner.always(None);
    outside.block_on(async {
        let life = world.start();
        world.covered().await;
        until("everybody was answered", || world.rows() == 0).await;
        life.finish().await;
    });
    let calls = partner.calls().into_iter().filter(|call| call.well);
    let woken: BTreeSet<_> = calls.map(|call| call.body).collect();
    assert_eq!(woken.len(), 300);
}

/// T131: killed between the request and the commit, it asks again, with the same id.
#[test]
fn killed_before_the_commit_it_sends_again() {
    let outside = runtime();
    let (mut world, partner) = outside.block_on(async { (World::new(), Receiver::start().await) });
    world.partners.set(1, &partner.base("v1"), true);
    world.config.checkpoint = Span::secs(60);
    let first = runtime();
    let delivered = r#"entente_push_retired_total{partner="1",outcome="delivered"} 1"#;
    first.block_on(async {
        let life = world.start();
        world.wake(account(1, 7), 1).await;
        life.until_shows(delivered).await;
    });
    kill(first);
    let second = runtime();
    second.block_on(async {
        let life = world.start();
        let calls = partner.until_calls(2).await;
        let id = |call: usize| calls[call].claims(&partner.base("v1")).jti;
        assert_eq!(id(0), id(1));
        life.until_shows(delivered).await;
        // An orderly end stores where it is: the third life has nothing to send.
        life.finish().await;
        let life = world.start();
        world.wake(account(1, 9), 2).await;
        life.until_shows(delivered).await;
        life.finish().await;
        assert_eq!(partner.calls().len(), 3);
    });
}

/// T131: what the log has forgotten is in a row until the partner answers.
#[test]
fn killed_while_the_partner_is_down_it_goes_on_from_the_rows() {
    let outside = runtime();
    let (world, partner) = outside.block_on(async { (World::new(), Receiver::start().await) });
    world.partners.set(1, &partner.base("v1"), true);
    partner.always(Some(Reply::Status(500)));
    let first = runtime();
    first.block_on(async {
        let _life = world.start();
        for number in 0..20 {
            world.wake(account(1, number), number / 2 + 1).await;
        }
        world.covered().await;
        partner.until_calls(1).await;
    });
    kill(first);
    assert_eq!(world.rows(), 20);
    let before = partner.calls().len();
    partner.always(None);
    let second = runtime();
    second.block_on(async {
        let life = world.start();
        let line = r#"entente_push_retired_total{partner="1",outcome="delivered"} 20"#;
        life.until_shows(line).await;
        life.finish().await;
    });
    assert_eq!(world.rows(), 0);
    let mut woken: Vec<_> = partner.calls().split_off(before);
    woken.retain(|call| call.well);
    woken.sort_by(|one, other| one.body.cmp(&other.body));
    woken.dedup_by(|one, other| one.body == other.body);
    assert_eq!(woken.len(), 20);
}

/// What finds no room in memory waits in the store, and is sent when there is room.
#[test]
fn more_than_memory_holds_is_kept_and_sent() {
    let outside = runtime();
    outside.block_on(async {
        let (mut world, partner) = (World::new(), Receiver::start().await);
        world.partners.set(1, &partner.base("v1"), true);
        world.config.max_held = 40;
        partner.always(Some(Reply::Status(503)));
        let life = world.start();
        for number in 0..200 {
            world.wake(account(1, number), number / 2 + 1).await;
        }
        world.covered().await;
        assert_eq!(world.rows(), 200);
        assert!(life.shows("entente_push_held{partner=\"1\"} 40\n"));
        partner.always(None);
        let line = r#"entente_push_retired_total{partner="1",outcome="delivered"} 200"#;
        life.until_shows(line).await;
        world.covered().await;
        life.finish().await;
        assert_eq!(world.rows(), 0);
    });
}
