//! The service account that Google's clients sign in with: a fresh key pair for each sandbox.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::{EncodeConfig, LineEnding, Pem};
use serde_json::json;

/// An RSA-2048 key pair for a service account. Cheap to clone.
#[derive(Clone)]
pub struct AccountKey {
    pair: Arc<KeyPair>,
}

impl AccountKey {
    /// A new one. Takes from a tenth of a second to a few.
    pub fn generate() -> std::io::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
        Ok(Self {
            pair: Arc::new(pair),
        })
    }

    /// The one of this process, made at the first call: for sandboxes that come and go.
    pub fn shared() -> std::io::Result<Self> {
        static SHARED: OnceLock<AccountKey> = OnceLock::new();
        match SHARED.get() {
            Some(key) => Ok(key.clone()),
            None => {
                let key = Self::generate()?;
                Ok(SHARED.get_or_init(|| key).clone())
            }
        }
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("AccountKey")
    }
}

fn failed<E>(_: E) -> std::io::Error {
    std::io::Error::other("cannot make an RSA key")
}

/// Who the sandbox's Google side knows; the private half is only in the credentials file.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// `deployer@PROJECT.iam.gserviceaccount.com`.
    pub email: String,
    /// The `kid` that its tokens carry.
    pub key_id: String,
    /// The public key as X.509 SubjectPublicKeyInfo.
    pub public_key_der: Vec<u8>,
    /// The public key as a JSON Web Key.
    pub jwk: serde_json::Value,
}

impl ServiceAccount {
    /// Writes a credentials file of Google's format with that key to `file`, readable by its owner
    /// only. `gcp_url` is where tokens are to be had.
    pub(crate) fn create(
        key: &AccountKey,
        project: &str,
        gcp_url: &str,
        file: &Path,
    ) -> std::io::Result<Self> {
        let pair = &key.pair;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        let public: &PublicKey = pair.public_key();
        let spki: PublicKeyX509Der<'_> = public.as_der().map_err(failed)?;
        let key_id = uuid::Uuid::new_v4().simple().to_string();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let account = Self {
            email: format!("deployer@{project}.iam.gserviceaccount.com"),
            jwk: json!({
                "kty": "RSA", "alg": "RS256", "use": "sig", "kid": key_id,
                "n": number(public.modulus().big_endian_without_leading_zero()),
                "e": number(public.exponent().big_endian_without_leading_zero()),
            }),
            public_key_der: spki.as_ref().to_vec(),
            key_id,
        };
        let credentials = json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": account.key_id,
            "private_key": pkcs8(private.as_ref()),
            "client_email": account.email,
            "client_id": "100000000000000000000",
            "auth_uri": format!("{gcp_url}/o/oauth2/auth"),
            "token_uri": format!("{gcp_url}/token"),
            "universe_domain": "googleapis.com",
        });
        write_private(file, &format!("{credentials:#}\n"))?;
        Ok(account)
    }

    /// Whether `signature` is this account's RS256 signature of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key_der)
            .verify(message, signature)
            .is_ok()
    }
}

/// Writes a file that only its owner can read, also while it is being written.
pub(crate) fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    if file.exists() {
        // An older file keeps its mode when it is opened again.
        std::fs::remove_file(file)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(file)?.write_all(text.as_bytes())
}

/// PKCS#8 as Google's files have it.
fn pkcs8(der: &[u8]) -> String {
    let unix = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("PRIVATE KEY", der), unix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_written_key_signs_what_the_account_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("account.json");
        let key = AccountKey::generate().unwrap();
        let account = ServiceAccount::create(&key, "demo", "http://127.0.0.1:1", &file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let text = std::fs::read_to_string(&file).unwrap();
        let credentials: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(credentials["token_uri"], "http://127.0.0.1:1/token");
        let text = credentials["private_key"].as_str().unwrap();
        assert!(text.ends_with("-----\n") && !text.contains('\r'));
        let private = pem::parse(text).unwrap();
        let pair = RsaKeyPair::from_pkcs8(private.contents()).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            b"hello",
            &mut signature,
        )
        .unwrap();
        assert!(account.verify(b"hello", &signature));
        assert!(!account.verify(b"other", &signature));
    }
}
