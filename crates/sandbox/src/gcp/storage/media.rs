//! Content over the JSON API: simple and multipart uploads, and downloads.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::objects::{Conditions, Kind, Stored};
use super::refusal::Refusal;
use crate::gcp::Gcp;
use crate::gcp::schema;

/// More than any object of a ledger; an upload that is larger must be resumable, which is not
/// offered.
const LARGEST: usize = 32 * 1024 * 1024;

/// Whether a plain read asks for the content.
pub(super) fn is_download(request: &Request<Body>) -> bool {
    request.method() == "GET"
        && request.uri().path().starts_with("/storage/v1/b/")
        && request.uri().path().contains("/o/")
        && query(request).get("alt").is_some_and(|alt| alt == "media")
}

fn query(request: &Request<Body>) -> HashMap<String, String> {
    let text = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// `POST /upload/storage/v1/b/BUCKET/o`.
pub(super) async fn upload(gcp: &Gcp, request: Request<Body>) -> Response {
    match accept(gcp, request).await {
        Ok(message) => axum::Json(message).into_response(),
        Err(refusal) => refusal.into_json_response(),
    }
}

async fn accept(gcp: &Gcp, request: Request<Body>) -> Result<Value, Refusal> {
    gcp.auth().check(request.headers())?;
    let path = request
        .uri()
        .path()
        .strip_prefix("/upload")
        .unwrap_or_default();
    let Some((api, method, vars)) = schema::route(request.method().as_str(), path) else {
        return Err(Refusal::NotOffered(format!("{} {path}", request.method())));
    };
    let query = query(&request);
    let bucket = vars.first().cloned().unwrap_or_default();
    let content_type = text(request.headers(), "content-type");
    let body = axum::body::to_bytes(request.into_body(), LARGEST).await;
    let body =
        body.map_err(|_| Refusal::Invalid("The upload is too large for one request.".into()))?;
    let conditions = Conditions::from_query(|name| query.get(name).cloned())?;
    let (said, content) = match query.get("uploadType").map(String::as_str) {
        Some("media") => (
            Map::new(),
            Part {
                content_type,
                bytes: body,
            },
        ),
        Some("multipart") => related(&content_type, &body)?,
        Some(other) => return Err(Refusal::NotOffered(format!("uploads of type `{other}`"))),
        None => return Err(Refusal::Required("uploadType")),
    };
    let mut faults = Vec::new();
    let message = method.request.as_deref().unwrap_or_default();
    let said = api.read(message, &Value::Object(said), "object", &mut faults);
    if let Some(fault) = faults.first() {
        return Err(Refusal::Invalid(fault.description.clone()));
    }
    let word = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    let name = query.get("name").cloned().or_else(|| word("name"));
    let name = name.ok_or(Refusal::Required("name"))?;
    let kind = Kind {
        content_type: word("contentType").unwrap_or(content.content_type),
        metadata: said
            .get("metadata")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
        more: [
            "cacheControl",
            "contentDisposition",
            "contentEncoding",
            "contentLanguage",
        ]
        .into_iter()
        .filter_map(|field| Some((field, word(field)?)))
        .collect(),
    };
    let stored = gcp.put_object(&bucket, &name, content.bytes, kind, conditions)?;
    let checked = word("crc32c").is_none_or(|wanted| wanted == stored.crc32c())
        && word("md5Hash").is_none_or(|wanted| wanted == stored.md5_hash());
    if !checked {
        // Google refuses before it writes; nobody can have read it in between.
        gcp.remove_object(
            &bucket,
            &name,
            Some(stored.generation),
            Conditions::default(),
        )?;
        return Err(Refusal::Invalid(
            "Provided hash does not match the content.".into(),
        ));
    }
    Ok(gcp.object_message(&bucket, &name, &stored))
}

struct Part {
    content_type: String,
    bytes: Bytes,
}

/// The two parts of `multipart/related` (RFC 2387): what is said of the object, and its content.
fn related(content_type: &str, body: &Bytes) -> Result<(Map<String, Value>, Part), Refusal> {
    let bad = || Refusal::Invalid("Missing end boundary in multipart body.".into());
    let boundary = content_type
        .split(';')
        .find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary = boundary
        .map(|it| it.trim_matches(['"', '\'']))
        .filter(|it| !it.is_empty());
    let mark = format!("--{}", boundary.ok_or_else(bad)?);
    let first = find(body, mark.as_bytes(), 0).ok_or_else(bad)? + mark.len();
    let separator = format!("\n{mark}");
    let second = find(body, separator.as_bytes(), first).ok_or_else(bad)?;
    let content = second + separator.len();
    let end = find_last(body, separator.as_bytes())
        .filter(|end| *end >= content)
        .ok_or_else(bad)?;
    let said = part(body, first, second).ok_or_else(bad)?;
    let said = serde_json::from_slice(&said.bytes);
    let said = said.map_err(|error| Refusal::Invalid(format!("Parse Error: {error}")))?;
    Ok((said, part(body, content, end).ok_or_else(bad)?))
}

/// Headers and body between two boundaries; the line end before a boundary belongs to it.
fn part(body: &Bytes, start: usize, end: usize) -> Option<Part> {
    let start = find(body, b"\n", start)? + 1;
    let end = if body.get(end.checked_sub(1)?) == Some(&b'\r') {
        end - 1
    } else {
        end
    };
    let (head, gap) = match (find(body, b"\r\n\r\n", start), find(body, b"\n\n", start)) {
        (Some(at), Some(other)) if other < at => (other, 2),
        (Some(at), _) => (at, 4),
        (None, Some(at)) => (at, 2),
        (None, None) => return None,
    };
    let headers = std::str::from_utf8(body.get(start..head)?).ok()?;
    let content_type = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type")
            .then(|| value.trim().to_owned())
    });
    (head + gap <= end).then(|| Part {
        content_type: content_type.unwrap_or_default(),
        bytes: body.slice(head + gap..end),
    })
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let found = body
        .get(from..)?
        .windows(what.len())
        .position(|it| it == what);
    found.map(|at| from + at)
}

fn find_last(body: &[u8], what: &[u8]) -> Option<usize> {
    body.windows(what.len()).rposition(|it| it == what)
}

/// The content of `GET .../b/BUCKET/o/OBJECT?alt=media`.
pub(super) fn download(gcp: &Gcp, request: &Request<Body>) -> Response {
    let read = || {
        gcp.auth().check(request.headers())?;
        let path = request.uri().path();
        let path = path.strip_prefix("/download").unwrap_or(path);
        let rest = path
            .strip_prefix("/storage/v1/b/")
            .and_then(|rest| rest.split_once("/o/"));
        let (bucket, object) = rest.ok_or(Refusal::Required("object"))?;
        let query = query(request);
        let generation = query.get("generation").map(|it| it.parse()).transpose();
        let generation =
            generation.map_err(|_| Refusal::Invalid("Invalid value for: generation".into()))?;
        let conditions = Conditions::from_query(|name| query.get(name).cloned())?;
        gcp.find_object(
            &percent_decode_str(bucket).decode_utf8_lossy(),
            &percent_decode_str(object).decode_utf8_lossy(),
            generation,
            conditions,
        )
    };
    match read() {
        Ok(stored) => content(&stored, request.headers()),
        Err(refusal) => refusal.into_json_response(),
    }
}

/// An object's content with what both APIs say of it in headers; the part that `Range` asks for.
pub(super) fn content(stored: &Stored, asked: &HeaderMap) -> Response {
    let whole = stored.bytes.len();
    let mut headers = described(stored);
    let range = text(asked, "range");
    let Some(range) = range.strip_prefix("bytes=").filter(|_| whole > 0) else {
        return (StatusCode::OK, headers, stored.bytes.clone()).into_response();
    };
    let Some((start, end)) = bounds(range, whole) else {
        let all = [(header::CONTENT_RANGE, format!("bytes */{whole}"))];
        return (StatusCode::RANGE_NOT_SATISFIABLE, all).into_response();
    };
    let shown = format!("bytes {start}-{}/{whole}", end - 1);
    if let Ok(shown) = HeaderValue::from_str(&shown) {
        headers.insert(header::CONTENT_RANGE, shown);
    }
    (
        StatusCode::PARTIAL_CONTENT,
        headers,
        stored.bytes.slice(start..end),
    )
        .into_response()
}

fn bounds(range: &str, whole: usize) -> Option<(usize, usize)> {
    let (first, last) = range.split_once('-')?;
    let (start, end) = match (first, last) {
        ("", last) => (whole.saturating_sub(last.parse().ok()?), whole),
        (first, "") => (first.parse().ok()?, whole),
        (first, last) => (
            first.parse().ok()?,
            last.parse::<usize>().ok()?.saturating_add(1).min(whole),
        ),
    };
    (start < end).then_some((start, end))
}

/// The headers of an object, without its content.
pub(super) fn described(stored: &Stored) -> HeaderMap {
    let modified = stored
        .created
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let mut said = vec![
        ("content-type", stored.kind.content_type.clone()),
        // The XML API's is that of S3.
        ("etag", format!("\"{}\"", hex::encode(stored.md5()))),
        ("last-modified", modified),
        ("x-goog-generation", stored.generation.to_string()),
        ("x-goog-metageneration", "1".to_owned()),
        ("x-goog-storage-class", "STANDARD".to_owned()),
        (
            "x-goog-stored-content-length",
            stored.bytes.len().to_string(),
        ),
        (
            "x-goog-hash",
            format!("crc32c={},md5={}", stored.crc32c(), stored.md5_hash()),
        ),
    ];
    for (field, name) in [
        ("cacheControl", "cache-control"),
        ("contentDisposition", "content-disposition"),
        ("contentEncoding", "content-encoding"),
        ("contentLanguage", "content-language"),
    ] {
        said.extend(
            stored
                .kind
                .more
                .get(field)
                .map(|value| (name, value.clone())),
        );
    }
    let said = said.into_iter().filter(|(_, value)| !value.is_empty());
    said.filter_map(|(name, value)| {
        Some((
            HeaderName::from_static(name),
            HeaderValue::from_str(&value).ok()?,
        ))
    })
    .collect()
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}
