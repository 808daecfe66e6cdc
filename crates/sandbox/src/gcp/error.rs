//! Errors as Google's APIs word them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The canonical codes in use, with the HTTP status that each travels under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 400.
    InvalidArgument,
    /// 400, though well formed: the resource's state forbids it.
    FailedPrecondition,
    /// 401.
    Unauthenticated,
    /// 403.
    PermissionDenied,
    /// 404.
    NotFound,
    /// 409, on create.
    AlreadyExists,
    /// 409, lost an optimistic race.
    Aborted,
    /// 500.
    Internal,
    /// 501.
    Unimplemented,
    /// 499.
    Cancelled,
    /// 429.
    ResourceExhausted,
    /// 503.
    Unavailable,
}

impl Code {
    /// The HTTP status, the canonical name and the canonical number.
    fn parts(self) -> (u16, &'static str, i32) {
        match self {
            Self::Cancelled => (499, "CANCELLED", 1),
            Self::InvalidArgument => (400, "INVALID_ARGUMENT", 3),
            Self::NotFound => (404, "NOT_FOUND", 5),
            Self::AlreadyExists => (409, "ALREADY_EXISTS", 6),
            Self::PermissionDenied => (403, "PERMISSION_DENIED", 7),
            Self::FailedPrecondition => (400, "FAILED_PRECONDITION", 9),
            Self::ResourceExhausted => (429, "RESOURCE_EXHAUSTED", 8),
            Self::Unavailable => (503, "UNAVAILABLE", 14),
            Self::Aborted => (409, "ABORTED", 10),
            Self::Unimplemented => (501, "UNIMPLEMENTED", 12),
            Self::Internal => (500, "INTERNAL", 13),
            Self::Unauthenticated => (401, "UNAUTHENTICATED", 16),
        }
    }

    /// The number of `google.rpc.Code`.
    pub fn number(self) -> i32 {
        self.parts().2
    }
}

/// A refusal, or the way an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of refusal.
    pub code: Code,
    /// For people.
    pub message: String,
    /// `google.rpc` detail messages, each with its `@type`.
    pub details: Vec<Value>,
    /// The older shape of Cloud SQL's and Cloud DNS's own refusals; the status comes from here.
    legacy: Option<Box<Legacy>>,
}

/// What the error shape from before `google.rpc.Status` tells.
#[derive(Clone, Copy, Debug)]
struct Legacy {
    http: u16,
    reason: &'static str,
}

/// The result of an API method.
pub type Outcome<T = Value> = Result<T, ApiError>;

impl ApiError {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            legacy: None,
        }
    }

    /// A refusal in the shape from before `google.rpc.Status`: an HTTP status and a reason in camel
    /// case.
    pub fn legacy(http: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let code = match http {
            403 => Code::PermissionDenied,
            404 => Code::NotFound,
            409 => Code::AlreadyExists,
            412 => Code::FailedPrecondition,
            501 => Code::Unimplemented,
            _ => Code::InvalidArgument,
        };
        Self {
            legacy: Some(Box::new(Legacy { http, reason })),
            ..Self::new(code, message)
        }
    }

    /// `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// `INVALID_ARGUMENT` about one field: `field: description`, with a `BadRequest` detail.
    pub fn field(field: &str, description: impl std::fmt::Display) -> Self {
        Self::violations(
            format!("{field}: {description}"),
            vec![(field.to_owned(), description.to_string())],
        )
    }

    /// `INVALID_ARGUMENT` with a `BadRequest` detail of (field, description) pairs.
    pub fn violations(message: String, violations: Vec<(String, String)>) -> Self {
        let violations: Vec<Value> = violations
            .into_iter()
            .map(|(field, description)| {
                if field.is_empty() {
                    json!({ "description": description })
                } else {
                    json!({ "field": field, "description": description })
                }
            })
            .collect();
        Self {
            code: Code::InvalidArgument,
            message,
            details: vec![json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": violations,
            })],
            legacy: None,
        }
    }

    /// `NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// `FAILED_PRECONDITION`.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// `UNIMPLEMENTED`: Google does this, the sandbox does not.
    pub fn unimplemented(what: impl std::fmt::Display) -> Self {
        Self::new(
            Code::Unimplemented,
            format!("the sandbox does not offer {what}"),
        )
    }

    /// As `google.rpc.Status`, for the `error` of an operation.
    pub fn status(&self) -> Value {
        json!({ "code": self.code.number(), "message": self.message, "details": self.details })
    }
}

impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.status().serialize(serializer)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (mut http, name, _) = self.code.parts();
        let mut error = json!({ "code": http, "message": self.message, "status": name });
        if let Some(legacy) = self.legacy {
            http = legacy.http;
            error = json!({ "code": http, "message": self.message, "errors": [
                { "message": self.message, "domain": "global", "reason": legacy.reason },
            ] });
        }
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details);
        }
        let status = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(json!({ "error": error }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\""),
            );
        }
        response
    }
}

/// What Google's front end answers on a path that no API has: a page, not JSON.
pub fn no_such_path(path: &str) -> Response {
    let path: String = path
        .chars()
        .filter(|c| !matches!(c, '<' | '>' | '&' | '"'))
        .collect();
    let page = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n\
         <p><b>404.</b> <ins>That\u{2019}s an error.</ins>\n\
         <p>The requested URL <code>{path}</code> was not found on this server.\n"
    );
    (StatusCode::NOT_FOUND, axum::response::Html(page)).into_response()
}
