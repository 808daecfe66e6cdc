//! An instance as RDS describes it: its fields, whether it is usable, and what a change costs;
//! pure.

use aws_sdk_rds::types::DbInstance;
use deployer_core::capability::Birth;
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::node::Effect;
use deployer_core::wait::Readiness;
use jiff::Timestamp;
use secrecy::SecretString;

use super::pending::{Pending, storage_text};
use crate::tagging::told;
use crate::tags::{self, Tags};

pub(super) const ENGINE: &str = "postgres";

/// The tag that says which version of the password's secret was set; RDS tells no more about a
/// password.
pub(super) const PASSWORD_TAG: &str = "deployer:password";

/// The tag that names the parameter group for which this program owes the instance a reboot: a
/// group that waits for one may be another hand's affair.
pub(super) const REBOOT_TAG: &str = "deployer:reboot";

/// The fields that say how much there must be at least.
pub(super) const AT_LEAST: [&str; 3] = ["version", "storage", "backup_days"];

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
    /// The parameter group that a reboot of ours is to put in force.
    reboot_for: Option<String>,
    /// What RDS has accepted and not carried out yet.
    pub(super) pending: Pending,
    /// When RDS carries out what waits.
    pub(super) window: String,
    pub(super) engine: String,
    /// With the minor one.
    pub(super) full_version: String,
    /// What it can become of the major version that is asked for; empty where that was not looked
    /// up.
    pub(super) upgrades: Vec<String>,
    /// The master user.
    pub(super) user: String,
    /// The database that was made with it. `None`: none was, and there is `postgres` only as far as
    /// RDS knows.
    pub(super) database: Option<String>,
    /// Whether RDS keeps the master user's password in a secret of its own.
    pub(super) keeps_password: bool,
    pub(super) storage_type: String,
    /// Where its subnets are.
    pub(super) vpc: Option<String>,
    /// Where the subnets are that it is to stand in, where these are others; `None` where that was
    /// not looked up.
    pub(super) wanted_vpc: Option<String>,
    /// What it is a part of, for people, where it is no instance of its own.
    pub(super) part_of: Option<String>,
    /// Operations per second and throughput, where it has chosen ones.
    pub(super) speed: (Option<i32>, Option<i32>),
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
        let tags = told!(instance.tag_list());
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
            parameter_group: group
                .and_then(|group| group.db_parameter_group_name())
                .unwrap_or_default()
                .to_owned(),
            parameter_group_status: group
                .and_then(|group| group.parameter_apply_status())
                .unwrap_or_default()
                .to_owned(),
            reboot_for: tags.get(REBOOT_TAG).cloned(),
            tags,
            pending: instance
                .pending_modified_values()
                .map(Pending::of)
                .unwrap_or_default(),
            window: instance
                .preferred_maintenance_window()
                .unwrap_or_default()
                .to_owned(),
            engine: instance.engine().unwrap_or_default().to_owned(),
            full_version: instance.engine_version().unwrap_or_default().to_owned(),
            upgrades: Vec::new(),
            user: instance.master_username().unwrap_or_default().to_owned(),
            database: instance.db_name().map(str::to_owned),
            keeps_password: instance.master_user_secret().is_some(),
            storage_type: instance.storage_type().unwrap_or_default().to_owned(),
            vpc: instance
                .db_subnet_group()
                .and_then(|group| group.vpc_id())
                .map(str::to_owned),
            wanted_vpc: None,
            part_of: part_of(instance),
            speed: (instance.iops(), instance.storage_throughput()),
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
            fields.set("password", format!("{}{gone}", tags::version_text(version)));
        }
        if self.owes_reboot() {
            let group = format!("{} (waits for our reboot)", self.parameter_group);
            fields.set("parameter_group", group);
        }
        let mut tags = self.tags.clone();
        tags.remove(PASSWORD_TAG);
        tags.remove(REBOOT_TAG);
        tags::describe(&mut fields, &tags);
        fields
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.status.as_str(), "deleting" | "delete-precheck")
    }

    /// Whether the subnets that it is to stand in are of the VPC that it stands in: RDS moves an
    /// instance to another VPC only, and refuses a move within one ("You cannot move DB instance
    /// ... The specified DB subnet group and DB instance are in the same VPC",
    /// hashicorp/terraform-provider-aws#512).
    pub(super) fn stays_in_vpc(&self) -> bool {
        self.vpc.is_some() && self.vpc == self.wanted_vpc
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

    /// Whether its parameter group waits for a reboot that an earlier run was to make.
    pub(super) fn owes_reboot(&self) -> bool {
        let ours = self.reboot_for.as_ref() == Some(&self.parameter_group);
        ours && self.parameters() == Parameters::PendingReboot
    }

    /// The group for which a reboot is marked as ours.
    pub(super) fn reboot_mark(&self) -> Option<&str> {
        self.reboot_for.as_deref()
    }

    /// Whether clients can use it. What waits for the maintenance window is nothing to wait for.
    pub(super) fn readiness(&self) -> Readiness {
        readiness(&self.status, self.pending.has_password())
    }
}

/// Which database an instance is. The id stays through renames and changes and goes with the
/// instance (<https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html>,
/// `DbiResourceId`).
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

/// A replica is written by its source, and a member of a cluster is changed with it: neither takes
/// a password or another version.
fn part_of(instance: &DbInstance) -> Option<String> {
    // An empty name is none: some that speak the API answer every member.
    let named = |name: Option<&'_ str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
    let source = named(instance.read_replica_source_db_instance_identifier());
    let source = source.or(named(instance.read_replica_source_db_cluster_identifier()));
    let cluster = named(instance.db_cluster_identifier());
    match (source, cluster) {
        (Some(source), _) => Some(format!("is a read replica of `{source}`")),
        (None, Some(cluster)) => Some(format!("is a member of the cluster `{cluster}`")),
        (None, None) => None,
    }
}

/// Whether what a parameter group says is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    Applying,
    PendingReboot,
    InForce,
}

fn described(instance: &DbInstance) -> Fields {
    let mut fields = Fields::new();
    fields.set_some("engine", instance.engine());
    let version = instance.engine_version();
    // Minor versions come and go by themselves.
    fields.set_some("version", version.and_then(|full| full.split('.').next()));
    fields.set_some("class", instance.db_instance_class());
    fields.set_some("storage", instance.allocated_storage().map(storage_text));
    fields.set(
        "encrypted",
        instance.storage_encrypted().unwrap_or_default(),
    );
    fields.set("public", instance.publicly_accessible().unwrap_or_default());
    fields.set("multi_az", instance.multi_az().unwrap_or_default());
    fields.set_some("backup_days", instance.backup_retention_period());
    let protected = instance.deletion_protection().unwrap_or_default();
    fields.set("deletion_protection", protected);
    fields.set("security_groups", security_groups(instance).join(", "));
    let subnets = instance.db_subnet_group();
    fields.set_some(
        "subnet_group",
        subnets.and_then(|group| group.db_subnet_group_name()),
    );
    if let Some(group) = instance.db_parameter_groups().first() {
        fields.set_some("parameter_group", group.db_parameter_group_name());
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

fn readiness(status: &str, sets_password: bool) -> Readiness {
    match status {
        // In the latter two clients connect as ever.
        "available" | "backing-up" | "storage-optimization" if !sets_password => Readiness::Ready,
        "available" | "backing-up" | "storage-optimization" => {
            Readiness::Pending("RDS still applies password".into())
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

/// What a change of an instance costs, made at once.
pub(super) fn effect(change: &FieldChange) -> Effect {
    match change.field.as_str() {
        "engine" | "encrypted" | "user" | "database" => Effect::LosesData,
        // "An outage occurs during the change" (API reference of ModifyDBInstance); a parameter
        // group is in force after a reboot only.
        "class" | "version" | "subnet_group" | "parameter_group" => Effect::Interrupts,
        // Backups that begin stop the disk for seconds to minutes (user guide, "Settings for DB
        // instances").
        "backup_days" if number(change.old.as_ref()) == Some(0) => Effect::Interrupts,
        _ => Effect::InPlace,
    }
}

/// Whether RDS puts a change off until the maintenance window unless it is told to make it at once.
/// Everything else takes effect soon in any case.
pub(super) fn may_wait(change: &FieldChange) -> bool {
    match change.field.as_str() {
        "class" | "storage" | "version" | "multi_az" | "subnet_group" => true,
        "backup_days" => {
            let days = |value: &Option<FieldValue>| number(value.as_ref()).unwrap_or_default();
            (days(&change.old) == 0) != (days(&change.new) == 0)
        }
        _ => false,
    }
}

/// The number that a field's value begins with: 30 of `30 GiB`, 16 of `16.4`.
pub(super) fn number(value: Option<&FieldValue>) -> Option<u32> {
    match value? {
        FieldValue::Known(text) => text.split([' ', '.']).next()?.parse().ok(),
        FieldValue::AfterApply { .. } => None,
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
    fn what_restarts_an_instance_interrupts_and_what_cannot_be_changed_loses_data() {
        let check = |field, old, new, expected| {
            let change = change(field, old, new);
            assert_eq!(effect(&change), expected, "{change:?}");
        };
        check("storage", "20 GiB", "100 GiB", Effect::InPlace);
        check("version", "16", "17", Effect::Interrupts);
        check("class", "db.m7g.large", "db.t4g.micro", Effect::Interrupts);
        check("parameter_group", "a", "b", Effect::Interrupts);
        check("multi_az", "true", "false", Effect::InPlace);
        check("backup_days", "7", "14", Effect::InPlace);
        check("backup_days", "0", "7", Effect::Interrupts);
        check("user", "a", "b", Effect::LosesData);
        check("database", "a", "b", Effect::LosesData);
        check("encrypted", "false", "true", Effect::LosesData);
    }

    #[test]
    fn only_what_may_wait_for_the_window_is_to_be_made_at_once() {
        for field in ["class", "storage", "version", "multi_az"] {
            assert!(may_wait(&change(field, "1", "2")), "{field}");
        }
        assert!(may_wait(&change("backup_days", "0", "7")));
        assert!(!may_wait(&change("backup_days", "7", "14")));
        assert!(!may_wait(&change("deletion_protection", "true", "false")));
    }

    #[test]
    fn it_is_ready_when_it_is_available_and_no_password_is_being_set() {
        assert_eq!(readiness("available", false), Readiness::Ready);
        assert_eq!(
            readiness("available", true),
            Readiness::Pending("RDS still applies password".into())
        );
        assert_eq!(
            readiness("configuring-enhanced-monitoring", false),
            Readiness::Pending("RDS says `configuring-enhanced-monitoring`".into())
        );
    }

    #[test]
    fn a_change_that_waits_for_the_window_is_nothing_to_wait_for() {
        let values = aws_sdk_rds::types::PendingModifiedValues::builder();
        let values = values.db_instance_class("db.t4g.large").build();
        let instance = DbInstance::builder()
            .db_instance_status("available")
            .pending_modified_values(values)
            .build();
        let actual = InstanceActual::of(&instance);
        assert_eq!(actual.readiness(), Readiness::Ready);
        assert!(actual.takes_changes());
        assert_eq!(actual.pending.text("class"), Some("db.t4g.large"));
    }

    #[test]
    fn a_reboot_is_ours_only_where_a_run_of_ours_changed_the_group() {
        use aws_sdk_rds::types::DbParameterGroupStatus;
        let waiting = |tag: Option<&str>| {
            let group = DbParameterGroupStatus::builder()
                .db_parameter_group_name("main-postgres17")
                .parameter_apply_status("pending-reboot")
                .build();
            let tag = tag.map(|group| Tag::builder().key(REBOOT_TAG).value(group).build());
            let instance = DbInstance::builder()
                .db_parameter_groups(group)
                .set_tag_list(Some(tag.into_iter().collect()))
                .build();
            InstanceActual::of(&instance)
        };
        assert!(!waiting(None).owes_reboot());
        assert!(!waiting(Some("main-postgres16")).owes_reboot());
        let ours = waiting(Some("main-postgres17"));
        assert!(ours.owes_reboot());
        let shown = ours
            .fields()
            .get("parameter_group")
            .map(ToString::to_string);
        assert_eq!(
            shown.as_deref(),
            Some("main-postgres17 (waits for our reboot)")
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
            let Readiness::Failed(why) = readiness(status, false) else {
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
