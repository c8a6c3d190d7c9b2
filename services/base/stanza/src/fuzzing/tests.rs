//! The corpora of the fuzz targets, replayed; and the same properties over generated input.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn files(folder: &str) -> Vec<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} holds no file");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// T5, T15, T16, T19, T20: every file that a fuzzer found worth keeping.
#[test]
fn fuzz_corpora_hold() {
    files("fuzz/corpus/stream")
        .iter()
        .for_each(|file| stream(file));
    files("fuzz/corpus/differential")
        .iter()
        .for_each(|file| differential(file));
    files("fuzz/corpus/roundtrip")
        .iter()
        .for_each(|file| roundtrip(file));
    files("fuzz/corpus/jid").iter().for_each(|file| jid(file));
}

/// T17: all single splits and one byte at a time give the events of the whole, for each stream.
#[test]
fn no_split_changes_the_events() {
    let mut accepted = 0;
    for file in files("corpus") {
        let whole = events(&file, file.len(), Limits::BEFORE_AUTH);
        assert_eq!(events(&file, 1, Limits::BEFORE_AUTH), whole);
        for at in 1..file.len() {
            let mut inbound = Inbound::new(Framing::Stream, Limits::BEFORE_AUTH);
            let mut seen = Vec::new();
            let mut fault = None;
            for part in [&file[..at], &file[at..]] {
                inbound.push(part);
                while let Some(event) = inbound.next_event().unwrap_or_else(|found| {
                    fault = Some(found);
                    None
                }) {
                    seen.push(event);
                }
            }
            assert_eq!((seen, fault), whole, "split at {at}");
        }
        accepted += whole.0.len();
        differential(&file);
    }
    assert!(accepted > 20, "the corpus holds honest streams, too");
}

/// T10: a tree as deep as the limit is read, written and dropped on a stack of 64 KiB.
#[test]
fn deep_trees_need_no_stack() {
    let worker = std::thread::Builder::new().stack_size(64 * 1024);
    let done = worker.spawn(|| {
        let nested = format!("{}{}", "<a>".repeat(32), "</a>".repeat(32));
        let element = parse_one(nested.as_bytes()).unwrap();
        assert_eq!(
            element.to_bytes().len(),
            nested.len() - "<a></a>".len() + "<a/>".len()
        );
        for depth in [33, 100_000, 1_000_000] {
            assert_eq!(parse_one("<a>".repeat(depth).as_bytes()), None);
        }
        let mut tree = Element::new("a", ns::CLIENT);
        for _ in 0..100_000 {
            tree = Element::new("a", ns::CLIENT).with_child(tree);
        }
        assert_eq!(
            tree.to_bytes().len(),
            100_000 * "<a></a>".len() + "<a/>".len()
        );
    });
    done.unwrap().join().unwrap();
}

fn spaces() -> impl Strategy<Value = ns::Ns> {
    prop_oneof![
        4 => Just(ns::CLIENT),
        1 => Just(ns::Ns::NONE),
        1 => Just(ns::STREAMS),
        1 => Just(ns::DELAY),
        2 => "urn:[a-c'&<>\"]{1,3}".prop_map(|uri| ns::Ns::new(&uri)),
    ]
}

fn elements_of_any_kind() -> impl Strategy<Value = Element> {
    let names = prop_oneof!["[a-c]", "[a-zé_][a-z0-9.é-]{0,30}"];
    let attributes = proptest::collection::vec(
        (
            prop_oneof![spaces(), Just(ns::XML)],
            "[a-d]",
            "[ -~\t\n\ré\u{1F600}]{0,30}",
        ),
        0..4,
    );
    let bare = (names, spaces(), attributes).prop_map(|(name, space, attributes)| {
        let mut element = Element::bare(name.into(), space);
        for (ns, name, value) in attributes {
            // One namespace gives one prefix, but `jabber:client` on an attribute is foreign, too.
            if element.attribute_in(&ns, &name).is_none() {
                element.attributes_mut().push(crate::element::Attribute {
                    ns,
                    name: name.into(),
                    value: value.into(),
                });
            }
        }
        element
    });
    bare.prop_recursive(6, 40, 5, move |inner| {
        let node = prop_oneof![
            inner.clone().prop_map(Ok),
            "[ -~\t\n\ré\u{1F600}\\]>]{0,40}".prop_map(Err),
        ];
        (inner, proptest::collection::vec(node, 0..5)).prop_map(|(mut element, nodes)| {
            for node in nodes {
                match node {
                    Ok(child) => element.push(child),
                    Err(text) => element.push_text(&text),
                }
            }
            element
        })
    })
}

/// Markup-like text, in which a generator meets the interesting states more often than by chance.
fn markup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[<>/='\" a-c:&;!?\\[\\]-]{1,4}",
        Just("<a>".to_owned()),
        Just("</a>".to_owned()),
        Just("<p:b c='d'/>".to_owned()),
        Just("<message to='a@b'>".to_owned()),
        Just("</message>".to_owned()),
        Just(" xmlns:q='urn:q'".to_owned()),
        Just("<![CDATA[".to_owned()),
        Just("]]>".to_owned()),
        Just("&#x41;&amp;".to_owned()),
        Just("\r\n".to_owned()),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// T15: reading what was written gives the same element; the oracle reads the same.
    #[test]
    fn writing_and_reading_is_identity(element in elements_of_any_kind()) {
        check_roundtrip(&element);
    }

    /// T5, T15, T16, T17, T19 over markup that is nearly right.
    #[test]
    fn nearly_right_markup_is_read_as_the_oracle_reads_it(text in markup()) {
        stream(text.as_bytes());
        differential(text.as_bytes());
        roundtrip(text.as_bytes());
    }
}
