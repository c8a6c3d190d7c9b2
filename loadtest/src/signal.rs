//! Real Signal payloads: a libsignal user for each user of the load, and a session for each pair.
//!
//! Keys are made here and change hands within the process, never over the server under test: what
//! bundles cost it is measured by `[prekeys]`. Each session is opened with PQXDH and answered once
//! before load begins, so that the messages of the load are those of a conversation that is under way.

use std::collections::BTreeMap;

use entente_core::{AccountId, Bundle, PartnerId};
use entente_demo::signal::{Ciphertext, Form, SignalError, SignalUser};
use entente_engine::seal::{SealError, Sealed, Sealer, Sealing};

/// The first word to a peer and its answer; nobody shows them.
const HELLO: &[u8] = b"hello";

/// Makes users of libsignal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signal;

/// A user with its keys.
#[derive(Debug)]
struct Half {
    user: SignalUser,
    bundle: Bundle,
}

impl Sealing for Signal {
    fn sealers(
        &self,
        users: &[u32],
        pairs: &[(u32, u32)],
    ) -> Result<Vec<Box<dyn Sealer>>, SealError> {
        let mut halves = BTreeMap::new();
        for &number in users {
            halves.insert(number, half(number).map_err(refused)?);
        }
        for (from, to) in pairs {
            // Taken out, because two of a map cannot be changed at once.
            let (Some(mut one), Some(mut other)) = (halves.remove(from), halves.remove(to)) else {
                return Err(SealError(format!("no keys for the pair {from}, {to}")));
            };
            meet(&mut one, &mut other).map_err(refused)?;
            halves.insert(*from, one);
            halves.insert(*to, other);
        }
        let sealer = |number: &u32| {
            let half = halves.remove(number);
            let half = half.ok_or_else(|| SealError(format!("user {number} is there twice")))?;
            Ok(Box::new(half) as Box<dyn Sealer>)
        };
        users.iter().map(sealer).collect()
    }
}

impl Sealer for Half {
    fn seal(&mut self, to: u32, plain: &[u8]) -> Result<Sealed, SealError> {
        let sealed = self.user.encrypt(account(to)?, plain).map_err(refused)?;
        Ok(Sealed {
            form: sealed.form.word().into(),
            bytes: sealed.bytes,
        })
    }

    fn open(&mut self, from: u32, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        let form = Form::from_word(&sealed.form);
        let sealed = Ciphertext {
            form: form.ok_or_else(|| SealError(format!("form {:?} is none", sealed.form)))?,
            bytes: sealed.bytes.clone(),
        };
        self.user.decrypt(account(from)?, &sealed).map_err(refused)
    }
}

fn half(number: u32) -> Result<Half, SignalError> {
    let mut user = SignalUser::generate()?;
    let signed = user.signed_prekey()?;
    let bundle = Bundle {
        account: account(number).map_err(|_| SignalError::PublicKey)?,
        registration: user.registration(),
        identity: user.identity()?,
        signed,
        one_time: None,
        kyber: user.upload(0, 0)?.last_resort,
        last_resort: true,
    };
    Ok(Half { user, bundle })
}

/// Opens a session from one to the other, unless they have one, and has it answered.
fn meet(one: &mut Half, other: &mut Half) -> Result<(), SignalError> {
    let (from, to) = (one.bundle.account, other.bundle.account);
    if one.user.knows(to)? {
        return Ok(());
    }
    one.user.open(&other.bundle)?;
    let first = one.user.encrypt(to, HELLO)?;
    other.user.decrypt(from, &first)?;
    let answer = other.user.encrypt(from, HELLO)?;
    one.user.decrypt(to, &answer)?;
    Ok(())
}

/// How libsignal knows a user of the load.
fn account(number: u32) -> Result<AccountId, SealError> {
    let partner = PartnerId::new(1).ok_or_else(|| SealError("no partner 1".to_owned()))?;
    Ok(AccountId::new(partner, number.into()))
}

fn refused(error: SignalError) -> SealError {
    SealError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_talks_in_its_own_session_and_nobody_else_reads_it() {
        let mut halves = Signal
            .sealers(&[4, 5, 6], &[(4, 5), (5, 4), (4, 6)])
            .unwrap();
        let [four, five, six] = &mut halves[..] else {
            panic!("three users")
        };
        for turn in 0..3_u8 {
            let sealed = four.seal(5, &[turn; 40]).unwrap();
            assert_eq!(&*sealed.form, "msg", "the session was answered");
            assert_eq!(five.open(4, &sealed).unwrap(), [turn; 40]);
            assert!(five.open(4, &sealed).is_err(), "once");
        }
        let sealed = four.seal(5, b"for five").unwrap();
        assert!(six.open(4, &sealed).is_err());
        let mut bad = sealed.clone();
        let last = bad.bytes.len() - 1;
        bad.bytes[last] ^= 1;
        assert!(five.open(4, &bad).is_err());
        assert_eq!(five.open(4, &sealed).unwrap(), b"for five");
        assert!(five.seal(6, b"no session").is_err());
        let sealed = six.seal(4, b"back").unwrap();
        assert_eq!(four.open(6, &sealed).unwrap(), b"back");
    }
}
