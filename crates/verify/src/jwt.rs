//! JSON Web Keys and the tokens that they verify.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use crate::http::brief;

/// How far two machines' clocks may be apart, in seconds.
const SKEW: i64 = 60;
/// Shorter RSA keys are not accepted anywhere that matters (RFC 7518, 3.3).
const SHORTEST_RSA: usize = 2048;
/// Members of a JSON Web Key that no public one has (RFC 7518, 6.2.2, 6.3.2, 6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The public keys of one target that can verify signatures.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<Jwk>);

/// The claims that time has a say in.
#[derive(Debug, Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
    nbf: Option<f64>,
}

/// What a token says of itself before it is verified.
#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
}

impl KeySet {
    /// Reads a published key set.
    ///
    /// Errors: in words, when it is none, publishes a private key, or has no key that verifies
    /// signatures.
    pub fn read(document: &Value) -> Result<Self, String> {
        let keys = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("no `keys` array")?;
        let mut usable: Vec<Jwk> = Vec::new();
        let mut refused = Vec::new();
        for (place, key) in (1..).zip(keys) {
            if let Some(member) = PRIVATE.iter().find(|member| key.get(**member).is_some()) {
                return Err(format!(
                    "key {place} publishes its private member `{member}`"
                ));
            }
            match usable_key(key) {
                Ok(key) if is_taken(&usable, &key) => {
                    return Err(format!("key {place} has the `kid` of another one"));
                }
                Ok(key) => usable.push(key),
                Err(why) => refused.push(format!("key {place}: {why}")),
            }
        }
        match (usable.is_empty(), refused.is_empty()) {
            (false, _) => Ok(Self(usable)),
            (true, true) => Err("no keys".into()),
            (true, false) => Err(refused.join(", ")),
        }
    }

    /// `2 keys: RSA 2048, EC P-256`.
    pub fn describe(&self) -> String {
        let kinds: Vec<String> = self.0.iter().map(kind).collect();
        match kinds.len() {
            1 => format!("1 key: {}", kinds[0]),
            count => format!("{count} keys: {}", kinds.join(", ")),
        }
    }

    /// Verifies a token's signature with the key that it names, then its times. Returns its
    /// algorithm.
    ///
    /// Errors: in words, which never hold a part of the token beside its `alg` and `kid`.
    pub fn verify(
        &self,
        token: &str,
        lifetime: Option<u64>,
        now: Timestamp,
    ) -> Result<String, String> {
        let header = header(token)?;
        let name = header.alg.ok_or("the token names no `alg`")?;
        let algorithm = algorithm(&name)?;
        let key = self.key(header.kid.as_deref())?;
        if family(key) != algorithm.family() {
            return Err(format!("`alg` is {name}, the key is {}", kind(key)));
        }
        if let Some(meant) = key.common.key_algorithm
            && meant.to_string() != name
        {
            return Err(format!("`alg` is {name}, the key is for {meant}"));
        }
        let decoding = DecodingKey::from_jwk(key).map_err(|_| "the key cannot be used")?;
        let claims = jsonwebtoken::decode::<Claims>(token, &decoding, &signature_only(algorithm))
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => {
                    "the signature is wrong".to_owned()
                }
                _ => "the token cannot be read".to_owned(),
            })?
            .claims;
        check_times(&claims, lifetime, now)?;
        Ok(name)
    }

    fn key(&self, kid: Option<&str>) -> Result<&Jwk, String> {
        match (kid, &self.0[..]) {
            (Some(kid), keys) => keys
                .iter()
                .find(|key| key.common.key_id.as_deref() == Some(kid))
                .ok_or_else(|| format!("no key `{}` in the key set", brief(kid))),
            (None, [key]) => Ok(key),
            (None, _) => Err("the token names no `kid`, and there are several keys".into()),
        }
    }
}

fn is_taken(keys: &[Jwk], key: &Jwk) -> bool {
    let kid = &key.common.key_id;
    kid.is_some() && keys.iter().any(|other| other.common.key_id == *kid)
}

fn usable_key(key: &Value) -> Result<Jwk, String> {
    let key: Jwk = serde_json::from_value(key.clone()).map_err(|_| "no public key")?;
    if let Some(PublicKeyUse::Encryption) = key.common.public_key_use {
        return Err("for encryption".into());
    }
    let length = |text: &str| {
        BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| "not base64url".to_owned())
    };
    match &key.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            length(&rsa.e)?;
            match bits(&length(&rsa.n)?) {
                bits if bits < SHORTEST_RSA => Err(format!("RSA {bits} is too short")),
                _ => Ok(key),
            }
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let size = match point.curve {
                EllipticCurve::P256 => 32,
                EllipticCurve::P384 => 48,
                // P-521 is allowed, but hardly any verifier has it; ours neither.
                _ => return Err("a curve that few can use".into()),
            };
            match (length(&point.x)?.len(), length(&point.y)?.len()) {
                (x, y) if x == size && y == size => Ok(key),
                _ => Err(format!("no point of {:?}", point.curve)),
            }
        }
        AlgorithmParameters::OctetKeyPair(pair) => match length(&pair.x)?.len() {
            32 => Ok(key),
            _ => Err("no Ed25519 key".into()),
        },
        _ => Err("no public key".into()),
    }
}

/// The length of a number in bits.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let mut significant = significant.peekable();
    let spare = significant
        .peek()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    significant.count() * 8 - spare
}

fn kind(key: &Jwk) -> String {
    match &key.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = BASE64_URL_SAFE_NO_PAD.decode(&rsa.n).unwrap_or_default();
            format!("RSA {}", bits(&modulus))
        }
        AlgorithmParameters::EllipticCurve(point) => format!("EC {:?}", point.curve),
        AlgorithmParameters::OctetKeyPair(pair) => format!("{:?}", pair.curve),
        _ => "unknown".into(),
    }
}

fn family(key: &Jwk) -> AlgorithmFamily {
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa,
        AlgorithmParameters::EllipticCurve(_) => AlgorithmFamily::Ec,
        AlgorithmParameters::OctetKeyPair(_) => AlgorithmFamily::Ed,
        _ => AlgorithmFamily::Hmac,
    }
}

fn header(token: &str) -> Result<Header, String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [first, _, _] = parts[..] else {
        return Err("the token is no signed JWT".into());
    };
    BASE64_URL_SAFE_NO_PAD
        .decode(first)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| "the token's header cannot be read".into())
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    if name.eq_ignore_ascii_case("none") {
        return Err("`alg` is none: the token is not signed".into());
    }
    match name.parse::<Algorithm>() {
        Ok(algorithm) if algorithm.family() == AlgorithmFamily::Hmac => Err(format!(
            "`alg` is {name}: a shared secret, no public key verifies it"
        )),
        Ok(algorithm) => Ok(algorithm),
        Err(_) => Err(format!("`alg` is {}, which is unknown", brief(name))),
    }
}

/// Times are judged by our own clock, and in words.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn check_times(claims: &Claims, lifetime: Option<u64>, now: Timestamp) -> Result<(), String> {
    let now = now.as_second();
    let whole = |time: Option<f64>| time.map(|time| time as i64);
    let expires = whole(claims.exp).ok_or("the token never expires: no `exp`")?;
    if expires <= now {
        return Err(format!("it expired {} s ago", now - expires));
    }
    for (name, time) in [("iat", whole(claims.iat)), ("nbf", whole(claims.nbf))] {
        if let Some(time) = time.filter(|time| *time > now + SKEW) {
            return Err(format!("`{name}` is {} s in the future", time - now));
        }
    }
    let lasts = expires - whole(claims.iat).unwrap_or(now);
    match lifetime.and_then(|told| i64::try_from(told).ok()) {
        Some(told) if (lasts - told).abs() > SKEW => Err(format!(
            "`expires_in` says {told} s, the token lasts {lasts} s"
        )),
        Some(_) | None => Ok(()),
    }
}
