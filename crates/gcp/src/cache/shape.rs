//! The Memorystore instance that the manifest describes, and an instance described field by field; pure.

use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::node::Effect;
use deployer_core::spec::CacheSpec;
use google_cloud_redis_v1::model;
use google_cloud_redis_v1::model::instance::{Tier, TransitEncryptionMode};

use crate::labels::{self, Labels};
use crate::project::Names;

/// What the manifest says of one instance.
pub(super) struct Shape {
    pub(super) spec: CacheSpec,
    /// In full; the project's default network when `None`.
    pub(super) network: Option<String>,
    pub(super) labels: Labels,
    pub(super) names: Names,
}

impl Shape {
    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent about stays.
    ///
    /// How the network is reached is left to Google: its default needs nothing set up there.
    pub(super) fn compose(&self, base: model::Instance) -> model::Instance {
        let tier = if self.spec.high_availability {
            Tier::StandardHa
        } else {
            Tier::Basic
        };
        let labels = labels::merged(&self.labels, &base.labels);
        let network = self.network.clone();
        let network = network.unwrap_or_else(|| self.names.network("default"));
        base.set_name(self.names.cache(&self.spec.name))
            .set_redis_version(googles_version(&self.spec.version))
            .set_tier(tier)
            // Sizes beyond an i32 are refused with the manifest.
            .set_memory_size_gb(i32::try_from(self.spec.memory_gib).unwrap_or(i32::MAX))
            .set_auth_enabled(true)
            .set_transit_encryption_mode(TransitEncryptionMode::ServerAuthentication)
            .set_authorized_network(network)
            .set_labels(labels)
    }
}

/// `REDIS_7_0` of `7.0`; Google numbers the sixth version no further.
pub(super) fn googles_version(version: &str) -> String {
    match version.split_once('.') {
        Some(("6", _)) => "REDIS_6_X".to_owned(),
        _ => format!("REDIS_{}", version.replace('.', "_")),
    }
}

/// An instance field by field.
pub(super) fn describe(instance: &model::Instance, names: &Names) -> Fields {
    let mut fields = Fields::new();
    fields.set("version", version(instance));
    fields.set("tier", word(instance.tier.name()));
    fields.set("memory", format!("{} GiB", instance.memory_size_gb));
    fields.set("token", if instance.auth_enabled { "yes" } else { "no" });
    fields.set("tls", word(instance.transit_encryption_mode.name()));
    fields.set("network", names.network(&instance.authorized_network));
    labels::describe(&mut fields, &instance.labels);
    fields
}

/// `7.0` of `REDIS_7_0`.
pub(super) fn version(instance: &model::Instance) -> String {
    let version = &instance.redis_version;
    let version = version.strip_prefix("REDIS_").unwrap_or(version);
    version.replace('_', ".").to_lowercase()
}

fn word(name: Option<&str>) -> String {
    name.unwrap_or("unknown").replace('_', " ").to_lowercase()
}

/// What a change costs: what cannot be changed is made anew, and what it held is lost.
pub(super) fn effect(change: &FieldChange) -> Effect {
    let version = |value: &Option<FieldValue>| match value {
        Some(FieldValue::Known(text)) => {
            let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
            Some((parts.next(), parts.next()))
        }
        Some(FieldValue::AfterApply { .. }) | None => None,
    };
    match change.field.as_str() {
        "version" if version(&change.new) < version(&change.old) => Effect::Replace,
        "tier" | "tls" | "network" => Effect::Replace,
        _ => Effect::InPlace,
    }
}

/// The parts of an instance that changes in place ask for, by the names that Google gives them.
pub(super) fn masks(changes: &[FieldChange]) -> Vec<&'static str> {
    let mut masks: Vec<&str> = changes
        .iter()
        .filter_map(|change| match change.field.as_str() {
            "memory" => Some("memory_size_gb"),
            "token" => Some("auth_enabled"),
            field if field.starts_with("tags.") => Some("labels"),
            _ => None,
        })
        .collect();
    masks.sort_unstable();
    masks.dedup();
    masks
}
