//! Deleting, rebooting, stopping and starting instances.

use std::time::Duration;

use serde_json::{Value, json};

use super::rules::check_identifier;
use super::{Instance, Rds, State, instance_not_found, invalid_combination, snapshots};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, text};

impl Rds {
    pub(super) fn delete_instance(&self, input: &Value) -> Result<Value, AwsError> {
        let skip = flag(input, "SkipFinalSnapshot");
        let last = text(input, "FinalDBSnapshotIdentifier").map(str::to_lowercase);
        let mut state = self.lock();
        let (id, instance) = state.named(input)?;
        if instance.status() == "deleting" {
            let message = format!("Instance {id} is already being deleted.");
            return Err(AwsError::new("InvalidDBInstanceState", message));
        }
        if instance.flag("DeletionProtection") {
            return Err(invalid_combination(
                "Cannot delete protected DB Instance, please disable deletion protection and try again.",
            ));
        }
        let before = match (skip, last) {
            (true, None) => Duration::ZERO,
            (true, Some(_)) => {
                return Err(invalid_combination(
                    "FinalDBSnapshotIdentifier cannot be specified when SkipFinalSnapshot is enabled.",
                ));
            }
            (false, None) => {
                return Err(invalid_combination(
                    "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
                ));
            }
            (false, Some(name)) => {
                if !matches!(instance.status(), "available" | "storage-optimization") {
                    return Err(AwsError::new(
                        "InvalidDBInstanceState",
                        format!(
                            "Cannot create a snapshot because the database instance {id} is not currently in the available state."
                        ),
                    ));
                }
                check_identifier("FinalDBSnapshotIdentifier", &name, 255)?;
                let tags = match instance.flag("CopyTagsToSnapshot") {
                    true => instance.tags.clone(),
                    false => Vec::new(),
                };
                self.begin_snapshot(&mut state, &id, &name, tags)?;
                snapshots::TAKES
            }
        };
        let (_, instance) = state.named(input)?;
        instance.set_status("deleting");
        let resource = need(&instance.value, "DbiResourceId").to_owned();
        let shown = self.shown(&state, &id);
        drop(state);
        self.take_down(id, resource, before);
        Ok(json!({ "DBInstance": shown }))
    }

    pub(super) fn reboot_instance(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (id, instance) = state.named(input)?;
        instance.need_available()?;
        if flag(input, "ForceFailover") && !instance.flag("MultiAZ") {
            return Err(invalid_combination(
                "Failover is not supported for DB instances that are not Multi-AZ.",
            ));
        }
        self.turn(state, id, "rebooting", Rds::reboot)
    }

    pub(super) fn stop_instance(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (id, instance) = state.named(input)?;
        match instance.status() {
            "available" => {
                if let Some(name) = text(input, "DBSnapshotIdentifier").map(str::to_lowercase) {
                    check_identifier("DBSnapshotIdentifier", &name, 255)?;
                    self.begin_snapshot(&mut state, &id, &name, Vec::new())?;
                }
                self.turn(state, id, "stopping", Rds::stop)
            }
            _ => Err(AwsError::new(
                "InvalidDBInstanceState",
                format!("Instance {id} is not in available state."),
            )),
        }
    }

    pub(super) fn start_instance(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (id, instance) = state.named(input)?;
        match instance.status() {
            "stopped" => self.turn(state, id, "starting", Rds::start),
            _ => Err(AwsError::new(
                "InvalidDBInstanceState",
                format!("Instance {id} is not stopped."),
            )),
        }
    }

    /// Sets a state and has `then` end it.
    fn turn(
        &self,
        mut state: std::sync::MutexGuard<'_, State>,
        id: String,
        status: &str,
        then: impl FnOnce(&Rds, String, String),
    ) -> Result<Value, AwsError> {
        let instance = state
            .instances
            .get_mut(&id)
            .ok_or_else(|| instance_not_found(&id))?;
        instance.set_status(status);
        let resource = need(&instance.value, "DbiResourceId").to_owned();
        let shown = self.shown(&state, &id);
        drop(state);
        then(self, id, resource);
        Ok(json!({ "DBInstance": shown }))
    }

    pub(super) fn shown(&self, state: &State, id: &str) -> Value {
        state
            .instances
            .get(id)
            .map_or(Value::Null, |instance| self.view(state, instance))
    }

    /// Puts a snapshot of an instance on its way.
    pub(super) fn begin_snapshot(
        &self,
        state: &mut State,
        id: &str,
        name: &str,
        tags: Vec<Value>,
    ) -> Result<(), AwsError> {
        if state.snapshots.contains_key(name) {
            return Err(snapshots::exists(name));
        }
        let instance = state
            .instances
            .get(id)
            .ok_or_else(|| instance_not_found(id))?;
        let value = self.snapshot_of(&instance.value, name);
        state
            .snapshots
            .insert(name.to_owned(), super::Thing::new(value, tags));
        self.finish_snapshot(name.to_owned());
        Ok(())
    }
}

impl State {
    /// The instance that `DBInstanceIdentifier` names, with its name as kept.
    pub(super) fn named(&mut self, input: &Value) -> Result<(String, &mut Instance), AwsError> {
        let id = need(input, "DBInstanceIdentifier").to_lowercase();
        match self.instances.get_mut(&id) {
            Some(instance) => Ok((id, instance)),
            None => Err(instance_not_found(&id)),
        }
    }
}
