//! Clocks that differ a little, and lives that are too long.

use super::*;

/// T47: each bound holds to the second.
#[tokio::test(start_paused = true)]
async fn bounds_hold_to_the_second() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let times = |iat: u64, exp: u64| claims(7).with("iat", iat).with("exp", exp);
    for (claims, wanted) in [
        (times(NOW + 30, NOW + 60), None),
        (times(NOW + 31, NOW + 60), Some(TokenError::NotYet)),
        (times(NOW - 60, NOW - 29), None),
        (times(NOW - 60, NOW - 30), Some(TokenError::Expired)),
        (times(NOW, NOW + 3600), None),
        (times(NOW, NOW + 3601), Some(TokenError::Lifetime)),
        (times(NOW - 3600, NOW), None),
        (times(NOW, 95_617_584_000), Some(TokenError::Lifetime)),
        (times(0, NOW + 1), Some(TokenError::Lifetime)),
        (times(NOW, NOW), Some(TokenError::Claims)),
        (times(NOW, NOW - 1), Some(TokenError::Claims)),
        (times(NOW, NOW + 60).with("nbf", NOW + 30), None),
        (
            times(NOW, NOW + 60).with("nbf", NOW + 31),
            Some(TokenError::NotYet),
        ),
        (
            times(NOW, 9_007_199_254_740_991),
            Some(TokenError::Lifetime),
        ),
    ] {
        let refused = bench.refusal(&issuer.token(&claims)).await;
        assert_eq!(refused, wanted, "{}", claims.text());
    }
}

/// T47: a record may ask for shorter lives.
#[tokio::test(start_paused = true)]
async fn a_record_may_ask_for_shorter_lives() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let short = record(7, r#"["EdDSA"]"#) + "token_life = \"5m\"\n";
    bench.registry.replace(&short).unwrap();
    let life = |secs: u64| issuer.token(&claims(7).with("exp", NOW + secs));
    assert_eq!(bench.refusal(&life(300)).await, None);
    let refused = bench.refusal(&life(301)).await;
    assert_eq!(refused, Some(TokenError::Lifetime));
}
