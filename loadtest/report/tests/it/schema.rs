//! The published schema and the types are the same.

use entente_report::{FileError, RunResult};

use crate::sample;

#[test]
fn the_published_schema_is_that_of_the_types() {
    let published: serde_json::Value =
        serde_json::from_str(include_str!("../../result.schema.json")).unwrap();
    let current = serde_json::to_value(RunResult::json_schema()).unwrap();
    assert_eq!(
        published, current,
        "the types changed: if old files are still read, run \
         `cargo run -p entente-report --example schema > loadtest/report/result.schema.json`; \
         if not, raise SCHEMA first"
    );
}

#[test]
fn a_result_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let result = sample::result();
    result.write(&path).unwrap();
    assert_eq!(RunResult::read(&path).unwrap(), result);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_result_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let good = serde_json::to_string(&sample::result()).unwrap();
    let cases: [(&str, String); 5] = [
        (
            "schema 2, this program reads 1",
            good.replacen(r#""schema":1"#, r#""schema":2"#, 1),
        ),
        (
            "EOF while parsing",
            good.split_at(good.len() / 2).0.to_owned(),
        ),
        (
            "unknown field `extra`",
            good.replacen('{', r#"{"extra":1,"#, 1),
        ),
        ("missing field `schema`", "{}".to_owned()),
        (
            "not base64",
            good.replacen(r#""intended":"HIST"#, r#""intended":"??"#, 1),
        ),
    ];
    for (wanted, text) in cases {
        std::fs::write(&path, text).unwrap();
        let error = RunResult::read(&path).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    let absent = RunResult::read(&folder.path().join("none.json"));
    assert!(matches!(absent, Err(FileError::Io { .. })));
}

#[test]
fn the_documented_figures_are_those_of_the_code() {
    let documented = include_str!("../../README.md");
    assert!(
        documented.ends_with(&entente_report::reference()),
        "the table changed: `cargo run -p entente-report --example figures` prints it"
    );
}
