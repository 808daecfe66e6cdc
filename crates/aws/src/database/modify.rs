//! Changes of an instance that is there: one call for all of them, and the reboot that a parameter
//! group of ours needs.

use crate::spec::Maintenance;
use aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder;
use aws_sdk_rds::types::Tag;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::FieldChange;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Readiness, poll};
use secrecy::{ExposeSecret, SecretString};

use super::calls::{BUSY, called};
use super::instance::{Instance, USABLE, still_applies};
use super::shape::{InstanceActual, Parameters, REBOOT_TAG};
use crate::error::{Told, code, failure, without};

/// From so many GiB on a gp3 disk of PostgreSQL is striped, and this is the least that it has (user
/// guide, "Amazon RDS DB instance storage"): below, operations per second must not be named
/// (hashicorp/terraform-provider-aws#28243); from there on they must be, whenever the disk grows
/// (API reference, `AllocatedStorage` of ModifyDBInstance).
const STRIPED: (i32, i32, i32) = (400, 12_000, 500);

/// What a new parameter group of its own version stands for, before a major upgrade.
const DEFAULT_GROUP: &str = "default.";

impl Instance {
    /// Waits until RDS takes changes: it refuses them while it creates, backs up or changes.
    pub(super) async fn until_changeable(&self, watch: &dyn Watch) -> Result<InstanceActual> {
        let what = called(self.name());
        poll(self.clients.clock(), USABLE, &what, || async {
            let actual = self.again().await?;
            if actual.takes_changes() {
                return Ok(Look::Found(actual));
            }
            let why = match actual.readiness() {
                Readiness::Failed(why) | Readiness::RolledBack(why) | Readiness::Replaced(why) => {
                    let message = format!("{what} takes no changes: {why}");
                    return Err(Error::new(ErrorKind::Failed, message));
                }
                Readiness::Pending(why) => why,
                Readiness::Ready => format!("RDS says `{}`", actual.status),
            };
            watch.note(&why);
            Ok(Look::NotYet(why))
        })
        .await
    }

    /// The one call that changes all of these fields. It is told to make them at once only where
    /// one of them would wait otherwise: told so, RDS makes whatever else waits as well.
    fn modification(
        &self,
        actual: &InstanceActual,
        changes: &[FieldChange],
        password: Option<&SecretString>,
    ) -> Result<ModifyDBInstanceFluentBuilder> {
        let spec = &self.spec;
        let mut call = self
            .clients
            .rds
            .modify_db_instance()
            .db_instance_identifier(self.name())
            .apply_immediately(self.is_to_be_at_once(changes));
        for change in changes {
            call = match change.field.as_str() {
                "class" => call.db_instance_class(&spec.class),
                "storage" => self.grown(call, actual),
                "version" => self.upgraded(call, actual)?,
                "public" => call.publicly_accessible(false),
                "multi_az" => call.multi_az(spec.high_availability),
                "backup_days" => call.backup_retention_period(spec.backup_days.into()),
                "deletion_protection" => call.deletion_protection(spec.deletion_protection),
                "security_groups" => {
                    call.set_vpc_security_group_ids(Some(self.security_groups.settled()?.0))
                }
                "subnet_group" => call.db_subnet_group_name(self.subnet_group.settled()?),
                "parameter_group" => call.db_parameter_group_name(self.parameter_group.settled()?),
                "password" => call
                    .set_master_user_password(password.map(|text| text.expose_secret().to_owned())),
                // Tags have calls of their own; what loses data is replaced.
                _ => call,
            };
        }
        Ok(call)
    }

    fn grown(
        &self,
        call: ModifyDBInstanceFluentBuilder,
        actual: &InstanceActual,
    ) -> ModifyDBInstanceFluentBuilder {
        let call = call.allocated_storage(self.storage());
        let (striped, iops, throughput) = STRIPED;
        match actual.storage_type.as_str() {
            "gp3" if self.storage() >= striped => {
                let (had_iops, had_throughput) = actual.speed;
                call.iops(had_iops.unwrap_or(iops).max(iops))
                    .storage_throughput(had_throughput.unwrap_or(throughput).max(throughput))
            }
            "io1" | "io2" => call.set_iops(actual.speed.0),
            _ => call,
        }
    }

    /// To the newest minor version that RDS lets it become: a bare major version means the default
    /// one, which an instance whose own minor version is newer cannot become.
    fn upgraded(
        &self,
        call: ModifyDBInstanceFluentBuilder,
        actual: &InstanceActual,
    ) -> Result<ModifyDBInstanceFluentBuilder> {
        let target = self.target(actual).ok_or_else(|| {
            let what = called(self.name());
            Error::internal(format!("the upgrade of {what} was not looked up"))
        })?;
        let call = call
            .engine_version(target)
            .allow_major_version_upgrade(true);
        // An adopted instance with a group of its own needs another one of the new version's
        // family.
        let own = !actual.parameter_group.starts_with(DEFAULT_GROUP);
        Ok(match self.spec.adopt && own {
            true => call.db_parameter_group_name(self.parameter_group.settled()?),
            false => call,
        })
    }

    /// Makes the changes as soon as RDS takes them.
    pub(super) async fn modify(
        &self,
        changes: &[FieldChange],
        password: Option<&SecretString>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let what = called(self.name());
        poll(self.clients.clock(), USABLE, &what, || async {
            let actual = self.until_changeable(watch).await?;
            match self.modification(&actual, changes, password)?.send().await {
                Ok(_) => Ok(Look::Found(())),
                Err(error) if code(&error) == Some(BUSY) => {
                    Ok(Look::NotYet("RDS takes no change yet".into()))
                }
                Err(error) => {
                    let error = failure(&error, &format!("change {what}"));
                    Err(match password {
                        Some(password) => without(error, password),
                        None => error,
                    })
                }
            }
        })
        .await
    }

    /// Notes at the instance, before its parameter group changes, that the reboot for it is ours: a
    /// run that is killed in between leaves it to the next one, and what another hand has put off
    /// is never rebooted for. Returns the group.
    pub(super) async fn mark_reboot(
        &self,
        actual: &InstanceActual,
        changes: &[FieldChange],
    ) -> Result<Option<String>> {
        let changes_group = changes.iter().any(|it| it.field == "parameter_group");
        if !changes_group || self.maintenance == Maintenance::Window {
            return Ok(None);
        }
        let group = self.parameter_group.settled()?;
        if actual.reboot_mark() != Some(group.as_str()) {
            let what = called(self.name());
            let tag = Tag::builder().key(REBOOT_TAG).value(&group).build();
            self.clients
                .rds
                .add_tags_to_resource()
                .resource_name(&actual.arn)
                .tags(tag)
                .send()
                .await
                .told(|| format!("tag {what}"))?;
        }
        Ok(Some(group))
    }

    pub(super) async fn unmark_reboot(&self, actual: &InstanceActual) -> Result<()> {
        let what = called(self.name());
        self.clients
            .rds
            .remove_tags_from_resource()
            .resource_name(&actual.arn)
            .tag_keys(REBOOT_TAG)
            .send()
            .await
            .map(drop)
            .told(|| format!("remove tags of {what}"))
    }

    /// A new parameter group is in force after a reboot only, after a major upgrade too.
    pub(super) async fn reboot_for_parameters(&self, watch: &dyn Watch) -> Result<()> {
        let what = called(self.name());
        let wanted = self.parameter_group.settled()?;
        poll(self.clients.clock(), USABLE, &what, || async {
            let actual = self.until_changeable(watch).await?;
            let lagging = self.lagging(&actual);
            if actual.parameter_group != wanted {
                return Ok(Look::NotYet("RDS still applies parameter_group".into()));
            }
            if !lagging.is_empty() {
                return Ok(Look::NotYet(still_applies(&lagging)));
            }
            if actual.parameters() != Parameters::PendingReboot {
                return Ok(Look::Found(()));
            }
            watch.note("rebooting, so that the parameter group is in force");
            let call = self.clients.rds.reboot_db_instance();
            let sent = call.db_instance_identifier(self.name()).send().await;
            match sent {
                // It was called available a moment too early.
                Err(error) if code(&error) == Some(BUSY) => {
                    Ok(Look::NotYet("RDS takes no reboot yet".into()))
                }
                other => {
                    other.told(|| format!("reboot {what}"))?;
                    Ok(Look::Found(()))
                }
            }
        })
        .await
    }
}
