//! The end of this node, spread over a budget so that clients do not all come back at once (T40).
//!
//! **Invariants**
//! - Sessions that can be resumed stay resumable: their owner is told `Detach`.
//! - A second request ends the waiting.

use std::time::Duration;

use entente_node::{Drain, Phase};
use tokio::time::{Instant, sleep, timeout};

use crate::links::{Links, Notice};

/// How often the rest is looked at once everybody has been told.
const LOOK: Duration = Duration::from_millis(50);
/// Sessions are told in steps of this length.
const STEP: Duration = Duration::from_millis(20);

/// Tells every session to go, paced over three quarters of the budget, and waits for the rest.
/// Returns how many were left.
pub(crate) async fn drain(links: &Links, drain: &Drain, budget: Duration) -> usize {
    let deadline = Instant::now() + budget;
    let paced = timeout(budget, tell(links, budget * 3 / 4));
    tokio::select! {
        _told = paced => {}
        () = drain.leaving() => {}
    }
    // New sessions may have come in between; nobody is left untold.
    links
        .inboxes()
        .iter()
        .for_each(|inbox| inbox.put(Notice::Drained));
    loop {
        let left = links.inboxes().len();
        let patient = drain.phase() != Phase::Leaving && Instant::now() < deadline;
        if left == 0 || !patient {
            return left;
        }
        sleep(LOOK).await;
    }
}

async fn tell(links: &Links, budget: Duration) {
    let inboxes = links.inboxes();
    let steps = (budget.as_millis() / STEP.as_millis()).max(1);
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let each = inboxes.len().div_ceil(steps).max(1);
    for chunk in inboxes.chunks(each) {
        chunk.iter().for_each(|inbox| inbox.put(Notice::Drained));
        sleep(STEP).await;
    }
}
