//! Repeats what is safe to repeat, a bounded number of times; the only place that waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::Error;

/// How to let time pass; a test gives one that returns at once and notes what it was asked for.
pub type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// The first wait when the registry does not name one; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest single wait, also when a registry asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often and how patiently a step that failed for a passing reason is tried again.
#[derive(Clone)]
pub struct Retry {
    attempts: u32,
    sleep: Sleep,
}

impl Default for Retry {
    /// Six attempts on tokio's clock: about six seconds of waiting unless the registry asks for
    /// more.
    fn default() -> Self {
        Self::new(6, Arc::new(|wait| Box::pin(tokio::time::sleep(wait))))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Retry {
    /// At most `attempts` tries of each step (at least one), waiting with `sleep` in between.
    ///
    /// A wait doubles from 200 ms, or is what `Retry-After` says in seconds, and is never longer
    /// than 30 s.
    pub fn new(attempts: u32, sleep: Sleep) -> Self {
        Self {
            attempts: attempts.max(1),
            sleep,
        }
    }

    /// Runs `step` until it succeeds, fails for good or the attempts are spent.
    ///
    /// `step` is given the number of the attempt, from 1. `before_wait` hears of each failure that
    /// is going to be followed by another attempt.
    pub(crate) async fn run<T, F>(
        &self,
        mut step: impl FnMut(u32) -> F,
        mut before_wait: impl FnMut(&Error, Duration),
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 1;
        loop {
            let error = match step(attempt).await {
                Err(error) if error.transient() && attempt < self.attempts => error,
                result => return result,
            };
            let wait = error
                .retry_after()
                .unwrap_or_else(|| FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(16)))
                .min(LONGEST_WAIT);
            before_wait(&error, wait);
            (self.sleep)(wait).await;
            attempt += 1;
        }
    }
}
