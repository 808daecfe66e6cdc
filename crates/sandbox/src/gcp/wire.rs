//! Turns an HTTP request into a checked call of one method, and its outcome into an answer.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

use super::Gcp;
use super::error::{ApiError, Outcome, no_such_path};
use super::faults::{refuse, refuse_token};
use super::schema::{self, Api, EnumStyle, Field, Kind, Method, Object, Violation};
use crate::call::{ApiCall, Cloud};
use crate::interceptor::{Asked, identity};
use crate::registry;
use crate::verdict::Fault;

/// Google's limit on the body of a request is higher; nothing here needs more.
const BODY_LIMIT: usize = 10 * 1024 * 1024;

/// Query parameters that every method takes.
const COMMON: [&str; 16] = [
    "$.xgafv",
    "$alt",
    "$fields",
    "$prettyPrint",
    "$callback",
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "prettyPrint",
    "quotaUser",
    "uploadType",
    "upload_protocol",
    "$httpMethod",
];

/// One call of a method, checked against the schema.
pub struct Call {
    /// Which API.
    pub api: &'static Api,
    /// Which method.
    pub method: &'static Method,
    /// The path's placeholders, decoded, in order.
    pub vars: Vec<String>,
    /// The body in one spelling; empty when the method takes none.
    pub body: Object,
    /// Who calls, by email address.
    pub principal: String,
    /// The host name that was asked, when it was not just an address (a regional host of Cloud
    /// Run).
    pub host: Option<String>,
    /// The project whose quota the call counts against, where the caller names one.
    pub consumer: Option<String>,
    query: BTreeMap<String, Vec<String>>,
}

impl Call {
    /// The path's placeholder at `index`.
    pub fn var(&self, index: usize) -> &str {
        self.vars.get(index).map_or("", String::as_str)
    }

    /// A query parameter; empty when absent.
    pub fn query(&self, name: &str) -> &str {
        self.query
            .get(name)
            .and_then(|values| values.last())
            .map_or("", String::as_str)
    }

    /// All values of a repeated query parameter.
    pub fn query_all(&self, name: &str) -> &[String] {
        self.query.get(name).map_or(&[], Vec::as_slice)
    }

    /// A boolean query parameter; `gcloud` writes Python's `True`.
    pub fn flag(&self, name: &str) -> bool {
        self.query(name).eq_ignore_ascii_case("true")
    }

    /// The page of `items` that `pageSize` (`maxResults`) and `pageToken` ask for, and the token of
    /// the next.
    pub fn page<T>(&self, items: Vec<T>, default_size: usize) -> Outcome<(Vec<T>, String)> {
        let size = match self.query("pageSize") {
            "" => self.query("maxResults"),
            size => size,
        };
        page(items, size, self.query("pageToken"), default_size)
    }

    /// The same page as a listing answers it, with the members that its message has.
    pub fn listed<T: Into<Value>>(&self, items: Vec<T>, default_size: usize) -> Outcome {
        let (total, mut out) = (items.len(), Object::new());
        let (items, next) = self.page(items, default_size)?;
        let message = self.method.response.as_str();
        let items = items.into_iter().map(Into::into).collect();
        out.insert(self.api.repeated(message).to_owned(), items);
        if !next.is_empty() {
            out.insert("nextPageToken".into(), next.into());
        }
        if self.api.field(message, "totalSize").is_some() {
            out.insert("totalSize".into(), total.into());
        }
        if self.api.field(message, "kind").is_some() {
            let name = self.api.api.split('.').next().unwrap_or_default();
            let (first, rest) = message.split_at(1);
            let kind = format!("{name}#{}{rest}", first.to_ascii_lowercase());
            out.insert("kind".into(), kind.into());
        }
        Ok(out.into())
    }
}

/// The page of `items` that starts at `token` (empty: the first), and the token of the next.
pub fn page<T>(
    items: Vec<T>,
    size: &str,
    token: &str,
    default_size: usize,
) -> Outcome<(Vec<T>, String)> {
    let start: usize = match token {
        "" => 0,
        token => token
            .strip_prefix("after-")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| ApiError::invalid("The provided page token is not valid."))?,
    };
    let size = match size.parse::<i64>() {
        Ok(size) if size < 0 => return Err(ApiError::invalid("page_size must not be negative")),
        Ok(0) | Err(_) => default_size,
        Ok(size) => usize::try_from(size)
            .unwrap_or(default_size)
            .min(default_size.max(1000)),
    };
    let total = items.len();
    let slice: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let end = start + slice.len();
    let next = if end < total {
        format!("after-{end}")
    } else {
        String::new()
    };
    Ok((slice, next))
}

/// Whether a path belongs to an API; the others below `/v2/` are the container registry's.
pub fn is_api_path(path: &str) -> bool {
    path.starts_with("/v1/")
        || path.starts_with("/v3/")
        || path.starts_with("/apis/")
        || path.starts_with("/v2/projects/")
        || path.starts_with("/v2/entries:")
        || path == "/token"
        || path == "/v2/token"
        || !path.starts_with("/v2")
}

/// Answers one API request.
pub async fn answer(gcp: &Gcp, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    match (request.method().as_str(), path.as_str()) {
        ("POST", "/token") => {
            let (call, owned) = (ApiCall::google("oauth2.token"), gcp.clone());
            let effect = async move { super::auth::issue_token(&owned, request).await };
            let interceptor = &gcp.host().interceptor;
            return interceptor.carry(call, 0, refuse_token, effect).await;
        }
        ("GET", "/v2/token") => {
            let call = ApiCall::registry(Cloud::Google, "GET", "token");
            let answer = super::auth::registry_token(gcp, &request);
            let interceptor = &gcp.host().interceptor;
            let effect = std::future::ready(answer);
            return interceptor.carry(call, 0, registry::refuse, effect).await;
        }
        _ => {}
    }
    let request = match gcp.storage_front(request).await {
        Ok(answer) => return answer,
        Err(other) => other,
    };
    let Some((api, method, vars)) = schema::route(request.method().as_str(), &path) else {
        return no_such_path(&path);
    };
    let uri = request.uri().to_string();
    let (parts, body) = request.into_parts();
    let body = match read_to_end(gcp, &parts.headers, body).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let call = ApiCall::google(&method.id);
    let asked = Asked {
        request: identity((&uri, &body)),
        unborn: match call.name.as_str() {
            "run.projects.locations.jobs.executions.get" => {
                gcp.execution_unborn(&vars).map(IntoResponse::into_response)
            }
            _ => None,
        },
        lags: !names_a_version(&call, &uri),
    };
    let (named, owned) = (call.clone(), gcp.clone());
    let refuse = move |fault: &Fault| refuse(fault, &owned.host().project, &named);
    let owned = gcp.clone();
    let effect = async move {
        let query = parse_query(parts.uri.query().unwrap_or_default());
        let style = enum_style(&query);
        let outcome = match read_call(&owned, (parts, body), api, method, vars, query) {
            Ok(call) => owned.dispatch(call).await,
            Err(error) => Err(error),
        };
        match outcome {
            // Cloud Storage alone says nothing at all of what is gone.
            Ok(_) if api.api == "storage.v1" && method.response == "Empty" => {
                StatusCode::NO_CONTENT.into_response()
            }
            Ok(value) => {
                let value = api.write(&method.response, &value, style);
                (
                    [(header::CONTENT_TYPE, "application/json; charset=UTF-8")],
                    value.to_string(),
                )
                    .into_response()
            }
            Err(error) => error.into_response(),
        }
    };
    let interceptor = &gcp.host().interceptor;
    interceptor.carry(call, asked, refuse, effect).await
}

/// Whether a version of a secret is asked for by its number: "accessing a secret version by version
/// number is strongly consistent"
/// (<https://cloud.google.com/secret-manager/docs/reference/consistency>).
fn names_a_version(call: &ApiCall, uri: &str) -> bool {
    let path = uri.split('?').next().unwrap_or_default();
    let version = path.rsplit("/versions/").next().unwrap_or_default();
    let version = version.split(':').next().unwrap_or_default();
    call.name
        .starts_with("secretmanager.projects.secrets.versions.")
        && !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_digit())
}

/// The body of a request whose caller is known.
async fn read_to_end(gcp: &Gcp, headers: &HeaderMap, body: Body) -> Outcome<Bytes> {
    gcp.auth().check(headers)?;
    let read = axum::body::to_bytes(body, BODY_LIMIT).await;
    read.map_err(|_| ApiError::invalid("Request payload size exceeds the limit: 10485760 bytes."))
}

fn read_call(
    gcp: &Gcp,
    (request, bytes): (Parts, Bytes),
    api: &'static Api,
    method: &'static Method,
    vars: Vec<String>,
    query: BTreeMap<String, Vec<String>>,
) -> Outcome<Call> {
    let principal = gcp.auth().check(&request.headers)?;
    let host = request.uri.host().map(str::to_owned).or_else(|| {
        request
            .headers
            .get(header::HOST)?
            .to_str()
            .ok()
            .map(str::to_owned)
    });
    let consumer = request.headers.get("x-goog-user-project");
    let consumer = consumer.and_then(|it| it.to_str().ok()).map(str::to_owned);
    let mut faults = Vec::new();
    let query = read_query(method, query, &mut faults);
    let body = read_body(api, method, &bytes, &mut faults)?;
    if faults.is_empty() {
        return Ok(Call {
            api,
            method,
            vars,
            body,
            principal,
            host,
            consumer,
            query,
        });
    }
    let message: Vec<&str> = faults.iter().map(|f| f.description.as_str()).collect();
    Err(ApiError::violations(
        message.join("\n"),
        faults
            .iter()
            .map(|f| (f.field.clone(), f.description.clone()))
            .collect(),
    ))
}

fn read_body(
    api: &Api,
    method: &Method,
    bytes: &[u8],
    faults: &mut Vec<Violation>,
) -> Outcome<Object> {
    let Some(message) = &method.request else {
        if bytes.is_empty() || bytes == b"{}" {
            return Ok(Object::new());
        }
        return Err(ApiError::invalid(
            "Invalid JSON payload received. Unexpected body: this method takes none.",
        ));
    };
    if bytes.is_empty() {
        return Ok(Object::new());
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::invalid(format!("Invalid JSON payload received. {error}")))?;
    if !value.is_object() {
        return Err(ApiError::invalid(
            "Invalid JSON payload received. Unknown name \"\": Root element must be a message.",
        ));
    }
    Ok(api.read(message, &value, &body_prefix(message), faults))
}

/// A body that is a resource is a field of the request message, whose name starts the paths in
/// errors: `GoogleCloudRunV2Service` is `service`. A body that is the whole request has no prefix.
fn body_prefix(message: &str) -> String {
    if message.ends_with("Request") {
        return String::new();
    }
    let bare = message.strip_prefix("GoogleCloudRunV2").unwrap_or(message);
    schema::snake(bare).trim_start_matches('_').to_owned()
}

fn read_query(
    method: &Method,
    query: BTreeMap<String, Vec<String>>,
    faults: &mut Vec<Violation>,
) -> BTreeMap<String, Vec<String>> {
    let mut read = BTreeMap::new();
    for (name, values) in query {
        if COMMON.contains(&name.as_str()) {
            continue;
        }
        let camel = schema::camel(&name);
        let Some(field) = method.query.get(&name).or_else(|| method.query.get(&camel)) else {
            faults.push(Violation {
                field: String::new(),
                description: format!(
                    "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
                     Field '{name}' could not be found in request message."
                ),
            });
            continue;
        };
        for value in &values {
            if !fits(field, value) {
                faults.push(Violation {
                    field: schema::snake(&name),
                    description: format!(
                        "Invalid value at '{}', \"{value}\"",
                        schema::snake(&name)
                    ),
                });
            }
        }
        let name = if method.query.contains_key(&name) {
            name
        } else {
            camel
        };
        read.insert(name, values);
    }
    read
}

fn fits(field: &Field, value: &str) -> bool {
    match field.kind {
        Kind::Int32 => value.parse::<i32>().is_ok(),
        Kind::Bool => ["true", "false"]
            .iter()
            .any(|it| value.eq_ignore_ascii_case(it)),
        _ => true,
    }
}

fn enum_style(query: &BTreeMap<String, Vec<String>>) -> EnumStyle {
    let asked = ["$alt", "alt"]
        .iter()
        .filter_map(|name| query.get(*name))
        .flatten();
    for value in asked {
        if value.split(';').any(|part| part == "enum-encoding=int") {
            return EnumStyle::Numbers;
        }
    }
    EnumStyle::Names
}

fn parse_query(query: &str) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        out.entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    out
}
