use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Target, TargetError> {
    Target::parse(text, &Policy::production())
}

/// T106: an address in any other spelling than its own is not a URL here.
#[test]
fn refuses_every_disguise_of_an_address() {
    for host in [
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "127.0.0.1.",
        "127.0.0.01",
        "%31%32%37.0.0.1",
        "[0:0:0:0:0:0:0:1]",
        "[::FFFF:127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "256.256.256.256",
        "1.2.3.4.5",
        "",
    ] {
        let text = format!("https://{host}/");
        assert_eq!(parse(&text), Err(TargetError::Grammar), "{text}");
    }
}

#[test]
fn refuses_what_two_parsers_may_read_differently() {
    for text in [
        "https://partner.example\\@inside.example/",
        "https://user@partner.example/",
        "https://user:secret@partner.example/",
        "https://@partner.example/",
        "https:partner.example/",
        "https:/partner.example/",
        "https:///partner.example/",
        "HTTPS://partner.example/",
        "https://Partner.example/",
        "https://partner.example./",
        "https://partner.example:443/",
        "https://partner.example:0443/",
        "https://partner.example/#fragment",
        "https://partner.example/a/../b",
        "https://partner.example/%2e%2e/b",
        "https://partner.example/a b",
        "https://partner.example/\t",
        "https://part\nner.example/",
        " https://partner.example/",
        "https://pärtner.example/",
        "https://partner。example/",
        "https://xn--/",
        "https://localhost/",
        "https://kubernetes/",
        "partner.example",
        "",
    ] {
        assert_eq!(parse(text), Err(TargetError::Grammar), "{text:?}");
    }
    let long = format!("https://partner.example/{}", "a".repeat(MAX_URL_BYTES));
    assert_eq!(parse(&long), Err(TargetError::Grammar));
}

/// The honest twin of T106 and T108.
#[test]
fn accepts_plain_urls_and_takes_them_apart() {
    let target = parse("https://keys.partner.example/v1/jwks.json?tenant=7").unwrap();
    assert_eq!(target.host(), "keys.partner.example");
    assert_eq!((target.port(), target.path()), (443, "/v1/jwks.json"));
    assert_eq!(target.origin_form(), "/v1/jwks.json?tenant=7");
    assert_eq!(target.authority(), "keys.partner.example");
    assert_eq!(parse("https://partner.example").unwrap().path(), "/");
    for text in ["https://9.9.9.9/", "https://[2620:fe::9]/jwks"] {
        assert!(parse(text).unwrap().literal().is_some(), "{text}");
    }
    assert!(parse("https://xn--prtner-bua.example/").is_ok());
}

/// T108: other schemes and ports.
#[test]
fn scheme_and_port_are_the_policys() {
    for text in [
        "http://partner.example/",
        "ftp://partner.example/",
        "ws://partner.example/",
        "file:///etc/passwd",
        "data:text/plain,x",
    ] {
        assert_eq!(parse(text), Err(TargetError::Scheme), "{text}");
    }
    let text = "https://partner.example:8443/";
    assert_eq!(parse(text), Err(TargetError::Port));
    let settings = crate::Settings {
        ports: vec![443, 8443],
        ..crate::Settings::default()
    };
    assert_eq!(
        Target::parse(text, &settings.policy()).unwrap().port(),
        8443
    );
    let local = Target::parse("http://127.0.0.1:8080/", &Policy::development()).unwrap();
    assert_eq!(local.authority(), "127.0.0.1:8080");
    assert!(Target::parse("http://localhost:8080/", &Policy::development()).is_ok());
}

#[test]
fn debug_output_has_no_path() {
    let text = "https://partner.example/secret?token=secret";
    assert_eq!(
        format!("{:?}", parse(text).unwrap()),
        "Target(partner.example)"
    );
}

fn base(text: &str) -> Base {
    Base::parse(text, &Policy::production()).unwrap()
}

/// The honest twin of T109.
#[test]
fn joins_plain_references_below_the_base() {
    for folder in ["https://m.example/store", "https://m.example/store/"] {
        let target = base(folder).join("2026/ab-CD_ef~1.bin=").unwrap();
        assert_eq!(
            target.as_str(),
            "https://m.example/store/2026/ab-CD_ef~1.bin="
        );
    }
    let target = base("https://m.example").join("x%2Dy").unwrap();
    assert_eq!(target.as_str(), "https://m.example/x-y");
}

/// T109: what would leave the base, or mean something else after another decoding.
#[test]
fn refuses_references_that_are_not_plain_segments() {
    for reference in [
        "",
        "/",
        "a//b",
        "/a",
        "a/",
        ".",
        "..",
        "../b",
        "a/../b",
        "%2e%2e/b",
        "%2E",
        "a%2fb",
        "%252e%252e",
        "%",
        "%2",
        "%zz",
        "a?b",
        "a#b",
        "a@b",
        "a:b",
        "//other.example/b",
        "https://other.example/b",
        "\\other.example",
        "a\0b",
        "a%00b",
        "a b",
        "a;b",
        "ä",
    ] {
        let joined = base("https://m.example/store").join(reference);
        assert_eq!(joined, Err(TargetError::Reference), "{reference:?}");
    }
    let long = "a".repeat(MAX_REFERENCE_BYTES + 1);
    assert!(base("https://m.example").join(&long).is_err());
    let with_query = Base::parse("https://m.example/?a=b", &Policy::production());
    assert_eq!(with_query, Err(TargetError::Grammar));
}

proptest! {
    /// T109: whatever is joined, host and folder are the registered ones.
    #[test]
    fn a_joined_target_has_the_registered_host(
        reference in prop_oneof![
            "[a-zA-Z0-9./%@#?:~=_\\\\-]{0,40}",
            "([a-z0-9._=~-]{1,8}/){0,3}[a-z0-9._=~-]{1,8}",
            any::<String>(),
        ],
    ) {
        let base = base("https://m.example/store/v1");
        if let Ok(target) = base.join(&reference) {
            let url = Url::parse(target.as_str()).unwrap();
            prop_assert_eq!(url.host_str(), Some("m.example"));
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.port_or_known_default(), Some(443));
            prop_assert!(url.path().starts_with("/store/v1/"));
            prop_assert!(url.query().is_none() && url.fragment().is_none());
            prop_assert!(url.username().is_empty());
            prop_assert_eq!(parse(target.as_str()), Ok(target));
        }
    }
}
