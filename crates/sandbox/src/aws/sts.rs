//! STS: who is calling. The query protocol; roles cannot be assumed here.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::credentials::USER;
use super::error::{AwsError, escape};

/// Reads the form of a query request: the operation and its members.
pub fn read_form(body: &[u8]) -> (String, Value) {
    let mut pairs: BTreeMap<String, String> =
        url::form_urlencoded::parse(body).into_owned().collect();
    let action = pairs.remove("Action").unwrap_or_default();
    pairs.remove("Version");
    let members: Map<String, Value> = pairs
        .into_iter()
        .map(|(name, value)| {
            // The only number that the owned operations take.
            let value = match (name.as_str(), value.parse::<i64>()) {
                ("DurationSeconds", Ok(number)) => json!(number),
                _ => Value::String(value),
            };
            (name, value)
        })
        .collect();
    (action, Value::Object(members))
}

/// Carries out an operation that the schema has let through.
pub fn call(account: &str, operation: &str, input: &Value) -> Result<Value, AwsError> {
    match operation {
        "GetCallerIdentity" => Ok(json!({
            "UserId": "AIDASANDBOX0000000000",
            "Account": account,
            "Arn": format!("arn:aws:iam::{account}:user/{USER}"),
        })),
        _ => {
            let role = super::json::need(input, "RoleArn");
            Err(AwsError::denied(account, "sts:AssumeRole", role))
        }
    }
}

/// Writes a flat result as the query protocol does.
pub fn respond(operation: &str, result: &Value) -> Response {
    let members: String = result
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = escape(value.as_str().unwrap_or_default());
            format!("    <{name}>{text}</{name}>\n")
        })
        .collect();
    let id = uuid::Uuid::new_v4();
    let body = format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <{operation}Result>\n{members}  \
         </{operation}Result>\n  <ResponseMetadata>\n    <RequestId>{id}</RequestId>\n  </ResponseMetadata>\n</{operation}Response>\n"
    );
    let mut response = Response::new(body.into());
    response.headers_mut().insert(
        axum::http::header::CONTENT_TYPE,
        axum::http::HeaderValue::from_static("text/xml"),
    );
    response
}
