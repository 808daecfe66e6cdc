//! `Retry-After`: an API that asks for time gets it, from this call and from every other one to it.
//!
//! The SDK knows a header of AWS's own and gives five seconds at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use deployer_core::clock::Clock;
use deployer_core::rate::retry_after;

/// What is asked for beyond this is not waited for: the API is asked again.
const LONGEST: Duration = Duration::from_secs(60);

/// Until when each API is left alone, by the clock that nobody sets.
pub(crate) struct Pauses {
    clock: Arc<dyn Clock>,
    until: Mutex<HashMap<&'static str, Duration>>,
}

impl Pauses {
    /// None has asked for any time.
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            until: Mutex::default(),
        }
    }

    /// Returns when this API may be asked.
    pub(crate) async fn over(&self, api: &str) {
        loop {
            let left = self.left(api);
            if left.is_zero() {
                return;
            }
            self.clock.pause(left).await;
        }
    }

    /// How long this API is still to be left alone.
    pub(crate) fn left(&self, api: &str) -> Duration {
        let until = self.lock().get(api).copied().unwrap_or_default();
        until.saturating_sub(self.clock.elapsed())
    }

    /// Takes notice of what this API answered.
    pub(crate) fn note(&self, api: &'static str, answer: &HttpResponse) {
        let headers = answer.headers();
        let told = headers.get("retry-after");
        let Some(asked) = told.and_then(|told| retry_after(told, headers.get("date"))) else {
            return;
        };
        let until = self.clock.elapsed() + asked.min(LONGEST);
        let mut all = self.lock();
        let known = all.entry(api).or_default();
        *known = until.max(*known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Duration>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pauses").field(&*self.lock()).finish()
    }
}
