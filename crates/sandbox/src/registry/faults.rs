//! The registry's calls by name, and refusals on purpose as the distribution protocol words them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answer::ProtocolError;
use super::routes::{Target, target};
use crate::call::{ApiCall, Cloud};
use crate::verdict::{Fault, FaultKind};

/// The call that a request below `/v2` is. `None` for a path that the protocol does not have.
pub(crate) fn call(cloud: Cloud, method: &str, path: &str) -> Option<ApiCall> {
    let rest = path.strip_prefix("/v2")?;
    let kind = match rest.strip_prefix('/').unwrap_or(rest) {
        "" => "ping",
        path => match target(path)?.1 {
            Target::Manifest(_) => "manifest",
            Target::Blob(_) => "blob",
            Target::Uploads => "uploads",
            Target::Upload(_) => "upload",
            Target::Tags => "tags",
            Target::Referrers(_) => "referrers",
        },
    };
    Some(ApiCall::registry(cloud, method, kind))
}

/// The answer to a request that is refused on purpose.
pub(crate) fn refuse(fault: &Fault) -> Response {
    let (status, code, message) = match fault.kind {
        FaultKind::Throttled => (
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "Rate exceeded",
        ),
        FaultKind::QuotaExceeded => (
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "quota exceeded",
        ),
        FaultKind::Unavailable | FaultKind::Settling | FaultKind::HungUp => (
            StatusCode::SERVICE_UNAVAILABLE,
            "UNAVAILABLE",
            "service unavailable",
        ),
        FaultKind::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "unknown error",
        ),
        FaultKind::Denied | FaultKind::Closed => (
            StatusCode::FORBIDDEN,
            "DENIED",
            "requested access to the resource is denied",
        ),
    };
    ProtocolError::new(status, code, message).into_response()
}
