//! What Memorystore takes of an instance, and what it fills in.

use serde_json::{Value, json};

use super::text;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::check_labels;
use crate::gcp::schema::Object;

/// The versions that new instances can have, oldest first; the last but one is the default.
const VERSIONS: [&str; 6] = [
    "REDIS_3_2",
    "REDIS_4_0",
    "REDIS_5_0",
    "REDIS_6_X",
    "REDIS_7_0",
    "REDIS_7_2",
];

const DEFAULT_VERSION: &str = "REDIS_7_0";

/// Redis's settings that an instance may have.
const CONFIGS: [&str; 13] = [
    "activedefrag",
    "client-output-buffer-limit pubsub hard_limit",
    "hash-max-listpack-entries",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lfu-decay-time",
    "lfu-log-factor",
    "maxmemory-clients",
    "maxmemory-gb",
    "maxmemory-policy",
    "notify-keyspace-events",
    "stream-node-max-entries",
    "timeout",
];

const POLICIES: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "volatile-lru",
    "allkeys-random",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lfu",
    "volatile-lfu",
];

/// What a client may say of a new instance; everything else that the schema has is refused.
const SETTABLE: [&str; 18] = [
    "name",
    "alternativeLocationId",
    "authEnabled",
    "authorizedNetwork",
    "connectMode",
    "displayName",
    "labels",
    "locationId",
    "maintenancePolicy",
    "memorySizeGb",
    "persistenceConfig",
    "readReplicasMode",
    "redisConfigs",
    "redisVersion",
    "replicaCount",
    "reservedIpRange",
    "tier",
    "transitEncryptionMode",
];

/// Fills in what is left open.
pub(super) fn complete(message: &mut Object, project: &str, location: &str) {
    let ha = is_highly_available(message);
    let network = format!("projects/{project}/global/networks/default");
    for (name, value) in [
        ("authorizedNetwork", json!(network)),
        ("connectMode", json!("DIRECT_PEERING")),
        ("locationId", json!(format!("{location}-a"))),
        ("readReplicasMode", json!("READ_REPLICAS_DISABLED")),
        ("redisVersion", json!(DEFAULT_VERSION)),
        ("transitEncryptionMode", json!("DISABLED")),
        (
            "persistenceConfig",
            json!({ "persistenceMode": "DISABLED" }),
        ),
    ] {
        message.entry(name).or_insert(value);
    }
    if ha {
        let second = match text(message, "locationId") == format!("{location}-c") {
            true => format!("{location}-b"),
            false => format!("{location}-c"),
        };
        message
            .entry("alternativeLocationId")
            .or_insert(second.into());
        message.entry("replicaCount").or_insert(1.into());
    }
    let zone = text(message, "locationId").to_owned();
    let mut nodes = vec![json!({ "id": "node-0", "zone": zone })];
    if ha {
        let other = text(message, "alternativeLocationId");
        nodes.push(json!({ "id": "node-1", "zone": other }));
    }
    message.insert("currentLocationId".into(), zone.into());
    message.insert("nodes".into(), nodes.into());
}

/// Refuses what Memorystore refuses of a complete instance.
pub(super) fn check(message: &Object, project: &str, location: &str) -> Outcome<()> {
    for field in ["customerManagedKey", "secondaryIpRange", "tags"] {
        if message.contains_key(field) {
            return Err(ApiError::unimplemented(field));
        }
    }
    if text(message, "tier").is_empty() {
        return Err(ApiError::field("instance.tier", "a tier must be given"));
    }
    let ha = is_highly_available(message);
    check_memory(message)?;
    let version = text(message, "redisVersion");
    rank(version)?;
    check_labels("instance.labels", message.get("labels"))?;
    check_zones(message, location, ha)?;
    check_network(message, project)?;
    if text(message, "readReplicasMode") == "READ_REPLICAS_ENABLED" {
        return Err(ApiError::unimplemented("read replicas"));
    }
    let replicas = message.get("replicaCount").and_then(Value::as_i64);
    if replicas.is_some_and(|count| count != i64::from(ha)) {
        return Err(ApiError::field(
            "instance.replica_count",
            "without read replicas it must be 0 for BASIC and 1 for STANDARD_HA",
        ));
    }
    if !ha && message["persistenceConfig"]["persistenceMode"] == "RDB" && rank(version)? < 3 {
        return Err(ApiError::field(
            "instance.persistence_config",
            "RDB snapshots need a newer Redis version",
        ));
    }
    check_configs(message)
}

fn check_memory(message: &Object) -> Outcome<()> {
    let size = message.get("memorySizeGb").and_then(Value::as_i64);
    if !(1..=300).contains(&size.unwrap_or(0)) {
        return Err(ApiError::field(
            "instance.memory_size_gb",
            "Memory size must be between 1 and 300 GB",
        ));
    }
    Ok(())
}

fn check_zones(message: &Object, location: &str, ha: bool) -> Outcome<()> {
    for field in ["locationId", "alternativeLocationId"] {
        let zone = text(message, field);
        if !zone.is_empty()
            && zone
                .strip_prefix(location)
                .is_none_or(|it| !it.starts_with('-'))
        {
            return Err(ApiError::field(
                &format!("instance.{}", crate::gcp::schema::snake(field)),
                format!("zone '{zone}' is not in region '{location}'"),
            ));
        }
    }
    let other = text(message, "alternativeLocationId");
    if !other.is_empty() && (!ha || other == text(message, "locationId")) {
        return Err(ApiError::field(
            "instance.alternative_location_id",
            "only STANDARD_HA takes one, and it must differ from location_id",
        ));
    }
    Ok(())
}

/// The name of a network without Private Services Access.
const NOT_PEERED: &str = "not-peered";

/// A network of another project (Shared VPC) is reached by private services access alone
/// (<https://cloud.google.com/memorystore/docs/redis/networking>, "Connection modes").
fn check_network(message: &Object, project: &str) -> Outcome<()> {
    let network = text(message, "authorizedNetwork");
    let parts: Vec<&str> = network.split('/').collect();
    if !matches!(parts[..], ["projects", project, "global", "networks", name] if !project.is_empty() && !name.is_empty())
    {
        return Err(ApiError::field(
            "instance.authorized_network",
            format!("'{network}' must be of the form projects/PROJECT/global/networks/NETWORK"),
        ));
    }
    let is_own = crate::gcp::names::check_project(project, parts[1]).is_ok();
    // terraform-google-memorystore#107 shows it whole.
    if !is_own && text(message, "connectMode") == "DIRECT_PEERING" {
        return Err(ApiError::violations(
            "authorized_network must exist in the same project as redis instance".to_owned(),
            vec![(
                "instance.authorized_network".to_owned(),
                format!("Invalid value: {network}"),
            )],
        ));
    }
    // Memorystore's "Troubleshooting networking issues" quotes it; what a network is called that
    // has none is ours.
    if parts[4] == NOT_PEERED && text(message, "connectMode") == "PRIVATE_SERVICE_ACCESS" {
        return Err(ApiError::invalid(
            "Google private service access is not enabled. Enable private service access and try again.",
        ));
    }
    Ok(())
}

fn check_configs(message: &Object) -> Outcome<()> {
    let configs = message.get("redisConfigs").and_then(Value::as_object);
    for (name, value) in configs.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let known = CONFIGS.contains(&name.as_str());
        if !known || (name == "maxmemory-policy" && !POLICIES.contains(&value)) {
            return Err(ApiError::field(
                "instance.redis_configs",
                format!("'{name}' with the value '{value}' is not a supported Redis configuration"),
            ));
        }
    }
    Ok(())
}

/// Refuses fields that a client cannot set here.
pub(super) fn check_settable(body: &Object) -> Outcome<()> {
    let other = body.keys().find(|it| !SETTABLE.contains(&it.as_str()));
    match other {
        Some(field) => Err(ApiError::unimplemented(format!("an instance's `{field}`"))),
        None => Ok(()),
    }
}

/// How new a version is among the others.
pub(super) fn rank(version: &str) -> Outcome<usize> {
    let found = VERSIONS.iter().position(|it| *it == version);
    found.ok_or_else(|| {
        ApiError::field(
            "instance.redis_version",
            format!("'{version}' is not a supported Redis version"),
        )
    })
}

pub(super) fn is_highly_available(message: &Object) -> bool {
    text(message, "tier") == "STANDARD_HA"
}

pub(super) fn speaks_tls(message: &Object) -> bool {
    text(message, "transitEncryptionMode") == "SERVER_AUTHENTICATION"
}
