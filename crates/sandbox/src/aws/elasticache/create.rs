//! CreateReplicationGroup: everything is checked before anything exists.

use serde_json::{Map, Value, json};

use super::rules::{
    Version, blank, check_availability, check_identifier, check_node_type, check_retention,
    check_security_groups, check_token,
};
use super::{Cache, ElastiCache, Group, State, invalid_combination, invalid_value, subnet_groups};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, flag, list, need, number, seconds, text, texts};

impl ElastiCache {
    pub(super) fn create_group(&self, input: &Value) -> Result<Value, AwsError> {
        let id = need(input, "ReplicationGroupId").to_lowercase();
        check_identifier("ReplicationGroupIdentifier", &id, 40)?;
        if need(input, "ReplicationGroupDescription").is_empty() {
            return Err(blank("ReplicationGroupDescription"));
        }
        let engine = text(input, "Engine").unwrap_or("redis").to_lowercase();
        let version = Version::choose(&engine, text(input, "EngineVersion"))?;
        check_node_type(text(input, "CacheNodeType").ok_or_else(|| blank("CacheNodeType"))?)?;
        let nodes = node_count(input)?;
        check_availability(
            nodes,
            flag(input, "AutomaticFailoverEnabled"),
            flag(input, "MultiAZEnabled"),
        )?;
        check_encryption(input)?;
        check_retention(number(input, "SnapshotRetentionLimit").unwrap_or(0))?;
        check_security_groups(&texts(input, "SecurityGroupIds"))?;
        refuse_what_is_not_here(input)?;
        let tags = super::SERVICE.tags.given(input)?;
        let mut state = self.lock();
        if state.groups.contains_key(&id) {
            return Err(AwsError::new(
                "ReplicationGroupAlreadyExists",
                format!("Replication group with ID {id} already exists."),
            ));
        }
        let subnet_group = self.subnet_group_of(&mut state, input)?;
        let parameter_group = version.parameter_group(input)?;
        let group = Group {
            value: self.new_value(&id, &engine, input),
            tags,
            unique: uuid::Uuid::new_v4(),
            nodes,
            version: version.full.to_owned(),
            port: number(input, "Port").unwrap_or(6379),
            maintenance_window: text(input, "PreferredMaintenanceWindow")
                .unwrap_or("sun:05:00-sun:06:00")
                .to_owned(),
            subnet_group,
            parameter_group,
            security_groups: texts(input, "SecurityGroupIds"),
            pending: Map::new(),
            applying: Map::new(),
            tokens: text(input, "AuthToken")
                .map(str::to_owned)
                .into_iter()
                .collect(),
            rotated: false,
            token_required: text(input, "AuthToken").is_some(),
            new_tokens: None,
            cache: Cache::Starting,
        };
        let shown = group.shown();
        let unique = group.unique;
        state.groups.insert(id.clone(), group);
        drop(state);
        self.bring_up(id, unique);
        Ok(json!({ "ReplicationGroup": shown }))
    }

    fn new_value(&self, id: &str, engine: &str, input: &Value) -> Value {
        let switch = |on: bool| if on { "enabled" } else { "disabled" };
        let now = seconds(self.inner.host.clock.now());
        let tls = flag(input, "TransitEncryptionEnabled");
        let mut value = json!({
            "ReplicationGroupId": id,
            "ARN": self.arn("replicationgroup", id),
            "Description": need(input, "ReplicationGroupDescription"),
            "Status": "creating",
            "Engine": engine,
            "CacheNodeType": need(input, "CacheNodeType"),
            "AutomaticFailover": switch(flag(input, "AutomaticFailoverEnabled")),
            "MultiAZ": switch(flag(input, "MultiAZEnabled")),
            "SnapshotRetentionLimit": number(input, "SnapshotRetentionLimit").unwrap_or(0),
            "SnapshotWindow": text(input, "SnapshotWindow").unwrap_or("03:00-04:00"),
            "ClusterEnabled": false,
            "ClusterMode": "disabled",
            "AuthTokenEnabled": text(input, "AuthToken").is_some(),
            "TransitEncryptionEnabled": tls,
            "AtRestEncryptionEnabled": flag(input, "AtRestEncryptionEnabled"),
            "ReplicationGroupCreateTime": now,
            "DataTiering": "disabled",
            "AutoMinorVersionUpgrade": input.get("AutoMinorVersionUpgrade").and_then(Value::as_bool).unwrap_or(true),
            "NetworkType": text(input, "NetworkType").unwrap_or("ipv4"),
            "IpDiscovery": text(input, "IpDiscovery").unwrap_or("ipv4"),
            "LogDeliveryConfigurations": [],
        });
        if tls {
            value["TransitEncryptionMode"] = json!("required");
        }
        if text(input, "AuthToken").is_some() {
            value["AuthTokenLastModifiedDate"] = now;
        }
        if let Some(members) = value.as_object_mut() {
            copy(input, &["KmsKeyId"], members);
        }
        value
    }

    fn subnet_group_of(&self, state: &mut State, input: &Value) -> Result<String, AwsError> {
        let name = text(input, "CacheSubnetGroupName")
            .unwrap_or("default")
            .to_lowercase();
        if name == "default" {
            self.add_default_subnet_group(state);
        }
        match state.subnet_groups.contains_key(&name) {
            true => Ok(name),
            false => Err(subnet_groups::not_found(&name)),
        }
    }
}

/// `NumCacheClusters`, or the primary and its replicas.
fn node_count(input: &Value) -> Result<i64, AwsError> {
    let clusters = number(input, "NumCacheClusters");
    let shards = number(input, "NumNodeGroups");
    let replicas = number(input, "ReplicasPerNodeGroup");
    if clusters.is_some() && (shards.is_some() || replicas.is_some()) {
        return Err(invalid_combination(
            "NumCacheClusters cannot be specified with NumNodeGroups or ReplicasPerNodeGroup.",
        ));
    }
    if shards.is_some_and(|count| count != 1) {
        return Err(invalid_combination(
            "the sandbox has replication groups of one node group only",
        ));
    }
    Ok(clusters.unwrap_or(1 + replicas.unwrap_or(0)))
}

fn check_encryption(input: &Value) -> Result<(), AwsError> {
    let tls = flag(input, "TransitEncryptionEnabled");
    if let Some(token) = text(input, "AuthToken") {
        if !tls {
            return Err(invalid_combination(
                "AuthToken can be specified only when TransitEncryptionEnabled is true.",
            ));
        }
        check_token(token)?;
    }
    match text(input, "TransitEncryptionMode") {
        Some(_) if !tls => Err(invalid_combination(
            "TransitEncryptionMode can be specified only when TransitEncryptionEnabled is true.",
        )),
        Some("preferred") => Err(invalid_combination(
            "the sandbox has the TransitEncryptionMode required only",
        )),
        _ if text(input, "KmsKeyId").is_some() && !flag(input, "AtRestEncryptionEnabled") => {
            Err(invalid_combination(
                "KmsKeyId can be specified only when AtRestEncryptionEnabled is true.",
            ))
        }
        _ => Ok(()),
    }
}

fn refuse_what_is_not_here(input: &Value) -> Result<(), AwsError> {
    const NOT_HERE: [&str; 7] = [
        "GlobalReplicationGroupId",
        "PrimaryClusterId",
        "ServerlessCacheSnapshotName",
        "SnapshotArns",
        "SnapshotName",
        "UserGroupIds",
        "NodeGroupConfiguration",
    ];
    let asked = NOT_HERE.iter().find(|name| input.get(**name).is_some());
    if let Some(name) = asked {
        return Err(invalid_combination(format!(
            "the sandbox has no {name} for replication groups"
        )));
    }
    if text(input, "ClusterMode").is_some_and(|mode| mode != "disabled")
        || flag(input, "DataTieringEnabled")
    {
        return Err(invalid_combination(
            "the sandbox has neither cluster mode nor data tiering",
        ));
    }
    if !list(input, "LogDeliveryConfigurations").is_empty() {
        return Err(invalid_combination(
            "the sandbox delivers no logs of caches",
        ));
    }
    match number(input, "Port").unwrap_or(6379) {
        1..=65535 => Ok(()),
        port => Err(invalid_value(format!("Invalid port: {port}"))),
    }
}
