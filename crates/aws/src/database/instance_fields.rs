//! An instance as RDS describes it: its fields, whether it is usable, and what a change costs; pure.

use aws_sdk_rds::types::{DbInstance, PendingModifiedValues};
use deployer_core::capability::Birth;
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::node::Effect;
use deployer_core::wait::Readiness;
use jiff::Timestamp;
use secrecy::SecretString;

use super::tagging;
use crate::tags::{self, Tags};

/// The tag that says which version of the password's secret was set; RDS tells no more about a password.
pub(super) const PASSWORD_TAG: &str = "deployer:password";

/// An instance as RDS has it.
#[derive(Clone, Debug)]
pub(crate) struct InstanceActual {
    pub(super) arn: String,
    /// `DbiResourceId`, which no other instance ever has, whatever its name.
    pub(super) birth: Option<Birth>,
    pub(super) status: String,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) protected: bool,
    /// The version of the secret whose value is the password.
    pub(super) password_version: Option<String>,
    /// That value, when it was asked for and is still there.
    pub(super) password: Option<SecretString>,
    /// With the tag of the password.
    pub(super) tags: Tags,
    pub(super) parameter_group: String,
    parameter_group_status: String,
    pending: Vec<&'static str>,
    fields: Fields,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: i32,
}

impl InstanceActual {
    /// What RDS described; the password is not known.
    pub(super) fn of(instance: &DbInstance) -> Self {
        let tags = tagging::of(instance.tag_list());
        let group = instance.db_parameter_groups().first();
        let endpoint = instance.endpoint();
        Self {
            arn: instance.db_instance_arn().unwrap_or_default().to_owned(),
            birth: birth(instance),
            status: instance.db_instance_status().unwrap_or_default().to_owned(),
            endpoint: endpoint.and_then(|endpoint| {
                Some(Endpoint {
                    host: endpoint.address()?.to_owned(),
                    port: endpoint.port()?,
                })
            }),
            protected: instance.deletion_protection().unwrap_or_default(),
            password_version: tags.get(PASSWORD_TAG).cloned(),
            password: None,
            tags,
            parameter_group: group
                .and_then(|group| group.db_parameter_group_name())
                .unwrap_or_default()
                .to_owned(),
            parameter_group_status: group
                .and_then(|group| group.parameter_apply_status())
                .unwrap_or_default()
                .to_owned(),
            pending: instance
                .pending_modified_values()
                .map(pending)
                .unwrap_or_default(),
            fields: described(instance),
        }
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = self.fields.clone();
        if let Some(version) = &self.password_version {
            let gone = if self.password.is_some() {
                ""
            } else {
                " (gone)"
            };
            fields.set("password", format!("{}{gone}", version_text(version)));
        }
        let mut tags = self.tags.clone();
        tags.remove(PASSWORD_TAG);
        tags::describe(&mut fields, &tags);
        fields
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.status.as_str(), "deleting" | "delete-precheck")
    }

    /// Whether RDS takes changes now. In the last two a change is the way out.
    pub(super) fn takes_changes(&self) -> bool {
        let takes = matches!(
            self.status.as_str(),
            "available" | "storage-optimization" | "storage-full" | "incompatible-parameters"
        );
        takes && self.parameters() != Parameters::Applying
    }

    /// Whether RDS can keep a final snapshot of it; it cannot in these states.
    pub(super) fn can_be_kept(&self) -> bool {
        !matches!(
            self.status.as_str(),
            "failed" | "incompatible-restore" | "incompatible-network"
        )
    }

    /// What the parameter group still waits for.
    pub(super) fn parameters(&self) -> Parameters {
        match self.parameter_group_status.as_str() {
            "applying" => Parameters::Applying,
            "pending-reboot" => Parameters::PendingReboot,
            _ => Parameters::InForce,
        }
    }

    /// Whether clients can use it as it was asked for.
    pub(super) fn readiness(&self) -> Readiness {
        readiness(&self.status, &self.pending)
    }
}

/// Which database an instance is. The id stays through renames and changes and goes with the instance
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html>, `DbiResourceId`).
pub(super) fn birth(instance: &DbInstance) -> Option<Birth> {
    let created = instance.instance_create_time();
    let at = created.and_then(|at| Timestamp::from_second(at.secs()).ok());
    // A stand-in for RDS may give it no id.
    let made = || Some(format!("{} {}", instance.db_instance_arn()?, at?));
    Some(Birth {
        id: instance
            .dbi_resource_id()
            .map(str::to_owned)
            .or_else(made)?,
        at,
    })
}

/// Whether what a parameter group says is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    Applying,
    PendingReboot,
    InForce,
}

/// A version of the password's secret, as a field.
pub(super) fn version_text(version: &str) -> String {
    format!("version {version}")
}

fn described(instance: &DbInstance) -> Fields {
    let mut fields = Fields::new();
    fields.set_some("engine", instance.engine());
    let version = instance.engine_version();
    // Minor versions come and go by themselves.
    fields.set_some("version", version.and_then(|full| full.split('.').next()));
    fields.set_some("class", instance.db_instance_class());
    fields.set_some("storage", instance.allocated_storage().map(storage_text));
    fields.set_some("storage_type", instance.storage_type());
    fields.set(
        "encrypted",
        instance.storage_encrypted().unwrap_or_default(),
    );
    fields.set("public", instance.publicly_accessible().unwrap_or_default());
    fields.set("multi_az", instance.multi_az().unwrap_or_default());
    fields.set_some("backup_days", instance.backup_retention_period());
    let protected = instance.deletion_protection().unwrap_or_default();
    fields.set("deletion_protection", protected);
    let copies = instance.copy_tags_to_snapshot().unwrap_or_default();
    fields.set("copy_tags_to_snapshot", copies);
    let upgrades = instance.auto_minor_version_upgrade().unwrap_or_default();
    fields.set("auto_minor_version_upgrade", upgrades);
    fields.set("security_groups", security_groups(instance).join(", "));
    let subnets = instance.db_subnet_group();
    fields.set_some(
        "subnet_group",
        subnets.and_then(|group| group.db_subnet_group_name()),
    );
    if let Some(group) = instance.db_parameter_groups().first() {
        let name = group.db_parameter_group_name().unwrap_or_default();
        let waits = group.parameter_apply_status() == Some("pending-reboot");
        let waits = if waits { " (pending reboot)" } else { "" };
        fields.set("parameter_group", format!("{name}{waits}"));
    }
    fields.set_some("user", instance.master_username());
    fields.set_some("database", instance.db_name());
    fields
}

fn security_groups(instance: &DbInstance) -> Vec<&str> {
    let mut groups: Vec<&str> = instance
        .vpc_security_groups()
        .iter()
        .filter(|group| group.status() != Some("removing"))
        .filter_map(|group| group.vpc_security_group_id())
        .collect();
    groups.sort_unstable();
    groups
}

/// A disk's size, as a field.
pub(super) fn storage_text(gib: i32) -> String {
    format!("{gib} GiB")
}

/// What RDS has accepted and not carried out yet, in our fields' names.
fn pending(values: &PendingModifiedValues) -> Vec<&'static str> {
    [
        ("class", values.db_instance_class().is_some()),
        ("storage", values.allocated_storage().is_some()),
        ("storage_type", values.storage_type().is_some()),
        ("password", values.master_user_password().is_some()),
        ("backup_days", values.backup_retention_period().is_some()),
        ("multi_az", values.multi_az().is_some()),
        ("version", values.engine_version().is_some()),
    ]
    .into_iter()
    .filter_map(|(field, is_pending)| is_pending.then_some(field))
    .collect()
}

fn readiness(status: &str, pending: &[&str]) -> Readiness {
    match status {
        // In the latter two clients connect as ever.
        "available" | "backing-up" | "storage-optimization" if pending.is_empty() => {
            Readiness::Ready
        }
        "available" | "backing-up" | "storage-optimization" => {
            Readiness::Pending(format!("RDS still applies {}", pending.join(", ")))
        }
        "deleting" | "delete-precheck" => Readiness::Failed("it is being deleted".into()),
        "stopped" | "stopping" => Readiness::Failed(format!(
            "it is {status}: start it with `aws rds start-db-instance`"
        )),
        "failed"
        | "storage-full"
        | "insufficient-capacity"
        | "restore-error"
        | "inaccessible-encryption-credentials"
        | "inaccessible-encryption-credentials-recoverable" => {
            Readiness::Failed(format!("RDS says `{status}`"))
        }
        _ if status.starts_with("incompatible-") => {
            Readiness::Failed(format!("RDS says `{status}`"))
        }
        _ => Readiness::Pending(format!("RDS says `{status}`")),
    }
}

/// What a change of an instance costs: what grows or is newer is changed in place, what shrinks or is older is not.
pub(super) fn effect(change: &FieldChange) -> Effect {
    match change.field.as_str() {
        "engine" | "encrypted" | "user" | "database" => Effect::LosesData,
        "version" | "storage" if is_less(change) => Effect::LosesData,
        _ => Effect::InPlace,
    }
}

fn is_less(change: &FieldChange) -> bool {
    let number = |value: &Option<FieldValue>| match value {
        Some(FieldValue::Known(text)) => text.split(' ').next()?.parse::<u32>().ok(),
        Some(FieldValue::AfterApply { .. }) | None => None,
    };
    match (number(&change.old), number(&change.new)) {
        (Some(old), Some(new)) => new < old,
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::types::{Tag, VpcSecurityGroupMembership};

    use super::*;

    fn change(field: &str, old: &str, new: &str) -> FieldChange {
        FieldChange {
            field: field.into(),
            old: Some(FieldValue::Known(old.into())),
            new: Some(FieldValue::Known(new.into())),
        }
    }

    #[test]
    fn growing_is_done_in_place_and_shrinking_loses_data() {
        let check = |field, old, new, expected| {
            let change = change(field, old, new);
            assert_eq!(effect(&change), expected, "{change:?}");
        };
        check("storage", "20 GiB", "100 GiB", Effect::InPlace);
        check("storage", "100 GiB", "20 GiB", Effect::LosesData);
        check("version", "9", "16", Effect::InPlace);
        check("version", "16", "15", Effect::LosesData);
        check("class", "db.m7g.large", "db.t4g.micro", Effect::InPlace);
        check("multi_az", "true", "false", Effect::InPlace);
        check("user", "a", "b", Effect::LosesData);
        check("database", "a", "b", Effect::LosesData);
        check("encrypted", "false", "true", Effect::LosesData);
    }

    #[test]
    fn it_is_ready_when_it_is_available_and_nothing_is_pending() {
        assert_eq!(readiness("available", &[]), Readiness::Ready);
        assert_eq!(
            readiness("available", &["class", "password"]),
            Readiness::Pending("RDS still applies class, password".into())
        );
        assert_eq!(
            readiness("configuring-enhanced-monitoring", &[]),
            Readiness::Pending("RDS says `configuring-enhanced-monitoring`".into())
        );
    }

    #[test]
    fn states_that_never_end_well_are_failures_in_the_clouds_words() {
        for status in [
            "failed",
            "storage-full",
            "incompatible-parameters",
            "stopped",
        ] {
            let Readiness::Failed(why) = readiness(status, &[]) else {
                panic!("{status} is not a failure");
            };
            assert!(why.contains(status), "{why}");
        }
    }

    #[test]
    fn minor_versions_order_and_the_clouds_own_tags_are_noise() {
        let group = |id: &str, status: &str| {
            VpcSecurityGroupMembership::builder()
                .vpc_security_group_id(id)
                .status(status)
                .build()
        };
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let instance = DbInstance::builder()
            .engine_version("16.4")
            .vpc_security_groups(group("sg-b", "active"))
            .vpc_security_groups(group("sg-gone", "removing"))
            .vpc_security_groups(group("sg-a", "adding"))
            .tag_list(tag("aws:created", "x"))
            .tag_list(tag("deployer", "idp/staging"))
            .tag_list(tag(PASSWORD_TAG, "v1"))
            .build();
        let mut actual = InstanceActual::of(&instance);
        let shown = |actual: &InstanceActual, name: &str| {
            actual.fields().get(name).map(ToString::to_string)
        };
        assert_eq!(shown(&actual, "version").as_deref(), Some("16"));
        let groups = shown(&actual, "security_groups");
        assert_eq!(groups.as_deref(), Some("sg-a, sg-b"));
        let fields = actual.fields();
        let tags: Vec<_> = fields
            .iter()
            .filter(|(name, _)| name.starts_with("tags."))
            .collect();
        assert_eq!(tags.len(), 1);
        // A password that cannot be had any more is a difference, so that the next apply sets one.
        assert_eq!(
            shown(&actual, "password").as_deref(),
            Some("version v1 (gone)")
        );
        actual.password = Some("hunter2".into());
        assert_eq!(shown(&actual, "password").as_deref(), Some("version v1"));
        assert!(!format!("{actual:?}").contains("hunter2"));
    }
}
