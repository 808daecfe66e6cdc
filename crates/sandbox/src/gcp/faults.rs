//! Refusals on purpose, as Google's APIs word them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::{ApiError, Code};
use super::names::project_number;
use crate::call::{ApiCall, Effect};
use crate::verdict::{Fault, FaultKind};

/// The answer to a method that is refused on purpose.
pub fn refuse(fault: &Fault, project: &str, call: &ApiCall) -> Response {
    let mut error = match fault.kind {
        FaultKind::Throttled if call.api() == "dns" => throttled_as_403(),
        FaultKind::Throttled => throttled(project, call),
        FaultKind::Unavailable | FaultKind::Settling | FaultKind::HungUp => {
            ApiError::new(Code::Unavailable, "The service is currently unavailable.")
        }
        FaultKind::Internal => ApiError::new(Code::Internal, "Internal error encountered."),
        FaultKind::Denied | FaultKind::Closed => denied(project, call),
        FaultKind::QuotaExceeded => quota(project, call),
    };
    if let Some(after) = fault.retry_after {
        error.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", after.as_secs_f64()),
        }));
    }
    error.into_response()
}

/// The same for the token endpoint, which speaks OAuth.
pub fn refuse_token(fault: &Fault) -> Response {
    let (status, error, description) = match fault.kind {
        FaultKind::Throttled | FaultKind::QuotaExceeded => (
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_exceeded",
            "Rate Limit Exceeded",
        ),
        FaultKind::Unavailable | FaultKind::Settling | FaultKind::HungUp => (
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "Backend Error",
        ),
        FaultKind::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_failure",
            "Backend Error",
        ),
        FaultKind::Denied | FaultKind::Closed => {
            (StatusCode::FORBIDDEN, "access_denied", "Account Restricted")
        }
    };
    let body = json!({ "error": error, "error_description": description });
    (status, axum::Json(body)).into_response()
}

fn host(call: &ApiCall) -> String {
    match call.api() {
        "sql" => "sqladmin.googleapis.com".to_owned(),
        api => format!("{api}.googleapis.com"),
    }
}

/// How the older APIs say it (<https://cloud.google.com/dns/docs/error-messages>: 403
/// `rateLimitExceeded`).
fn throttled_as_403() -> ApiError {
    ApiError::legacy(403, "rateLimitExceeded", "Rate Limit Exceeded")
}

/// What the front end of an API says, before the API itself is asked.
fn throttled(project: &str, call: &ApiCall) -> ApiError {
    let (host, number) = (host(call), project_number(project));
    let kind = match call.effect {
        Effect::Read => "read",
        Effect::Write => "write",
    };
    let title = match call.effect {
        Effect::Read => "Read requests",
        Effect::Write => "Write requests",
    };
    let mut error = ApiError::new(
        Code::ResourceExhausted,
        format!(
            "Quota exceeded for quota metric '{title}' and limit '{title} per minute' of service '{host}' for consumer \
             'project_number:{number}'."
        ),
    );
    error.details = vec![
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": host,
                "consumer": format!("projects/{number}"),
                "quota_metric": format!("{host}/{kind}_requests"),
                "quota_limit": format!("{title}PerMinutePerProject").replace(' ', ""),
            },
        }),
        json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{
                "description": "Request a higher quota limit.",
                "url": "https://cloud.google.com/docs/quotas/help/request_increase",
            }],
        }),
    ];
    error
}

fn denied(project: &str, call: &ApiCall) -> ApiError {
    let permission = permission(&call.name);
    let resource = format!("projects/{project}");
    let mut error = ApiError::new(
        Code::PermissionDenied,
        format!(
            "Permission '{permission}' denied on resource '//{}/{resource}' (or it may not exist).",
            host(call)
        ),
    );
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": { "permission": permission, "resource": resource },
    }));
    error
}

/// The permission that a method wants: `run.projects.locations.services.patch` wants
/// `run.services.update`.
pub(super) fn permission(method: &str) -> String {
    let parts: Vec<&str> = method.split('.').collect();
    let [service, .., resource, verb] = parts.as_slice() else {
        return method.to_owned();
    };
    let service = match *service {
        "sql" => "cloudsql",
        other => other,
    };
    let verb = match *verb {
        "patch" => "update",
        "insert" => "create",
        "addVersion" => "add",
        other => other,
    };
    format!("{service}.{resource}.{verb}")
}

fn quota(project: &str, call: &ApiCall) -> ApiError {
    let mut error = ApiError::new(
        Code::ResourceExhausted,
        format!("Quota exceeded: project '{project}' may have no more of these resources."),
    );
    let violation: Value = json!({
        "subject": format!("project:{project}"),
        "description": format!("The limit of {} for this resource is reached.", host(call)),
    });
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [violation],
    }));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_denied_for_the_permission_that_it_wants() {
        assert_eq!(
            permission("run.projects.locations.services.patch"),
            "run.services.update"
        );
        assert_eq!(
            permission("sql.instances.insert"),
            "cloudsql.instances.create"
        );
        assert_eq!(
            permission("secretmanager.projects.secrets.versions.access"),
            "secretmanager.versions.access"
        );
    }
}
