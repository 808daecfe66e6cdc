//! `Retry-After`: an API that asks for time gets it, from this call and from every other one to it.
//!
//! The SDK knows a header of AWS's own and gives five seconds at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use deployer_core::clock::Clock;
use deployer_core::rate::retry_after;

/// What is asked for beyond this is not waited for: the API is asked again.
const LONGEST: Duration = Duration::from_secs(60);

/// Until when each API is left alone, by the clock that nobody sets.
pub(crate) struct Pauses {
    clock: Arc<dyn Clock>,
    until: Mutex<HashMap<String, Duration>>,
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
    pub(crate) fn note(&self, api: &str, answer: &HttpResponse) {
        let headers = answer.headers();
        let told = headers.get("retry-after");
        let Some(asked) = told.and_then(|told| retry_after(told, headers.get("date"))) else {
            return;
        };
        let until = self.clock.elapsed() + asked.min(LONGEST);
        let mut all = self.lock();
        let known = all.entry(api.to_owned()).or_default();
        *known = until.max(*known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pauses").field(&*self.lock()).finish()
    }
}

/// Which API a request goes to: its host, and what its header of the action begins with where
/// several share one.
pub(crate) fn api(request: &HttpRequest) -> String {
    let uri = request.uri();
    let after = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let host = after.split('/').next().unwrap_or_default();
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let service = target.split('.').next().unwrap_or_default();
    format!("{host} {service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_that_share_a_host_are_told_apart() {
        let to = |uri: &str, target: Option<&'static str>| {
            let mut request = HttpRequest::empty();
            request.set_uri(uri.to_owned()).unwrap();
            if let Some(target) = target {
                request.headers_mut().insert("x-amz-target", target);
            }
            api(&request)
        };
        let ecs = Some("AmazonEC2ContainerServiceV20141113.RunTask");
        let one = "http://127.0.0.1:4566/";
        assert_ne!(to(one, ecs), to(one, Some("Logs_20140328.PutLogEvents")));
        assert_eq!(
            to(one, ecs),
            to(one, Some("AmazonEC2ContainerServiceV20141113.StopTask"))
        );
        let rds = to("https://rds.us-east-1.amazonaws.com/", None);
        assert_ne!(
            rds,
            to("https://elasticache.us-east-1.amazonaws.com/", None)
        );
    }
}
