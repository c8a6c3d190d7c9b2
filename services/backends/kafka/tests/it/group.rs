//! A group against real brokers: whose partitions are whose.

use std::collections::BTreeSet;

use entente_kafka::{Group, Settings};

use crate::broker::{self, soon};
use crate::or_skip;

const PARTITIONS: u32 = 3;

fn join(settings: &Settings, member: &str) -> Group {
    Group::join(settings, "owners", "input", member).unwrap()
}

/// Waits until the members together have every partition once, and each has some if there are enough.
async fn shared_by(members: &[&Group]) -> Vec<BTreeSet<u32>> {
    let all: BTreeSet<u32> = (0..PARTITIONS).collect();
    soon(async {
        loop {
            let told = members.iter().map(|member| member.assigned());
            let told: Option<Vec<_>> = told.map(|told| told.borrow().clone()).collect();
            let told = told.unwrap_or_default();
            let count: usize = told.iter().map(BTreeSet::len).sum();
            let together: BTreeSet<u32> = told.iter().flatten().copied().collect();
            let fair = told.iter().all(|part| !part.is_empty());
            if together == all && count == all.len() && fair {
                return told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn members_share_the_partitions_and_inherit_them() {
    or_skip!(broker::missing());
    let settings = broker::settings();
    let log = broker::open(&settings).await;
    let first = join(&settings, "first");
    shared_by(&[&first]).await;
    let second = join(&settings, "second");
    let before = shared_by(&[&first, &second]).await;
    let third = join(&settings, "third");
    let after = shared_by(&[&first, &second, &third]).await;
    // Sticky: who stays keeps what it can.
    for (before, after) in before.iter().zip(&after) {
        assert!(after.is_subset(before), "{before:?} {after:?}");
    }
    // Who leaves is told that it has nothing, and others have all.
    second.leave();
    let mut left = second.assigned();
    let nothing =
        |assigned: &Option<BTreeSet<u32>>| assigned.as_ref().is_some_and(BTreeSet::is_empty);
    soon(left.wait_for(nothing)).await.unwrap();
    shared_by(&[&first, &third]).await;
    drop(first);
    shared_by(&[&third]).await;
    drop(log);
}

/// A group of another deployment on the same brokers has nothing to do with it.
#[tokio::test]
async fn deployments_do_not_share() {
    or_skip!(broker::missing());
    let (ours, theirs) = (broker::settings(), broker::settings());
    let logs = (broker::open(&ours).await, broker::open(&theirs).await);
    let (one, other) = (join(&ours, "node"), join(&theirs, "node"));
    shared_by(&[&one]).await;
    shared_by(&[&other]).await;
    drop(logs);
}
