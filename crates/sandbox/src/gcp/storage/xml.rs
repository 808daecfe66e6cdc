//! The XML API, as far as objects go: put, get, head, delete, and the newer listing.

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use quick_xml::escape::escape;
use serde_json::Value;

use super::OTHER_APIS;
use super::buckets::is_bucket_name;
use super::media::{content, described, text};
use super::objects::{Conditions, Kind, Listed, Wanted, page_token, timestamp};
use super::refusal::Refusal;
use crate::gcp::Gcp;
use crate::gcp::schema;

/// No object of a test is larger.
const LARGEST: usize = 32 * 1024 * 1024;

/// What a path of the XML API names.
pub(super) struct Target {
    bucket: String,
    /// Empty for the bucket itself.
    object: String,
}

impl Target {
    /// The JSON API's id of what a request with this method does.
    pub(super) fn method(&self, method: &Method) -> &'static str {
        match (method.as_str(), self.object.is_empty()) {
            ("GET", true) => "storage.objects.list",
            ("HEAD", true) => "storage.buckets.get",
            ("PUT", true) => "storage.buckets.insert",
            ("DELETE", true) => "storage.buckets.delete",
            ("PUT" | "POST", _) => "storage.objects.insert",
            ("DELETE", false) => "storage.objects.delete",
            _ => "storage.objects.get",
        }
    }
}

/// The bucket and object of a path; `None` when it is another API's.
pub(super) fn target(request: &Request<Body>) -> Option<Target> {
    let path = request.uri().path();
    let (bucket, object) = path
        .strip_prefix('/')?
        .split_once('/')
        .unwrap_or((&path[1..], ""));
    let bucket = percent_decode_str(bucket).decode_utf8_lossy();
    let ours = is_bucket_name(&bucket)
        && !OTHER_APIS.contains(&&*bucket)
        && schema::route(request.method().as_str(), path).is_none();
    ours.then(|| Target {
        bucket: bucket.into_owned(),
        object: percent_decode_str(object).decode_utf8_lossy().into_owned(),
    })
}

/// Answers a call.
pub(super) async fn answer(gcp: &Gcp, request: Request<Body>, target: Target) -> Response {
    let answer = match call(gcp, request, &target).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.into_xml(),
    };
    answer.into_response()
}

async fn call(gcp: &Gcp, request: Request<Body>, at: &Target) -> Result<Response, Refusal> {
    gcp.auth().check(request.headers())?;
    let pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let query: HashMap<String, String> = pairs.into_owned().collect();
    let method = request.method().as_str().to_owned();
    if request.headers().contains_key("x-goog-copy-source") || query.contains_key("uploadId") {
        return Err(Refusal::NotOffered("copies and uploads in parts".into()));
    }
    let generation = query.get("generation").and_then(|it| it.parse().ok());
    let conditions = Conditions::from_headers(request.headers())?;
    match (method.as_str(), at.object.as_str()) {
        ("GET", "") => list(gcp, &at.bucket, &query),
        ("HEAD", "") => gcp.with_bucket(&at.bucket, |_| Ok(StatusCode::OK.into_response())),
        ("PUT", object) if !object.is_empty() => put(gcp, request, at, conditions).await,
        ("GET", object) => {
            let stored = gcp.find_object(&at.bucket, object, generation, conditions)?;
            Ok(content(&stored, request.headers()))
        }
        ("HEAD", object) => {
            let stored = gcp.find_object(&at.bucket, object, generation, conditions)?;
            let length = [(header::CONTENT_LENGTH, stored.bytes.len().to_string())];
            Ok((StatusCode::OK, described(&stored), length).into_response())
        }
        ("DELETE", object) if !object.is_empty() => {
            gcp.remove_object(&at.bucket, object, generation, conditions)?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (method, _) => Err(Refusal::NotOffered(format!("{method} of the XML API here"))),
    }
}

async fn put(
    gcp: &Gcp,
    request: Request<Body>,
    at: &Target,
    conditions: Conditions,
) -> Result<Response, Refusal> {
    let headers = request.headers();
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-goog-meta-")?;
        Some((name.to_owned(), Value::from(value.to_str().ok()?)))
    });
    let more = [
        ("cacheControl", "cache-control"),
        ("contentDisposition", "content-disposition"),
        ("contentEncoding", "content-encoding"),
        ("contentLanguage", "content-language"),
    ];
    let more = more.map(|(field, name)| (field, text(headers, name)));
    let kind = Kind {
        content_type: text(headers, "content-type"),
        metadata: metadata.collect(),
        more: BTreeMap::from_iter(more.into_iter().filter(|(_, value)| !value.is_empty())),
    };
    let body = axum::body::to_bytes(request.into_body(), LARGEST).await;
    let body = body.map_err(|_| Refusal::Invalid("The object is too large.".into()))?;
    let stored = gcp.put_object(&at.bucket, &at.object, body, kind, conditions)?;
    let mut headers = described(&stored);
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::LAST_MODIFIED);
    Ok((StatusCode::OK, headers).into_response())
}

/// Listing of version 2, the one with continuation tokens.
fn list(gcp: &Gcp, bucket: &str, query: &HashMap<String, String>) -> Result<Response, Refusal> {
    let word = |name: &str| query.get(name).cloned().unwrap_or_default();
    if word("list-type") != "2" {
        gcp.with_bucket(bucket, |_| Ok(()))?;
        return Err(Refusal::NotOffered(
            "listings but those of `list-type=2`".into(),
        ));
    }
    let token = page_token(&word("continuation-token"))?;
    let wanted = Wanted {
        prefix: word("prefix"),
        delimiter: word("delimiter"),
        after: token.or_else(|| query.get("start-after").cloned()),
        most: word("max-keys")
            .parse()
            .unwrap_or(1000_usize)
            .clamp(1, 1000),
        ..Wanted::default()
    };
    let listed = gcp.with_bucket(bucket, |bucket| Ok(bucket.list(&wanted)))?;
    let kind = [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")];
    Ok((kind, written(bucket, &wanted, &listed)).into_response())
}

fn written(bucket: &str, wanted: &Wanted, listed: &Listed) -> String {
    let mut out = format!(
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>\
         <Name>{}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{}</MaxKeys><IsTruncated>{}</IsTruncated>",
        escape(bucket),
        escape(&wanted.prefix),
        listed.objects.len() + listed.prefixes.len(),
        wanted.most,
        listed.next.is_some(),
    );
    if let Some(next) = &listed.next {
        out.push_str(&format!(
            "<NextContinuationToken>{}</NextContinuationToken>",
            escape(next)
        ));
    }
    for (name, stored) in &listed.objects {
        out.push_str(&format!(
            "<Contents><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>\
             <LastModified>{}</LastModified><ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
            escape(name),
            stored.generation,
            timestamp(stored.created),
            hex::encode(stored.md5()),
            stored.bytes.len(),
        ));
    }
    for prefix in &listed.prefixes {
        out.push_str(&format!(
            "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
            escape(prefix)
        ));
    }
    out + "</ListBucketResult>"
}
