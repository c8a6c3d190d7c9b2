use entente_core::{Counter, PartnerId, ShardId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::backoff::Signal;

const SECOND: Duration = Duration::from_secs(1);

fn wake(number: u64, counter: u64) -> Wake {
    Wake {
        account: AccountId::new(PartnerId::new(1).unwrap(), number),
        id: [u8::try_from(counter).unwrap(); 16],
        at: Timestamp::from_secs(counter),
        source: ShardId::new(0),
        counter: Counter::new(counter),
        trace: None,
    }
}

fn lane() -> (Lane, Instant) {
    let now = Instant::now();
    (Lane::new(Gate::new(4, now)), now)
}

/// T129: one pending wake-up for a user, however many come.
#[test]
fn what_comes_while_one_waits_joins_it() {
    let (mut lane, now) = lane();
    assert_eq!(lane.offer(wake(7, 1), now, 10), Offer::Held);
    assert_eq!(lane.offer(wake(7, 2), now, 10), Offer::Joined);
    let attempt = lane.begin(now).unwrap();
    assert_eq!((attempt.id, attempt.is_retry), ([1; 16], false));
    assert_eq!(lane.intent(attempt.account).unwrap().since.secs(), 2);
    lane.retire(attempt.account, now);
    assert_eq!((lane.len(), lane.next_at(now)), (0, None));
}

#[test]
fn what_comes_while_one_is_sent_is_sent_after_the_window() {
    let (mut lane, now) = lane();
    lane.offer(wake(7, 1), now, 10);
    let first = lane.begin(now).unwrap();
    assert_eq!(lane.offer(wake(7, 2), now, 10), Offer::Joined);
    let mut rng = StdRng::seed_from_u64(1);
    lane.gate.end(Signal::Well, false, now, &mut rng);
    lane.retire(first.account, now + SECOND);
    assert_eq!(lane.begin(now), None);
    assert_eq!(lane.next_at(now), Some(now + SECOND));
    let second = lane.begin(now + SECOND).unwrap();
    assert_eq!((second.account, second.id), (first.account, [2; 16]));
}

/// T124: all attempts of a wake-up have one id.
#[test]
fn a_repetition_keeps_the_id() {
    let (mut lane, now) = lane();
    lane.offer(wake(7, 1), now, 10);
    let first = lane.begin(now).unwrap();
    lane.gate
        .end(Signal::Failed, false, now, &mut StdRng::seed_from_u64(1));
    lane.retry(first.account, now + SECOND, true);
    let second = lane.begin(now + SECOND).unwrap();
    assert_eq!((second.id, second.is_retry), (first.id, true));
}

#[test]
fn beyond_its_room_a_lane_spills_until_told_otherwise() {
    let (mut lane, now) = lane();
    lane.offer(wake(1, 1), now, 2);
    lane.offer(wake(2, 2), now, 2);
    assert_eq!(lane.offer(wake(3, 3), now, 2), Offer::Spilled);
    assert_eq!(lane.offer(wake(1, 4), now, 2), Offer::Joined);
    lane.retire(wake(1, 1).account, now);
    // Its row may be in the store already: taking it here would make two.
    assert_eq!(lane.offer(wake(3, 5), now, 2), Offer::Spilled);
    lane.spilled = false;
    assert_eq!(lane.offer(wake(3, 6), now, 2), Offer::Held);
}

#[test]
fn a_partner_that_came_back_is_caught_up_with_soon_and_not_at_once() {
    let (mut lane, now) = lane();
    for number in 0..100 {
        let mut intent = Intent::new([0; 16], Timestamp::default(), now + 3600 * SECOND);
        intent.attempts = 5;
        lane.hold(wake(number, 0).account, intent);
    }
    assert_eq!(lane.next_at(now), Some(now + 3600 * SECOND));
    lane.catch_up(now, &mut StdRng::seed_from_u64(1));
    let early = lane
        .retries
        .iter()
        .filter(|(due, _)| *due < now + 30 * SECOND);
    assert!((2..25).contains(&early.count()));
    let last = lane.retries.last().unwrap().0;
    assert!(last > now + 200 * SECOND && last <= now + CATCH_UP);
}
