//! What Cloud Storage refuses, in the words of the JSON API and of the XML API.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quick_xml::escape::escape;

use crate::gcp::error::ApiError;
use crate::verdict::FaultKind;

/// A refusal of either API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoBucket,
    NoObject {
        bucket: String,
        object: String,
    },
    /// A condition of the request does not hold.
    Condition,
    /// A read whose condition says that the reader has it already.
    NotModified,
    /// The name is taken, by us.
    BucketTaken,
    BucketNotEmpty,
    BadBucketName(String),
    Required(&'static str),
    Invalid(String),
    Forbidden(String),
    Unauthorised(String),
    NotOffered(String),
    /// A fault.
    OnPurpose(FaultKind),
}

impl Refusal {
    /// HTTP status, reason of the JSON API, code of the XML API, message.
    fn parts(&self) -> (u16, &'static str, &'static str, String) {
        match self {
            Self::NoBucket => {
                let message = "The specified bucket does not exist.";
                (404, "notFound", "NoSuchBucket", message.into())
            }
            Self::NoObject { bucket, object } => {
                let message = format!("No such object: {bucket}/{object}");
                (404, "notFound", "NoSuchKey", message)
            }
            Self::Condition => {
                let message = "At least one of the pre-conditions you specified did not hold.";
                (412, "conditionNotMet", "PreconditionFailed", message.into())
            }
            Self::NotModified => (304, "notModified", "NotModified", String::new()),
            Self::BucketTaken => {
                let message = "Your previous request to create the named bucket succeeded and you already own it.";
                (409, "conflict", "BucketAlreadyOwnedByYou", message.into())
            }
            Self::BucketNotEmpty => {
                let message = "The bucket you tried to delete is not empty.";
                (409, "conflict", "BucketNotEmpty", message.into())
            }
            Self::BadBucketName(name) => {
                let message = format!("Invalid bucket name: '{name}'");
                (400, "invalid", "InvalidBucketName", message)
            }
            Self::Required(what) => {
                let message = format!("Required parameter: {what}");
                (400, "required", "InvalidArgument", message)
            }
            Self::Invalid(why) => (400, "invalid", "InvalidArgument", why.clone()),
            Self::Forbidden(why) => (403, "forbidden", "AccessDenied", why.clone()),
            Self::Unauthorised(why) => (401, "required", "AuthenticationRequired", why.clone()),
            Self::NotOffered(what) => {
                let message = format!("the sandbox does not offer {what}");
                (501, "notImplemented", "NotImplemented", message)
            }
            Self::OnPurpose(kind) => on_purpose(*kind),
        }
    }

    pub(super) fn into_json(self) -> ApiError {
        let (http, reason, _, message) = self.parts();
        ApiError::legacy(http, reason, message)
    }

    /// The JSON API's answer outside of its plain calls.
    pub(super) fn into_json_response(self) -> Response {
        match self {
            Self::NotModified => StatusCode::NOT_MODIFIED.into_response(),
            refusal => refusal.into_json().into_response(),
        }
    }

    pub(super) fn into_xml(self) -> Response {
        let (http, _, code, message) = self.parts();
        let status = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::NOT_MODIFIED {
            return status.into_response();
        }
        let (message, details) = match &self {
            Self::NoObject { .. } => ("The specified key does not exist.".to_owned(), message),
            _ => (message, String::new()),
        };
        let details = match details.is_empty() {
            true => String::new(),
            false => format!("<Details>{}</Details>", escape(&details)),
        };
        let body = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{}</Message>{details}</Error>",
            escape(&message)
        );
        let kind = [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")];
        (status, kind, body).into_response()
    }
}

fn on_purpose(kind: FaultKind) -> (u16, &'static str, &'static str, String) {
    let (http, reason, code, message) = match kind {
        FaultKind::Throttled | FaultKind::QuotaExceeded => (
            429,
            "rateLimitExceeded",
            "SlowDown",
            "Please reduce your request rate.",
        ),
        FaultKind::Unavailable | FaultKind::Settling | FaultKind::HungUp => (
            503,
            "backendError",
            "ServiceUnavailable",
            "We encountered an internal error. Please try again.",
        ),
        FaultKind::Internal => (
            500,
            "backendError",
            "InternalError",
            "We encountered an internal error. Please try again.",
        ),
        FaultKind::Denied | FaultKind::Closed => {
            (403, "forbidden", "AccessDenied", "Access denied.")
        }
    };
    (http, reason, code, message.to_owned())
}

impl From<ApiError> for Refusal {
    /// What the token check refuses.
    fn from(error: ApiError) -> Self {
        Self::Unauthorised(error.message)
    }
}
