//! Signatures that are none.

use super::*;

fn parts(token: &str) -> (&str, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    (signed, decode_within(signature, 512).unwrap())
}

async fn refusal_of(bench: &Bench, signed: &str, signature: &[u8]) -> Option<TokenError> {
    let token = format!("{signed}.{}", encode(signature));
    bench.refusal(&token).await
}

/// T50: zero, all-ones, short, long and changed signatures are refused for each algorithm.
#[tokio::test(start_paused = true)]
async fn degenerate_signatures_are_refused() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let issuer = Issuer::new(algorithm, "k1");
        let bench = Bench::ready(&issuer).await;
        let token = issuer.token(&claims(7));
        let (signed, good) = parts(&token);
        assert_eq!(refusal_of(&bench, signed, &good).await, None);
        let mut bad = vec![
            vec![0; good.len()],
            vec![0xff; good.len()],
            good[1..].to_vec(),
            [good.as_slice(), &[0]].concat(),
            [&[0], good.as_slice()].concat(),
            vec![0],
        ];
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            bad.push(changed);
        }
        for signature in bad {
            let refused = refusal_of(&bench, signed, &signature).await;
            assert_eq!(refused, Some(TokenError::Signature), "{algorithm:?}");
        }
        let other = issuer.token(&claims(7).with("sub", "eve@example.org"));
        let (others, _) = parts(&other);
        let refused = refusal_of(&bench, others, &good).await;
        assert_eq!(refused, Some(TokenError::Signature));
    }
}

/// T50: r = 0, s = 0 and their like (CVE-2022-21449), and DER where two numbers are due.
#[tokio::test(start_paused = true)]
async fn es256_numbers_are_in_range() {
    let issuer = Issuer::new(Algorithm::Es256, "k1");
    let bench = Bench::ready(&issuer).await;
    let token = issuer.token(&claims(7));
    let (signed, good) = parts(&token);
    let order = decode_within("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE", 32).unwrap();
    let one = [vec![0; 31], vec![1]].concat();
    let (r, s) = good.split_at(32);
    for (r, s) in [
        (vec![0; 32], s.to_vec()),
        (r.to_vec(), vec![0; 32]),
        (order.clone(), s.to_vec()),
        (r.to_vec(), order.clone()),
        (order.clone(), order.clone()),
        (one.clone(), one.clone()),
    ] {
        let signature = [r, s].concat();
        let refused = refusal_of(&bench, signed, &signature).await;
        assert_eq!(refused, Some(TokenError::Signature));
    }
    let der = [&[0x30, 68, 2, 32], r, &[2, 32], s].concat();
    let refused = refusal_of(&bench, signed, &der).await;
    assert_eq!(refused, Some(TokenError::Signature));
}

/// T50: S plus the group order would be a second signature of the same token.
#[tokio::test(start_paused = true)]
async fn eddsa_signatures_have_one_spelling() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let token = issuer.token(&claims(7));
    let (signed, mut signature) = parts(&token);
    assert_eq!(refusal_of(&bench, signed, &signature).await, None);
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let refused = refusal_of(&bench, signed, &signature).await;
    assert_eq!(refused, Some(TokenError::Signature));
}
