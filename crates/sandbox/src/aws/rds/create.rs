//! CreateDBInstance: everything is checked before anything exists.

use serde_json::{Map, Value, json};

use super::rules::{
    FAST_FROM, check_class, check_database, check_identifier, check_master_user, check_max_storage,
    check_password, check_port, check_retention, check_security_groups, check_storage,
    check_windows,
};
use super::versions::Version;
use super::{
    Database, Instance, Rds, State, groups, invalid_combination, invalid_value, parameters,
};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, flag, need, number, text, texts};

const BACKUP_WINDOW: &str = "07:30-08:00";
const MAINTENANCE_WINDOW: &str = "sun:09:15-sun:09:45";
/// What RDS can send to CloudWatch for PostgreSQL.
const LOGS: [&str; 3] = ["postgresql", "upgrade", "iam-db-auth-error"];

impl Rds {
    pub(super) fn create_instance(&self, input: &Value) -> Result<Value, AwsError> {
        let id = need(input, "DBInstanceIdentifier").to_lowercase();
        check_identifier("DBInstanceIdentifier", &id, 63)?;
        let version = check_engine(input)?;
        check_support(input, version)?;
        let password = check_master(input)?;
        check_shape(input)?;
        let tags = super::SERVICE.tags.given(input)?;
        let mut state = self.lock();
        if state.instances.contains_key(&id) {
            return Err(AwsError::new(
                "DBInstanceAlreadyExists",
                "DB instance already exists",
            ));
        }
        let subnet_group = self.check_subnet_group(&mut state, input)?;
        let parameter_group = check_parameter_group(&state, input, version)?;
        let resource = format!("db-{}", resource_id());
        let value = self.new_value(&id, &resource, version, input);
        let instance = Instance {
            value,
            tags,
            subnet_group,
            parameter_group,
            parameter_status: "in-sync",
            group_of_upgrade: None,
            pending: Map::new(),
            applying: Map::new(),
            password: password.clone(),
            new_password: None,
            database: Database::Starting,
        };
        let mut shown = self.view(&state, &instance);
        shown["PendingModifiedValues"] = json!({"MasterUserPassword": "****"});
        state.instances.insert(id.clone(), instance);
        drop(state);
        self.bring_up(id, resource);
        Ok(json!({ "DBInstance": shown }))
    }

    fn check_subnet_group(&self, state: &mut State, input: &Value) -> Result<String, AwsError> {
        match text(input, "DBSubnetGroupName") {
            Some(name) => {
                let name = name.to_lowercase();
                match state.subnet_groups.contains_key(&name) {
                    true => Ok(name),
                    false => Err(groups::not_found(&name)),
                }
            }
            None => {
                self.add_default_subnet_group(state);
                Ok("default".into())
            }
        }
    }

    /// The instance as it is described at first: there is no endpoint yet.
    fn new_value(&self, id: &str, resource: &str, version: Version, input: &Value) -> Value {
        let host = &self.inner.host;
        let multi_az = flag(input, "MultiAZ");
        let zone = format!("{}a", host.region);
        let port = number(input, "Port").unwrap_or(5432);
        let groups = match texts(input, "VpcSecurityGroupIds") {
            none if none.is_empty() => vec!["sg-0default".to_owned()],
            some => some,
        };
        let groups = groups
            .iter()
            .map(|id| json!({"VpcSecurityGroupId": id, "Status": "active"}));
        let iops = number(input, "Iops");
        let kind = storage_type(input);
        let size = number(input, "AllocatedStorage").unwrap_or_default();
        let baseline = match kind {
            "gp3" if size >= FAST_FROM => (12_000, 500),
            "gp3" => (3000, 125),
            _ => (0, 0),
        };
        let mut value = json!({
            "DBInstanceIdentifier": id,
            "DBInstanceArn": self.arn("db", id),
            "DbiResourceId": resource,
            "DBInstanceClass": need(input, "DBInstanceClass"),
            "Engine": "postgres",
            "EngineVersion": version.to_string(),
            "EngineLifecycleSupport": text(input, "EngineLifecycleSupport").unwrap_or("open-source-rds-extended-support"),
            "DBInstanceStatus": "creating",
            "MasterUsername": need(input, "MasterUsername"),
            "AllocatedStorage": number(input, "AllocatedStorage").unwrap_or_default(),
            "StorageType": kind,
            "StorageThroughput": number(input, "StorageThroughput").unwrap_or(baseline.1),
            "StorageEncrypted": flag(input, "StorageEncrypted"),
            "InstanceCreateTime": crate::aws::json::seconds(host.clock.now()),
            "PreferredBackupWindow": text(input, "PreferredBackupWindow").unwrap_or(BACKUP_WINDOW),
            "PreferredMaintenanceWindow": text(input, "PreferredMaintenanceWindow").unwrap_or(MAINTENANCE_WINDOW),
            "BackupRetentionPeriod": number(input, "BackupRetentionPeriod").unwrap_or(1),
            "BackupTarget": "region",
            "DBSecurityGroups": [],
            "VpcSecurityGroups": groups.collect::<Vec<_>>(),
            "AvailabilityZone": text(input, "AvailabilityZone").unwrap_or(&zone),
            "MultiAZ": multi_az,
            "AutoMinorVersionUpgrade": input.get("AutoMinorVersionUpgrade").and_then(Value::as_bool).unwrap_or(true),
            "ReadReplicaDBInstanceIdentifiers": [],
            "LicenseModel": "postgresql-license",
            "OptionGroupMemberships": [{
                "OptionGroupName": format!("default:postgres-{}", version.major), "Status": "in-sync",
            }],
            "PubliclyAccessible": flag(input, "PubliclyAccessible"),
            "DbInstancePort": port,
            "CACertificateIdentifier": text(input, "CACertificateIdentifier").unwrap_or("rds-ca-rsa2048-g1"),
            "DomainMemberships": [],
            "CopyTagsToSnapshot": flag(input, "CopyTagsToSnapshot"),
            "MonitoringInterval": number(input, "MonitoringInterval").unwrap_or(0),
            "IAMDatabaseAuthenticationEnabled": flag(input, "EnableIAMDatabaseAuthentication"),
            "PerformanceInsightsEnabled": flag(input, "EnablePerformanceInsights"),
            "DatabaseInsightsMode": text(input, "DatabaseInsightsMode").unwrap_or("standard"),
            "DeletionProtection": flag(input, "DeletionProtection"),
            "AssociatedRoles": [],
            "CustomerOwnedIpEnabled": false,
            "NetworkType": text(input, "NetworkType").unwrap_or("IPV4"),
            "DedicatedLogVolume": flag(input, "DedicatedLogVolume"),
            "IsStorageConfigUpgradeAvailable": false,
        });
        if let Some(iops) = iops.or((kind == "gp3").then_some(baseline.0)) {
            value["Iops"] = json!(iops);
        }
        if multi_az {
            value["SecondaryAvailabilityZone"] = json!(format!("{}b", host.region));
        }
        if flag(input, "StorageEncrypted") {
            let key = format!(
                "arn:aws:kms:{}:{}:key/{}",
                host.region,
                host.account,
                uuid::Uuid::new_v4()
            );
            value["KmsKeyId"] = json!(text(input, "KmsKeyId").unwrap_or(&key));
        }
        if flag(input, "EnablePerformanceInsights") {
            value["PerformanceInsightsRetentionPeriod"] =
                json!(number(input, "PerformanceInsightsRetentionPeriod").unwrap_or(7));
        }
        if let Some(members) = value.as_object_mut() {
            copy(
                input,
                &["DBName", "MaxAllocatedStorage", "MonitoringRoleArn"],
                members,
            );
            let logs = texts(input, "EnableCloudwatchLogsExports");
            if !logs.is_empty() {
                members.insert("EnabledCloudwatchLogsExports".into(), json!(logs));
            }
        }
        value
    }
}

pub(super) fn storage_type(input: &Value) -> &str {
    let default = if number(input, "Iops").is_some() {
        "io1"
    } else {
        "gp3"
    };
    text(input, "StorageType").unwrap_or(default)
}

fn check_engine(input: &Value) -> Result<Version, AwsError> {
    match need(input, "Engine") {
        "postgres" => Version::choose(text(input, "EngineVersion")),
        known @ ("mysql" | "mariadb" | "aurora-postgresql" | "aurora-mysql") => Err(invalid_value(
            format!("the sandbox has the engine postgres only, not {known}"),
        )),
        other => Err(invalid_value(format!("Invalid DB engine: {other}"))),
    }
}

/// Who has opted out of extended support makes no instance of a version that is past its standard
/// support (user guide, "Creating a DB instance ... with Amazon RDS Extended Support": "RDS returns
/// an error"; the service's words are not known).
fn check_support(input: &Value, version: Version) -> Result<(), AwsError> {
    let opted_out =
        text(input, "EngineLifecycleSupport") == Some("open-source-rds-extended-support-disabled");
    match opted_out && version.is_past_standard_support() {
        true => Err(invalid_combination(format!(
            "Cannot create a DB instance of postgres {version} with RDS Extended Support disabled: the version is past its RDS end of standard support date."
        ))),
        false => Ok(()),
    }
}

/// Who the master user is; returns the password.
fn check_master(input: &Value) -> Result<String, AwsError> {
    let blank = |name: &str| {
        invalid_value(format!(
            "The parameter {name} must be provided and must not be blank."
        ))
    };
    if flag(input, "ManageMasterUserPassword") {
        return Err(invalid_combination(
            "the sandbox keeps no master password in Secrets Manager: give MasterUserPassword",
        ));
    }
    let user = text(input, "MasterUsername").filter(|it| !it.is_empty());
    check_master_user(user.ok_or_else(|| blank("MasterUsername"))?)?;
    let password = text(input, "MasterUserPassword").filter(|it| !it.is_empty());
    let password = password.ok_or_else(|| blank("MasterUserPassword"))?;
    check_password(password)?;
    Ok(password.to_owned())
}

/// What does not depend on what else exists.
fn check_shape(input: &Value) -> Result<(), AwsError> {
    check_class(need(input, "DBInstanceClass"))?;
    let size = number(input, "AllocatedStorage").ok_or_else(|| {
        invalid_value("The parameter AllocatedStorage must be provided and must not be blank.")
    })?;
    let kind = storage_type(input);
    check_storage(kind, size, number(input, "Iops"))?;
    if let Some(most) = number(input, "MaxAllocatedStorage") {
        check_max_storage(kind, size, most)?;
    }
    if let Some(name) = text(input, "DBName") {
        check_database(name)?;
    }
    check_port(number(input, "Port").unwrap_or(5432))?;
    check_retention(number(input, "BackupRetentionPeriod").unwrap_or(1))?;
    check_windows(
        text(input, "PreferredBackupWindow").unwrap_or(BACKUP_WINDOW),
        text(input, "PreferredMaintenanceWindow").unwrap_or(MAINTENANCE_WINDOW),
    )?;
    check_security_groups(&texts(input, "VpcSecurityGroupIds"))?;
    check_monitoring(input)?;
    check_logs(&texts(input, "EnableCloudwatchLogsExports"))?;
    if flag(input, "MultiAZ") && text(input, "AvailabilityZone").is_some() {
        return Err(invalid_combination(
            "Requesting a specific availability zone is not valid for Multi-AZ instances.",
        ));
    }
    if text(input, "KmsKeyId").is_some() && !flag(input, "StorageEncrypted") {
        return Err(invalid_combination(
            "KmsKeyId can be specified only when StorageEncrypted is true.",
        ));
    }
    Ok(())
}

pub(super) fn check_monitoring(input: &Value) -> Result<(), AwsError> {
    match number(input, "MonitoringInterval") {
        None | Some(0) => Ok(()),
        Some(1 | 5 | 10 | 15 | 30 | 60) => match text(input, "MonitoringRoleArn") {
            Some(_) => Ok(()),
            None => Err(invalid_combination(
                "A MonitoringRoleARN value is required if you specify a MonitoringInterval value other than 0.",
            )),
        },
        Some(other) => Err(invalid_value(format!(
            "Invalid MonitoringInterval: {other}. Valid values: 0, 1, 5, 10, 15, 30, 60"
        ))),
    }
}

pub(super) fn check_logs(asked: &[String]) -> Result<(), AwsError> {
    match asked.iter().find(|log| !LOGS.contains(&log.as_str())) {
        None => Ok(()),
        Some(log) => Err(invalid_combination(format!(
            "You cannot use the log types '{log}' with engine version postgres. For supported log types, see the documentation."
        ))),
    }
}

/// The group that is asked for, or the version's own; of the version's family either way.
fn check_parameter_group(
    state: &State,
    input: &Value,
    version: Version,
) -> Result<String, AwsError> {
    let name = text(input, "DBParameterGroupName").map(str::to_lowercase);
    let name = name.unwrap_or_else(|| version.default_group());
    parameters::check_family(state, &name, version)?;
    Ok(name)
}

/// 26 letters and digits, as the vendor's.
fn resource_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    random[..26].to_owned()
}
