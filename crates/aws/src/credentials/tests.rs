//! Where credentials come from, tried with servers and files of our own.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Gives credentials that last so many seconds, and counts how often it is asked.
#[derive(Debug)]
struct Counted {
    seconds: u64,
    asked: Arc<AtomicU32>,
    fails_after: u32,
}

impl ProvideCredentials for Counted {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        if asked > self.fails_after {
            let silent = CredentialsError::provider_error("nobody answers");
            return future::ProvideCredentials::ready(Err(silent));
        }
        let end = SystemTime::now() + Duration::from_secs(self.seconds);
        let found = Found::new(format!("AKID{asked}"), "secret", None, Some(end), "test");
        future::ProvideCredentials::ready(Ok(found))
    }
}

fn given(seconds: u64, fails_after: u32) -> (Credentials, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let provider = Counted {
        seconds,
        asked: Arc::clone(&asked),
        fails_after,
    };
    let credentials = Credentials::given(SharedCredentialsProvider::new(provider));
    (credentials, asked)
}

#[tokio::test]
async fn credentials_are_asked_for_once_while_they_last_whoever_uses_them() {
    let (credentials, asked) = given(3600, u32::MAX);
    let other_client = credentials.clone();
    for _ in 0..50 {
        credentials.provide_credentials().await.unwrap();
        other_client.provide_credentials().await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn five_minutes_before_their_end_newer_ones_are_asked_for() {
    let (credentials, asked) = given(290, 1);
    let first = credentials.provide_credentials().await.unwrap();
    // A source that has none that last longer is not asked for each call.
    let again = credentials.provide_credentials().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let long_ago = Instant::now().checked_sub(BETWEEN_LOOKS);
    let mut kept = credentials.0.kept.lock().await;
    kept.as_mut().unwrap().at = long_ago.expect("this machine runs for a while");
    drop(kept);
    // It does not answer: what has an end to come is used up to it.
    let last = credentials.provide_credentials().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(first.access_key_id(), "AKID1");
    assert_eq!(again.access_key_id(), last.access_key_id());
}

#[tokio::test]
async fn what_has_ended_is_not_used_any_more() {
    let (credentials, asked) = given(0, 2);
    credentials.provide_credentials().await.unwrap();
    credentials.provide_credentials().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(credentials.provide_credentials().await.is_err());
}

#[test]
fn credentials_are_not_in_debug_output() {
    let (credentials, _) = given(3600, 1);
    assert_eq!(format!("{credentials:?}"), "Credentials([redacted])");
}
