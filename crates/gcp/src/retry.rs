//! Which calls to Google are tried again, and after how long: the clients' own loop with this
//! project's patience.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deployer_core::rate::retry_after;
use deployer_core::reach::Obstacle;
use google_cloud_gax::backoff_policy::BackoffPolicy;
use google_cloud_gax::error::rpc::StatusDetails;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::{
    Aip194Strict, LimitedAttemptCount, LimitedElapsedTime, RetryPolicy, RetryPolicyExt,
};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;
use http::header::{DATE, RETRY_AFTER};

use crate::error::{CloudError, is_rate_limit};
use crate::gcloud::Refused;

/// How often a call that changes nothing when repeated is tried at most.
const ATTEMPTS: u32 = 6;
/// How long a pause may be that Google asks for.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a call that is refused for its rate is tried again: quotas are counted by the minute.
const RATE: Duration = Duration::from_secs(2 * 60);

/// Calls that change nothing when repeated, as AIP-194 says; and every call that was refused for
/// its rate, since that one was not carried out. A quota that is used up stays so, however often
/// one asks.
#[derive(Debug)]
pub(crate) struct Patient {
    usual: LimitedAttemptCount<LimitedElapsedTime<Aip194Strict>>,
    asked: Asked,
    refused: Refused,
}

/// How long Google asked to wait, by the call: its start is what policy and pauses both know of it.
type Asked = Arc<Mutex<BTreeMap<Instant, Duration>>>;

/// What is tried again, and after how long. All tries of one call together end after four times
/// `call_timeout`. Whose token was `refused` gets another one.
pub(crate) fn policies(call_timeout: Duration, refused: &Refused) -> (Patient, Pauses) {
    let usual = Aip194Strict.with_time_limit(call_timeout * 4);
    let asked = Asked::default();
    let patient = Patient {
        usual: usual.with_attempt_limit(ATTEMPTS),
        asked: Arc::clone(&asked),
        refused: refused.clone(),
    };
    (patient, Pauses::new(asked))
}

impl RetryPolicy for Patient {
    fn on_error(&self, state: &RetryState, error: CloudError) -> RetryResult {
        if let Some(pause) = asked_for(&error) {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(state.start, pause);
        }
        // A certificate that is not trusted, a proxy that wants a login: no try will mend that.
        if Obstacle::in_error(&error).is_some() {
            return RetryResult::Permanent(error);
        }
        // Whatever the token was refused for: another one is asked for, once. Nothing was carried
        // out.
        if error.http_status_code() == Some(401) && state.attempt_count <= 1 {
            self.refused.set();
            return RetryResult::Continue(error);
        }
        match is_rate_limit(&error) && state.start.elapsed() < RATE {
            true => RetryResult::Continue(error),
            false => self.usual.on_error(state, error),
        }
    }

    fn remaining_time(&self, state: &RetryState) -> Option<Duration> {
        self.usual.remaining_time(state)
    }
}

/// The pauses between tries: as long as Google asks for, else a random part of 0.2 s at first, of
/// 10 s at most.
#[derive(Debug)]
pub(crate) struct Pauses {
    usual: ExponentialBackoff,
    asked: Asked,
}

impl Pauses {
    fn new(asked: Asked) -> Self {
        let usual = ExponentialBackoffBuilder::new()
            .with_initial_delay(Duration::from_millis(200))
            .with_maximum_delay(Duration::from_secs(10))
            .clamp();
        Self { usual, asked }
    }
}

impl BackoffPolicy for Pauses {
    fn on_failure(&self, state: &RetryState) -> Duration {
        let usual = self.usual.on_failure(state);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.remove(&state.start);
        asked.map_or(usual, |asked| asked.min(LONGEST).max(usual))
    }
}

/// How long Google asks to wait: in the error's details, or in the answer's header.
fn asked_for(error: &CloudError) -> Option<Duration> {
    let details = error.status().map(|status| status.details.as_slice());
    let told = details
        .unwrap_or_default()
        .iter()
        .find_map(|detail| match detail {
            StatusDetails::RetryInfo(info) => Duration::try_from(info.retry_delay?).ok(),
            _ => None,
        });
    told.or_else(|| {
        let header = |name| error.http_headers()?.get(name)?.to_str().ok();
        retry_after(header(RETRY_AFTER)?, header(DATE))
    })
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::{Code, Status};
    use google_cloud_rpc::model::{ErrorInfo, QuotaFailure, RetryInfo};

    use super::*;

    fn refused(code: Code, details: Vec<StatusDetails>) -> CloudError {
        CloudError::service(Status::default().set_code(code).set_details(details))
    }

    fn tried_again(idempotent: bool, error: CloudError) -> bool {
        let state = RetryState::new(idempotent);
        let (patient, _) = policies(Duration::from_secs(60), &Refused::default());
        matches!(patient.on_error(&state, error), RetryResult::Continue(_))
    }

    #[test]
    fn a_token_that_is_refused_is_asked_for_anew_once() {
        let (patient, _) = policies(Duration::from_secs(60), &Refused::default());
        let refused = || CloudError::http(401, http::HeaderMap::new(), bytes::Bytes::new());
        let tried_again = |attempt: u32| {
            let state = RetryState::new(false).set_attempt_count(attempt);
            matches!(
                patient.on_error(&state, refused()),
                RetryResult::Continue(_)
            )
        };
        assert!(tried_again(1));
        assert!(!tried_again(2));
    }

    #[test]
    fn what_was_refused_for_its_rate_is_tried_again_even_when_it_must_not_be_done_twice() {
        let info = ErrorInfo::new().set_reason("RATE_LIMIT_EXCEEDED");
        let rate = vec![StatusDetails::ErrorInfo(info)];
        assert!(tried_again(false, refused(Code::ResourceExhausted, rate)));
        assert!(tried_again(false, refused(Code::ResourceExhausted, vec![])));
        let quota = vec![StatusDetails::QuotaFailure(QuotaFailure::new())];
        assert!(!tried_again(true, refused(Code::ResourceExhausted, quota)));
    }

    #[test]
    fn what_may_have_been_done_is_tried_again_only_when_that_changes_nothing() {
        assert!(tried_again(true, refused(Code::Unavailable, vec![])));
        assert!(!tried_again(false, refused(Code::Unavailable, vec![])));
        assert!(!tried_again(true, refused(Code::PermissionDenied, vec![])));
    }

    #[test]
    fn a_pause_is_as_long_as_google_asks_for() {
        let (patient, pauses) = policies(Duration::from_secs(60), &Refused::default());
        let state = RetryState::new(true);
        let pause = |details: Vec<StatusDetails>| {
            let refusal = refused(Code::ResourceExhausted, details);
            let _ = patient.on_error(&state, refusal);
            pauses.on_failure(&state)
        };
        let asks = |seconds| {
            let delay = Duration::from_secs(seconds).try_into().unwrap();
            vec![StatusDetails::RetryInfo(
                RetryInfo::new().set_retry_delay::<google_cloud_wkt::Duration>(delay),
            )]
        };
        assert_eq!(pause(asks(7)), Duration::from_secs(7));
        assert_eq!(pause(asks(3600)), LONGEST);
        // What was asked for once counts once.
        assert!(pause(vec![]) < Duration::from_secs(1));
        assert!(pauses.asked.lock().unwrap().is_empty());
    }

    #[test]
    fn a_pause_may_be_asked_for_in_a_header() {
        let headers =
            http::HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static("12"))]);
        let error = CloudError::http(503, headers, "busy".into());
        assert_eq!(asked_for(&error), Some(Duration::from_secs(12)));
    }
}
