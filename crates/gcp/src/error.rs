//! Turns Google's errors into the project's own: kind, action and object, the cloud's words, a
//! hint.

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::Refused;
use deployer_core::node::Reading;
use deployer_core::reach::{Obstacle, Unreached};
use deployer_core::redaction::Redaction;
use google_cloud_gax::error::rpc::{Code, Status, StatusDetails};
use secrecy::SecretString;

use crate::hints::{self, LOGIN_HINT, QUOTA_HINT};

/// An error as the Google clients return it.
pub(crate) type CloudError = google_cloud_gax::error::Error;

/// What the cloud said, without the client's own framing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// What a look under a name found.
pub(crate) enum Found<T> {
    /// It is there.
    Here(T),
    /// Nothing is there.
    Absent,
    /// The caller may not look; the cloud's words.
    Denied(String),
}

impl<T> Found<T> {
    /// What is there, for people to see. `None` when nothing is.
    ///
    /// Errors: denied, as the failure of `action`.
    pub(crate) fn seen(self, action: &str) -> Result<Option<T>> {
        match self {
            Self::Here(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::Denied(why) => Err(Error::new(ErrorKind::Denied, action).because(why)),
        }
    }
}

impl<T> From<Found<T>> for Reading<T> {
    fn from(found: Found<T>) -> Self {
        match found {
            Found::Here(value) => Self::Present(value),
            Found::Absent => Self::Absent,
            Found::Denied(why) => Self::Denied(why),
        }
    }
}

/// The code of a call on what is not there.
pub(crate) const NOT_FOUND: &str = "NOT_FOUND";
/// The code of making what is there.
pub(crate) const ALREADY_EXISTS: &str = "ALREADY_EXISTS";

/// A call that failed, before it is said what was tried.
pub(crate) enum Refusal {
    /// Google's own.
    Said(Box<CloudError>),
    /// Ours, whole.
    Ours(Error),
}

impl From<CloudError> for Refusal {
    fn from(error: CloudError) -> Self {
        Self::Said(Box::new(error))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Refused for Refusal {
    fn is_one_of(&self, codes: &[&str]) -> bool {
        match self {
            Self::Said(error) => code(error).is_some_and(|it| codes.contains(&it.name())),
            Self::Ours(_) => false,
        }
    }

    fn denied(&self) -> Option<String> {
        match self {
            // An API that is switched off says nothing of what the caller may.
            Self::Said(error) => {
                (is_denied(error) && !is_switched_off(error)).then(|| denied(error))
            }
            Self::Ours(_) => None,
        }
    }

    fn of(self, action: &str) -> Error {
        match self {
            Self::Said(error) => failed(*error, &format!("cannot {action}")),
            Self::Ours(error) => error,
        }
    }
}

/// The cloud's words of a refusal, with what to do about it.
fn denied(error: &CloudError) -> String {
    let words = said(error);
    let hint = error.status().and_then(hints::of_status);
    match hint.or_else(|| hints::of_reason(reason(error)?)) {
        Some(hint) => format!("{words}; {hint}"),
        None => words,
    }
}

/// An error in one line, with what to do about it.
pub(crate) fn in_words(error: &Error) -> String {
    let words = error.chain().join(": ");
    match error.hint_text() {
        Some(hint) => format!("{words}; {hint}"),
        None => words,
    }
}

/// Sorts the outcome of a read: absent and denied are findings, everything else is an error.
pub(crate) fn found<T>(outcome: Result<T, CloudError>, action: &str) -> Result<Found<T>> {
    match outcome {
        Ok(value) => Ok(Found::Here(value)),
        Err(error) if is_absent(&error) => Ok(Found::Absent),
        // An API that is switched off says nothing of what the caller may.
        Err(error) if is_denied(&error) && !is_switched_off(&error) => {
            Ok(Found::Denied(denied(&error)))
        }
        Err(error) => Err(failed(error, action)),
    }
}

/// The value when it is there, `None` when it is absent; denied is an error here.
pub(crate) fn optional<T>(outcome: Result<T, CloudError>, action: &str) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(error, action)),
    }
}

/// Whether the cloud says that there is no such thing.
pub(crate) fn is_absent(error: &CloudError) -> bool {
    code(error) == Some(Code::NotFound)
}

/// Whether the cloud says that the caller may not.
pub(crate) fn is_denied(error: &CloudError) -> bool {
    code(error) == Some(Code::PermissionDenied)
}

/// Whether the API itself is off in a project: the one that the call counts against.
pub(crate) fn is_switched_off(error: &CloudError) -> bool {
    reason(error) == Some("SERVICE_DISABLED")
}

/// That project, by its id or number. `None` where the API is not off, or nothing tells.
pub(crate) fn off_in(error: &CloudError) -> Option<&str> {
    let details = error.status().filter(|_| is_switched_off(error))?;
    details.details.iter().find_map(|detail| match detail {
        StatusDetails::ErrorInfo(info) => {
            let consumer = info.metadata.get("consumer")?;
            Some(consumer.strip_prefix("projects/").unwrap_or(consumer))
        }
        _ => None,
    })
}

/// Whether the cloud says that the thing is in no state for the call.
pub(crate) fn is_unfit(error: &CloudError) -> bool {
    code(error) == Some(Code::FailedPrecondition)
}

/// Whether the cloud says that something of that name exists.
pub(crate) fn exists_already(error: &CloudError) -> bool {
    code(error) == Some(Code::AlreadyExists)
}

/// Whether an account that comes with an API is not known yet: Cloud Run's agent, or what it may do
/// with the account of the service (terraform-google-modules/terraform-google-cloud-run#28), or
/// that account itself.
pub(crate) fn is_new_account(error: &CloudError) -> bool {
    let words = error.status().map_or("", |status| status.message.as_str());
    words.contains("Service Agent does not have permission to get access tokens")
        || words.contains("ervice account") && words.contains("does not exist")
}

/// Whether the cloud says that what was sent is older than what is there (an etag that no longer
/// fits).
pub(crate) fn is_stale(error: &CloudError) -> bool {
    code(error) == Some(Code::Aborted) && !is_named_twice(error)
        || error.http_status_code() == Some(409) && !exists_already(error) && !is_named_twice(error)
        || error.http_status_code() == Some(412)
}

/// Whether a revision of the name in the template exists and differs.
pub(crate) fn is_named_twice(error: &CloudError) -> bool {
    let said = error.status().map_or("", |status| status.message.as_str());
    said.contains("Revision named") && said.contains("already exists")
}

/// Whether the organization's policy forbids it. Google's services spell that in several ways: a
/// violated constraint by name, `...ORG_POLICY...` as the reason, or the domain-restricted sharing
/// of IAM in its own words.
pub(crate) fn is_org_policy(error: &CloudError) -> bool {
    let refused = matches!(
        code(error),
        Some(Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument)
    );
    let Some(status) = error.status().filter(|_| refused) else {
        return false;
    };
    let says = status.message.to_lowercase();
    let by_words = [
        "org policy",
        "organization policy",
        "permitted customer",
        "constraints/",
    ];
    let by_reason = reason(error).is_some_and(|reason| reason.contains("ORG_POLICY"));
    by_reason || by_words.iter().any(|words| says.contains(words))
}

/// Whether the call came too fast: it may be made again later.
pub(crate) fn is_rate_limit(error: &CloudError) -> bool {
    code(error) == Some(Code::ResourceExhausted) && !error.status().is_some_and(says_used_up)
}

/// Whether a refusal is one for its rate although it comes as 403: the older APIs' reasons, and the
/// quotas by the minute of which Compute Engine and others say so ("GCE returns the wrong error
/// code, as this should be a 429": `is403QuotaExceededPerMinuteError` in
/// terraform-provider-google's error_retry_predicates.go).
fn is_rate_as_403(error: &CloudError) -> bool {
    let status = error.status();
    let words = status.map_or("", |status| status.message.as_str());
    let by_reason = matches!(
        reason(error),
        Some("rateLimitExceeded" | "userRateLimitExceeded")
    );
    let by_words =
        words.contains("Quota exceeded for quota metric") && words.contains("per minute");
    let is_403 = error.http_status_code() == Some(403)
        || status.is_some_and(|status| status.code == Code::PermissionDenied);
    is_403 && (by_reason || by_words)
}

/// Whether there may be no more of something, however often one asks.
fn says_used_up(status: &Status) -> bool {
    let details = &status.details;
    let says_rate = details.iter().any(
        |detail| matches!(detail, StatusDetails::ErrorInfo(info) if info.reason.contains("RATE")),
    );
    let mut quotas = details.iter();
    let says_quota = quotas.any(|detail| matches!(detail, StatusDetails::QuotaFailure(_)));
    status.code == Code::ResourceExhausted && says_quota && !says_rate
}

/// The error of a call; `action` names what was tried and on what: "cannot create service `x`".
pub(crate) fn failed(error: CloudError, action: &str) -> Error {
    // What was not permitted was never sent: the reason is ours and whole.
    if let Some(ours) = Error::found_in(&error) {
        return ours;
    }
    if let Some(obstacle) = Obstacle::in_error(&error) {
        let ours = obstacle.error("Google Cloud");
        return Error::new(ours.kind(), action).because(ours);
    }
    if let Some(unreached) = Unreached::in_error(&error, None) {
        let set = std::env::var("DEPLOYER_GCP_ENDPOINT").ok();
        let is_its = set.is_some_and(|url| unreached.is_of(&url));
        let why = unreached.error(is_its.then_some("DEPLOYER_GCP_ENDPOINT"));
        return Error::new(why.kind(), action).because(why);
    }
    let kind = kind(&error);
    let result = Error::new(kind, action);
    let result = match hint(kind, &error) {
        Some(hint) => result.hint(hint),
        None => result,
    };
    match error.status() {
        Some(_) => result.because(Said(said(&error))),
        None => result.because(error),
    }
}

/// An error that cannot repeat the value, in plain or as it was sent, whatever the other side wrote
/// into its message.
pub(crate) fn without(error: Error, value: &SecretString) -> Error {
    Redaction::of_whole(value).without(error)
}

/// The error of an operation or a resource that ended badly in the cloud.
pub(crate) fn ended_badly(code: i32, message: &str, action: &str) -> Error {
    let code = Code::from(code);
    let kind = match kind_of(code) {
        ErrorKind::Unavailable | ErrorKind::Internal => ErrorKind::Failed,
        other => other,
    };
    let error = Error::new(kind, action);
    let error = match hints::of_words(message) {
        Some(hint) => error.hint(hint),
        None => error,
    };
    error.because(Said(format!("{}: {message}", code.name())))
}

/// The cloud's words.
pub(crate) fn said(error: &CloudError) -> String {
    let Some(status) = error.status() else {
        return error.to_string();
    };
    words(code(error).unwrap_or(status.code), status)
}

fn words(code: Code, status: &Status) -> String {
    let mut text = format!("{}: {}", code.name(), status.message);
    for detail in &status.details {
        if let StatusDetails::BadRequest(bad) = detail {
            for violation in &bad.field_violations {
                if !text.contains(&violation.description) {
                    text.push_str(&format!("; {}: {}", violation.field, violation.description));
                }
            }
        }
    }
    text
}

fn code(error: &CloudError) -> Option<Code> {
    if is_rate_as_403(error) {
        return Some(Code::ResourceExhausted);
    }
    if let Some(status) = error.status()
        && status.code != Code::Unknown
    {
        return Some(status.code);
    }
    // Cloud SQL and Cloud DNS answer in the older shape: no status word, but a reason each.
    match error.http_status_code()? {
        400 => Some(Code::InvalidArgument),
        409 if reason(error).is_some_and(|reason| reason.ends_with("lreadyExists")) => {
            Some(Code::AlreadyExists)
        }
        401 => Some(Code::Unauthenticated),
        403 => Some(Code::PermissionDenied),
        404 => Some(Code::NotFound),
        409 | 412 => Some(Code::Aborted),
        429 => Some(Code::ResourceExhausted),
        500..=599 => Some(Code::Unavailable),
        _ => None,
    }
}

/// The reason that the cloud names beside its words: `operationInProgress`, `SERVICE_DISABLED`.
pub(crate) fn reason(error: &CloudError) -> Option<&str> {
    let details = &error.status()?.details;
    details.iter().find_map(|detail| match detail {
        StatusDetails::ErrorInfo(info) if !info.reason.is_empty() => Some(info.reason.as_str()),
        _ => None,
    })
}

fn kind(error: &CloudError) -> ErrorKind {
    if error.is_authentication() {
        return ErrorKind::Credentials;
    }
    if error.status().is_some_and(says_used_up) || is_switched_off(error) {
        return ErrorKind::Rejected;
    }
    if let Some(code) = code(error) {
        return kind_of(code);
    }
    if error.is_timeout()
        || error.is_exhausted()
        || error.is_io()
        || error.is_connect()
        || error.is_transport()
    {
        return ErrorKind::Unavailable;
    }
    if error.is_binding() {
        return ErrorKind::Input;
    }
    ErrorKind::Rejected
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::Unauthenticated => ErrorKind::Credentials,
        Code::PermissionDenied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists | Code::Aborted => ErrorKind::Conflict,
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unknown
        | Code::Cancelled => ErrorKind::Unavailable,
        // Google's own list is open; what is new to us was refused as it stood.
        _ => ErrorKind::Rejected,
    }
}

fn hint(kind: ErrorKind, error: &CloudError) -> Option<String> {
    if kind == ErrorKind::Credentials {
        return Some(LOGIN_HINT.to_owned());
    }
    if error.status().is_some_and(says_used_up) {
        return Some(QUOTA_HINT.to_owned());
    }
    hints::of_status(error.status()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code, message: &str) -> CloudError {
        CloudError::service(Status::default().set_code(code).set_message(message))
    }

    #[test]
    fn denied_is_never_taken_for_absent() {
        let outcome: Result<(), CloudError> = Err(refused(
            Code::PermissionDenied,
            "denied (or it may not exist)",
        ));
        assert!(matches!(
            found(outcome, "cannot read it").unwrap(),
            Found::Denied(words) if words.contains("may not exist")
        ));
        let outcome: Result<(), CloudError> = Err(refused(Code::NotFound, "no such thing"));
        assert!(matches!(
            found(outcome, "cannot read it").unwrap(),
            Found::Absent
        ));
    }

    #[test]
    fn an_error_names_the_action_first_and_then_the_clouds_words() {
        let error = failed(
            refused(Code::InvalidArgument, "memory is too small"),
            "cannot create service `idp`",
        );
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert_eq!(
            error.chain(),
            [
                "cannot create service `idp`",
                "INVALID_ARGUMENT: memory is too small"
            ]
        );
    }

    #[test]
    fn an_error_never_repeats_the_value_however_it_was_sent() {
        for told in ["hunter22", "aHVudGVyMjI="] {
            let said = format!("Invalid value at 'payload.data': \"{told}\"");
            let error = failed(
                refused(Code::InvalidArgument, &said),
                "cannot add a version",
            );
            let shown = without(error, &"hunter22".into());
            let shown = format!("{shown:?} {}", shown.chain().join(" "));
            assert!(
                !shown.contains("hunter22") && !shown.contains("aHVud"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_rate_that_comes_as_403_is_no_refusal_and_a_quota_by_the_day_is() {
        let told = |reason: &str, message: &str| {
            let body = serde_json::json!({ "error": { "code": 403, "message": message, "errors": [
                { "domain": "usageLimits", "reason": reason, "message": message },
            ] } });
            let body = bytes::Bytes::from(body.to_string());
            let status = Status::try_from(&body).unwrap();
            CloudError::service_with_http_metadata(status, Some(403), None)
        };
        for reason in ["rateLimitExceeded", "userRateLimitExceeded"] {
            let rate = told(reason, "Rate Limit Exceeded");
            assert!(is_rate_limit(&rate) && !is_denied(&rate));
            assert_eq!(failed(rate, "x").kind(), ErrorKind::Unavailable);
        }
        let quota = |time: &str| {
            let words = format!(
                "Quota exceeded for quota metric 'Queries' and limit 'Queries {time}' of service 'x' for consumer 'y'."
            );
            refused(Code::PermissionDenied, &words)
        };
        assert!(is_rate_limit(&quota("per minute")));
        assert!(!is_rate_limit(&quota("per day")) && is_denied(&quota("per day")));
    }

    #[test]
    fn what_may_not_be_read_says_which_role_would_let_it() {
        let body = br#"{"error":{"code":403,"message":"The client is not authorized to make this request.",
            "errors":[{"domain":"global","reason":"notAuthorized"}]}}"#;
        let body = bytes::Bytes::copy_from_slice(body);
        let status = Status::try_from(&body).unwrap();
        let refused = CloudError::service_with_http_metadata(status, Some(403), None);
        let outcome: Result<(), CloudError> = Err(refused);
        assert!(matches!(
            found(outcome, "cannot read it").unwrap(),
            Found::Denied(words) if words.contains("roles/cloudsql.admin")
        ));
    }

    #[test]
    fn a_quota_that_is_used_up_is_a_refusal_and_a_rate_is_not() {
        let exhausted = |details| {
            let status = Status::default().set_code(Code::ResourceExhausted);
            failed(CloudError::service(status.set_details(details)), "x")
        };
        let quota = StatusDetails::QuotaFailure(google_cloud_rpc::model::QuotaFailure::new());
        let used_up = exhausted(vec![quota.clone()]);
        assert_eq!(used_up.kind(), ErrorKind::Rejected);
        assert!(used_up.hint_text().unwrap().contains("higher quota"));
        let info = google_cloud_rpc::model::ErrorInfo::new().set_reason("RATE_LIMIT_EXCEEDED");
        let rate = exhausted(vec![quota, StatusDetails::ErrorInfo(info)]);
        assert_eq!(rate.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn throttling_and_server_errors_can_be_tried_again_and_refused_credentials_hint_at_the_login() {
        for code in [Code::ResourceExhausted, Code::Unavailable, Code::Internal] {
            assert_eq!(
                failed(refused(code, ""), "x").kind(),
                ErrorKind::Unavailable
            );
        }
        let error = failed(
            refused(Code::Unauthenticated, "bad token"),
            "cannot read service `idp`",
        );
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(error.hint_text().unwrap().contains("gcloud auth"));
    }
}
