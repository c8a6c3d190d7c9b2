use proptest::prelude::*;

use super::*;
use crate::test::{Client, body};

fn fields() -> Vec<(&'static str, String)> {
    Client::new(1).fields("aa.bb.cc")
}

fn with(name: &str, value: &str) -> Result<Form, Reason> {
    let mut all = fields();
    for (field, held) in &mut all {
        if *field == name {
            value.clone_into(held);
        }
    }
    Form::parse(body(&all).as_bytes())
}

#[test]
fn a_good_form_is_read_in_any_order() {
    let mut all = fields();
    for _ in 0..all.len() {
        all.rotate_left(1);
        let form = Form::parse(body(&all).as_bytes()).unwrap();
        let client = Client::new(1);
        assert_eq!(form.registration, 0x1234);
        assert_eq!(form.signed, client.signed());
        assert_eq!(form.identity, client.identity.public().unwrap());
        assert_eq!(*form.transport(), client.transport.public().unwrap());
        assert_eq!(form.token(), "aa.bb.cc");
    }
}

/// T64: sizes, key types, loose base64 and unsound keys are refused, each for its reason.
#[test]
fn malformed_fields_are_refused() {
    let a = |chars: usize| "A".repeat(chars);
    for (name, value, reason) in [
        ("authkey", a(43), Reason::BadKey),
        ("authkey", a(42), Reason::BadRequest),
        ("authkey", a(44), Reason::BadRequest),
        ("authkey", String::new(), Reason::BadRequest),
        ("e_keytype", "BA".to_owned(), Reason::BadKey),
        ("e_keytype", "BR".to_owned(), Reason::BadRequest),
        ("e_keytype", "BQU".to_owned(), Reason::BadRequest),
        ("e_regid", a(5), Reason::BadRequest),
        ("e_ident", a(43), Reason::BadKey),
        ("e_ident", format!("AQ{}", a(41)), Reason::BadKey),
        ("e_ident", format!("{}8", "_".repeat(42)), Reason::BadKey),
        ("e_ident", a(44), Reason::BadRequest),
        ("e_skey_id", a(3), Reason::BadRequest),
        ("e_skey_val", a(43), Reason::BadKey),
        ("e_skey_sig", a(85), Reason::BadRequest),
        ("token", String::new(), Reason::BadRequest),
        ("token", a(4097), Reason::BadRequest),
    ] {
        let refused = with(name, &value).err();
        assert_eq!(refused, Some(reason), "{name}={value}");
    }
    let key = &fields()[0].1;
    let padded = with("authkey", &format!("{key}="));
    assert_eq!(padded.err(), Some(Reason::BadRequest));
    assert!(with("token", &a(4096)).is_ok());
    assert!(with("e_skey_id", "____").is_ok());
}

/// T65: a signed prekey that another key signed, or that was changed, is refused.
#[test]
fn the_signed_prekey_is_verified() {
    let other = Client::new(2).fields("t");
    for name in ["e_ident", "e_skey_val", "e_skey_sig"] {
        let (_, value) = other.iter().find(|(field, _)| *field == name).unwrap();
        let refused = with(name, value).err();
        assert_eq!(refused, Some(Reason::BadSignature), "{name}");
    }
    assert_eq!(
        with("e_skey_sig", &"A".repeat(86)).err(),
        Some(Reason::BadSignature)
    );
}

/// T69: twice, unknown, missing, escaped or oddly cut fields are refused.
#[test]
fn forms_have_one_spelling() {
    let good = body(&fields());
    assert!(Form::parse(good.as_bytes()).is_ok());
    let first = good.split_once('&').unwrap();
    for bad in [
        String::new(),
        format!("{good}&{}", first.0),
        format!("{good}&token=aa.bb.cc"),
        format!("{good}&x=1"),
        format!("{good}&"),
        format!("&{good}"),
        format!("{good}&x"),
        first.1.to_owned(),
        good.replace('&', ";"),
        good.replace("token=", "token=+"),
        good.replace("token=", "token=%61"),
        good.replace("token=", "Token="),
        good.replace("token=", "%74oken="),
        good.replace("aa.bb.cc", "aa.bb.cc\n"),
        good.replace("aa.bb.cc", "aa.bb.cc="),
    ] {
        let refused = Form::parse(bad.as_bytes()).err();
        assert_eq!(refused, Some(Reason::BadRequest), "{bad}");
    }
    assert_eq!(Form::parse(&[0xff]).err(), Some(Reason::BadRequest));
}

#[test]
fn debug_shows_nothing() {
    let form = Form::parse(body(&fields()).as_bytes()).unwrap();
    let shown = format!("{form:?}");
    assert!(!shown.contains("aa.bb"), "{shown}");
}

proptest! {
    /// T64: no bytes make the reader panic, and noise is never a form.
    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Form::parse(&noise).is_err());
    }

    /// T64: a form with one byte changed is refused, or says something else that is sound.
    #[test]
    fn a_changed_byte_is_noticed(at in 0_usize..560, byte in any::<u8>()) {
        let good = body(&fields()).into_bytes();
        let mut changed = good.clone();
        let at = at % changed.len();
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        if let Ok(form) = Form::parse(&changed) {
            let same = Form::parse(&good).unwrap();
            let differs = form.token() != same.token()
                || form.registration != same.registration
                || form.signed.id != same.signed.id
                || form.transport() != same.transport();
            prop_assert!(differs);
        }
    }
}
