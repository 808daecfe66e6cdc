//! Makes secret values and key pairs, in memory only.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use deployer_core::error::{Error, Result};
use deployer_core::spec::Generate;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// A key pair as PEM texts: PKCS#8 and SubjectPublicKeyInfo.
#[derive(Clone)]
pub struct PemPair {
    pub private: SecretString,
    pub public: SecretString,
}

/// A fresh value.
pub fn value(what: Generate) -> Result<SecretString> {
    match what {
        Generate::Hex(bytes) => Ok(hex::encode(&*random(bytes)?).into()),
        Generate::Base64(bytes) => Ok(base64::engine::general_purpose::STANDARD
            .encode(&*random(bytes)?)
            .into()),
        Generate::Rsa(bits) => Ok(key_pair(bits)?.private),
    }
}

/// A fresh RSA key pair.
pub fn key_pair(bits: u16) -> Result<PemPair> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        _ => {
            return Err(Error::input(format!(
                "`rsa:{bits}` is no key size (2048, 3072, 4096)"
            )));
        }
    };
    pair_of(&KeyPair::generate(size).map_err(|_| Error::internal("cannot make an RSA key"))?)
}

/// The public half of a private key.
///
/// Errors: input, when the text is no RSA private key in PKCS#8 or PKCS#1 PEM (a literal `\n`
/// stands for a newline).
pub fn public_of(private: &SecretString) -> Result<SecretString> {
    let unreadable =
        || Error::input("the private key is no RSA key in PEM form (PKCS#8 or PKCS#1)");
    let text = Zeroizing::new(private.expose_secret().replace("\\n", "\n"));
    let block = pem::parse(text.as_bytes()).map_err(|_| unreadable())?;
    let key = match block.tag() {
        "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()),
        _ => KeyPair::from_pkcs8(block.contents()),
    };
    Ok(pair_of(&key.map_err(|_| unreadable())?)?.public)
}

fn pair_of(key: &KeyPair) -> Result<PemPair> {
    let unwritable = |_| Error::internal("cannot encode an RSA key");
    let private: Pkcs8V1Der<'_> = key.as_der().map_err(unwritable)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(unwritable)?;
    Ok(PemPair {
        private: encode("PRIVATE KEY", private.as_ref()).into(),
        public: encode("PUBLIC KEY", public.as_ref()).into(),
    })
}

fn encode(tag: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), config)
}

fn random(bytes: u16) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; usize::from(bytes)]);
    aws_lc_rs::rand::fill(&mut buffer)
        .map_err(|_| Error::internal("the machine gives no randomness"))?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_half_is_found_again_from_the_private_one() {
        let pair = key_pair(2048).unwrap();
        let again = public_of(&pair.private).unwrap();
        assert_eq!(again.expose_secret(), pair.public.expose_secret());
        let escaped: SecretString = pair.private.expose_secret().replace('\n', "\\n").into();
        assert_eq!(
            public_of(&escaped).unwrap().expose_secret(),
            pair.public.expose_secret()
        );
        assert!(public_of(&"no key".into()).is_err());
    }

    #[test]
    fn generated_values_have_the_length_asked_for_and_differ() {
        let one = value(Generate::Hex(32)).unwrap();
        assert_eq!(one.expose_secret().len(), 64);
        assert_ne!(
            one.expose_secret(),
            value(Generate::Hex(32)).unwrap().expose_secret()
        );
    }
}
