//! Changes of an instance, field by field as the update mask names them.

use std::time::Duration;

use serde_json::json;

use super::instances::{auth_string, broken, ready};
use super::{rules, text};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::{Object, camel, has_path};
use crate::gcp::shelf::Key;
use crate::gcp::wire::Call;

/// A change that the instance takes while it serves.
const QUICK: Duration = Duration::from_secs(30);
/// Another size or version, which takes the instance away for a moment.
const RESIZING: Duration = Duration::from_secs(4 * 60);

/// What a mask may name; the rest stays as it was created.
const MUTABLE: [&str; 10] = [
    "authEnabled",
    "displayName",
    "labels",
    "maintenancePolicy",
    "memorySizeGb",
    "persistenceConfig",
    "readReplicasMode",
    "redisConfigs",
    "replicaCount",
    "suspensionReasons",
];

impl Gcp {
    pub(super) fn patch_cache(&self, call: &Call, key: &Key) -> Outcome {
        let fields = read_mask(call.query("updateMask"))?;
        let new = self.with_cache(key, |instance| {
            ready(instance)?;
            let mut new = instance.message.clone();
            for field in &fields {
                match call.body.get(field) {
                    Some(value) => new.insert(field.clone(), value.clone()),
                    None => new.remove(field),
                };
            }
            rules::check(&new, &self.host().project, &key.0)?;
            instance.set("state", "UPDATING");
            Ok(new)
        })?;
        let resizes = fields.iter().any(|it| it == "memorySizeGb");
        self.change_cache(key, "update", new, if resizes { RESIZING } else { QUICK })
    }

    pub(super) fn upgrade_cache(&self, call: &Call, key: &Key) -> Outcome {
        let version = text(&call.body, "redisVersion").to_owned();
        let wanted = rules::rank(&version)?;
        let new = self.with_cache(key, |instance| {
            ready(instance)?;
            if wanted <= rules::rank(text(&instance.message, "redisVersion"))? {
                return Err(ApiError::field(
                    "redis_version",
                    format!("'{version}' is not newer than the instance's version"),
                ));
            }
            let mut new = instance.message.clone();
            new.insert("redisVersion".into(), version.into());
            instance.set("state", "UPDATING");
            Ok(new)
        })?;
        self.change_cache(key, "upgrade", new, RESIZING)
    }

    /// Makes the instance what `new` says, in as much time as it takes.
    fn change_cache(&self, key: &Key, verb: &str, new: Object, time: Duration) -> Outcome {
        let operation = self.begin_cache(key, verb);
        let (gcp, key, begun) = (self.clone(), key.clone(), operation.clone());
        self.host().background.spawn(async move {
            gcp.host().clock.sleep(time).await;
            let result = gcp.settle_cache(&key, new).await;
            gcp.finish_cache(&key, &begun, result);
        });
        Ok(operation)
    }

    async fn settle_cache(&self, key: &Key, mut new: Object) -> Outcome<()> {
        let auth = new.get("authEnabled") == Some(&json!(true));
        let (server, passwords) = self.with_cache(key, |instance| {
            // Turned off and on again, AUTH has another string.
            instance.kept.auth = match (auth, instance.kept.auth.take()) {
                (false, _) => None,
                (true, Some(kept)) => Some(kept),
                (true, None) => Some(auth_string()),
            };
            Ok((instance.kept.server.clone(), instance.passwords()))
        })?;
        let applied = match &server {
            Some(server) => server.set_passwords(&passwords).await.map_err(broken),
            None => Ok(()),
        };
        new.insert("state".into(), "READY".into());
        self.with_cache(key, |instance| {
            instance.message = new;
            Ok(())
        })?;
        applied
    }
}

/// The fields that a mask names, in camel case.
fn read_mask(mask: &str) -> Outcome<Vec<String>> {
    if mask.is_empty() {
        return Err(ApiError::field(
            "update_mask",
            "at least one path must be supplied",
        ));
    }
    let mut fields = Vec::new();
    for path in mask.split(',') {
        let parts: Vec<String> = path.split('.').map(camel).collect();
        let known: Vec<&str> = parts.iter().map(String::as_str).collect();
        if !has_path("redis.v1", "Instance", &known) {
            return Err(ApiError::field(
                "update_mask",
                format!("Invalid path '{path}'"),
            ));
        }
        if known.len() > 1 {
            return Err(ApiError::unimplemented(format!("the mask `{path}`")));
        }
        if !MUTABLE.contains(&known[0]) {
            return Err(ApiError::field(
                "update_mask",
                format!("Field '{path}' cannot be updated"),
            ));
        }
        fields.push(known[0].to_owned());
    }
    Ok(fields)
}
