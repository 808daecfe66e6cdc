//! The key set: 200, JSON, at least one public key that verifies signatures, nothing private.

use url::Url;

use crate::finding::Finding;
use crate::http::below;
use crate::jwt::KeySet;
use crate::verifier::Verifier;

const CHECK: &str = "jwks";

/// What is expected.
pub fn expected(path: &str) -> String {
    format!("200 and public keys at {path}")
}

/// Asks for the key set. Returns it when it is good.
pub async fn check(verifier: &Verifier, base: &Url, path: &str) -> (Finding, Option<KeySet>) {
    let asked = verifier.get(below(base, path));
    let (took, read) = match verifier.http.send(asked).await {
        Err(silence) => (silence.took, Err(silence.why)),
        Ok(answer) => {
            let read = answer
                .expect_status(200)
                .and_then(|()| answer.json())
                .and_then(|document| KeySet::read(&document));
            (answer.took, read)
        }
    };
    let judgement = match &read {
        Ok(keys) => Ok(keys.describe()),
        Err(why) => Err(why.clone()),
    };
    (
        Finding::judged(CHECK, expected(path), took, judgement),
        read.ok(),
    )
}
