use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::event::Note;
use crate::line::Line;

fn note(text: &str) -> Event {
    Event::Note(Note { text: text.into() })
}

fn header() -> Header {
    Header::new("gen-0", "run", 7)
}

fn lines(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let text = if path.extension().is_some_and(|ending| ending == "zst") {
        zstd::decode_all(bytes.as_slice()).unwrap()
    } else {
        bytes
    };
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

/// Takes so many bytes in all, and what a cut gives back.
#[derive(Clone, Debug)]
struct Small {
    room: usize,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.bytes.lock();
        let fits = bytes.len().min(self.room - kept.len());
        kept.extend_from_slice(&bytes[..fits]);
        if fits == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Small {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.bytes.lock().truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

#[test]
fn the_events_of_many_threads_are_all_there_and_their_times_never_fall() {
    for compress in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions {
            compress,
            block_bytes: 500,
            waiting_blocks: 2,
            ..WriterOptions::default()
        };
        let writer = Writer::create(dir.path(), &header(), options).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let recorder = writer.recorder();
                scope.spawn(move || {
                    for n in 0..500 {
                        recorder.record(&note(&format!("{thread} {n}")));
                    }
                });
            }
        });
        let lines = lines(&writer.close().unwrap());
        assert_eq!(
            serde_json::from_str::<Header>(&lines[0]).unwrap().process,
            "gen-0"
        );
        assert!(lines.last().unwrap().starts_with("{\"end\""));
        let events: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with("{\"at\""))
            .map(|line| Line::parse(line.as_bytes()).unwrap())
            .collect();
        assert_eq!(events.len(), 2000);
        assert!(events.is_sorted_by_key(|line| line.at));
        for thread in 0..4 {
            let own: Vec<_> = events
                .iter()
                .filter_map(|line| match &line.event {
                    Event::Note(note) => note.text.strip_prefix(&format!("{thread} ")),
                    _ => None,
                })
                .map(|n| n.parse::<u32>().unwrap())
                .collect();
            assert_eq!(own, (0..500).collect::<Vec<_>>());
        }
    }
}

#[test]
fn events_reach_the_disk_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions {
        compress: false,
        flush_after: Duration::from_millis(1),
        ..WriterOptions::default()
    };
    let writer = Writer::create(dir.path(), &header(), options).unwrap();
    writer.recorder().record(&note("early"));
    let path = writer.path().to_owned();
    while lines(&path).len() < 3 {
        std::thread::yield_now();
    }
    assert!(lines(&path)[1].contains("early") && lines(&path)[2].starts_with("{\"mark\""));
    drop(writer);
    assert!(lines(&path).last().unwrap().starts_with("{\"end\""));
}

#[test]
fn a_full_disk_is_told_and_the_file_says_so() {
    let bytes = Arc::default();
    let sink = Small {
        room: 3000,
        bytes: Arc::clone(&bytes),
    };
    let options = WriterOptions {
        compress: false,
        block_bytes: 700,
        waiting_blocks: 2,
        ..WriterOptions::default()
    };
    let writer = Writer::begin("small".into(), &header(), options, Ok(sink)).unwrap();
    let recorder = writer.recorder();
    for n in 0..1000 {
        recorder.record(&note(&format!("{n}")));
    }
    while recorder.failure().is_none() {
        std::thread::yield_now();
    }
    let error = writer.close().unwrap_err();
    let WriteError::Lost { lost, .. } = &error else {
        panic!("{error}")
    };
    let text = String::from_utf8(bytes.lock().clone()).unwrap();
    let kept = text
        .lines()
        .filter(|line| line.starts_with("{\"at\""))
        .count();
    assert!(kept > 0);
    assert_eq!(kept + usize::try_from(*lost).unwrap(), 1000, "{error}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("{\"truncated\":{\"lines\":"), "{last}");
    assert!(
        last.contains(&format!("\"lost\":{lost},")),
        "{last} {error}"
    );
}

#[test]
fn a_device_that_takes_nothing_is_an_error_from_the_start() {
    let sink = Small {
        room: 10,
        bytes: Arc::default(),
    };
    let begun = Writer::begin(
        "small".into(),
        &header(),
        WriterOptions::default(),
        Ok(sink),
    );
    assert!(begun.is_err());
    let dir = tempfile::tempdir().unwrap();
    let missing = Writer::create(
        &dir.path().join("none"),
        &header(),
        WriterOptions::default(),
    );
    assert!(matches!(missing, Err(WriteError::Open { .. })));
    let name = Header::new("a/b", "run", 1);
    let named = Writer::create(dir.path(), &name, WriterOptions::default());
    assert!(matches!(named, Err(WriteError::Name(_))));
    let first = Writer::create(dir.path(), &header(), WriterOptions::default()).unwrap();
    let second = Writer::create(dir.path(), &header(), WriterOptions::default());
    assert!(matches!(second, Err(WriteError::Open { .. })));
    first.close().unwrap();
}

#[test]
fn decimals_are_those_of_the_library() {
    for value in [0, 7, 10, 99, 100, 12_345_678_901, u64::MAX] {
        let mut out = Vec::new();
        decimal(&mut out, value);
        assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
    }
}
