//! Health: 200 at the health path, without a redirect. A fresh address is given time.

use std::sync::{Mutex, PoisonError};

use deployer_core::wait::{Look, Pace, poll};
use url::Url;

use crate::finding::Finding;
use crate::http::{Answer, Silence, below, between};
use crate::verifier::Verifier;

const CHECK: &str = "health";

/// The finding, and whether anybody answered at all.
pub struct Health {
    pub finding: Finding,
    pub reached: bool,
    /// Of the last answer, where there was one.
    pub status: Option<u16>,
}

/// What is expected.
pub fn expected(path: &str) -> String {
    format!("200 at {path}")
}

/// Asks until the answer is 200 or never will be, at most for the verifier's patience.
pub async fn check(verifier: &Verifier, base: &Url, path: &str) -> Health {
    let expected = expected(path);
    let url = below(base, path);
    let started = verifier.clock.now();
    let last: Mutex<Option<Result<Answer, Silence>>> = Mutex::new(None);
    let look = || async {
        let request = verifier.get(url.clone());
        let got = verifier.http.send(request).await;
        let waits_for = may_change(&got);
        let is_shut = matches!(&got, Ok(answer) if answer.status == 403);
        let waited = between(started, verifier.clock.now());
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(got);
        Ok(match waits_for {
            Some(_) if waited >= verifier.settings.patience && !is_shut => Look::Found(()),
            Some(why) => Look::NotYet(why),
            None => Look::Found(()),
        })
    };
    // Who may call is known everywhere only minutes after it was changed; nothing else takes that
    // long.
    let settings = &verifier.settings;
    let pace = Pace::until(settings.patience.max(settings.admission));
    // At the deadline the last answer is what was got.
    let _ = poll(verifier.clock.as_ref(), pace, "health", look).await;
    let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    let waited = between(started, verifier.clock.now());
    let status = match &last {
        Some(Ok(answer)) => Some(answer.status),
        Some(Err(_)) | None => None,
    };
    let (judgement, reached) = match last {
        None => (Err("not asked".to_owned()), false),
        Some(Err(silence)) => (Err(silence.why), !silence.unreachable),
        Some(Ok(answer)) => (
            answer.expect_status(200).map(|()| answer.status_words()),
            true,
        ),
    };
    Health {
        finding: Finding::judged(CHECK, expected, waited, judgement),
        reached,
        status,
    }
}

/// Why the next answer may be another one: a load balancer that knows no healthy target yet, a
/// front that does not know the name yet (404), an invoker binding that is not everywhere yet
/// (403).
fn may_change(got: &Result<Answer, Silence>) -> Option<String> {
    match got {
        Err(silence) => Some(silence.why.clone()),
        Ok(answer) => match answer.status {
            403 | 404 | 429 | 500..=599 => Some(answer.status_words()),
            _ => None,
        },
    }
}
