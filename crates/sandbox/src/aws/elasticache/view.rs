//! Replication groups and their member clusters, as the service describes them.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Cache, ElastiCache, Group, group_not_found, page};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, flag, need, text};

impl ElastiCache {
    pub(super) fn describe_groups(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let groups = match text(input, "ReplicationGroupId").map(str::to_lowercase) {
            None => state.groups.values().map(Group::shown).collect(),
            Some(id) => vec![
                state
                    .groups
                    .get(&id)
                    .ok_or_else(|| group_not_found(&id))?
                    .shown(),
            ],
        };
        page(input, "ReplicationGroups", groups)
    }

    pub(super) fn describe_clusters(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let nodes = flag(input, "ShowCacheNodeInfo");
        let named = text(input, "CacheClusterId").map(str::to_lowercase);
        let all = state
            .groups
            .values()
            .flat_map(|group| self.clusters(group, nodes));
        let mut found: Vec<Value> = all
            .filter(|it| {
                named
                    .as_deref()
                    .is_none_or(|id| id == need(it, "CacheClusterId"))
            })
            .collect();
        if let Some(id) = named.filter(|_| found.is_empty()) {
            return Err(cluster_not_found(&id));
        }
        if flag(input, "ShowCacheClustersNotInReplicationGroups") {
            found.clear();
        }
        page(input, "CacheClusters", found)
    }

    fn clusters(&self, group: &Group, nodes: bool) -> Vec<Value> {
        let members = group.members().into_iter().enumerate();
        members
            .map(|(index, id)| self.cluster(group, index, &id, nodes))
            .collect()
    }

    fn cluster(&self, group: &Group, index: usize, id: &str, nodes: bool) -> Value {
        let zone = group.zone(index, &self.inner.host.region);
        let status = group.status();
        let mut pending = group.pending.clone();
        pending.extend(group.applying.clone());
        pending.retain(|name, _| matches!(name.as_str(), "CacheNodeType" | "EngineVersion"));
        if let Some(new) = &group.new_tokens {
            pending.insert("AuthTokenStatus".into(), json!(new.status));
        }
        let security = group
            .security_groups
            .iter()
            .map(|id| json!({"SecurityGroupId": id, "Status": "active"}));
        let mut value = Map::new();
        const SAME: [&str; 14] = [
            "ReplicationGroupId",
            "Engine",
            "CacheNodeType",
            "AutoMinorVersionUpgrade",
            "SnapshotRetentionLimit",
            "SnapshotWindow",
            "AuthTokenEnabled",
            "AuthTokenLastModifiedDate",
            "TransitEncryptionEnabled",
            "AtRestEncryptionEnabled",
            "NetworkType",
            "IpDiscovery",
            "TransitEncryptionMode",
            "LogDeliveryConfigurations",
        ];
        copy(&group.value, &SAME, &mut value);
        let further = json!({
            "CacheClusterId": id,
            "ARN": self.arn("cluster", id),
            "CacheClusterStatus": status,
            "EngineVersion": group.version,
            "NumCacheNodes": 1,
            "PreferredAvailabilityZone": zone,
            "CacheClusterCreateTime": group.value["ReplicationGroupCreateTime"],
            "PreferredMaintenanceWindow": group.maintenance_window,
            "PendingModifiedValues": pending,
            "CacheSecurityGroups": [],
            "CacheParameterGroup": {
                "CacheParameterGroupName": group.parameter_group,
                "ParameterApplyStatus": "in-sync",
                "CacheNodeIdsToReboot": [],
            },
            "CacheSubnetGroupName": group.subnet_group,
            "SecurityGroups": security.collect::<Vec<_>>(),
            "ReplicationGroupLogDeliveryEnabled": false,
        });
        if let Value::Object(further) = further {
            value.extend(further);
        }
        if nodes {
            value.insert(
                "CacheNodes".into(),
                json!([{
                    "CacheNodeId": "0001",
                    "CacheNodeStatus": status,
                    "CacheNodeCreateTime": group.value["ReplicationGroupCreateTime"],
                    "Endpoint": group.endpoint(),
                    "ParameterGroupStatus": "in-sync",
                    "CustomerAvailabilityZone": zone,
                }]),
            );
        }
        Value::Object(value)
    }
}

impl Group {
    /// As described. There is no endpoint before the server is up.
    pub(super) fn shown(&self) -> Value {
        let mut value = self.value.clone();
        value["MemberClusters"] = json!(self.members());
        let mut pending = Map::new();
        if let Some(failover) = self.applying.get("AutomaticFailover") {
            pending.insert("AutomaticFailoverStatus".into(), failover.clone());
        }
        for name in ["TransitEncryptionEnabled", "TransitEncryptionMode"] {
            if let Some(coming) = self.applying.get(name) {
                pending.insert(name.into(), coming.clone());
            }
        }
        if let Some(new) = &self.new_tokens {
            pending.insert("AuthTokenStatus".into(), json!(new.status));
        }
        value["PendingModifiedValues"] = Value::Object(pending);
        if let Some(endpoint) = self.endpoint() {
            // One server plays every node: what is written to the primary is at once in its
            // replicas.
            let region = need(&self.value, "ARN")
                .split(':')
                .nth(3)
                .unwrap_or_default();
            let members = self.members().into_iter().enumerate().map(|(index, id)| {
                json!({
                    "CacheClusterId": id,
                    "CacheNodeId": "0001",
                    "ReadEndpoint": endpoint,
                    "PreferredAvailabilityZone": self.zone(index, region),
                    "CurrentRole": if index == 0 { "primary" } else { "replica" },
                })
            });
            value["NodeGroups"] = json!([{
                "NodeGroupId": "0001",
                "Status": self.status(),
                "PrimaryEndpoint": endpoint,
                "ReaderEndpoint": endpoint,
                "NodeGroupMembers": members.collect::<Vec<_>>(),
            }]);
        }
        value
    }

    fn endpoint(&self) -> Option<Value> {
        match &self.cache {
            Cache::Starting => None,
            Cache::Running(redis) => {
                let at = redis.endpoint();
                Some(json!({"Address": at.ip(), "Port": at.port()}))
            }
            Cache::Absent(_) => {
                let address = self.names().pop();
                Some(json!({"Address": address, "Port": self.port}))
            }
        }
    }

    /// The names of the primary that there are records of, the one that is told last: a group with
    /// TLS has another than one without, in the mode `preferred` both lead there, and in the mode
    /// `required` the former one is deleted (ElastiCache guide, "Best practices when enabling
    /// in-transit encryption").
    pub(super) fn names(&self) -> Vec<String> {
        let id = self.id();
        let plain = format!("{id}.sandbox.ng.0001.cache.amazonaws.com");
        let with_tls = format!("master.{id}.sandbox.cache.amazonaws.com");
        match (
            self.flag("TransitEncryptionEnabled"),
            text(&self.value, "TransitEncryptionMode"),
        ) {
            (false, _) => vec![plain],
            (true, Some("preferred")) => vec![plain, with_tls],
            (true, _) => vec![with_tls],
        }
    }

    pub(super) fn zone(&self, index: usize, region: &str) -> String {
        let zone = ["a", "b", "c"][index % 3];
        format!("{region}{zone}")
    }
}

pub(super) fn cluster_not_found(id: &str) -> AwsError {
    AwsError::new(
        "CacheClusterNotFound",
        format!("CacheCluster not found: {id}"),
    )
    .with_status(StatusCode::NOT_FOUND)
}
