//! Enlistment forms as a client fills them in.

use entente_core::SignedPrekey;
use entente_keys::encode;
use entente_keys::test::SigningKey;

/// A client with its keys.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its Signal identity.
    pub identity: SigningKey,
    /// Its transport key.
    pub transport: SigningKey,
    /// Its signed prekey.
    pub prekey: SigningKey,
}

impl Client {
    /// Keys that follow from a number.
    pub fn new(seed: u8) -> Self {
        let key = |which: u8| {
            let mut bytes = [seed; 32];
            bytes[1] = which;
            SigningKey::new(bytes)
        };
        Self {
            identity: key(1),
            transport: key(2),
            prekey: key(3),
        }
    }

    /// The signed prekey, signed.
    #[expect(clippy::unwrap_used, reason = "clamped seeds give sound keys")]
    pub fn signed(&self) -> SignedPrekey {
        let key = self.prekey.public().unwrap();
        SignedPrekey {
            id: 0x01_02_03,
            key: *key.bytes(),
            signature: self
                .identity
                .sign(&key.serialized())
                .bytes()
                .to_vec()
                .into(),
        }
    }

    /// The fields of the form in the framework's order.
    #[expect(clippy::unwrap_used, reason = "clamped seeds give sound keys")]
    pub fn fields(&self, token: &str) -> Vec<(&'static str, String)> {
        let signed = self.signed();
        vec![
            ("authkey", encode(self.transport.public().unwrap().bytes())),
            ("e_keytype", encode(&[5])),
            ("e_regid", encode(&[0, 0, 0x12, 0x34])),
            ("e_ident", encode(self.identity.public().unwrap().bytes())),
            ("e_skey_id", encode(&[1, 2, 3])),
            ("e_skey_val", encode(&signed.key)),
            ("e_skey_sig", encode(&signed.signature)),
            ("token", token.to_owned()),
        ]
    }
}

/// The fields as a request body.
pub fn body(fields: &[(&'static str, String)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}
