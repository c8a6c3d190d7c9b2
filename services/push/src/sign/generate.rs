//! Draws new signing keys. The only file that names the `rsa` crate, and it signs nothing.
//!
//! RUSTSEC-2023-0071 is about private-key operations that an attacker can time over the network.
//! A key is drawn once, before a deployment serves anybody, so there is nobody to time it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use entente_core::{Secret, random_array};
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::{CryptoRng, Error, RngCore};

use super::KeyError;

/// 112 bits of strength. A signature must hold for an hour and protects no secret, so more bits
/// would only make every wake-up dearer.
const BITS: usize = 2048;

/// A PKCS #8 PEM of a new key.
pub(super) fn pem() -> Result<Secret<String>, KeyError> {
    let key = RsaPrivateKey::new(&mut SystemGenerator, BITS).map_err(|_| KeyError::Generate)?;
    let pem = key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| KeyError::Generate)?;
    Ok(Secret::new(pem.as_str().to_owned()))
}

/// Writes a file that must not exist yet and that only its owner may read.
pub(super) fn write(path: &Path, pem: &[u8]) -> Result<(), KeyError> {
    let file = |error: std::io::Error| KeyError::File(error.kind());
    let mut options = OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(file)?;
    let written = opened.write_all(pem).and_then(|()| opened.sync_all());
    written.map_err(file)
}

/// The operating system's generator, in the shape that the `rsa` crate takes.
struct SystemGenerator;

impl RngCore for SystemGenerator {
    fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(random_array())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(random_array())
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        for chunk in to.chunks_mut(64) {
            let random = Secret::new(random_array::<64>());
            chunk
                .iter_mut()
                .zip(random.expose())
                .for_each(|(to, from)| *to = *from);
        }
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for SystemGenerator {}
