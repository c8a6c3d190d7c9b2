use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

mod crowd;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> PacingConfig {
    PacingConfig {
        logins: 10,
        burst: 5,
        at_once: 1_000,
        ..PacingConfig::default()
    }
}

fn account(partner: u16, number: u64) -> AccountId {
    AccountId::new(PartnerId::new(partner).unwrap(), number)
}

/// How many of `numbers` are let in by a desk to which they come at one moment.
fn rush(desk: &mut Desk, partner: u16, numbers: std::ops::Range<u64>, now: Instant) -> usize {
    numbers
        .filter(|number| desk.arrive(account(partner, *number), Errand::Fresh, now) == Answer::Go)
        .count()
}

/// Whether the answer is to wait so long, to a millisecond.
fn waits(answer: Answer, time: Duration) -> bool {
    matches!(answer, Answer::Wait(told) if told.abs_diff(time) < Duration::from_millis(1))
}

#[test]
fn after_the_burst_the_wait_is_the_place_in_the_line() {
    let now = Instant::now();
    let mut desk = Desk::new(&config(), now);
    assert_eq!(rush(&mut desk, 1, 0..5, now), 5);
    for place in 1..=20_u32 {
        let answer = desk.arrive(account(1, 100 + u64::from(place)), Errand::Fresh, now);
        assert!(waits(answer, SECOND * place / 10), "{answer:?}");
    }
}

#[test]
fn a_number_that_is_called_is_good_and_a_second_look_keeps_it() {
    let now = Instant::now();
    let mut desk = Desk::new(&config(), now);
    rush(&mut desk, 1, 0..15, now);
    let (last, half) = (account(1, 14), now + SECOND / 2);
    assert!(waits(desk.arrive(last, Errand::Fresh, half), SECOND / 2));
    let next = desk.arrive(account(1, 99), Errand::Fresh, half);
    assert!(waits(next, SECOND * 6 / 10), "{next:?}");
    assert_eq!(desk.arrive(last, Errand::Fresh, now + SECOND), Answer::Go);
}

#[test]
fn who_comes_late_within_its_time_is_let_in_although_others_wait() {
    let now = Instant::now();
    let mut desk = Desk::new(&config(), now);
    rush(&mut desk, 1, 0..15, now);
    let late = now + SECOND / 10 + KEPT - Duration::from_millis(1);
    rush(&mut desk, 1, 1_000..2_000, late);
    assert_eq!(desk.arrive(account(1, 5), Errand::Fresh, late), Answer::Go);
    let over = late + SECOND;
    let answer = desk.arrive(account(1, 6), Errand::Fresh, over + KEPT);
    assert_ne!(
        answer,
        Answer::Go,
        "its number is forgotten, and others wait"
    );
}

/// T157: while as many as may be are under way, nobody is let in, and the time is not made up for.
#[test]
fn those_under_way_are_bounded() {
    let now = Instant::now();
    let mut desk = Desk::new(
        &PacingConfig {
            at_once: 3,
            ..config()
        },
        now,
    );
    assert_eq!(rush(&mut desk, 1, 0..10, now), 3);
    let later = now + SECOND * 10;
    assert_eq!(rush(&mut desk, 1, 0..10, later), 0);
    desk.done(later);
    assert_eq!(rush(&mut desk, 1, 3..10, later + SECOND), 1);
    assert_eq!(desk.figures().under_way, 3);
}

#[test]
fn while_the_log_is_slow_fresh_logins_wait_and_all_go_at_a_lower_rate() {
    let now = Instant::now();
    let mut desk = Desk::new(&config(), now);
    let (mut at, mut let_in) = (now, 0);
    let mut go_on = |desk: &mut Desk, seconds: u32, at: &mut Instant| {
        for _ in 0..seconds * 10 {
            *at += SECOND / 10;
            desk.hear(SECOND, *at);
            let next = account(2, let_in);
            let_in += u64::from(desk.arrive(next, Errand::Fresh, *at) == Answer::Go);
        }
        let_in
    };
    let before = go_on(&mut desk, 10, &mut at);
    assert!(desk.is_slow(at));
    assert_eq!(desk.figures().rate, 1, "a sixteenth, rounded");
    // 0.625 a second, and there is room in the burst for who resumes.
    let after = go_on(&mut desk, 32, &mut at) - before;
    assert!((19..=21).contains(&after), "{after}");
    assert_eq!(desk.arrive(account(3, 2), Errand::Resume, at), Answer::Go);
    // One short wait, and then nothing more is heard: it comes back by itself.
    desk.hear(Duration::ZERO, at);
    let healed = at + SECOND * 10;
    assert_eq!(rush(&mut desk, 3, 10..12, healed), 2);
    assert_eq!(desk.figures().rate, 10);
}

/// One partner's flood makes its own line long; another partner gets its half.
#[test]
fn a_flood_of_one_partner_does_not_take_the_share_of_another() {
    let now = Instant::now();
    let mut desk = Desk::new(&config(), now);
    rush(&mut desk, 1, 0..1_000, now);
    let (mut flooded, mut others, mut waiting) = (0, 0, Vec::new());
    for tick in 1..=100_u64 {
        let at = now + SECOND * u32::try_from(tick).unwrap() / 10;
        flooded += rush(&mut desk, 1, 5..1_000, at);
        // Four a second, of the five that are a half.
        if tick % 5 < 2 {
            waiting.push(tick);
        }
        let before = waiting.len();
        waiting.retain(|n| desk.arrive(account(2, *n), Errand::Fresh, at) != Answer::Go);
        others += before - waiting.len();
    }
    assert!(others >= 36, "of 40: {others}");
    assert!(flooded >= 50, "what is left is used: {flooded}");
}

#[test]
fn resumes_go_before_fresh_logins() {
    let now = Instant::now();
    let mut desk = Desk::new(&config(), now);
    rush(&mut desk, 1, 0..100, now);
    for number in 200..300 {
        desk.arrive(account(1, number), Errand::Resume, now);
    }
    let at = now + SECOND * 5;
    let mut gone = |errand, numbers: std::ops::Range<u64>| {
        numbers
            .filter(|number| desk.arrive(account(1, *number), errand, at) == Answer::Go)
            .count()
    };
    assert_eq!(gone(Errand::Resume, 200..300), 40);
    assert_eq!(gone(Errand::Fresh, 5..100), 10);
}

/// T159: what a flood of names can make the desk keep is bounded.
#[test]
fn lines_and_numbers_are_bounded() {
    let now = Instant::now();
    let config = PacingConfig {
        longest: entente_core::Span::secs(1 << 30),
        ..config()
    };
    let mut desk = Desk::new(&config, now);
    for number in 0..=u64::try_from(NUMBERS).unwrap() + 10 {
        desk.arrive(account(1, number), Errand::Fresh, now);
    }
    assert_eq!(desk.figures().kept, NUMBERS);
    let mut desk = Desk::new(&config, now);
    rush(&mut desk, 1, 0..6, now);
    for partner in 1..3_000 {
        desk.arrive(account(partner, 1 << 20), Errand::Unsaid, now);
    }
    assert_eq!(desk.lines.len(), LINES);
    let stranger = desk.arrive(account(4_000, 1), Errand::Unsaid, now);
    assert_eq!(stranger, Answer::Later(config.longest.get()));
}

#[derive(Clone, Debug)]
enum Act {
    Arrive(u16, u64, Errand),
    Done,
    Pass(u64),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let errand = prop_oneof![
        Just(Errand::Resume),
        Just(Errand::Unsaid),
        Just(Errand::Fresh)
    ];
    prop_oneof![
        8 => (1..4_u16, 0..40_u64, errand).prop_map(|(partner, n, errand)| Act::Arrive(partner, n, errand)),
        4 => Just(Act::Done),
        4 => (0..400_u64).prop_map(Act::Pass),
        2 => (0..200_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    /// Against a plain model: a count of those let in, of those under way, and the time.
    #[test]
    fn no_more_go_than_burst_and_rate_allow(acts in proptest::collection::vec(act(), 1..400)) {
        let start = Instant::now();
        let longest = entente_core::Span::secs(3_600);
        let config = PacingConfig { at_once: 8, longest, ..config() };
        let (mut desk, mut now) = (Desk::new(&config, start), start);
        let (mut called, mut under_way) = (0_u32, 0_usize);
        let mut promised: BTreeMap<(AccountId, Errand), Instant> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Arrive(partner, number, errand) => {
                    let account = account(partner, number);
                    match desk.arrive(account, errand, now) {
                        Answer::Go => {
                            called += 1;
                            under_way += 1;
                            promised.retain(|(other, _), _| *other != account);
                        }
                        Answer::Wait(time) | Answer::Later(time) => {
                            prop_assert!(time >= BUSY && time <= config.longest.get());
                            promised.retain(|key, _| key.0 != account || key.1 == errand);
                            promised.insert((account, errand), now + time + KEPT);
                        }
                    }
                }
                Act::Done if under_way > 0 => {
                    under_way -= 1;
                    desk.done(now);
                }
                Act::Done => {}
                Act::Pass(millis) => now += Duration::from_millis(millis),
                Act::Wait(millis) => {
                    desk.hear(Duration::from_millis(millis), now);
                }
            }
            prop_assert!(under_way <= 8);
            let most = 5.0 + 10.0 * (now - start).as_secs_f64() + 0.01;
            prop_assert!(f64::from(called) <= most, "{called} of {most}");
            prop_assert_eq!(desk.figures().under_way, under_way);
        }
        // Nobody is forgotten: with the path free and nobody under way, all go whose number is good.
        (0..under_way).for_each(|_| desk.done(now));
        desk.hear(Duration::ZERO, now);
        let late = now + Duration::from_secs(30);
        promised.retain(|_, until| *until > late);
        for ((account, errand), _) in promised {
            prop_assert_eq!(desk.arrive(account, errand, late), Answer::Go);
            desk.done(late);
        }
    }
}
