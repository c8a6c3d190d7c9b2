use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn gate() -> (Gate, Instant, StdRng) {
    let now = Instant::now();
    (Gate::new(8, now), now, StdRng::seed_from_u64(1))
}

#[test]
fn waits_grow_to_their_bound_and_are_drawn_over_all_of_it() {
    let waits = Waits {
        first: 5 * SECOND,
        longest: 300 * SECOND,
    };
    let mut rng = StdRng::seed_from_u64(1);
    for (failures, bound) in [(1, 5), (2, 20), (3, 80), (4, 300), (400, 300)] {
        let drawn: Vec<_> = (0..1000).map(|_| waits.draw(failures, &mut rng)).collect();
        let bound = bound * SECOND;
        assert!(drawn.iter().all(|wait| *wait < bound));
        assert!(drawn.iter().any(|wait| *wait < bound / 20));
        assert!(drawn.iter().any(|wait| *wait > bound * 19 / 20));
    }
}

/// T126: of 10,000 waits that begin together, no hundredth of the span gets much over its share.
#[test]
fn a_herd_spreads_over_the_whole_wait() {
    let waits = Waits {
        first: 100 * SECOND,
        longest: 100 * SECOND,
    };
    let mut rng = StdRng::seed_from_u64(1);
    let mut buckets = [0_u32; 100];
    for _ in 0..10_000 {
        let wait = waits.draw(1, &mut rng);
        buckets[usize::try_from(wait.as_secs()).unwrap()] += 1;
    }
    assert!(buckets.iter().all(|count| (50..160).contains(count)));
}

#[test]
fn a_partner_that_works_gets_more_at_once_up_to_the_bound() {
    let (mut gate, now, mut rng) = gate();
    for width in [1, 2, 4, 8, 8] {
        for _ in 0..width {
            assert_eq!(gate.admits(false, now), Ok(()));
            gate.begin(false);
        }
        assert_eq!(gate.admits(false, now), Err(Shut::Full));
        gate.end(Signal::Well, false, now, &mut rng);
        for _ in 1..width {
            gate.end(Signal::Silent, false, now, &mut rng);
        }
    }
}

#[test]
fn a_named_time_is_kept_and_a_wild_one_is_cut() {
    for (named, least) in [(7, 7), (1_000_000, 6 * 3600)] {
        let (mut gate, now, mut rng) = gate();
        gate.begin(false);
        let slow = Signal::Slow(Some(named * SECOND));
        assert_eq!(gate.end(slow, false, now, &mut rng), Change::Closed);
        let opens = now + least * SECOND;
        let early = opens - Duration::from_millis(1);
        assert_eq!(gate.admits(false, early), Err(Shut::Until(opens)));
        assert_eq!(gate.admits(false, opens), Ok(()));
    }
}

#[test]
fn failures_of_single_users_close_nothing_but_a_row_of_them_does() {
    let (mut gate, now, mut rng) = gate();
    for _ in 0..3 {
        for _ in 0..4 {
            gate.begin(false);
            assert_eq!(gate.end(Signal::Failed, false, now, &mut rng), Change::None);
        }
        gate.begin(false);
        gate.end(Signal::Well, false, now, &mut rng);
    }
    for change in [Change::None; 4].into_iter().chain([Change::Closed]) {
        gate.begin(false);
        assert_eq!(gate.end(Signal::Failed, false, now, &mut rng), change);
    }
    let later = now + 3 * SECOND;
    gate.begin(false);
    let change = gate.end(Signal::Well, false, later, &mut rng);
    assert_eq!(change, Change::Recovered);
}

/// T126: repetitions that fail stay within a tenth of the first requests and the fixed part.
#[test]
fn failing_repetitions_stay_within_the_budget() {
    let (mut gate, start, mut rng) = gate();
    let (mut firsts, mut retries) = (0, 0);
    for step in 0..100_000 {
        let now = start + Duration::from_millis(step);
        for is_retry in [false, true] {
            // The others keep the gate open.
            let signal = if is_retry {
                Signal::Failed
            } else {
                Signal::Well
            };
            if gate.admits(is_retry, now).is_ok() {
                gate.begin(is_retry);
                gate.end(signal, is_retry, now, &mut rng);
                *(if is_retry { &mut retries } else { &mut firsts }) += 1;
            }
        }
    }
    assert_eq!(firsts, 100_000);
    // 10 at the start, a tenth of the firsts, and a tenth for each of 100 s.
    assert!((10_000..=10_021).contains(&retries), "{retries}");
}
