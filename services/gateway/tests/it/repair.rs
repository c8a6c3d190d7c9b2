//! `entente repair` where there is nothing that it may repair.

use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");

fn entente(words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).output().unwrap()
}

/// Rows in files have a copy or are lost: no flag makes a shard of theirs begin anew.
#[test]
fn rows_in_files_are_never_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("node").display().to_string();
    let init = ["init", "--dir", &node, "--domain", "interop.localhost"];
    let made = entente(&[&init[..], &["--development"]].concat());
    assert!(made.status.success(), "{made:?}");
    let config = format!("{node}/entente.toml");
    let said = entente(&["repair", "-c", &config, "shard", "0", "--accept-loss"]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let why = String::from_utf8(said.stderr).unwrap();
    assert!(why.contains("restore them from a copy"), "{why}");
}
