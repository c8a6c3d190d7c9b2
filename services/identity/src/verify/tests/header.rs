//! What a token may say about itself.

use super::*;

/// A header with members put in or replaced; `null` takes one out.
fn header(issuer: &Issuer, change: &Value) -> String {
    let mut header = json!({"alg": issuer.alg(), "kid": "k1", "typ": "entente+jwt"});
    let members = header.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    header.to_string()
}

async fn refusal(bench: &Bench, issuer: &Issuer, change: &Value) -> Option<TokenError> {
    let token = issuer.sign(&header(issuer, change), &claims(7).text());
    bench.refusal(&token).await
}

/// T41: no spelling of "none" gets as far as a key.
#[tokio::test(start_paused = true)]
async fn none_is_no_algorithm() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    for none in [
        "none", "None", "NONE", "nOnE", "", " none", "eddsa", "Ed25519",
    ] {
        let change = json!({"alg": none, "kid": "other"});
        let refused = refusal(&bench, &issuer, &change).await;
        assert_eq!(refused, Some(TokenError::Algorithm), "{none}");
        let signed = issuer.sign(&header(&issuer, &change), &claims(7).text());
        let (unsigned, _) = signed.rsplit_once('.').unwrap();
        let refused = bench.refusal(&format!("{unsigned}.")).await;
        assert_eq!(refused, Some(TokenError::Form), "{none}");
    }
    assert_eq!(refusal(&bench, &issuer, &json!({})).await, None);
    assert_eq!(bench.http.seen().len(), 2, "no key was looked for");
}

/// T42: an HMAC under the public key is refused by its name, before any key is thought of.
#[tokio::test(start_paused = true)]
async fn a_public_key_is_no_secret() {
    let issuer = Issuer::new(Algorithm::Rs256, "k1");
    let bench = Bench::ready(&issuer).await;
    let modulus = issuer.jwk()["n"].as_str().unwrap().to_owned();
    for secret in [
        decode_within(&modulus, 512).unwrap(),
        modulus.into_bytes(),
        Issuer::set(&[&issuer]).into_bytes(),
    ] {
        for name in ["HS256", "HS384", "HS512"] {
            let header = header(&issuer, &json!({"alg": name}));
            let token = issuer.sign(&header, &claims(7).text());
            let (signed, _) = token.rsplit_once('.').unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let tag = encode(hmac::sign(&key, signed.as_bytes()).as_ref());
            let refused = bench.refusal(&format!("{signed}.{tag}")).await;
            assert_eq!(refused, Some(TokenError::Algorithm));
        }
    }
    assert_eq!(bench.refusal(&issuer.token(&claims(7))).await, None);
}

/// T42: a key verifies under its own algorithm alone, and only if the record allows that.
#[tokio::test(start_paused = true)]
async fn algorithm_and_key_fit_and_are_allowed() {
    let names = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    let keys: Vec<Issuer> = names.map(|name| Issuer::new(name, "k1")).into();
    for key in &keys {
        let bench = Bench::ready(key).await;
        for other in &keys {
            let change = json!({"alg": other.alg()});
            let refused = refusal(&bench, key, &change).await;
            let wanted = (key.alg() != other.alg()).then_some(TokenError::UnknownKey);
            assert_eq!(refused, wanted, "{} as {}", key.alg(), other.alg());
        }
    }
    let edwards = key();
    let bench = Bench::new(&[], &[&edwards]);
    let token = edwards.token(&claims(8));
    let refused = bench.verify(8, &token).await.err();
    assert_eq!(refused, Some(TokenError::Algorithm));
}

/// T43: a token that brings its own key, or says where one is, is refused and nothing is fetched.
#[tokio::test(start_paused = true)]
async fn a_token_brings_no_key() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    for change in [
        json!({"jwk": issuer.jwk()}),
        json!({"jku": "https://id7.example/other"}),
        json!({"x5u": "https://id7.example/chain"}),
        json!({"x5c": ["MIIB"]}),
        json!({"x5t": "AAAA"}),
    ] {
        let refused = refusal(&bench, &issuer, &change).await;
        assert_eq!(refused, Some(TokenError::Header), "{change}");
    }
    assert_eq!(refusal(&bench, &issuer, &json!({})).await, None);
    assert_eq!(bench.http.seen().len(), 2, "nothing but the two key sets");
}

/// T44: a key id is short and visible, and is looked up and nothing else.
#[tokio::test(start_paused = true)]
async fn key_ids_are_looked_up_only() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    for kid in [
        json!(""),
        json!("a b"),
        json!("a\nb"),
        json!("clé"),
        json!("x".repeat(129)),
        json!(1),
        json!(["k1"]),
        json!(null),
    ] {
        let refused = refusal(&bench, &issuer, &json!({"kid": kid})).await;
        assert_eq!(refused, Some(TokenError::Header), "{kid}");
    }
    let huge = json!({"kid": "x".repeat(1 << 20)});
    let refused = refusal(&bench, &issuer, &huge).await;
    assert_eq!(refused, Some(TokenError::Form));
    for kid in ["../../k1", "k1'--", "K1", "k1.", &"x".repeat(128)] {
        let refused = refusal(&bench, &issuer, &json!({"kid": kid})).await;
        assert_eq!(refused, Some(TokenError::UnknownKey), "{kid}");
    }
    let seen = bench.http.seen();
    assert!(seen.iter().all(|request| request.target.path() == "/jwks"));
    assert_eq!(refusal(&bench, &issuer, &json!({})).await, None);
}

/// T45: extensions, other formats and other kinds of token are refused.
#[tokio::test(start_paused = true)]
async fn other_kinds_of_token_are_refused() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    for change in [
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": []}),
        json!({"b64": false, "crit": ["b64"]}),
        json!({"b64": true}),
        json!({"zip": "DEF"}),
        json!({"cty": "JWT"}),
        json!({"typ": null}),
        json!({"typ": 1}),
    ] {
        let refused = refusal(&bench, &issuer, &change).await;
        assert_eq!(refused, Some(TokenError::Header), "{change}");
    }
    for typ in [
        "JWT",
        "at+jwt",
        "ENTENTE+JWT",
        "application/entente+jwt",
        "",
    ] {
        let refused = refusal(&bench, &issuer, &json!({"typ": typ})).await;
        assert_eq!(refused, Some(TokenError::Type), "{typ}");
    }
    let twice = header(&issuer, &json!({})).replacen('{', r#"{"kid":"k0","#, 1);
    let token = issuer.sign(&twice, &claims(7).text());
    assert_eq!(bench.refusal(&token).await, Some(TokenError::Header));
    assert_eq!(refusal(&bench, &issuer, &json!({})).await, None);
}

/// A partner whose signer writes `JWT` is taken as it is, and then nothing else is.
#[tokio::test(start_paused = true)]
async fn the_record_may_ask_for_the_plain_type() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let plain = record(7, r#"["EdDSA"]"#) + "token_type = \"JWT\"\n";
    bench.registry.replace(&plain).unwrap();
    let change = json!({"typ": "JWT"});
    assert_eq!(refusal(&bench, &issuer, &change).await, None);
    let refused = refusal(&bench, &issuer, &json!({})).await;
    assert_eq!(refused, Some(TokenError::Type));
}

#[tokio::test(start_paused = true)]
async fn a_token_has_three_strict_parts_and_a_bound() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let good = issuer.token(&claims(7));
    assert_eq!(bench.refusal(&good).await, None);
    let (first, rest) = good.split_once('.').unwrap();
    for bad in [
        String::new(),
        "..".to_owned(),
        first.to_owned(),
        rest.to_owned(),
        format!("{good}.AAAA"),
        format!("{good}="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{first}=.{rest}"),
        format!("{first}..{rest}"),
    ] {
        let refused = bench.refusal(&bad).await;
        assert_eq!(refused, Some(TokenError::Form), "{bad}");
    }
    let pad = |len: usize| issuer.token(&claims(7).with("pad", "x".repeat(len)));
    let longest = (1..4096).rev().map(pad).find(|token| token.len() <= 4096);
    assert_eq!(bench.refusal(&longest.unwrap()).await, None);
    assert_eq!(bench.refusal(&pad(3000)).await, Some(TokenError::Form));
}
