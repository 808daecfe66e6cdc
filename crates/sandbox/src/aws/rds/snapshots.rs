//! Snapshots: what an instance was, kept after it is gone. They hold no data here.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Rds, Thing, page};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, need, seconds, text};

/// How long a snapshot takes, in cloud time.
pub(super) const TAKES: Duration = Duration::from_secs(180);

impl Rds {
    pub(super) fn describe_snapshots(&self, input: &Value) -> Result<Value, AwsError> {
        let name = text(input, "DBSnapshotIdentifier").map(str::to_lowercase);
        let of = text(input, "DBInstanceIdentifier").map(str::to_lowercase);
        let kind = text(input, "SnapshotType").filter(|kind| *kind != "all");
        let state = self.lock();
        if let Some(name) = name
            .as_ref()
            .filter(|name| !state.snapshots.contains_key(*name))
        {
            return Err(not_found(name));
        }
        let fits = |value: &Value| {
            let is = |wanted: Option<&str>, member: &str| {
                wanted.is_none_or(|it| it == need(value, member))
            };
            is(name.as_deref(), "DBSnapshotIdentifier")
                && is(of.as_deref(), "DBInstanceIdentifier")
                && is(kind, "SnapshotType")
        };
        let found = state
            .snapshots
            .values()
            .filter(|it| fits(&it.value))
            .map(shown);
        page(input, "DBSnapshots", found.collect())
    }

    /// A snapshot that has just begun.
    pub(super) fn snapshot_of(&self, instance: &Value, name: &str) -> Value {
        const SAME: [&str; 13] = [
            "DBInstanceIdentifier",
            "Engine",
            "AllocatedStorage",
            "AvailabilityZone",
            "InstanceCreateTime",
            "MasterUsername",
            "EngineVersion",
            "LicenseModel",
            "Iops",
            "StorageThroughput",
            "StorageType",
            "KmsKeyId",
            "DbiResourceId",
        ];
        let mut value = Map::new();
        copy(instance, &SAME, &mut value);
        copy(
            instance,
            &["IAMDatabaseAuthenticationEnabled", "DedicatedLogVolume"],
            &mut value,
        );
        let port = instance.pointer("/Endpoint/Port").cloned();
        let further = json!({
            "DBSnapshotIdentifier": name,
            "DBSnapshotArn": self.arn("snapshot", name),
            "SnapshotCreateTime": seconds(self.inner.host.clock.now()),
            "SnapshotType": "manual",
            "SnapshotTarget": "region",
            "Status": "creating",
            "PercentProgress": 0,
            "Port": port.unwrap_or(json!(5432)),
            "Encrypted": instance["StorageEncrypted"],
        });
        if let Value::Object(further) = further {
            value.extend(further);
        }
        Value::Object(value)
    }

    /// `available` after its time.
    pub(super) fn finish_snapshot(&self, name: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            rds.inner.host.clock.sleep(TAKES).await;
            if let Some(snapshot) = rds.lock().snapshots.get_mut(&name) {
                snapshot.value["Status"] = json!("available");
                snapshot.value["PercentProgress"] = json!(100);
            }
        });
    }
}

fn shown(snapshot: &Thing) -> Value {
    let mut value = snapshot.value.clone();
    value["TagList"] = json!(snapshot.tags);
    value
}

pub(super) fn not_found(name: &str) -> AwsError {
    let message = format!("DBSnapshot {name} not found.");
    AwsError::new("DBSnapshotNotFound", message).with_status(StatusCode::NOT_FOUND)
}

pub(super) fn exists(name: &str) -> AwsError {
    let message = format!(
        "Cannot create the snapshot because a snapshot with the identifier {name} already exists."
    );
    AwsError::new("DBSnapshotAlreadyExists", message)
}
