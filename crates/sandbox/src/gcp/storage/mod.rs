//! Cloud Storage: buckets and their objects in memory, over the JSON API and over the XML API.
//!
//! Behaviour by Google's pages "Request preconditions", "Bucket naming" and "HTTP status and error
//! codes" of either API. Known liberties: a bucket with versioning keeps the live version only, as
//! does one without soft delete; access control lists are not offered, nor are resumable uploads,
//! copies and the XML API's older listing.

mod buckets;
mod media;
mod objects;
mod refusal;
mod xml;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::error::{ApiError, Outcome};
use super::schema::Object as Message;
use super::wire::Call;
use super::{Gcp, faults};
use crate::call::ApiCall;
use crate::interceptor::identity;
use crate::verdict::Fault;
use objects::Stored;
use refusal::Refusal;

/// What Google's front end takes for paths of other APIs; no bucket of the XML API is looked for
/// under these.
const OTHER_APIS: [&str; 8] = [
    "storage",
    "upload",
    "download",
    "batch",
    "resumable",
    "sql",
    "dns",
    "apis",
];

/// Every bucket of the project.
#[derive(Default)]
pub struct Storage {
    buckets: Mutex<BTreeMap<String, Bucket>>,
    /// The last generation given: they only grow.
    generation: Mutex<i64>,
}

#[derive(Serialize)]
struct Bucket {
    /// The message `Bucket`.
    message: Message,
    objects: BTreeMap<String, Stored>,
}

impl Storage {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// A generation that no object had before: microseconds, as Google's look.
    fn next_generation(&self, now: jiff::Timestamp) -> i64 {
        let mut last = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = now.as_microsecond().max(*last + 1);
        *last
    }
}

/// The headers that say which content of an object is asked for.
fn content_asked_for(headers: &HeaderMap) -> [Option<&[u8]>; 4] {
    [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH]
        .map(|name| headers.get(name).map(HeaderValue::as_bytes))
}

impl Gcp {
    /// Methods of the JSON API that move no content.
    pub(super) fn cloud_storage(&self, call: &Call) -> Outcome {
        let method = call.method.id.strip_prefix("storage.").unwrap_or_default();
        let answer = match method {
            "buckets.insert" => self.insert_bucket(call),
            "buckets.get" => self.get_bucket(call),
            "buckets.list" => self.list_buckets(call),
            "buckets.patch" => self.patch_bucket(call),
            "buckets.delete" => self.delete_bucket(call),
            "buckets.getStorageLayout" => self.storage_layout(call),
            "objects.get" => self.get_object(call),
            "objects.list" => self.list_objects(call),
            "objects.delete" => self.delete_object(call),
            other => return Err(ApiError::unimplemented(other)),
        };
        answer.map_err(Refusal::into_json)
    }

    /// Answers what is no plain JSON call: content of objects, and the XML API. Gives every other
    /// request back.
    pub(super) async fn storage_front(
        &self,
        request: Request<Body>,
    ) -> Result<Response, Request<Body>> {
        let path = request.uri().path();
        let (gcp, same) = (
            self.clone(),
            identity((
                request.method().as_str(),
                request.uri().to_string(),
                content_asked_for(request.headers()),
            )),
        );
        let carry = &self.host().interceptor;
        if path.starts_with("/upload/storage/v1/b/") {
            let (call, refuse) = self.storage_call("storage.objects.insert", faults::refuse);
            let effect = async move { media::upload(&gcp, request).await };
            return Ok(carry.carry(call, same, refuse, effect).await);
        }
        if path.starts_with("/download/storage/v1/b/") || media::is_download(&request) {
            let (call, refuse) = self.storage_call("storage.objects.get", faults::refuse);
            let effect = async move { media::download(&gcp, &request) };
            return Ok(carry.carry(call, same, refuse, effect).await);
        }
        let Some(target) = xml::target(&request) else {
            return Err(request);
        };
        let refuse_xml =
            |fault: &Fault, _: &str, _: &ApiCall| Refusal::OnPurpose(fault.kind).into_xml();
        let (call, refuse) = self.storage_call(target.method(request.method()), refuse_xml);
        let effect = async move { xml::answer(&gcp, request, target).await };
        Ok(carry.carry(call, same, refuse, effect).await)
    }

    /// A call by the JSON API's id of what it does, and how it is refused on purpose.
    fn storage_call(
        &self,
        id: &str,
        refuse: impl FnOnce(&Fault, &str, &ApiCall) -> Response,
    ) -> (ApiCall, impl FnOnce(&Fault) -> Response) {
        let call = ApiCall::google(id);
        let (gcp, named) = (self.clone(), call.clone());
        let refuse = move |fault: &Fault| refuse(fault, &gcp.host().project, &named);
        (call, refuse)
    }

    /// What `sandbox status` says of the buckets.
    pub(super) fn storage_status(&self) -> Value {
        let buckets = self.inner.storage.lock();
        buckets
            .iter()
            .map(|(name, bucket)| {
                serde_json::json!({ "name": name, "objects": bucket.objects.len() })
            })
            .collect()
    }

    fn with_bucket<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Bucket) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut buckets = self.inner.storage.lock();
        act(buckets.get_mut(name).ok_or(Refusal::NoBucket)?)
    }
}
