//! The signing key, the published keys, and the check that they belong together.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use thiserror::Error;

/// The private key that signs, and every public key that verifies.
#[derive(Clone)]
pub struct Keys {
    /// Signs new tokens.
    pub signing: EncodingKey,
    /// The `kid` of the signing key: its RFC 7638 thumbprint, equal wherever the key is.
    pub signing_id: String,
    /// What `/.well-known/jwks.json` publishes.
    pub published: JwkSet,
    verifying: BTreeMap<String, DecodingKey>,
}

/// The keys cannot be used. Never holds key material.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// No RSA private key in PKCS#1 or PKCS#8 PEM.
    #[error("JWT_PRIVATE_KEY is not an RSA private key in PEM form (PKCS#1 or PKCS#8)")]
    Private,
    /// Not a list of RSA public keys in PEM.
    #[error("JWT_PUBLIC_KEY is not one or more RSA public keys in PEM form")]
    Public,
    /// Tokens would not verify with the published keys.
    #[error(
        "JWT_PRIVATE_KEY and JWT_PUBLIC_KEY are not a pair: no published key verifies what would be signed"
    )]
    Mismatch,
}

impl Keys {
    /// Reads both variables; a literal `\n` in either counts as a line break, because that is how
    /// keys survive one-line files.
    pub fn read(private: &str, public: &str) -> Result<Self, KeyError> {
        let private = private.replace("\\n", "\n");
        let signing =
            EncodingKey::from_rsa_pem(private.as_bytes()).map_err(|_| KeyError::Private)?;
        let own = Jwk::from_encoding_key(&signing, Algorithm::RS256)
            .and_then(|jwk| jwk.thumbprint(ThumbprintHash::SHA256))
            .map_err(|_| KeyError::Private)?;

        let blocks = pem::parse_many(public.replace("\\n", "\n")).map_err(|_| KeyError::Public)?;
        let mut keys = Vec::new();
        let mut verifying = BTreeMap::new();
        for block in &blocks {
            let (jwk, id, key) = public_key(block)?;
            if verifying.insert(id, key).is_none() {
                keys.push(jwk);
            }
        }
        match verifying.contains_key(&own) {
            true => Ok(Self {
                signing,
                signing_id: own,
                published: JwkSet { keys },
                verifying,
            }),
            false if keys.is_empty() => Err(KeyError::Public),
            false => Err(KeyError::Mismatch),
        }
    }

    /// The published key of this `kid`.
    pub fn verifying(&self, id: &str) -> Option<&DecodingKey> {
        self.verifying.get(id)
    }
}

fn public_key(block: &pem::Pem) -> Result<(Jwk, String, DecodingKey), KeyError> {
    // A private key parses as a public one too: it must not be taken for one that may be shown.
    if !matches!(block.tag(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
        return Err(KeyError::Public);
    }
    let read = || -> jsonwebtoken::errors::Result<_> {
        let key = DecodingKey::from_rsa_pem(pem::encode(block).as_bytes())?;
        let mut jwk = Jwk::from_decoding_key(&key, Some(Algorithm::RS256))?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.key_algorithm = Some(KeyAlgorithm::RS256);
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok((jwk, id, key))
    };
    read().map_err(|_| KeyError::Public)
}
