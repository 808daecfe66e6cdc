//! The one map from what the AWS SDKs say to what a person or a program can do about it.

use std::fmt;

use aws_sdk_ecs::error::{BuildError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::{Refused, read_or_sort};
use deployer_core::node::Reading;
use deployer_core::reach::Unreached;
use deployer_core::redaction::Redaction;
use secrecy::SecretString;

use crate::gate::ANSWERED_BY;
use crate::rates;

/// What helps where an account never used App Runner.
const CLOSED: &str = "App Runner takes no new customers since 2026-04-30: run it on ECS \
                                 (`runtime = \"ecs\"` in `[targets.aws]`, with `cluster`, `subnets` and `execution_role`)";

/// What AWS answers to an account that has not subscribed to a service ("Common Error Types" of its
/// query APIs: `OptInRequired`, "The AWS access key ID needs a subscription for the service"; its
/// JSON APIs call the same `SubscriptionRequiredException`).
const UNSUBSCRIBED: [&str; 2] = ["SubscriptionRequiredException", "OptInRequired"];

/// What AWS answered, in its own words; the source of every error of this crate.
#[derive(Debug)]
struct Answer(String);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Answer {}

/// Turns an SDK's failure into ours.
pub(crate) trait Told<T> {
    /// `action` names action and object: "create service `idp`"; the message says that it cannot be
    /// done.
    fn told(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E> Told<T> for Result<T, SdkError<E>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn told(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| failure(&error, &action()))
    }
}

impl<T> Told<T> for Result<T, Refusal> {
    fn told(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|refusal| refusal.of(&action()))
    }
}

/// The error code that AWS answered with; `None` when it did not answer.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

/// The message that AWS answered with; empty when it did not answer.
pub(crate) fn words<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::message)
        .unwrap_or_default()
}

/// `Some(words)` when the caller may not do it.
pub(crate) fn denied<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<String> {
    let code = code(error)?;
    (kind_of(code, None) == ErrorKind::Denied).then(|| words(error).to_owned())
}

/// A call that failed, before it is said what was tried.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What we ourselves say: what was not permitted was never sent.
    ours: Option<Error>,
    kind: ErrorKind,
    code: Option<String>,
    /// AWS's own; empty when it did not answer.
    words: String,
    answer: String,
    /// What helps, where that is known better than by code and words.
    hint: Option<&'static str>,
    /// Who took no connection.
    unreached: Option<Unreached>,
}

impl Refusal {
    /// Of a call.
    pub(crate) fn new<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let (kind, answer) = match code(error) {
            Some(code) => (kind_of(code, status), format!("{code}: {}", words(error))),
            None => unanswered(error, status),
        };
        let of_app_runner = error
            .raw_response()
            .and_then(|response| response.headers().get(ANSWERED_BY))
            == Some(rates::APP_RUNNER.prefix);
        let is_closed = |code: &str| is_closed(code, words(error));
        let closed = of_app_runner && code(error).is_some_and(is_closed);
        Self {
            hint: closed.then_some(CLOSED),
            ours: Error::found_in(error),
            // No permission lets a closed account in: it is no affair of who may what.
            kind: if closed { ErrorKind::Rejected } else { kind },
            code: code(error).map(str::to_owned),
            words: words(error).to_owned(),
            answer,
            unreached: match kind {
                ErrorKind::Unavailable => Unreached::in_error(error, None),
                _ => None,
            },
        }
    }
}

impl Refusal {
    /// Whether the call may have landed although no answer came.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.ours.is_none() && self.kind == ErrorKind::Unavailable
    }

    /// The same with what helps against it.
    pub(crate) fn hinting(self, hint: &'static str) -> Self {
        let hint = Some(self.hint.unwrap_or(hint));
        Self { hint, ..self }
    }

    /// Whether AWS's own words have these among them, in whatever case.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.words.to_lowercase().contains(&words.to_lowercase())
    }
}

impl<E> From<SdkError<E>> for Refusal
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        Self::new(&error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind(),
            ours: Some(error),
            code: None,
            words: String::new(),
            answer: String::new(),
            hint: None,
            unreached: None,
        }
    }
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        incomplete(error).into()
    }
}

impl Refused for Refusal {
    /// Some services add `Fault` to a code in one place and leave it out in another.
    fn is_one_of(&self, codes: &[&str]) -> bool {
        let plain = |code: &str| code.trim_end_matches("Fault").to_owned();
        let mine = self.code.as_deref().map(plain);
        mine.is_some_and(|mine| codes.iter().any(|it| plain(it) == mine))
    }

    fn denied(&self) -> Option<String> {
        let is_answer = self.ours.is_none() && self.code.is_some();
        (is_answer && self.kind == ErrorKind::Denied).then(|| self.words.clone())
    }

    fn of(self, action: &str) -> Error {
        if let Some(ours) = self.ours {
            return ours;
        }
        let error = Error::new(self.kind, format!("cannot {action}"));
        if let Some(unreached) = self.unreached {
            let set = std::env::var("AWS_ENDPOINT_URL").ok();
            let is_its = set.is_some_and(|url| unreached.is_of(&url));
            return error.because(unreached.error(is_its.then_some("AWS_ENDPOINT_URL")));
        }
        let error = error.because(Answer(self.answer));
        let of_code = self
            .hint
            .or_else(|| self.code.as_deref().and_then(hint_for));
        let of_code = of_code.map(str::to_owned);
        match of_code.or_else(|| hint_for_words(action, &self.words)) {
            Some(hint) => error.hint(hint),
            None => with_hint(error, self.kind),
        }
    }
}

/// The error for a failed call.
pub(crate) fn failure<E>(error: &SdkError<E>, action: &str) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    Refusal::new(error).of(action)
}

/// What a failed look means: absent for the code `absent`, denied where the caller may not see it,
/// else an error. `what` names the thing.
pub(crate) fn unseen<A, E>(error: &SdkError<E>, absent: &str, what: &str) -> Result<Reading<A>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    read_or_sort(Refusal::new(error), &[absent], what)
}

/// What helps against one refusal in particular.
fn hint_for(code: &str) -> Option<&'static str> {
    match code {
        "DBSubnetGroupDoesNotCoverEnoughAZs" => {
            Some("name subnets in at least two zones: `targets.aws.databases.NAME.subnets`")
        }
        "InvalidSubnet" | "InvalidVPCNetworkStateFault" | "SubnetNotAllowedFault" => {
            Some("check that the subnets and security groups are of one VPC")
        }
        "InsufficientDBInstanceCapacity" | "InsufficientCacheClusterCapacity" => {
            Some("AWS has none of that size there now: name another `class`, or try later")
        }
        "ServiceLinkedRoleNotFoundFault" => Some(
            "have the role made once: `aws iam create-service-linked-role --aws-service-name elasticache.amazonaws.com`",
        ),
        "KMSKeyNotAccessibleFault" => Some("allow the caller the key `aws/rds`"),
        _ if code.contains("QuotaExceeded")
            || code.contains("QuotaForCustomerExceeded")
            || code == "LimitExceededException" =>
        {
            Some("delete what is not needed, or ask for a higher quota (Service Quotas)")
        }
        _ => None,
    }
}

/// What helps against one refusal in particular that has no code of its own: what passes by itself
/// for a while and has not passed.
fn hint_for_words(action: &str, words: &str) -> Option<String> {
    let words = words.to_lowercase();
    if words.contains("does not have an associated load balancer") {
        let help = "give the target group a listener or a rule of a load balancer (`aws elbv2 create-listener`, `create-rule`)";
        return Some(help.to_owned());
    }
    let role = words.contains("service linked role") || words.contains("service-linked role");
    // Which one it is, stands in none of these messages.
    let service = match action {
        _ if !role => return None,
        _ if action.contains("scaling of") || action.contains("policy `") => {
            "ecs.application-autoscaling"
        }
        _ if action.contains("database") => "rds",
        _ if action.contains("cache") => "elasticache",
        _ => "ecs",
    };
    Some(format!(
        "allow the caller iam:CreateServiceLinkedRole, or have the role made once: `aws iam create-service-linked-role \
         --aws-service-name {service}.amazonaws.com`"
    ))
}

fn unanswered<E>(error: &SdkError<E>, status: Option<u16>) -> (ErrorKind, String)
where
    E: std::error::Error + 'static,
{
    if let Some(status) = status {
        let kind = if status >= 500 || status == 429 {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Rejected
        };
        return (
            kind,
            format!("AWS answered HTTP {status} without an error code"),
        );
    }
    let text = DisplayErrorContext(error).to_string();
    let lower = text.to_lowercase();
    if lower.contains("credential") || lower.contains("identity") {
        (
            ErrorKind::Credentials,
            "no usable AWS credentials were found".into(),
        )
    } else if matches!(error, SdkError::TimeoutError(_)) {
        (ErrorKind::Unavailable, "AWS did not answer in time".into())
    } else {
        // The context ends with a debug dump of the whole error, which nobody wants to read.
        let short = text.split(" (").next().unwrap_or(&text).to_owned();
        (ErrorKind::Unavailable, short)
    }
}

fn with_hint(error: Error, kind: ErrorKind) -> Error {
    match kind {
        ErrorKind::Credentials => error.hint(
            "check `aws sts get-caller-identity`, AWS_PROFILE and the AWS_* variables, or sign in again",
        ),
        ErrorKind::Denied => error.hint("allow the caller this action on this object"),
        ErrorKind::Unavailable => error.hint("try again; check the endpoint and the network"),
        _ => error,
    }
}

fn kind_of(code: &str, status: Option<u16>) -> ErrorKind {
    // Some services still prefix the code with their shape's name space.
    let code = code.rsplit('#').next().unwrap_or(code);
    match code {
        "ExpiredToken"
        | "ExpiredTokenException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => ErrorKind::Credentials,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "UnauthorizedException"
        | "BlockedException" => ErrorKind::Denied,
        "ServerException"
        | "InternalServiceError"
        | "InternalFailure"
        | "InternalError"
        | "InternalServiceErrorException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => ErrorKind::Unavailable,
        "ConflictException"
        | "ConcurrentUpdateException"
        | "OperationAbortedException"
        | "UpdateInProgressException"
        | "PriorRequestNotComplete"
        | "InvalidStateException"
        | "InvalidDBInstanceState"
        | "InvalidReplicationGroupState" => ErrorKind::Conflict,
        _ if code.contains("Throttl") || status.is_some_and(|status| status >= 500) => {
            ErrorKind::Unavailable
        }
        _ if code.contains("NotFound") || code.starts_with("NoSuch") => ErrorKind::NotFound,
        _ if code.contains("AlreadyExists") || code == "ResourceExistsException" => {
            ErrorKind::Conflict
        }
        _ => ErrorKind::Rejected,
    }
}

/// An error that cannot repeat the value, whatever the other side wrote into its message.
pub(crate) fn without(error: Error, value: &SecretString) -> Error {
    Redaction::of_whole(value).without(error)
}

/// For the SDK's builders, which check required members only.
pub(crate) fn incomplete(error: BuildError) -> Error {
    Error::internal("a request to AWS lacks a required member").because(error)
}

/// Whether App Runner refused a call, whichever it was, because the account is none of its
/// customers: "AWS App Runner is no longer open to new customers" ("AWS App Runner availability
/// change", AWS App Runner Developer Guide). The guide does not say how the API says it: any code
/// or words of that are taken for it.
fn is_closed(code: &str, words: &str) -> bool {
    const WORDS: [&str; 4] = [
        "new customers",
        "not subscribed",
        "subscription",
        "not available to",
    ];
    let words = words.to_lowercase();
    UNSUBSCRIBED.contains(&code) || WORDS.iter().any(|it| words.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_can_be_done_about_them() {
        let check = |code: &str, kind| assert_eq!(kind_of(code, Some(400)), kind, "{code}");
        check("AccessDeniedException", ErrorKind::Denied);
        check("ExpiredTokenException", ErrorKind::Credentials);
        check("ThrottlingException", ErrorKind::Unavailable);
        check("RepositoryNotFoundException", ErrorKind::NotFound);
        check("ResourceExistsException", ErrorKind::Conflict);
        check("InvalidParameterException", ErrorKind::Rejected);
        check("DBInstanceAlreadyExists", ErrorKind::Conflict);
        check("NoSuchHostedZone", ErrorKind::NotFound);
        check("com.amazon#ServiceUnavailable", ErrorKind::Unavailable);
        assert_eq!(kind_of("Whatever", Some(503)), ErrorKind::Unavailable);
    }

    #[test]
    fn what_has_not_passed_says_how_it_is_mended() {
        let role = "Unable to assume the service linked role. Please verify that the ECS service linked role exists.";
        let check = |action: &str, says: &str| {
            let hint = hint_for_words(action, role).unwrap();
            assert!(
                hint.contains(&format!("--aws-service-name {says}.amazonaws.com")),
                "{hint}"
            );
        };
        check("create service `idp`", "ecs");
        check("start the migration of `idp`", "ecs");
        check("create database `main`", "rds");
        check("create cache `sessions`", "elasticache");
        check(
            "register the scaling of service `idp`",
            "ecs.application-autoscaling",
        );
        let group =
            "The target group with targetGroupArn x does not have an associated load balancer.";
        assert!(
            hint_for_words("update service `idp`", group)
                .unwrap()
                .contains("a listener or a rule")
        );
        assert_eq!(hint_for_words("create service `idp`", "no"), None);
    }

    #[test]
    fn an_error_never_repeats_the_value() {
        let error = Error::new(ErrorKind::Rejected, "cannot put")
            .because(Error::new(ErrorKind::Rejected, "bad value hunter2"));
        let shown = without(error, &"hunter2".into());
        assert!(!format!("{shown:?}").contains("hunter2"));
    }

    #[test]
    fn a_closed_account_is_known_by_its_codes_and_by_any_words_of_that() {
        for code in UNSUBSCRIBED {
            assert!(is_closed(code, ""), "{code}");
        }
        let says = |words: &str| is_closed("AccessDeniedException", words);
        assert!(says("AWS App Runner is no longer open to new customers."));
        assert!(says(
            "The AWS Access Key Id needs a subscription for the service"
        ));
        assert!(!says(
            "User: x is not authorized to perform: apprunner:CreateService"
        ));
    }
}
