//! What is verified once at every start, before anything rests on it (T61).
//!
//! The library chooses its cryptography when it is first used and panics if none was compiled in;
//! a start must meet that, not the first login.

use serde::Deserialize;

use super::check_signature;
use crate::jwks::KeySet;
use crate::partners::{Algorithm, Kid};

/// One good token of each algorithm with its key; made once with ring.
const CASES: &str = include_str!("self_test.json");

#[derive(Deserialize)]
struct Case {
    alg: Algorithm,
    keys: Box<serde_json::value::RawValue>,
    token: Box<str>,
}

/// Verifies a good token of each algorithm, and that another signature is refused.
///
/// # Errors
/// The name of the algorithm that failed.
pub(crate) fn self_test() -> Result<(), &'static str> {
    let cases: Vec<Case> = serde_json::from_str(CASES).map_err(|_| "all")?;
    for (algorithm, name) in [
        (Algorithm::Es256, "ES256"),
        (Algorithm::EdDsa, "EdDSA"),
        (Algorithm::Rs256, "RS256"),
    ] {
        let case = cases.iter().find(|case| case.alg == algorithm);
        case.and_then(|case| holds(case, algorithm))
            .filter(|holds| *holds)
            .ok_or(name)?;
    }
    Ok(())
}

fn holds(case: &Case, algorithm: Algorithm) -> Option<bool> {
    let keys = KeySet::parse(case.keys.get().as_bytes()).ok()?;
    let key = keys.find(&Kid::new("self-test")?, algorithm)?;
    let (signed, signature) = case.token.rsplit_once('.')?;
    let good = check_signature(&key, signed, signature).is_ok();
    let (changed, _) = signed.split_at_checked(signed.len() - 1)?;
    let bad = check_signature(&key, changed, signature).is_ok();
    Some(good && !bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T61: a cryptography is compiled in; each algorithm verifies what it must and nothing else.
    #[test]
    fn every_algorithm_verifies_at_start() {
        assert_eq!(self_test(), Ok(()));
        let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
        assert!(cases.len() >= 3, "one case for each algorithm");
        // A case is held against the algorithm it was made for, so it fails for every other one.
        let matches = |case: &Case| {
            let all = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
            all.into_iter()
                .filter(|algorithm| holds(case, *algorithm) == Some(true))
                .count()
        };
        assert!(cases.iter().all(|case| matches(case) == 1));
    }
}
