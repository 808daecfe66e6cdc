//! `/v2/...`: reads a request's path, asks the gate, answers.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::answer::ProtocolError;
use super::store::sha256_hex;
use super::upload::{Upload, Uploads};
use super::{Access, Gate, Refusal, Store, StoredManifest};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// What the protocol asks registries to accept at least.
const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;

type Answer = Result<Response, ProtocolError>;

#[derive(Clone)]
struct Registry {
    store: Store,
    gate: Arc<dyn Gate>,
    uploads: Uploads,
}

/// The routes `/v2/` and `/v2/<name>/...` for one cloud. Merge them or use them as a fallback:
/// more exact routes of the cloud's own under `/v2/` win.
pub fn routes(store: Store, gate: Arc<dyn Gate>) -> axum::Router {
    let registry = Registry {
        store,
        gate,
        uploads: Uploads::default(),
    };
    let version = axum::middleware::map_response(|mut response: Response| async {
        let value = header::HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert(API_VERSION, value);
        response
    });
    axum::Router::new()
        .route("/v2", any(ping))
        .route("/v2/", any(ping))
        .route("/v2/{*path}", any(dispatch))
        .layer(version)
        .with_state(registry)
}

async fn ping(State(registry): State<Registry>, headers: HeaderMap) -> Answer {
    match registry.gate.admit(&headers, "", Access::Pull, None) {
        Err(refusal @ Refusal::Unauthorized { .. }) => Err(refusal.into()),
        _ => Ok(axum::Json(json!({})).into_response()),
    }
}

/// What a path below `/v2/` names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Manifest(&'a str),
    Blob(&'a str),
    Uploads,
    Upload(&'a str),
    Tags,
    Referrers(&'a str),
}

/// Splits `<name>/<kind>/<reference>`; names hold slashes, so it reads from the end.
pub(super) fn target(path: &str) -> Option<(&str, Target<'_>)> {
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Some((name, Target::Tags));
    }
    let bare = path.strip_suffix('/').unwrap_or(path);
    if let Some(name) = bare.strip_suffix("/blobs/uploads") {
        return Some((name, Target::Uploads));
    }
    let (front, reference) = path.rsplit_once('/')?;
    if let Some(name) = front.strip_suffix("/blobs/uploads") {
        return Some((name, Target::Upload(reference)));
    }
    let (name, kind) = front.rsplit_once('/')?;
    match kind {
        "manifests" => Some((name, Target::Manifest(reference))),
        "blobs" => Some((name, Target::Blob(reference))),
        "referrers" => Some((name, Target::Referrers(reference))),
        _ => None,
    }
}

/// The protocol's name rule: components of lower-case letters and digits, joined by single
/// separators (`.`, `_`, `__` or dashes), split by slashes.
fn is_name(name: &str) -> bool {
    let alphanumeric = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let component = |part: &str| {
        let bytes = part.as_bytes();
        let ends = bytes.first().is_some_and(|it| alphanumeric(*it))
            && bytes.last().is_some_and(|it| alphanumeric(*it));
        let mut separators = part.split(|it: char| it.is_ascii_alphanumeric());
        let joined = separators.all(|run| {
            matches!(run, "" | "." | "_" | "__") || run.bytes().all(|dash| dash == b'-')
        });
        ends && joined
            && bytes
                .iter()
                .all(|it| alphanumeric(*it) || b"._-".contains(it))
    };
    name.len() <= 255 && name.split('/').all(component)
}

async fn dispatch(
    State(registry): State<Registry>,
    Path(path): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Answer {
    let Some((name, target)) = target(&path) else {
        return Err(ProtocolError::not_found("UNSUPPORTED", "no such endpoint"));
    };
    if !is_name(name) {
        let message = format!("invalid repository name `{name}`");
        return Err(ProtocolError::bad("NAME_INVALID", message));
    }
    let method = request.method().clone();
    let read = method == Method::GET || method == Method::HEAD;
    let access = match (read, &target) {
        (true, Target::Upload(_)) | (false, _) => Access::Push,
        (true, _) => Access::Pull,
    };
    let tag = match &target {
        Target::Manifest(reference) if method == Method::PUT => Some(*reference),
        _ => None,
    };
    let tag = tag.filter(|reference| !reference.contains(':'));
    let stored = registry.gate.admit(request.headers(), name, access, tag)?;
    let (parts, body) = request.into_parts();
    let call = Call {
        registry,
        name,
        stored,
        query,
        headers: parts.headers,
    };
    match (target, method.as_str()) {
        (Target::Manifest(reference), "GET" | "HEAD") => call.get_manifest(reference),
        (Target::Manifest(reference), "PUT") => call.put_manifest(reference, body).await,
        (Target::Manifest(reference), "DELETE") => call.delete_manifest(reference),
        (Target::Blob(digest), "GET" | "HEAD") => call.get_blob(digest).await,
        (Target::Blob(digest), "DELETE") => call.delete_blob(digest),
        (Target::Uploads, "POST") => call.begin_upload(body).await,
        (Target::Upload(id), "GET" | "HEAD") => call.upload_status(id).await,
        (Target::Upload(id), "PATCH") => call.append_upload(id, body).await,
        (Target::Upload(id), "PUT") => call.finish_upload(id, body).await,
        (Target::Upload(id), "DELETE") => call.cancel_upload(id).await,
        (Target::Tags, "GET") => call.list_tags(),
        (Target::Referrers(digest), "GET") => call.referrers(digest),
        _ => Err(ProtocolError::unsupported()),
    }
}

/// One admitted request.
struct Call<'a> {
    registry: Registry,
    /// As the client wrote it.
    name: &'a str,
    /// As the store knows it.
    stored: String,
    query: HashMap<String, String>,
    headers: HeaderMap,
}

impl Call<'_> {
    fn get_manifest(&self, reference: &str) -> Answer {
        let store = &self.registry.store;
        let Some(manifest) = store.manifest(&self.stored, reference) else {
            let message = format!("manifest {reference} is unknown");
            return Err(ProtocolError::not_found("MANIFEST_UNKNOWN", message));
        };
        let headers = [
            (header::CONTENT_TYPE, manifest.media_type),
            (CONTENT_DIGEST, manifest.digest),
            (header::CONTENT_LENGTH, manifest.bytes.len().to_string()),
        ];
        Ok((headers, manifest.bytes).into_response())
    }

    async fn put_manifest(&self, reference: &str, body: Body) -> Answer {
        let media_type = self.header(&header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let bytes = axum::body::to_bytes(body, MANIFEST_LIMIT).await;
        let bytes = bytes.map_err(|_| {
            let message = "the manifest is larger than 4 MiB, or ended early";
            ProtocolError::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message)
        })?;
        let store = &self.registry.store;
        let stored = store.try_put_manifest(&self.stored, reference, &media_type, bytes)?;
        let location = format!("/v2/{}/manifests/{}", self.name, stored.digest);
        let subject = subject(&stored);
        let headers = [
            (header::LOCATION, location),
            (CONTENT_DIGEST, stored.digest),
        ];
        let mut response = (StatusCode::CREATED, headers).into_response();
        if let Some(subject) = subject.and_then(|it| it.try_into().ok()) {
            response.headers_mut().insert(OCI_SUBJECT, subject);
        }
        Ok(response)
    }

    fn delete_manifest(&self, reference: &str) -> Answer {
        let store = &self.registry.store;
        let deleted = match reference.contains(':') {
            true => store.delete_manifest(&self.stored, reference),
            false => store.delete_tag(&self.stored, reference),
        };
        match deleted {
            true => Ok(StatusCode::ACCEPTED.into_response()),
            false => Err(ProtocolError::not_found(
                "MANIFEST_UNKNOWN",
                "manifest unknown",
            )),
        }
    }

    async fn get_blob(&self, digest: &str) -> Answer {
        let store = &self.registry.store;
        let path = store
            .blob(digest)
            .filter(|_| store.has_blob(&self.stored, digest));
        let Some(path) = path else {
            let message = format!("blob {digest} is unknown");
            return Err(ProtocolError::not_found("BLOB_UNKNOWN", message));
        };
        let mut file = tokio::fs::File::open(path).await?;
        let size = file.metadata().await?.len();
        let (status, from, to) = match self.header(&header::RANGE) {
            None => (StatusCode::OK, 0, size),
            Some(range) => {
                let (from, to) = byte_range(range, size)?;
                (StatusCode::PARTIAL_CONTENT, from, to)
            }
        };
        file.seek(std::io::SeekFrom::Start(from)).await?;
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, (to - from).to_string()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (CONTENT_DIGEST, digest.to_owned()),
        ];
        let body = Body::from_stream(ReaderStream::new(file.take(to - from)));
        let mut response = (status, headers, body).into_response();
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {from}-{}/{size}", to - 1);
            let range = range.try_into().expect("digits make a header value");
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        Ok(response)
    }

    fn delete_blob(&self, digest: &str) -> Answer {
        match self.registry.store.delete_blob(&self.stored, digest) {
            true => Ok(StatusCode::ACCEPTED.into_response()),
            false => Err(ProtocolError::not_found("BLOB_UNKNOWN", "blob unknown")),
        }
    }

    /// `POST`: a mount from another repository, a whole blob at once, or the start of a session.
    async fn begin_upload(&self, body: Body) -> Answer {
        if let (Some(digest), Some(from)) = (self.query.get("mount"), self.query.get("from")) {
            let gate = &self.registry.gate;
            let from = gate.admit(&self.headers, from, Access::Pull, None);
            let store = &self.registry.store;
            // A source that may not be read is answered like one without the blob: upload it.
            if from.is_ok_and(|from| store.mount_blob(&from, &self.stored, digest)) {
                return Ok(self.blob_created(digest));
            }
        }
        let Registry { store, uploads, .. } = &self.registry;
        let id = uploads.begin(store, &self.stored).await?;
        if self.query.contains_key("digest") {
            return self.finish_upload(&id, body).await;
        }
        let upload = uploads.find(&self.stored, &id).await?;
        Ok(self.upload_answer(&id, &upload, StatusCode::ACCEPTED))
    }

    async fn upload_status(&self, id: &str) -> Answer {
        let upload = self.registry.uploads.find(&self.stored, id).await?;
        Ok(self.upload_answer(id, &upload, StatusCode::NO_CONTENT))
    }

    async fn append_upload(&self, id: &str, body: Body) -> Answer {
        let from = self.chunk_start()?;
        let mut upload = self.registry.uploads.find(&self.stored, id).await?;
        match upload.append(body, from).await {
            Ok(()) => Ok(self.upload_answer(id, &upload, StatusCode::ACCEPTED)),
            Err(error) => Err(error
                .with(header::LOCATION, self.upload_path(id))
                .with(header::RANGE, upload.range())),
        }
    }

    async fn finish_upload(&self, id: &str, body: Body) -> Answer {
        let digest = self.query.get("digest").cloned().unwrap_or_default();
        if sha256_hex(&digest).is_none() {
            let message = format!("`{digest}` is not a sha256 digest");
            return Err(ProtocolError::bad("DIGEST_INVALID", message));
        }
        let from = self.chunk_start()?;
        let uploads = &self.registry.uploads;
        let mut upload = uploads.find(&self.stored, id).await?;
        upload.append(body, from).await?;
        let finished = upload.finish(&self.registry.store, &digest);
        // A failed digest ends the session too: the running digest cannot be wound back.
        uploads.forget(id);
        upload.discard().await;
        finished.map(|()| self.blob_created(&digest))
    }

    async fn cancel_upload(&self, id: &str) -> Answer {
        let upload = self.registry.uploads.find(&self.stored, id).await?;
        self.registry.uploads.forget(id);
        upload.discard().await;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn list_tags(&self) -> Answer {
        let last = self.query.get("last").map_or("", String::as_str);
        let tags = self.registry.store.tags(&self.stored);
        let mut tags: Vec<_> = tags.into_keys().filter(|tag| tag.as_str() > last).collect();
        let mut next = None;
        if let Some(count) = self.query.get("n") {
            let invalid = |_| ProtocolError::bad("PAGINATION_NUMBER_INVALID", "invalid `n`");
            let count: usize = count.parse().map_err(invalid)?;
            if count < tags.len() {
                tags.truncate(count);
                next = tags.last().map(|last| {
                    format!(
                        "</v2/{}/tags/list?n={count}&last={last}>; rel=\"next\"",
                        self.name
                    )
                });
            }
        }
        let body = axum::Json(json!({ "name": self.name, "tags": tags }));
        let next = next.map(|link| [(header::LINK, link)]);
        Ok(match next {
            Some(link) => (link, body).into_response(),
            None => body.into_response(),
        })
    }

    /// The manifests whose `subject` is this digest.
    fn referrers(&self, digest: &str) -> Answer {
        if sha256_hex(digest).is_none() {
            return Err(ProtocolError::bad("DIGEST_INVALID", "not a sha256 digest"));
        }
        let manifests = self.registry.store.manifests(&self.stored);
        let referrers = manifests
            .iter()
            .filter(|it| subject(it).as_deref() == Some(digest));
        let referrers: Vec<_> = referrers.map(descriptor).collect();
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({
            "schemaVersion": 2, "mediaType": media_type, "manifests": referrers,
        });
        Ok(([(header::CONTENT_TYPE, media_type)], index.to_string()).into_response())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first byte of `Content-Range: <start>-<end>`, as the protocol writes it.
    fn chunk_start(&self) -> Result<Option<u64>, ProtocolError> {
        let Some(range) = self.header(&header::CONTENT_RANGE) else {
            return Ok(None);
        };
        let start = range.trim_start_matches("bytes ").split('-').next();
        match start.and_then(|start| start.parse().ok()) {
            Some(start) => Ok(Some(start)),
            None => Err(ProtocolError::bad(
                "BLOB_UPLOAD_INVALID",
                "invalid `Content-Range`",
            )),
        }
    }

    fn blob_created(&self, digest: &str) -> Response {
        let location = format!("/v2/{}/blobs/{digest}", self.name);
        let headers = [
            (header::LOCATION, location),
            (CONTENT_DIGEST, digest.to_owned()),
        ];
        (StatusCode::CREATED, headers).into_response()
    }

    fn upload_path(&self, id: &str) -> String {
        format!("/v2/{}/blobs/uploads/{id}", self.name)
    }

    fn upload_answer(&self, id: &str, upload: &Upload, status: StatusCode) -> Response {
        let headers = [
            (header::LOCATION, self.upload_path(id)),
            (header::RANGE, upload.range()),
            (UPLOAD_ID, id.to_owned()),
        ];
        (status, headers).into_response()
    }
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n` as a half-open range within `size`.
fn byte_range(range: &str, size: u64) -> Result<(u64, u64), ProtocolError> {
    let unsatisfiable = || {
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        ProtocolError::new(
            status,
            "RANGE_INVALID",
            format!("the blob has {size} bytes"),
        )
        .with(header::CONTENT_RANGE, format!("bytes */{size}"))
    };
    let range = range.strip_prefix("bytes=").ok_or_else(unsatisfiable)?;
    let (from, to) = range.split_once('-').ok_or_else(unsatisfiable)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| unsatisfiable());
    let (from, to) = match (from, to) {
        ("", count) => (size.saturating_sub(number(count)?), size),
        (from, "") => (number(from)?, size),
        (from, to) => (number(from)?, number(to)?.saturating_add(1).min(size)),
    };
    match from < to {
        true => Ok((from, to)),
        false => Err(unsatisfiable()),
    }
}

fn subject(manifest: &StoredManifest) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).ok()?;
    Some(manifest["subject"]["digest"].as_str()?.to_owned())
}

fn descriptor(manifest: &StoredManifest) -> serde_json::Value {
    json!({
        "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_its_end() {
        let read = |path| target(path).expect("a target");
        assert_eq!(read("a/b/manifests/v1"), ("a/b", Target::Manifest("v1")));
        assert_eq!(read("blobs/blobs/uploads/"), ("blobs", Target::Uploads));
        assert_eq!(read("a/blobs/uploads/7"), ("a", Target::Upload("7")));
        assert_eq!(read("manifests/tags/list"), ("manifests", Target::Tags));
        assert_eq!(target("a/b"), None);
    }

    #[test]
    fn names_follow_the_protocol() {
        for good in ["a", "a/b-c/d_e", "a--b", "a__b", "1.2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "A", "a//b", "-a", "a_", "a..b", "a___b", "a/../b", "a b",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn ranges_stay_within_the_blob() {
        let range = |text| byte_range(text, 10).ok();
        assert_eq!(range("bytes=0-3"), Some((0, 4)));
        assert_eq!(range("bytes=4-"), Some((4, 10)));
        assert_eq!(range("bytes=-3"), Some((7, 10)));
        assert_eq!(range("bytes=8-99"), Some((8, 10)));
        assert_eq!(range("bytes=10-"), None);
        assert_eq!(range("chars=0-1"), None);
    }
}
