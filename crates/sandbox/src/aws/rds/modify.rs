//! ModifyDBInstance: what takes effect at once, what is carried out, what waits for the maintenance
//! window.

use serde_json::{Map, Value, json};

use super::create::{check_logs, check_monitoring};
use super::rules::{
    FAST_FROM, check_class, check_max_storage, check_password, check_retention,
    check_security_groups, check_storage, check_windows,
};
use super::versions::Version;
use super::{Instance, Rds, State, invalid_combination, parameters};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, number, text, texts};

/// What waits for the maintenance window unless `ApplyImmediately` is given.
const DEFERRED: [&str; 7] = [
    "AllocatedStorage",
    "DBInstanceClass",
    "EngineVersion",
    "Iops",
    "MultiAZ",
    "StorageThroughput",
    "StorageType",
];
/// What is carried out soon in any case.
const SOON: [&str; 2] = ["BackupRetentionPeriod", "CACertificateIdentifier"];
/// What takes effect with the answer, and what it is called in descriptions.
const AT_ONCE: [(&str, &str); 11] = [
    ("AutoMinorVersionUpgrade", "AutoMinorVersionUpgrade"),
    ("CopyTagsToSnapshot", "CopyTagsToSnapshot"),
    ("DatabaseInsightsMode", "DatabaseInsightsMode"),
    ("DeletionProtection", "DeletionProtection"),
    ("EnablePerformanceInsights", "PerformanceInsightsEnabled"),
    ("MaxAllocatedStorage", "MaxAllocatedStorage"),
    ("MonitoringInterval", "MonitoringInterval"),
    ("MonitoringRoleArn", "MonitoringRoleArn"),
    ("PreferredBackupWindow", "PreferredBackupWindow"),
    ("PreferredMaintenanceWindow", "PreferredMaintenanceWindow"),
    ("PubliclyAccessible", "PubliclyAccessible"),
];
const NOT_HERE: [&str; 4] = [
    "DBPortNumber",
    "ManageMasterUserPassword",
    "NewDBInstanceIdentifier",
    "RotateMasterUserPassword",
];

impl Rds {
    pub(super) fn modify_instance(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (id, instance) = state.named(input)?;
        if instance.status() == "storage-optimization" {
            if input.get("AllocatedStorage").is_some() || input.get("StorageType").is_some() {
                return Err(invalid_combination(
                    "You can't currently modify the storage of this DB instance because the previous storage change is being \
                     optimized.",
                ));
            }
        } else {
            instance.need_available()?;
        }
        let input = &rounded_up(instance, input);
        check_values(instance, input)?;
        let version = check_version(instance, input)?;
        check_move(&state, &id, input)?;
        let group = check_group(&state, &id, input, version)?;
        let (_, instance) = state.named(input)?;
        // A group of the new family cannot be in force before the upgrade is made.
        let (now, with_upgrade) = match version.is_some_and(|_| !flag(input, "ApplyImmediately")) {
            true => (None, group),
            false => (group, None),
        };
        instance.change_at_once(input, now);
        instance.group_of_upgrade = with_upgrade.or(instance.group_of_upgrade.take());
        let soon = instance.accept(input, version);
        let resource = need(&instance.value, "DbiResourceId").to_owned();
        let shown = self.shown(&state, &id);
        drop(state);
        if soon {
            self.carry_out(id, resource);
        }
        Ok(json!({ "DBInstance": shown }))
    }
}

/// Each value by itself, and against what the instance is.
fn check_values(instance: &Instance, input: &Value) -> Result<(), AwsError> {
    if let Some(name) = NOT_HERE.iter().find(|name| {
        input
            .get(**name)
            .is_some_and(|it| *it != Value::Bool(false))
    }) {
        return Err(invalid_combination(format!(
            "the sandbox cannot change an instance's {name}"
        )));
    }
    if let Some(password) = text(input, "MasterUserPassword") {
        check_password(password)?;
    }
    if let Some(class) = text(input, "DBInstanceClass") {
        check_class(class)?;
    }
    check_new_storage(instance, input)?;
    if let Some(days) = number(input, "BackupRetentionPeriod") {
        check_retention(days)?;
    }
    let now = |name: &str| {
        text(input, name)
            .unwrap_or(need(&instance.value, name))
            .to_owned()
    };
    check_windows(
        &now("PreferredBackupWindow"),
        &now("PreferredMaintenanceWindow"),
    )?;
    check_security_groups(&texts(input, "VpcSecurityGroupIds"))?;
    check_monitoring(input)?;
    let logs = input
        .get("CloudwatchLogsExportConfiguration")
        .unwrap_or(&Value::Null);
    check_logs(&texts(logs, "EnableLogTypes"))?;
    check_logs(&texts(logs, "DisableLogTypes"))
}

/// "Values that are not at least 10% greater than the existing value are rounded up so that they
/// are 10% greater than the current value" (API reference, `AllocatedStorage` of ModifyDBInstance).
fn rounded_up(instance: &Instance, input: &Value) -> Value {
    let old = instance.number("AllocatedStorage");
    let mut input = input.clone();
    if number(&input, "AllocatedStorage").is_some_and(|size| size > old && size * 10 < old * 11) {
        input["AllocatedStorage"] = json!((old * 11 + 9) / 10);
    }
    input
}

fn check_new_storage(instance: &Instance, input: &Value) -> Result<(), AwsError> {
    let old = instance.number("AllocatedStorage");
    let size = number(input, "AllocatedStorage").unwrap_or(old);
    if size < old {
        return Err(invalid_combination(
            "Requested storage size cannot be less than the current storage size. Storage size can only be increased.",
        ));
    }
    let old_kind = need(&instance.value, "StorageType");
    let kind = text(input, "StorageType").unwrap_or(old_kind);
    let kept =
        number(&instance.value, "Iops").filter(|_| kind == old_kind && kind.starts_with("io"));
    check_storage(kind, size, number(input, "Iops").or(kept))?;
    // "When you increase the allocated storage for a DB instance that uses Provisioned IOPS (gp3,
    // io1, or io2 storage type), you must also specify the Iops parameter" (API reference); gp3 has
    // them from 400 GiB on. The service's words are not known.
    let provisioned = matches!(kind, "io1" | "io2") || (kind == "gp3" && size >= FAST_FROM);
    if size > old && provisioned && number(input, "Iops").is_none() {
        return Err(invalid_combination(
            "You must specify the Iops parameter when you increase the allocated storage of a DB instance with provisioned IOPS.",
        ));
    }
    match number(input, "MaxAllocatedStorage") {
        Some(most) => check_max_storage(kind, size, most),
        None => Ok(()),
    }
}

/// An instance moves to another VPC only, and everything here is in one
/// (hashicorp/terraform-provider-aws#512).
fn check_move(state: &State, id: &str, input: &Value) -> Result<(), AwsError> {
    let Some(name) = text(input, "DBSubnetGroupName").map(str::to_lowercase) else {
        return Ok(());
    };
    if !state.subnet_groups.contains_key(&name) {
        return Err(super::groups::not_found(&name));
    }
    Err(AwsError::new(
        "InvalidVPCNetworkStateFault",
        format!(
            "You cannot move DB instance {id} to subnet group {name}. The specified DB subnet group and DB instance are in the same \
             VPC. Choose a DB subnet group in different VPC than the specified DB instance and try again."
        ),
    ))
}

/// The version that the instance is to become.
fn check_version(instance: &Instance, input: &Value) -> Result<Option<Version>, AwsError> {
    let Some(asked) = text(input, "EngineVersion") else {
        return Ok(None);
    };
    let old = Version::choose(text(&instance.value, "EngineVersion"))?;
    // A major alone that it already has means no change, not the newest minor.
    if asked == old.major.to_string() {
        return Ok(None);
    }
    let new = Version::choose(Some(asked))?;
    old.check_upgrade(new, flag(input, "AllowMajorVersionUpgrade"))?;
    Ok(Some(new).filter(|new| *new != old))
}

/// The parameter group that the instance is to have; a new major needs one of its family.
fn check_group(
    state: &State,
    id: &str,
    input: &Value,
    version: Option<Version>,
) -> Result<Option<String>, AwsError> {
    let Some(instance) = state.instances.get(id) else {
        return Ok(None);
    };
    let asked = text(input, "DBParameterGroupName").map(str::to_lowercase);
    let old = Version::choose(text(&instance.value, "EngineVersion"))?;
    let new = version.unwrap_or(old);
    let kept = &instance.parameter_group;
    let name = match asked {
        Some(name) => name,
        None if *kept == old.default_group() => new.default_group(),
        None => kept.clone(),
    };
    parameters::check_family(state, &name, new)?;
    Ok(Some(name).filter(|name| name != kept))
}

impl Instance {
    fn change_at_once(&mut self, input: &Value, group: Option<String>) {
        for (name, called) in AT_ONCE {
            if let Some(value) = input.get(name) {
                self.value[called] = value.clone();
            }
        }
        if let Some(on) = input.get("EnableIAMDatabaseAuthentication") {
            self.value["IAMDatabaseAuthenticationEnabled"] = on.clone();
        }
        if flag(input, "EnablePerformanceInsights") {
            let days = number(input, "PerformanceInsightsRetentionPeriod").unwrap_or(7);
            self.value["PerformanceInsightsRetentionPeriod"] = json!(days);
        }
        let groups = texts(input, "VpcSecurityGroupIds");
        if !groups.is_empty() {
            let groups = groups
                .iter()
                .map(|id| json!({"VpcSecurityGroupId": id, "Status": "active"}));
            self.value["VpcSecurityGroups"] = groups.collect();
        }
        if let Some(change) = input.get("CloudwatchLogsExportConfiguration") {
            let off = texts(change, "DisableLogTypes");
            let mut logs = texts(&self.value, "EnabledCloudwatchLogsExports");
            logs.extend(texts(change, "EnableLogTypes"));
            logs.retain(|log| !off.contains(log));
            logs.sort();
            logs.dedup();
            self.value["EnabledCloudwatchLogsExports"] = json!(logs);
        }
        if let Some(group) = group {
            self.parameter_group = group;
            self.parameter_status = "pending-reboot";
        }
    }

    /// Notes what takes time. Returns whether any of it begins soon.
    fn accept(&mut self, input: &Value, version: Option<Version>) -> bool {
        let mut asked = Map::new();
        for name in DEFERRED.iter().chain(&SOON) {
            let value = match *name {
                "EngineVersion" => version.map(|version| json!(version.to_string())),
                name => input.get(name).cloned(),
            };
            match value {
                Some(value) if self.value.get(*name) != Some(&value) => {
                    asked.insert((*name).to_owned(), value);
                }
                // Asking for what is takes back what was pending.
                Some(_) => {
                    self.pending.remove(*name);
                }
                None => {}
            }
        }
        let now = flag(input, "ApplyImmediately");
        if now {
            self.applying.append(&mut self.pending);
        }
        for (name, value) in asked {
            // Backups that begin or end wait for the window; another number of days does not.
            let days = |it: Option<&Value>| it.and_then(Value::as_i64).unwrap_or_default();
            let switches = name == "BackupRetentionPeriod"
                && (days(Some(&value)) == 0) != (days(self.value.get(&name)) == 0);
            match now || (SOON.contains(&name.as_str()) && !switches) {
                true => self.applying.insert(name, value),
                false => self.pending.insert(name, value),
            };
        }
        if let Some(password) = text(input, "MasterUserPassword") {
            self.new_password = Some(password.to_owned());
        }
        !self.applying.is_empty() || self.new_password.is_some()
    }
}
