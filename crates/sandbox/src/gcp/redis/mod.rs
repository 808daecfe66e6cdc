//! Memorystore for Redis: instances, each a real server.

mod instances;
mod patch;
mod rules;

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::names::check_location;
use super::operations::any;
use super::schema::text;
use super::shelf::{Key, Thing};
use super::wire::Call;
use crate::backing::Redis;
use instances::CACHES;

type Instance = Thing<Server>;

/// What is kept of an instance beside its message.
#[derive(Serialize)]
pub struct Server {
    /// The AUTH string; made by the cloud, kept while AUTH is on.
    auth: Option<String>,
    /// Absent until it was created, and where Redis is not installed.
    #[serde(skip)]
    server: Option<Redis>,
}

const INSTANCE: &str = "google.cloud.redis.v1.Instance";

impl Instance {
    fn state(&self) -> &str {
        text(&self.message, "state")
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.message.insert(name.into(), value.into());
    }

    /// What the server accepts.
    fn passwords(&self) -> Vec<String> {
        self.kept.auth.iter().cloned().collect()
    }
}

impl Gcp {
    /// Methods of Memorystore for Redis, apart from operations.
    pub(super) fn memorystore(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let method = call.method.id.rsplit('.').next().unwrap_or_default();
        if !(method == "list" && call.var(1) == "-") {
            check_location(call.var(1))?;
        }
        if let Some(answer) = CACHES.call(self, call) {
            return answer;
        }
        let key = CACHES.key(self, call)?;
        match method {
            "getAuthString" => self.with_cache(&key, |it| match &it.kept.auth {
                Some(auth) => Ok(json!({ "authString": auth })),
                None => Err(ApiError::precondition(
                    "AUTH is not enabled for this instance.",
                )),
            }),
            "patch" => self.patch_cache(call, &key),
            "upgrade" => self.upgrade_cache(call, &key),
            "failover" => self.failover_cache(call, &key),
            "delete" => self.delete_cache(call, &key),
            other => Err(ApiError::unimplemented(other)),
        }
    }

    /// What `sandbox status` says of the caches.
    pub(super) fn redis_status(&self) -> Value {
        let all = self.inner.redis.lock();
        let caches = all.iter().map(|((location, id), instance)| {
            let address = match &instance.kept.server {
                Some(server) => server.endpoint().to_string(),
                None => "none".into(),
            };
            json!({ "name": id, "location": location, "state": instance.state(), "address": address })
        });
        caches.collect()
    }

    fn with_cache<T>(
        &self,
        key: &Key,
        act: impl FnOnce(&mut Instance) -> Outcome<T>,
    ) -> Outcome<T> {
        CACHES.at(self, key, act)
    }

    fn cache_name(&self, key: &Key) -> String {
        format!("{}/instances/{}", self.parent_at(&key.0), key.1)
    }

    /// Begins an operation on an instance. Answers it.
    fn begin_cache(&self, key: &Key, verb: &str) -> Value {
        let metadata = self.cache_metadata(key, verb, &self.now());
        self.operations().start(&self.parent_at(&key.0), metadata)
    }

    fn cache_metadata(&self, key: &Key, verb: &str, since: &str) -> Value {
        json!({
            "@type": "type.googleapis.com/google.cloud.redis.v1.OperationMetadata",
            "createTime": since, "target": self.cache_name(key), "verb": verb, "apiVersion": "v1",
        })
    }

    /// Ends an operation with the instance as it now is, or with why it failed.
    fn finish_cache(&self, key: &Key, operation: &Value, result: Outcome<()>) {
        let message = self.with_cache(key, |it| {
            Ok(any(INSTANCE, &Value::Object(it.message.clone())))
        });
        self.end_operation(operation, result.and(message));
    }

    fn end_operation(&self, operation: &Value, result: Outcome) {
        let mut metadata = operation["metadata"].clone();
        metadata["endTime"] = self.now().into();
        let name = operation["name"].as_str().unwrap_or_default();
        self.operations().finish(name, metadata, result);
    }
}
