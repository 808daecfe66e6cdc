//! The Memorystore instance that the manifest describes, and an instance described field by field;
//! pure.

use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::kind::Ownership;
use deployer_core::node::Effect;
use deployer_core::spec::CacheSpec;
use google_cloud_redis_v1::model;
use google_cloud_redis_v1::model::instance::{ConnectMode, Tier, TransitEncryptionMode};

use crate::ground::NetworkName;
use crate::labels;
use crate::paths::Names;

/// What the manifest says of one instance.
pub(super) struct Shape {
    pub(super) spec: CacheSpec,
    /// The project's default network when `None`.
    pub(super) network: Option<Value<NetworkName>>,
    /// Whether the manifest names the network for this very cache. The target's one is the
    /// services' way in, and says nothing of a cache that was somebody's.
    pub(super) has_own_network: bool,
    pub(super) ownership: Ownership,
    pub(super) names: Names,
}

impl Shape {
    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent
    /// about stays, and so does a version that is newer than it asks for.
    ///
    /// How the network is reached is left to Google: its default needs nothing set up there.
    /// Another project's network (Shared VPC) is reached by private services access alone, which is
    /// settled when the instance is made
    /// (<https://cloud.google.com/memorystore/docs/redis/networking>, "Connection modes").
    pub(super) fn compose(&self, base: model::Instance) -> model::Instance {
        let is_there = !base.name.is_empty();
        let silent = |key| is_there && self.spec.adopt && self.spec.unsaid.contains(key);
        let labels = labels::merged(&self.ownership, &base.labels);
        let newer = is_there && numbers(&version(&base)) >= numbers(&self.spec.version);
        let mut wanted = base
            .set_name(self.names.cache(&self.spec.name))
            .set_auth_enabled(true)
            .set_transit_encryption_mode(TransitEncryptionMode::ServerAuthentication)
            .set_labels(labels);
        if !(newer || silent("version")) {
            wanted.redis_version = googles_version(&self.spec.version);
        }
        if !silent("high_availability") {
            wanted.tier = match self.spec.high_availability {
                true => Tier::StandardHa,
                false => Tier::Basic,
            };
        }
        if !silent("class") {
            // Sizes beyond an i32 are refused with the manifest.
            wanted.memory_size_gb = i32::try_from(self.spec.memory_gib).unwrap_or(i32::MAX);
        }
        match &self.network {
            Some(network) if self.has_own_network || !(is_there && self.spec.adopt) => {
                if let Some(NetworkName(network)) = network.known() {
                    wanted.authorized_network = self.names.network(&network);
                }
            }
            None if wanted.authorized_network.is_empty() => {
                wanted.authorized_network = self.names.network("default");
            }
            Some(_) | None => {}
        }
        if !is_there && self.is_of_another_project(&wanted.authorized_network) {
            wanted.connect_mode = ConnectMode::PrivateServiceAccess;
        }
        wanted
    }

    fn is_of_another_project(&self, network: &str) -> bool {
        let project = network.strip_prefix("projects/");
        let project = project.and_then(|rest| rest.split('/').next());
        project.is_some_and(|project| self.names.project_id(project) != self.names.project)
    }
}

/// Major and minor of a version; Google numbers the sixth no further.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
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

/// What a change costs: another size or version cuts connections (and empties an instance without a
/// replica), and what cannot be changed at all makes another cache, which has nothing of what this
/// one holds.
///
/// Source: cloud.google.com/memorystore/docs/redis/scaling-instances and upgrading-redis-version.
pub(super) fn effect(change: &FieldChange) -> Effect {
    match change.field.as_str() {
        "tier" | "tls" | "network" => Effect::LosesData,
        "memory" | "version" => Effect::Interrupts,
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
