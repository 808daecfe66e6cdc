//! The distribution protocol's error shape, and what each refusal becomes in it.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{PutError, Refusal};

/// A refusal as the protocol words it: a status, a code in capitals, a sentence.
#[derive(Debug)]
pub(super) struct ProtocolError {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl ProtocolError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn unsupported() -> Self {
        let message = "the operation is unsupported";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }
}

impl From<std::io::Error> for ProtocolError {
    fn from(error: std::io::Error) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "UNKNOWN", error.to_string())
    }
}

impl From<Refusal> for ProtocolError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthorized { challenge } => {
                let message = "authentication required";
                Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
                    .with(header::WWW_AUTHENTICATE, challenge)
            }
            Refusal::Denied(why) => Self::new(StatusCode::FORBIDDEN, "DENIED", why),
            Refusal::UnknownRepository(why) => Self::not_found("NAME_UNKNOWN", why),
            Refusal::ImmutableTag { code, why } => Self::bad(code, why),
        }
    }
}

impl From<PutError> for ProtocolError {
    fn from(refused: PutError) -> Self {
        let code = match &refused {
            PutError::Invalid(_) => "MANIFEST_INVALID",
            PutError::WrongDigest { .. } => "DIGEST_INVALID",
            PutError::InvalidTag(_) => "TAG_INVALID",
            PutError::BlobAbsent(_) | PutError::ChildAbsent(_) => "MANIFEST_BLOB_UNKNOWN",
        };
        Self::bad(code, refused.to_string())
    }
}

impl IntoResponse for ProtocolError {
    fn into_response(self) -> Response {
        let error = json!({ "code": self.code, "message": self.message, "detail": null });
        let body = axum::Json(json!({ "errors": [error] }));
        let mut response = (self.status, body).into_response();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
