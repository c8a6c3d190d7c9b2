use proptest::prelude::*;

use super::*;

fn prepared(text: &str) -> Option<String> {
    Jid::parse(text).ok().map(|jid| jid.as_str().to_owned())
}

#[test]
fn parts_are_told_apart() {
    let jid = Jid::parse("1-42@example.org/home/of@x").unwrap();
    assert_eq!((jid.local(), jid.domain()), (Some("1-42"), "example.org"));
    assert_eq!(jid.resource(), Some("home/of@x"));
    assert_eq!(jid.to_bare().as_str(), "1-42@example.org");
    assert_eq!(jid.account(), "1-42".parse().ok());
    assert!(jid.is_bare_equal(&jid.to_bare()));
    let domain = Jid::parse("example.org").unwrap();
    assert_eq!((domain.local(), domain.resource()), (None, None));
    assert_eq!(
        Jid::of_account(jid.account().unwrap(), &domain),
        jid.to_bare()
    );
    assert_eq!(jid.to_bare().with_resource("home/of@x"), Ok(jid));
    assert_eq!(Jid::parse("interop").unwrap().domain(), "interop");
    assert_eq!(format!("{domain:?}"), "Jid");
}

/// T20: spellings of one user are one key, or refused.
#[test]
fn spellings_of_one_user_are_one_key() {
    let cases = [
        ("Juliet@Example.ORG", "juliet@example.org"),
        ("juliet@example.org.", "juliet@example.org"),
        ("juliet@example\u{3002}org", "juliet@example.org"),
        ("\u{FF2A}uliet@example.org", "juliet@example.org"),
        ("juliet@\u{FF45}xample.org", "juliet@example.org"),
        ("fu\u{DF}ball@example.org", "fu\u{DF}ball@example.org"),
        ("E\u{301}@example.org", "\u{E9}@example.org"),
        ("a@xn--caf-dma.example", "a@caf\u{E9}.example"),
        ("a@CAF\u{C9}.example", "a@caf\u{E9}.example"),
        ("a@[::0:1]", "a@[::1]"),
        ("a@127.0.0.1", "a@127.0.0.1"),
        ("a@example.org/Foo", "a@example.org/Foo"),
        ("a@example.org/a\u{A0}b", "a@example.org/a b"),
        ("a@example.org/ ", "a@example.org/ "),
    ];
    for (given, key) in cases {
        assert_eq!(prepared(given).as_deref(), Some(key), "{given}");
    }
}

/// T20: what has no stable form, and what RFC 7622 forbids.
#[test]
fn what_is_no_address_is_refused() {
    let long = format!("{}@example.org", "a".repeat(PART_BYTES + 1));
    let labels = vec!["a".repeat(60); 5].join(".");
    for bad in [
        "",
        "@",
        "/",
        "@example.org",
        "a@",
        "a@/b",
        "example.org/",
        "a b@example.org",
        "a&b@example.org",
        "a'b@example.org",
        "a\"b@example.org",
        "a:b@example.org",
        "a<b@example.org",
        "a@b@example.org",
        "a\u{FF20}b@example.org",
        "a\u{FF0F}b@example.org",
        "a@exam ple.org",
        "a@exam_ple.org",
        "a@-example.org",
        "a@example-.org",
        "a@.example.org",
        "a@example..org",
        "a@example.org..",
        "a@.",
        "a@[::1",
        "a@[x]",
        "a@127.1",
        "a@1.2.3.4.5",
        "a@example.org/\u{0}",
        "a@example.org/\u{7}",
        "\u{202E}a@example.org",
        "a\u{200F}b@example.org",
        "\u{5D0}a@example.org",
        "a@xn--a.example",
        "\u{2160}@example.org",
        &long,
        &labels,
    ] {
        assert_eq!(prepared(bad), None, "{bad}");
    }
    let limit = format!(
        "{}@example.org/{}",
        "a".repeat(PART_BYTES),
        "b".repeat(PART_BYTES)
    );
    assert_eq!(prepared(&limit), Some(limit));
}

proptest! {
    /// T20: preparing the prepared changes nothing, on the short way and on the long one.
    #[test]
    fn preparation_is_stable(text in "\\PC{0,12}@?\\PC{1,12}(/\\PC{1,12})?") {
        crate::fuzzing::jid(text.as_bytes());
    }

    #[test]
    fn plain_addresses_need_no_preparation(text in "[a-z0-9._-]{1,6}@[a-z0-9.-]{1,9}(/[!-~]{1,6})?") {
        crate::fuzzing::jid(text.as_bytes());
    }
}
