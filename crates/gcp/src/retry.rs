//! Which calls to Google are tried again, and after how long: the clients' own loop with this project's patience.

use std::time::Duration;

use google_cloud_gax::error::rpc::{Code, StatusDetails};
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::{
    Aip194Strict, LimitedAttemptCount, LimitedElapsedTime, RetryPolicy, RetryPolicyExt,
};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;

use crate::error::CloudError;

/// How often a call that changes nothing when repeated is tried at most.
const ATTEMPTS: u32 = 6;
/// How long a call that is refused for its rate is tried again: quotas are counted by the minute.
const RATE: Duration = Duration::from_secs(2 * 60);

/// Calls that change nothing when repeated, as AIP-194 says; and every call that was refused for its rate, since that
/// one was not carried out. A quota that is used up stays so, however often one asks.
#[derive(Debug)]
pub(crate) struct Patient {
    usual: LimitedAttemptCount<LimitedElapsedTime<Aip194Strict>>,
}

impl Patient {
    /// All tries of one call together end after four times `call_timeout`.
    pub(crate) fn new(call_timeout: Duration) -> Self {
        let usual = Aip194Strict.with_time_limit(call_timeout * 4);
        Self {
            usual: usual.with_attempt_limit(ATTEMPTS),
        }
    }
}

impl RetryPolicy for Patient {
    fn on_error(&self, state: &RetryState, error: CloudError) -> RetryResult {
        match is_rate_limit(&error) && state.start.elapsed() < RATE {
            true => RetryResult::Continue(error),
            false => self.usual.on_error(state, error),
        }
    }

    fn remaining_time(&self, state: &RetryState) -> Option<Duration> {
        self.usual.remaining_time(state)
    }
}

fn is_rate_limit(error: &CloudError) -> bool {
    let Some(status) = error.status() else {
        return error.http_status_code() == Some(429);
    };
    let says_rate = status.details.iter().any(
        |detail| matches!(detail, StatusDetails::ErrorInfo(info) if info.reason.contains("RATE")),
    );
    let says_quota = status
        .details
        .iter()
        .any(|detail| matches!(detail, StatusDetails::QuotaFailure(_)));
    status.code == Code::ResourceExhausted && (says_rate || !says_quota)
}

/// The pauses between tries: a random part of 0.2 s at first, of 10 s at most.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(200))
        .with_maximum_delay(Duration::from_secs(10))
        .clamp()
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;
    use google_cloud_rpc::model::{ErrorInfo, QuotaFailure};

    use super::*;

    fn refused(code: Code, details: Vec<StatusDetails>) -> CloudError {
        CloudError::service(Status::default().set_code(code).set_details(details))
    }

    fn tried_again(idempotent: bool, error: CloudError) -> bool {
        let state = RetryState::new(idempotent);
        let patient = Patient::new(Duration::from_secs(60));
        matches!(patient.on_error(&state, error), RetryResult::Continue(_))
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
}
