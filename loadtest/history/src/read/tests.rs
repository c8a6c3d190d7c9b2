use super::*;
use crate::event::{Event, Note};
use crate::write::{Writer, WriterOptions};

/// A closed file of `events` notes in blocks of a few lines.
fn written(dir: &Path, compress: bool, events: u32) -> PathBuf {
    let header = Header::new("gen-0", "run", 7);
    let options = WriterOptions {
        compress,
        block_bytes: 300,
        ..WriterOptions::default()
    };
    let writer = Writer::create(dir, &header, options).unwrap();
    for n in 0..events {
        let text = format!("note {n}");
        writer.recorder().record(&Event::Note(Note { text }));
    }
    writer.close().unwrap()
}

fn read(path: &Path) -> Result<(u64, Ending), ReadError> {
    let mut reader = Reader::open(path)?;
    let mut events = 0;
    while reader.next_event()?.is_some() {
        events += 1;
    }
    Ok((events, reader.ending().cloned().unwrap()))
}

/// The text of a file changed, and the line and words of the error that follows.
fn changed(change: impl Fn(&mut Vec<String>)) -> (u64, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), false, 40);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    match read(&path) {
        Err(ReadError::Bad { line, what, .. }) => (line, what),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for compress in [false, true] {
        let path = written(dir.path(), compress, 100);
        assert_eq!(read(&path).unwrap(), (100, Ending::Closed));
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_behind_its_header_reads_as_a_killed_process_left_it() {
    for compress in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), compress, 16);
        let whole = std::fs::read(&path).unwrap();
        let mut seen = 0;
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            match read(&path) {
                Ok((events, Ending::Killed { .. })) => {
                    assert!(events <= 16);
                    seen += 1;
                }
                // The header itself is cut.
                Err(ReadError::Bad { line: 1, .. }) => assert!(length < 250, "{length}"),
                other => panic!("{length}: {other:?}"),
            }
        }
        assert!(seen > 100);
    }
}

#[test]
fn an_edited_file_is_told_with_the_line() {
    let (line, what) = changed(|lines| lines[5] = lines[5].replace("\"note ", "\"knot "));
    assert!(
        line < 14 && what.contains("are not as they were written"),
        "{line}: {what}"
    );
    let (_, what) = changed(|lines| drop(lines.remove(4)));
    assert!(what.contains("taken out or put in"), "{what}");
    let (_, what) = changed(|lines| {
        let line = lines[4].clone();
        lines.insert(4, line);
    });
    assert!(what.contains("taken out or put in"), "{what}");
    let (line, what) = changed(|lines| lines[3] = "{\"at\":1,\"hello\":{}}".into());
    assert!(
        line == 4 && what.contains("unknown variant"),
        "{line}: {what}"
    );
    let (line, what) = changed(|lines| lines[3] = "garbage".into());
    assert!(line == 4 && what.contains("no event"), "{line}: {what}");
    let (line, what) = changed(|lines| lines[3] = lines[3].replace("{\"at\":", "{\"at\":99999"));
    assert!(
        line == 5 && what.contains("time goes back"),
        "{line}: {what}"
    );
    let (line, what) = changed(|lines| lines.push("{\"at\":1,\"heal\":{}}".into()));
    assert!(
        line > 40 && what.contains("behind its end"),
        "{line}: {what}"
    );
    let (line, what) = changed(|lines| {
        // A whole block taken out, its mark too.
        let mark = lines.iter().position(|line| line.contains("mark")).unwrap();
        lines.drain(1..=mark);
    });
    assert!(line < 14 && what.contains("taken out"), "{line}: {what}");
}

#[test]
fn a_foreign_file_is_told() {
    let (line, what) = changed(|lines| lines[0] = "{\"x\":1}".into());
    assert!(line == 1 && what.contains("no header"), "{line}: {what}");
    let (line, what) =
        changed(|lines| lines[0] = lines[0].replace("\"history\":1", "\"history\":9"));
    assert!(line == 1 && what.contains("version 9"), "{line}: {what}");
    let (line, what) = changed(|lines| lines[0] = lines[0].replace("gen-0", "gen-1"));
    assert!(line == 1 && what.contains("another name"), "{line}: {what}");
    let (line, what) = changed(|lines| lines[2] = "x".repeat(2 << 20));
    assert!(line == 3 && what.contains("mebibyte"), "{line}: {what}");
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(files(dir.path()), Err(ReadError::Empty(_))));
    let path = dir.path().join("events-a.jsonl.zst");
    std::fs::write(&path, b"{\"history\":1}\n").unwrap();
    let error = Reader::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("events-a.jsonl.zst:1: cannot be read"),
        "{error}"
    );
}
