//! A node and a crowd in steps of ten milliseconds: what a spike of logins does to live traffic, and
//! whether the node gets over it. Everything is counted in work done, nothing by a real clock.
//!
//! The node does so much work in a step. First come the stanzas of live sessions and the logins that
//! were let in, in one queue; a login whose client gave up meanwhile costs the same and is worth
//! nothing, which is what keeps an overloaded node overloaded.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

const STEP: Duration = Duration::from_millis(10);
/// Work in a step: a stanza costs 1.
const POWER: u64 = 100;
/// What a login costs that is let in.
const LOGIN: u64 = 20;
/// Stanzas of live sessions in a step: half of what the node can do.
const LIVE: u64 = 50;
/// Steps after which a client gives up a login and tries again: 5 s.
const PATIENCE: u64 = 500;
/// Logins a second that the node lets in at the most; two fifths of its work.
const RATE: u32 = 200;

#[derive(Clone, Copy)]
enum Job {
    Stanza(u64),
    Login(usize, u64),
}

#[derive(Default)]
struct Crowd {
    /// Logins tried, those that were let in again counted again.
    tries: u64,
    logged_in: u64,
    /// Stanzas done, by second.
    goodput: Vec<u64>,
    /// The longest that a stanza waited, in steps, by second.
    longest: Vec<u64>,
}

/// Runs `clients` that all come evenly within `spread` steps, from second 10 on, for `steps`.
fn run(config: &PacingConfig, clients: usize, spread: u64, steps: u64) -> Crowd {
    let start = Instant::now();
    let mut desk = Desk::new(config, start);
    let mut crowd = Crowd::default();
    let mut queue: VecDeque<Job> = VecDeque::new();
    let mut coming: BinaryHeap<Reverse<(u64, usize)>> = (0..clients)
        .map(|client| {
            let share = u64::try_from(client).unwrap() * spread / u64::try_from(clients).unwrap();
            Reverse((1_000 + share, client))
        })
        .collect();
    // When each login under way began; none once it is over.
    let mut begun: Vec<Option<u64>> = vec![None; clients];
    let mut spent = 0;
    for step in 0..steps {
        let now = start + STEP * u32::try_from(step).unwrap();
        if step % 100 == 0 {
            crowd.goodput.push(0);
            crowd.longest.push(0);
        }
        queue.extend((0..LIVE).map(|_| Job::Stanza(step)));
        while let Some(Reverse((due, client))) = coming.peek().copied()
            && due <= step
        {
            coming.pop();
            if begun[client] == Some(u64::MAX) {
                continue;
            }
            crowd.tries += 1;
            let id = account(1, u64::try_from(client).unwrap());
            match desk.arrive(id, Errand::Resume, now) {
                Answer::Go => {
                    begun[client] = Some(step);
                    queue.push_back(Job::Login(client, step));
                    coming.push(Reverse((step + PATIENCE, client)));
                }
                Answer::Wait(time) | Answer::Later(time) => {
                    // To the next whole second, as the client is told, and its own jitter.
                    let steps = time.as_secs() * 100 + 100;
                    let jitter = u64::try_from(client % 100).unwrap();
                    coming.push(Reverse((step + steps + jitter, client)));
                }
            }
        }
        spent += POWER;
        while let Some(job) = queue.front().copied() {
            let cost = match job {
                Job::Stanza(_) => 1,
                Job::Login(..) => LOGIN,
            };
            if spent < cost {
                break;
            }
            spent -= cost;
            queue.pop_front();
            match job {
                Job::Stanza(since) => {
                    let waited = step - since;
                    desk.hear(STEP * u32::try_from(waited).unwrap(), now);
                    *crowd.goodput.last_mut().unwrap() += 1;
                    let longest = crowd.longest.last_mut().unwrap();
                    *longest = waited.max(*longest);
                }
                Job::Login(client, since) => {
                    desk.done(now);
                    if begun[client] == Some(since) && step < since + PATIENCE {
                        begun[client] = Some(u64::MAX);
                        crowd.logged_in += 1;
                    }
                }
            }
        }
        spent = spent.min(POWER);
    }
    crowd
}

fn paced() -> PacingConfig {
    PacingConfig {
        logins: RATE,
        burst: 50,
        at_once: 100,
        ..PacingConfig::default()
    }
}

/// A node that lets everybody in.
fn open() -> PacingConfig {
    PacingConfig {
        logins: 1_000_000,
        burst: 1_000_000,
        at_once: 1_000_000,
        target: entente_core::Span::secs(3_600),
        ..PacingConfig::default()
    }
}

/// T157, T138: three times the rate for twenty seconds, and then nobody new. Live traffic keeps its
/// goodput, everybody gets in, and each client that was sent away comes once more.
#[test]
fn a_spike_comes_and_goes() {
    let clients = 3 * 20 * usize::try_from(RATE).unwrap();
    let crowd = run(&paced(), clients, 2_000, 10_000);
    let all = u64::try_from(clients).unwrap();
    assert_eq!(crowd.logged_in, all);
    let least = *crowd.goodput.iter().skip(1).min().unwrap();
    assert!(
        least * 100 >= LIVE * 100 * 80,
        "goodput fell to {least} a second"
    );
    let (before, after) = (&crowd.longest[..10], &crowd.longest[95..]);
    assert!(
        after.iter().max() <= before.iter().max(),
        "{:?}",
        crowd.longest
    );
    // A client comes, is told when, and comes then: once more, and a tenth for those whose time moved.
    assert!(
        crowd.tries * 10 <= all * 21,
        "{} tries for {all}",
        crowd.tries
    );
}

/// The node of 20,000 sessions dies: all of them come within two seconds.
#[test]
fn a_dead_nodes_sessions_come_at_a_stroke() {
    let crowd = run(&paced(), 20_000, 200, 15_000);
    assert_eq!(crowd.logged_in, 20_000);
    let least = *crowd.goodput.iter().skip(1).min().unwrap();
    assert!(
        least * 100 >= LIVE * 100 * 80,
        "goodput fell to {least} a second"
    );
    assert!(crowd.tries * 10 <= 20_000 * 21, "{} tries", crowd.tries);
}

/// A node whose rate is set to more than twice of what it can do: those under way and the queue hold
/// it back. Clients come more often than they should, but all get in, and it gets over it.
#[test]
fn a_rate_that_is_too_high_costs_retries_and_no_goodput_for_long() {
    let config = PacingConfig {
        logins: 5 * RATE,
        ..paced()
    };
    let clients = 3 * 20 * usize::try_from(RATE).unwrap();
    let crowd = run(&config, clients, 2_000, 10_000);
    assert_eq!(crowd.logged_in, u64::try_from(clients).unwrap());
    let least = *crowd.goodput.iter().skip(1).min().unwrap();
    assert!(
        least * 100 >= LIVE * 100 * 60,
        "goodput fell to {least} a second"
    );
    let longest = *crowd.longest.iter().max().unwrap();
    assert!(longest < 50, "a stanza waited {longest} steps");
    let (before, after) = (&crowd.longest[..10], &crowd.longest[95..]);
    assert!(
        after.iter().max() <= before.iter().max(),
        "{:?}",
        crowd.longest
    );
}

/// The same spike at a node that lets everybody in does not go away: logins that nobody waits for any
/// more take its work. So the tests above fail without the desk.
#[test]
fn without_a_desk_the_spike_stays() {
    let clients = 3 * 20 * usize::try_from(RATE).unwrap();
    let crowd = run(&open(), clients, 2_000, 10_000);
    let all = u64::try_from(clients).unwrap();
    assert!(crowd.logged_in < all, "{} of {all}", crowd.logged_in);
    assert!(crowd.tries > all * 3, "{} tries", crowd.tries);
    let last = *crowd.goodput.last().unwrap();
    assert!(last * 2 < LIVE * 100, "{last} stanzas a second");
}
