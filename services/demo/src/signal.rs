//! The Signal half of a user: keys, sessions, PQXDH and the Double Ratchet, through libsignal.
//!
//! In: bundles as the gateway serves them. Out: what an enlistment and an upload need, and
//! ciphertexts. The gateway never sees what is in here.
//!
//! **Invariants**
//! - Stores are in memory and never wait, so every future of libsignal is ready at its first poll.
//! - A private key never leaves [`SignalUser`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use entente_core::{
    AccountId, Bundle, KyberPrekey, OneTimePrekey, PrekeyUpload, SignedPrekey, Timestamp,
    random_array,
};
use futures::FutureExt;
use libsignal_protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, GenericSignedPreKey, IdentityKey,
    IdentityKeyPair, InMemSignalProtocolStore, KeyPair, KyberPreKeyRecord, KyberPreKeyStore,
    PreKeyBundle, PreKeyRecord, PreKeySignalMessage, PreKeyStore, ProtocolAddress, PublicKey,
    SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyRecord, SignedPreKeyStore, kem,
    message_decrypt, message_encrypt, process_prekey_bundle,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Prekey ids are 24 bits on the wire.
const PREKEY_IDS: std::ops::Range<u32> = 1..0x0100_0000;
/// Signal registration ids are 14 bits.
const REGISTRATION_IDS: std::ops::Range<u32> = 1..0x4000;
/// The framework has one device an account.
const DEVICE: u8 = 1;
/// The type byte before a Curve25519 public key, which our interfaces leave out.
const DJB_TYPE: u8 = 5;

/// Which of the two message forms a ciphertext has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A message of a session that the peer has already answered.
    Message,
    /// A message that also carries what the peer needs to open the session.
    Prekey,
}

impl Form {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Message => "msg",
            Self::Prekey => "pkmsg",
        }
    }

    /// Reads the word on the wire.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "msg" => Some(Self::Message),
            "pkmsg" => Some(Self::Prekey),
            _ => None,
        }
    }
}

/// Something that one user encrypted for one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    /// Its form.
    pub form: Form,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What Signal arithmetic or a peer's key refused.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The bundle has no Kyber key: no post-quantum session can be opened.
    #[error("the bundle has no Kyber key")]
    NoKyber,
    /// A bundle key has a form that Curve25519 does not know.
    #[error("a public key of the bundle is malformed")]
    PublicKey,
    /// libsignal refused.
    #[error("libsignal refused: {0}")]
    Refused(#[from] SignalProtocolError),
    /// A store that lives in memory was not ready at once.
    #[error("a store in memory waited")]
    Waited,
}

/// One user's keys and sessions.
pub struct SignalUser {
    store: InMemSignalProtocolStore,
    identity: IdentityKeyPair,
    registration: u32,
    transport: KeyPair,
    rng: StdRng,
}

impl std::fmt::Debug for SignalUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalUser").finish_non_exhaustive()
    }
}

impl SignalUser {
    /// Draws an identity. Keys come from the operating system's randomness, whatever seed the
    /// demonstration has.
    ///
    /// # Errors
    /// If libsignal refuses the keys that it made itself.
    pub fn generate() -> Result<Self, SignalError> {
        let mut rng = StdRng::from_seed(random_array());
        let identity = IdentityKeyPair::generate(&mut rng);
        let registration = rng.random_range(REGISTRATION_IDS);
        Ok(Self {
            store: InMemSignalProtocolStore::new(identity, registration)?,
            identity,
            registration,
            transport: KeyPair::generate(&mut rng),
            rng,
        })
    }

    /// The registration id.
    pub const fn registration(&self) -> u32 {
        self.registration
    }

    /// The identity public key without its type byte.
    ///
    /// # Errors
    /// If the key is not a Curve25519 key.
    pub fn identity(&self) -> Result<[u8; 32], SignalError> {
        raw(self.identity.public_key())
    }

    /// The static transport public key that an enlistment names.
    ///
    /// # Errors
    /// If the key is not a Curve25519 key.
    pub fn transport(&self) -> Result<[u8; 32], SignalError> {
        raw(&self.transport.public_key)
    }

    /// Makes and keeps a signed prekey.
    ///
    /// # Errors
    /// If libsignal cannot sign.
    pub fn signed_prekey(&mut self) -> Result<SignedPrekey, SignalError> {
        let id = self.rng.random_range(PREKEY_IDS);
        let pair = KeyPair::generate(&mut self.rng);
        let signature = self.sign(&pair.public_key.serialize())?;
        let record = SignedPreKeyRecord::new(id.into(), signal_time(), &pair, &signature);
        ready(self.store.save_signed_pre_key(id.into(), &record))?;
        Ok(SignedPrekey {
            id,
            key: raw(&pair.public_key)?,
            signature: Bytes::from(signature),
        })
    }

    /// Makes and keeps an upload: `one_time` Curve25519 keys, `kyber` Kyber keys, and a last-resort
    /// Kyber key.
    ///
    /// # Errors
    /// If libsignal cannot make or sign a key.
    pub fn upload(&mut self, one_time: usize, kyber: usize) -> Result<PrekeyUpload, SignalError> {
        let mut upload = PrekeyUpload {
            last_resort: Some(self.kyber_prekey()?),
            ..PrekeyUpload::default()
        };
        for _ in 0..one_time {
            let id = self.rng.random_range(PREKEY_IDS);
            let pair = KeyPair::generate(&mut self.rng);
            let record = PreKeyRecord::new(id.into(), &pair);
            ready(self.store.save_pre_key(id.into(), &record))?;
            let key = raw(&pair.public_key)?;
            upload.one_time.push(OneTimePrekey { id, key });
        }
        for _ in 0..kyber {
            upload.kyber.push(self.kyber_prekey()?);
        }
        Ok(upload)
    }

    fn kyber_prekey(&mut self) -> Result<KyberPrekey, SignalError> {
        let id = self.rng.random_range(PREKEY_IDS);
        let pair = kem::KeyPair::generate(kem::KeyType::Kyber1024, &mut self.rng);
        let public = pair.public_key.serialize();
        let signature = self.sign(&public)?;
        let record = KyberPreKeyRecord::new(id.into(), signal_time(), &pair, &signature);
        ready(self.store.save_kyber_pre_key(id.into(), &record))?;
        Ok(KyberPrekey {
            id,
            key: Bytes::from(public.into_vec()),
            signature: Bytes::from(signature),
        })
    }

    fn sign(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SignalError> {
        let signature = self
            .identity
            .private_key()
            .calculate_signature(bytes, &mut self.rng)
            .map_err(SignalProtocolError::from)?;
        Ok(signature.into_vec())
    }

    /// Opens a session with the owner of a bundle (PQXDH); both signatures are checked.
    ///
    /// # Errors
    /// [`SignalError::NoKyber`], or what libsignal finds wrong with the bundle.
    pub fn open(&mut self, bundle: &Bundle) -> Result<(), SignalError> {
        let kyber = bundle.kyber.as_ref().ok_or(SignalError::NoKyber)?;
        let one_time = match &bundle.one_time {
            Some(prekey) => Some((prekey.id.into(), point(&prekey.key)?)),
            None => None,
        };
        let bundle_of_theirs = PreKeyBundle::new(
            bundle.registration,
            device()?,
            one_time,
            bundle.signed.id.into(),
            point(&bundle.signed.key)?,
            bundle.signed.signature.to_vec(),
            kyber.id.into(),
            kem::PublicKey::deserialize(&kyber.key)?,
            kyber.signature.to_vec(),
            IdentityKey::new(point(&bundle.identity)?),
        )?;
        ready(process_prekey_bundle(
            &address(bundle.account)?,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            &bundle_of_theirs,
            system_time(),
            &mut self.rng,
        ))
    }

    /// Whether there is a session with the peer.
    ///
    /// # Errors
    /// If the store fails.
    pub fn knows(&self, peer: AccountId) -> Result<bool, SignalError> {
        let found = ready(self.store.load_session(&address(peer)?))?;
        Ok(found.is_some())
    }

    /// Encrypts for a peer with whom a session is open.
    ///
    /// # Errors
    /// If there is no session.
    pub fn encrypt(&mut self, peer: AccountId, plain: &[u8]) -> Result<Ciphertext, SignalError> {
        let sealed = ready(message_encrypt(
            plain,
            &address(peer)?,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            system_time(),
            &mut self.rng,
        ))?;
        let form = match sealed.message_type() {
            CiphertextMessageType::PreKey => Form::Prekey,
            _ => Form::Message,
        };
        Ok(Ciphertext {
            form,
            bytes: sealed.serialize().to_vec(),
        })
    }

    /// Decrypts what a peer sent.
    ///
    /// # Errors
    /// What libsignal says: malformed, forged, seen before, or of no known session.
    pub fn decrypt(
        &mut self,
        peer: AccountId,
        sealed: &Ciphertext,
    ) -> Result<Vec<u8>, SignalError> {
        let bytes = sealed.bytes.as_slice();
        let message = match sealed.form {
            Form::Message => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
            Form::Prekey => {
                CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?)
            }
        };
        ready(message_decrypt(
            &message,
            &address(peer)?,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            &mut self.store.pre_key_store,
            &self.store.signed_pre_key_store,
            &mut self.store.kyber_pre_key_store,
            &mut self.rng,
        ))
    }
}

/// Takes the result of a future over stores in memory, which never wait.
fn ready<T>(
    future: impl Future<Output = Result<T, SignalProtocolError>>,
) -> Result<T, SignalError> {
    let done = future.now_or_never().ok_or(SignalError::Waited)?;
    Ok(done?)
}

fn device() -> Result<DeviceId, SignalError> {
    DeviceId::new(DEVICE).map_err(|_| SignalError::PublicKey)
}

fn address(peer: AccountId) -> Result<ProtocolAddress, SignalError> {
    Ok(ProtocolAddress::new(peer.to_string(), device()?))
}

fn point(key: &[u8; 32]) -> Result<PublicKey, SignalError> {
    PublicKey::from_djb_public_key_bytes(key).map_err(|_| SignalError::PublicKey)
}

fn raw(key: &PublicKey) -> Result<[u8; 32], SignalError> {
    match key.serialize().split_first() {
        Some((&DJB_TYPE, rest)) => rest.try_into().map_err(|_| SignalError::PublicKey),
        _ => Err(SignalError::PublicKey),
    }
}

fn system_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(Timestamp::now().millis())
}

fn signal_time() -> libsignal_protocol::Timestamp {
    libsignal_protocol::Timestamp::from_epoch_millis(Timestamp::now().millis())
}

#[cfg(test)]
mod tests;
