use std::path::Path;

use entente_history::{
    Bind, CheckError, Deliver, Devack, DeviceIs, Digest, Drained, Ending, Event, Fault, Header,
    Heal, Id, Invoke, Line, Minimums, Note, Options, Outcome, Passed, Rule, Verdict, check, render,
    write_whole,
};

use super::sample;

fn header(process: &str, run: &str) -> Header {
    Header {
        process: process.into(),
        run: run.into(),
        ..Header::new("", "", 5)
    }
}

fn lines(events: Vec<Event>) -> Vec<Line> {
    (1..)
        .zip(events)
        .map(|(at, event)| Line { at, event })
        .collect()
}

fn device(device: u32) -> Event {
    Event::Device(DeviceIs {
        device,
        partner: 1,
        account: format!("user{device}"),
        endpoint: None,
    })
}

fn bind(device: u32, epoch: u32) -> Event {
    let node = String::new();
    Event::Bind(Bind {
        device,
        epoch,
        node,
    })
}

fn ok(from: u32, n: u64) -> Event {
    let id = Id::own(from, n);
    Event::Ok(Passed { from, id, epoch: 1 })
}

fn invoke(from: u32, to: u32, n: u64) -> Event {
    Event::Invoke(Invoke {
        from,
        to,
        id: Id::own(from, n),
        n,
        digest: Digest(n),
        quiet: false,
    })
}

fn deliver(from: u32, to: u32, n: u64) -> Event {
    Event::Deliver(Deliver {
        to,
        from,
        id: Id::own(from, n),
        digest: Digest(n),
        epoch: 1,
        delayed: false,
        copy: false,
        seq: None,
    })
}

fn devack(device: u32, count: u64) -> Event {
    Event::Devack(Devack {
        device,
        epoch: 1,
        count,
    })
}

fn begin() -> Vec<Event> {
    vec![device(1), device(2), bind(1, 1), bind(2, 1)]
}

fn judge(dir: &Path) -> Verdict {
    check(dir, &Options::default()).unwrap()
}

fn judge_lines(lines: &[Line]) -> Result<Verdict, CheckError> {
    let dir = tempfile::tempdir().unwrap();
    write_whole(dir.path(), &header("gen-0", "run"), lines, true).unwrap();
    check(dir.path(), &Options::default())
}

#[test]
fn a_run_that_misses_a_minimum_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    sample::write(dir.path(), &sample::clean(1, 300), true);
    let counts = judge(dir.path()).counts;
    let mut options = Options {
        minimums: Minimums {
            ok: counts.ok,
            resumes: counts.resumes,
            suppressed: counts.suppressed,
            kills_in_flight: counts.kills_in_flight,
            ..Minimums::default()
        },
        ..Options::default()
    };
    assert_eq!(check(dir.path(), &options).unwrap().outcome, Outcome::Held);
    options.minimums.resumes += 1;
    let verdict = check(dir.path(), &options).unwrap();
    assert_eq!(verdict.outcome, Outcome::Vacuous);
    assert!(
        verdict.vacuous[0].starts_with("resumed sessions:"),
        "{:?}",
        verdict.vacuous
    );
    assert!(render(&verdict).starts_with("VACUOUS"));
    let empty = judge_lines(&[]).unwrap();
    assert_eq!((empty.outcome, empty.vacuous.len()), (Outcome::Vacuous, 1));
}

#[test]
fn little_memory_changes_nothing_in_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    sample::write(dir.path(), &sample::clean(2, 500), true);
    let mut options = Options::default();
    let mut large = check(dir.path(), &options).unwrap();
    options.memory_bytes = 4096;
    let small = check(dir.path(), &options).unwrap();
    assert!(small.spilled_bytes > 10_000 && large.spilled_bytes == 0);
    large.spilled_bytes = small.spilled_bytes;
    assert_eq!(large, small);
    let json = serde_json::to_string(&small).unwrap();
    assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), small);
}

#[test]
fn findings_are_capped_and_counted_and_show_their_lines() {
    let mut events = begin();
    for n in 0..30 {
        events.extend([invoke(1, 2, n), ok(1, n)]);
        if n % 2 == 0 {
            events.push(deliver(1, 2, n));
        }
    }
    events.extend([devack(2, 15), Event::Drained(Drained { device: 2 })]);
    let verdict = judge_lines(&lines(events)).unwrap();
    assert_eq!(verdict.outcome, Outcome::Broken);
    assert_eq!(verdict.rules[&Rule::R1].broken, 15);
    assert_eq!(verdict.findings.len(), 10);
    let first = &verdict.findings[0];
    assert!(first.ids.contains(&"1.1".to_owned()) && first.seed == 5);
    let texts: Vec<_> = first
        .events
        .iter()
        .map(|event| event.text.as_str())
        .collect();
    assert!(
        texts[0].contains("\"deliver\"") && texts[0].contains("\"1.0\""),
        "{texts:#?}"
    );
    assert!(
        texts[1].contains("\"invoke\"") && texts[1].contains("\"1.1\""),
        "{texts:#?}"
    );
    let text = render(&verdict);
    assert!(text.starts_with("BROKEN"), "{text}");
    assert!(
        text.contains("replay with seed 5") && text.contains("gen-0:"),
        "{text}"
    );
    assert!(text.contains("5 findings more"), "{text}");
}

#[test]
fn what_a_killed_process_leaves_is_no_finding_and_no_proof() {
    let dir = tempfile::tempdir().unwrap();
    sample::write(dir.path(), &sample::clean(3, 500), false);
    let path = dir.path().join("events-gen-1.jsonl");
    let text = std::fs::read(&path).unwrap();
    for part in 2..8 {
        std::fs::write(&path, &text[..text.len() * part / 9]).unwrap();
        let verdict = judge(dir.path());
        assert_eq!(
            verdict.outcome,
            Outcome::Vacuous,
            "{part}: {:#?}",
            verdict.findings
        );
        assert!(matches!(verdict.files[1].ending, Ending::Killed { .. }));
        assert!(verdict.vacuous[0].starts_with("gen-1: the file has no end"));
    }
}

#[test]
fn a_history_that_contradicts_itself_is_told_with_file_and_line() {
    let cases: [(Vec<Event>, usize, &str); 10] = [
        (vec![bind(1, 1)], 2, "never declared"),
        ([begin(), vec![bind(1, 1)]].concat(), 6, "begins after"),
        (
            [begin(), vec![invoke(1, 7, 0)]].concat(),
            6,
            "device 7 was never declared",
        ),
        ([begin(), vec![ok(1, 0)]].concat(), 6, "never sent"),
        (
            [begin(), vec![devack(2, 1)]].concat(),
            6,
            "1 deliveries of 0",
        ),
        (
            [begin(), vec![deliver(1, 2, 0), devack(2, 1), devack(2, 0)]].concat(),
            8,
            "after 1",
        ),
        (
            vec![device(1), device(2), bind(1, 1), deliver(2, 2, 0)],
            5,
            "no connection 1",
        ),
        (
            [begin(), vec![invoke(1, 2, 0), invoke(1, 1, 0)]].concat(),
            7,
            "the same id",
        ),
        (
            [begin(), vec![Event::Drained(Drained { device: 1 }); 2]].concat(),
            7,
            "drained before",
        ),
        (
            vec![
                device(1),
                Event::Device(DeviceIs {
                    device: 1,
                    partner: 2,
                    account: String::new(),
                    endpoint: None,
                }),
            ],
            3,
            "somebody else",
        ),
    ];
    for (events, line, words) in cases {
        let error = judge_lines(&lines(events)).unwrap_err().to_string();
        let place = format!("events-gen-0.jsonl.zst:{line}: ");
        assert!(
            error.contains(&place) && error.contains(words),
            "{words}: {error}"
        );
    }
}

#[test]
fn files_that_do_not_belong_together_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let put = |process, run, events| {
        write_whole(dir.path(), &header(process, run), &lines(events), false).unwrap()
    };
    put("gen-0", "run", begin());
    let other = put("gen-1", "another", begin());
    let error = check(dir.path(), &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("events-gen-1.jsonl:1: of run \"another\""),
        "{error}"
    );
    std::fs::remove_file(other).unwrap();
    let twice = put("gen-2", "run", begin());
    let error = check(dir.path(), &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("events-gen-2.jsonl:4: device 1 acts in another"),
        "{error}"
    );
    std::fs::remove_file(twice).unwrap();
    assert!(check(dir.path(), &Options::default()).is_ok());
    write_whole(dir.path(), &header("gen-0", "run"), &[], true).unwrap();
    let error = check(dir.path(), &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a second file of the same process"),
        "{error}"
    );
}

/// Steady messages, a fault, and a latency after the heal.
fn recovering(after_ms: u64, seconds: u64) -> Vec<Line> {
    let mut lines = lines(begin());
    let mut push = |ms: u64, event| {
        let at = 10 + ms * 1_000_000;
        lines.push(Line { at, event });
    };
    let mut n = 0;
    for slot in 0..40 + seconds {
        if slot == 30 {
            let (kind, target) = ("kill".into(), String::new());
            push(
                30_000,
                Event::Fault(Fault {
                    kind,
                    target,
                    start: true,
                }),
            );
        } else if slot == 40 {
            push(40_000, Event::Heal(Heal {}));
        }
        let took = if slot < 30 { 5 } else { after_ms };
        for _ in 0..25 {
            push(slot * 1000, invoke(1, 2, n));
            push(slot * 1000, ok(1, n));
            n += 1;
        }
        for back in (1..=25).rev() {
            push(slot * 1000 + took, deliver(1, 2, n - back));
        }
        push(slot * 1000 + took, devack(2, n));
    }
    let text = "the end".into();
    push((40 + seconds) * 1000, Event::Note(Note { text }));
    lines
}

#[test]
fn latency_that_does_not_come_back_after_the_heal_is_found() {
    let late = |after_ms, seconds| {
        let lines = recovering(after_ms, seconds);
        let verdict = judge_lines(&lines).unwrap();
        let findings = verdict
            .findings
            .iter()
            .filter(|it| it.what.contains("percentile"));
        (findings.count(), verdict.rules[&Rule::R9].unjudged)
    };
    assert_eq!(late(5, 125), (0, 0));
    assert_eq!(late(500, 125), (1, 0));
    // The run ended too early to tell.
    assert_eq!(late(500, 60), (0, 1));
}
