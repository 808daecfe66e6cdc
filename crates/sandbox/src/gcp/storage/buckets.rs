//! Buckets: one name space for everybody, kept in the messages of the JSON API.

use serde_json::{Value, json};

use super::objects::page_token;
use super::{Bucket, Message, Refusal};
use crate::gcp::Gcp;
use crate::gcp::names::{check_labels, project_number};
use crate::gcp::wire::Call;

/// What a client may say of a bucket; the rest of the schema is not offered.
const SETTABLE: [&str; 10] = [
    "name",
    "location",
    "storageClass",
    "labels",
    "versioning",
    "iamConfiguration",
    "lifecycle",
    "softDeletePolicy",
    "kind",
    "id",
];

impl Gcp {
    pub(super) fn insert_bucket(&self, call: &Call) -> Result<Value, Refusal> {
        match call.query("project") {
            "" => return Err(Refusal::Required("project")),
            project => self
                .check_project(project)
                .map_err(|error| Refusal::Forbidden(error.message))?,
        }
        let text = |name: &str| {
            call.body
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = text("name").to_owned();
        if name.is_empty() {
            return Err(Refusal::Required("name"));
        }
        if !is_bucket_name(&name) {
            return Err(Refusal::BadBucketName(name));
        }
        check_settings(call)?;
        let mut buckets = self.inner.storage.lock();
        if buckets.contains_key(&name) {
            return Err(Refusal::BucketTaken);
        }
        let bucket = Bucket {
            message: self.new_bucket(&name, &call.body),
            objects: Default::default(),
        };
        let message = Value::Object(bucket.message.clone());
        buckets.insert(name, bucket);
        Ok(message)
    }

    fn new_bucket(&self, name: &str, body: &Message) -> Message {
        let now = super::objects::timestamp(self.host().clock.now());
        let location = body.get("location").and_then(Value::as_str).unwrap_or("US");
        let location = location.to_ascii_uppercase();
        let multi = matches!(location.as_str(), "US" | "EU" | "ASIA");
        let mut message = json!({
            "kind": "storage#bucket", "id": name, "name": name,
            "selfLink": format!("{}/storage/v1/b/{name}", self.host().base),
            "projectNumber": project_number(&self.host().project),
            "location": location, "locationType": if multi { "multi-region" } else { "region" },
            "storageClass": "STANDARD", "timeCreated": now, "updated": now,
            "generation": self.inner.storage.next_generation(self.host().clock.now()).to_string(),
            "metageneration": "1", "etag": "CAE=",
            "iamConfiguration": {
                "bucketPolicyOnly": { "enabled": false }, "uniformBucketLevelAccess": { "enabled": false },
                "publicAccessPrevention": "inherited",
            },
            "softDeletePolicy": { "retentionDurationSeconds": "604800", "effectiveTime": now },
        });
        merge(&mut message, body);
        message.as_object().cloned().unwrap_or_default()
    }

    pub(super) fn get_bucket(&self, call: &Call) -> Result<Value, Refusal> {
        self.with_bucket(call.var(0), |bucket| {
            Ok(Value::Object(bucket.message.clone()))
        })
    }

    pub(super) fn storage_layout(&self, call: &Call) -> Result<Value, Refusal> {
        self.with_bucket(call.var(0), |bucket| {
            Ok(json!({
                "kind": "storage#storageLayout", "bucket": bucket.message["name"],
                "location": bucket.message["location"], "locationType": bucket.message["locationType"],
            }))
        })
    }

    pub(super) fn patch_bucket(&self, call: &Call) -> Result<Value, Refusal> {
        check_settings(call)?;
        self.with_bucket(call.var(0), |bucket| {
            let mut message = Value::Object(bucket.message.clone());
            merge(&mut message, &call.body);
            let metageneration = message["metageneration"].as_str();
            let next = metageneration
                .and_then(|it| it.parse::<u64>().ok())
                .unwrap_or(1)
                + 1;
            message["metageneration"] = next.to_string().into();
            message["updated"] = super::objects::timestamp(self.host().clock.now()).into();
            bucket.message = message.as_object().cloned().unwrap_or_default();
            Ok(message)
        })
    }

    pub(super) fn list_buckets(&self, call: &Call) -> Result<Value, Refusal> {
        match call.query("project") {
            "" => return Err(Refusal::Required("project")),
            project => self
                .check_project(project)
                .map_err(|error| Refusal::Forbidden(error.message))?,
        }
        let prefix = call.query("prefix");
        let after = page_token(call.query("pageToken"))?;
        let most = call
            .query("maxResults")
            .parse()
            .unwrap_or(1000_usize)
            .clamp(1, 1000);
        let buckets = self.inner.storage.lock();
        let mut found = buckets.iter().filter(|(name, _)| {
            name.starts_with(prefix) && after.as_deref().is_none_or(|it| name.as_str() > it)
        });
        let page: Vec<_> = found.by_ref().take(most).collect();
        let mut answer = json!({ "kind": "storage#buckets" });
        answer["items"] = page
            .iter()
            .map(|(_, it)| Value::Object(it.message.clone()))
            .collect();
        if let (Some((last, _)), Some(_)) = (page.last(), found.next()) {
            answer["nextPageToken"] = super::objects::token_after(last).into();
        }
        Ok(answer)
    }

    pub(super) fn delete_bucket(&self, call: &Call) -> Result<Value, Refusal> {
        self.with_bucket(call.var(0), |bucket| match bucket.objects.is_empty() {
            true => Ok(()),
            false => Err(Refusal::BucketNotEmpty),
        })?;
        self.inner.storage.lock().remove(call.var(0));
        Ok(json!({}))
    }
}

fn check_settings(call: &Call) -> Result<(), Refusal> {
    if let Some(other) = call.body.keys().find(|it| !SETTABLE.contains(&it.as_str())) {
        return Err(Refusal::NotOffered(format!("a bucket's `{other}`")));
    }
    for acl in ["predefinedAcl", "predefinedDefaultObjectAcl"] {
        if !call.query(acl).is_empty() {
            return Err(Refusal::NotOffered(format!("`{acl}`")));
        }
    }
    check_labels("labels", call.body.get("labels")).map_err(|error| Refusal::Invalid(error.message))
}

/// Puts what a client says over what is there; objects of settings are merged, as a patch does.
fn merge(message: &mut Value, body: &Message) {
    for (name, value) in body {
        match (name.as_str(), value) {
            ("location" | "kind" | "id", _) => {}
            ("iamConfiguration", Value::Object(settings)) => {
                for (name, value) in settings {
                    message["iamConfiguration"][name] = value.clone();
                }
                let uniform = message["iamConfiguration"]["uniformBucketLevelAccess"].clone();
                // An older name of the same switch.
                message["iamConfiguration"]["bucketPolicyOnly"] = uniform;
            }
            _ => message[name] = value.clone(),
        }
    }
}

/// Google's rule: 3 to 63 of lower-case letters, digits, `-`, `_` and `.` (with dots up to 222, 63
/// a part), begun and ended by a letter or digit, no address, without Google's own name.
pub(super) fn is_bucket_name(name: &str) -> bool {
    let known =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=222).contains(&name.len())
        && name.split('.').all(|part| (1..=63).contains(&part.len()))
        && name.bytes().all(known)
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !name.starts_with("goog")
        && !name.contains("google")
}
