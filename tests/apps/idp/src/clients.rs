//! The registered clients: how their secrets are kept and checked.

use std::num::NonZeroU32;

use aws_lc_rs::{pbkdf2, rand};
use tokio_postgres::GenericClient;

/// Far below OWASP's 600,000 for passwords that people choose: client secrets are made by machines,
/// and the rounds are paid for with every token.
const ROUNDS: NonZeroU32 = NonZeroU32::new(20_000).expect("not zero");
const SCHEME: &str = "pbkdf2-sha256";

/// A client that may ask for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Its secret's hash, as `hash` makes it.
    pub secret_hash: String,
    /// The scopes it may ask for.
    pub scopes: Vec<String>,
}

impl Client {
    /// The client of this id; `None` when there is none.
    pub async fn find(
        database: &impl GenericClient,
        id: &str,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let row = database
            .query_opt(
                "SELECT id, secret_hash, scopes FROM clients WHERE id = $1",
                &[&id],
            )
            .await?;
        Ok(row.map(|row| Self {
            id: row.get(0),
            secret_hash: row.get(1),
            scopes: row.get(2),
        }))
    }

    /// Registers the client or gives it this secret and these scopes; a secret that already fits
    /// keeps its hash.
    pub async fn seed(
        database: &impl GenericClient,
        id: &str,
        secret: &str,
        scopes: &[&str],
    ) -> Result<(), tokio_postgres::Error> {
        let known = Self::find(database, id).await?;
        let hash = match known {
            Some(client) if verify(secret, &client.secret_hash) => client.secret_hash,
            Some(_) | None => hash(secret),
        };
        let statement = "INSERT INTO clients (id, secret_hash, scopes) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET secret_hash = $2, scopes = $3";
        database.execute(statement, &[&id, &hash, &scopes]).await?;
        Ok(())
    }
}

/// Hashes `secret` with a new salt: `pbkdf2-sha256$rounds$salt$hash`, the last two in hex.
pub fn hash(secret: &str) -> String {
    let mut salt = [0; 16];
    rand::fill(&mut salt).expect("the operating system gives random bytes");
    let mut derived = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, ROUNDS, &salt, secret.as_bytes(), &mut derived);
    format!(
        "{SCHEME}${ROUNDS}${}${}",
        hex::encode(salt),
        hex::encode(derived)
    )
}

/// Whether `secret` is the one that `hash` was made from; in constant time once the hash is read.
/// A hash of another form fits no secret.
pub fn verify(secret: &str, hash: &str) -> bool {
    let parts: Vec<&str> = hash.split('$').collect();
    let [SCHEME, rounds, salt, derived] = parts.as_slice() else {
        return false;
    };
    let (Ok(rounds), Ok(salt), Ok(derived)) =
        (rounds.parse(), hex::decode(salt), hex::decode(derived))
    else {
        return false;
    };
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::verify(algorithm, rounds, &salt, secret.as_bytes(), &derived).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hashed_secret_verifies() {
        let hash = hash("test-secret");
        assert!(verify("test-secret", &hash));
        assert!(!verify("test-secreT", &hash));
        assert!(!verify("", &hash));
    }

    #[test]
    fn two_hashes_of_one_secret_differ() {
        assert_ne!(hash("test-secret"), hash("test-secret"));
    }

    #[test]
    fn a_damaged_hash_fits_no_secret() {
        for damaged in [
            "",
            "test-secret",
            "pbkdf2-sha256$0$00$00",
            "md5$1$00$00",
            "a$b$c$d",
        ] {
            assert!(!verify("test-secret", damaged), "{damaged}");
        }
    }
}
