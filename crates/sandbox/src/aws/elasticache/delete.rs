//! DeleteReplicationGroup, and the snapshots it may leave. They hold no data here.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::rules::check_identifier;
use super::{ElastiCache, Group, Thing, invalid_combination};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, flag, text};

impl ElastiCache {
    pub(super) fn delete_group(&self, input: &Value) -> Result<Value, AwsError> {
        if flag(input, "RetainPrimaryCluster") {
            return Err(invalid_combination(
                "the sandbox has no clusters outside of replication groups",
            ));
        }
        let mut state = self.lock();
        let (id, group) = state.named(input)?;
        if !matches!(group.status(), "available" | "create-failed") {
            group.need_available("delete")?;
        }
        let last = text(input, "FinalSnapshotIdentifier").map(str::to_lowercase);
        let snapshot = last.map(|name| {
            check_identifier("FinalSnapshotIdentifier", &name, 255)?;
            Ok::<_, AwsError>((self.snapshot_of(group, &name), name))
        });
        if let Some((value, name)) = snapshot.transpose()? {
            if state.snapshots.contains_key(&name) {
                let message = format!("Snapshot with specified name already exists: {name}");
                return Err(AwsError::new("SnapshotAlreadyExistsFault", message));
            }
            state.snapshots.insert(name, Thing::new(value, Vec::new()));
        }
        let (_, group) = state.named(input)?;
        group.set_status("deleting");
        let (shown, unique) = (group.shown(), group.unique);
        drop(state);
        self.take_down(id, unique);
        Ok(json!({ "ReplicationGroup": shown }))
    }

    fn snapshot_of(&self, group: &Group, name: &str) -> Value {
        const SAME: [&str; 8] = [
            "ReplicationGroupId",
            "CacheNodeType",
            "Engine",
            "SnapshotRetentionLimit",
            "SnapshotWindow",
            "AutomaticFailover",
            "AutoMinorVersionUpgrade",
            "KmsKeyId",
        ];
        let mut value = Map::new();
        copy(&group.value, &SAME, &mut value);
        let further = json!({
            "SnapshotName": name,
            "ARN": self.arn("snapshot", name),
            "ReplicationGroupDescription": group.value["Description"],
            "SnapshotStatus": "available",
            "SnapshotSource": "manual",
            "EngineVersion": group.version,
            "NumNodeGroups": 1,
            "Port": group.port,
            "CacheParameterGroupName": group.parameter_group,
            "CacheSubnetGroupName": group.subnet_group,
            "PreferredMaintenanceWindow": group.maintenance_window,
            "DataTiering": "disabled",
            "NodeSnapshots": [],
        });
        if let Value::Object(further) = further {
            value.extend(further);
        }
        Value::Object(value)
    }
}

pub(super) fn snapshot_not_found(name: &str) -> AwsError {
    AwsError::new(
        "SnapshotNotFoundFault",
        format!("{name} is either not present or not available."),
    )
    .with_status(StatusCode::NOT_FOUND)
}
