//! Errors as AWS writes them on the wire, by protocol.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

/// How a service talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `application/x-amz-json-1.1`; `message` in lower case.
    Json,
    /// The same with `Message`, as Secrets Manager writes it.
    JsonCapital,
    /// `application/x-amz-json-1.0`, with `Message`.
    Json10,
    /// The query protocol: forms in, XML of this namespace out.
    Query(&'static str),
    /// S3's own XML.
    S3,
    /// EC2's own XML.
    Ec2,
    /// REST with JSON bodies.
    Rest,
}

/// An error that a client sees.
#[derive(Clone, Debug)]
pub struct AwsError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The exception's name.
    pub code: String,
    /// What the vendor says.
    pub message: String,
}

impl AwsError {
    /// A fault of the caller's: 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: code.into(),
            message: message.into(),
        }
    }

    /// The same error with another status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The caller may not do this.
    pub fn denied(account: &str, action: &str, resource: &str) -> Self {
        let user = format!("arn:aws:iam::{account}:user/{}", super::credentials::USER);
        Self::new(
            "AccessDeniedException",
            format!(
                "User: {user} is not authorized to perform: {action} on resource: {resource} because no \
                 identity-based policy allows the {action} action"
            ),
        )
    }

    /// Writes the error the way `wire` does.
    pub fn respond(&self, wire: Wire) -> Response {
        let request_id = uuid::Uuid::new_v4().to_string();
        let (status, content_type, body) = match wire {
            Wire::Json => (
                self.status,
                "application/x-amz-json-1.1",
                json!({"__type": self.code, "message": self.message}).to_string(),
            ),
            Wire::JsonCapital => (
                self.status,
                "application/x-amz-json-1.1",
                json!({"__type": self.code, "Message": self.message}).to_string(),
            ),
            Wire::Json10 => (
                self.status,
                "application/x-amz-json-1.0",
                json!({"__type": self.code, "Message": self.message}).to_string(),
            ),
            Wire::Query(namespace) => self.query(namespace, &request_id),
            Wire::S3 => (
                self.status,
                "application/xml",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>\
                     <RequestId>{request_id}</RequestId></Error>",
                    escape(&self.code),
                    escape(&self.message)
                ),
            ),
            Wire::Ec2 => (
                self.status,
                "text/xml;charset=UTF-8",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}\
                     </Message></Error></Errors><RequestID>{request_id}</RequestID></Response>",
                    escape(&self.code),
                    escape(&self.message)
                ),
            ),
            Wire::Rest => (
                self.status,
                "application/json",
                json!({"message": self.message}).to_string(),
            ),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        if let (Wire::Rest, Ok(code)) = (wire, HeaderValue::from_str(&self.code)) {
            headers.insert("x-amzn-errortype", code);
        }
        response
    }

    /// The query protocol has its own names for the errors that come before the service.
    fn query(&self, namespace: &str, request_id: &str) -> (StatusCode, &'static str, String) {
        let (status, code) = match self.code.as_str() {
            "MissingAuthenticationTokenException" => {
                (StatusCode::FORBIDDEN, "MissingAuthenticationToken")
            }
            "UnrecognizedClientException" => (StatusCode::FORBIDDEN, "InvalidClientTokenId"),
            "InvalidSignatureException" => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
            "IncompleteSignatureException" => (StatusCode::BAD_REQUEST, "IncompleteSignature"),
            "AccessDeniedException" => (StatusCode::FORBIDDEN, "AccessDenied"),
            "ValidationException" | "SerializationException" => {
                (StatusCode::BAD_REQUEST, "ValidationError")
            }
            other => (self.status, other),
        };
        // Whose fault it is.
        let side = match status.is_server_error() {
            true => "Receiver",
            false => "Sender",
        };
        let body = format!(
            "<ErrorResponse xmlns=\"{namespace}\">\n  <Error>\n    <Type>{side}</Type>\n    \
             <Code>{}</Code>\n    <Message>{}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n",
            escape(code),
            escape(&self.message)
        );
        (status, "text/xml", body)
    }
}

/// Says that the vendor has this and the sandbox has not.
pub fn unsupported(what: &str) -> AwsError {
    AwsError::new(
        "UnsupportedFeatureException",
        format!("the sandbox does not have {what}"),
    )
}

/// Escapes text for XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
