//! `rds.instance`: one PostgreSQL.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_rds::operation::create_db_instance::builders::CreateDBInstanceFluentBuilder;
use aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Effect, Kept, Reading, Ready, Resource, Token, Watch};
use deployer_core::spec::DatabaseSpec;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use secrecy::{ExposeSecret, SecretString};

use super::instance_calls::{BUSY, GONE, called, delete_instance, read_instance};
use super::instance_fields::{
    InstanceActual, PASSWORD_TAG, Parameters, effect, storage_text, version_text,
};
use super::{tagging, url};
use crate::client::Clients;
use crate::error::{Told, code, failure, without};
use crate::reading::{owned, still_there};
use crate::secret_store::value_of;
use crate::tags::{self, Ownership, Tags};

/// The kind of an instance's node.
pub(crate) const INSTANCE: &str = "rds.instance";

const ENGINE: &str = "postgres";

/// The disk that new instances get: cheaper than gp2 and quicker at most sizes.
const STORAGE_TYPE: &str = "gp3";

/// Multi-AZ instances of some size take 15 minutes, major upgrades longer.
const USABLE: Pace = Pace::until(Duration::from_secs(40 * 60));

/// An instance that is to exist.
pub(super) struct Instance {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) spec: DatabaseSpec,
    /// Sorted; empty leaves the choice to RDS.
    pub(super) security_groups: Vec<String>,
    pub(super) subnet_group: Value<String>,
    pub(super) parameter_group: Value<String>,
    pub(super) password: Value<SecretVersion>,
    /// The secret that holds the password, by its name in the cloud.
    pub(super) secret: String,
    pub(super) url: Output<SecretString>,
    /// Which database it is: see [`deployer_core::capability::DatabaseOutputs::birth`].
    pub(super) birth: Output<Birth>,
    /// The version whose value this run set as the password, or tried to: its tag is written after it.
    pub(super) given: Mutex<Option<String>>,
}

impl Instance {
    fn name(&self) -> &str {
        &self.address.name
    }

    async fn password_of(&self, version: &SecretVersion) -> Result<SecretString> {
        let value = value_of(&self.clients, &version.secret, &version.version).await?;
        value.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the password of {} is not there", called(self.name())),
            )
            .hint(format!("deployer secrets set {}", self.spec.password))
        })
    }

    /// The tags that it is to carry, with the one that says which password was set.
    fn tags_with(&self, password: Option<&str>) -> Tags {
        let mut tags = self.ownership.tags.clone();
        if let Some(version) = password {
            tags.insert(PASSWORD_TAG.to_owned(), version.to_owned());
        }
        tags
    }

    fn storage(&self) -> i32 {
        i32::try_from(self.spec.storage_gib).unwrap_or(i32::MAX)
    }

    fn creation(
        &self,
        version: &SecretVersion,
        password: &SecretString,
    ) -> Result<CreateDBInstanceFluentBuilder> {
        let spec = &self.spec;
        let groups = (!self.security_groups.is_empty()).then(|| self.security_groups.clone());
        let tags = tagging::sdk_tags(&self.tags_with(Some(&version.version)));
        Ok(self
            .clients
            .rds
            .create_db_instance()
            .db_instance_identifier(self.name())
            .engine(ENGINE)
            .engine_version(spec.version.to_string())
            .db_instance_class(&spec.class)
            .allocated_storage(self.storage())
            .storage_type(STORAGE_TYPE)
            .storage_encrypted(true)
            .publicly_accessible(false)
            .multi_az(spec.high_availability)
            .backup_retention_period(spec.backup_days.into())
            .deletion_protection(spec.deletion_protection)
            .copy_tags_to_snapshot(true)
            .auto_minor_version_upgrade(true)
            .db_subnet_group_name(self.subnet_group.settled()?)
            .db_parameter_group_name(self.parameter_group.settled()?)
            .set_vpc_security_group_ids(groups)
            .db_name(&spec.database)
            .master_username(&spec.user)
            .master_user_password(password.expose_secret())
            .set_tags(Some(tags)))
    }

    /// Makes it. `false` when something of its name is there.
    async fn make(&self, version: &SecretVersion, password: &SecretString) -> Result<bool> {
        match self.creation(version, password)?.send().await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == Some("DBInstanceAlreadyExists") => Ok(false),
            Err(error) => {
                let error = failure(&error, &format!("create {}", called(self.name())));
                Err(without(error, password))
            }
        }
    }

    /// Waits until the name is free. `false` when what has it stays.
    async fn until_gone(&self, watch: &dyn Watch) -> Result<bool> {
        let what = called(self.name());
        poll(self.clients.clock(), GONE, &what, || async {
            Ok(match read_instance(&self.clients, self.name()).await? {
                Reading::Absent => Look::Found(true),
                Reading::Tombstoned(how) => {
                    watch.note(&how);
                    Look::NotYet(how)
                }
                Reading::Present(_) | Reading::Denied(_) | Reading::Foreign(_) => {
                    Look::Found(false)
                }
            })
        })
        .await
    }

    async fn again(&self) -> Result<InstanceActual> {
        still_there(self.read().await?, &called(self.name()))
    }

    /// Waits until RDS takes changes: it refuses them while it creates, backs up or changes.
    async fn until_changeable(&self, watch: &dyn Watch) -> Result<InstanceActual> {
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

    /// The one call that changes all of these fields.
    fn modification(
        &self,
        changes: &[FieldChange],
        password: Option<&SecretString>,
    ) -> Result<ModifyDBInstanceFluentBuilder> {
        let spec = &self.spec;
        let mut call = self
            .clients
            .rds
            .modify_db_instance()
            .db_instance_identifier(self.name())
            .apply_immediately(true);
        for change in changes {
            call = match change.field.as_str() {
                "class" => call.db_instance_class(&spec.class),
                "storage" => call.allocated_storage(self.storage()),
                "storage_type" => call.storage_type(STORAGE_TYPE),
                "version" => call
                    .engine_version(spec.version.to_string())
                    .allow_major_version_upgrade(true),
                "public" => call.publicly_accessible(false),
                "multi_az" => call.multi_az(spec.high_availability),
                "backup_days" => call.backup_retention_period(spec.backup_days.into()),
                "deletion_protection" => call.deletion_protection(spec.deletion_protection),
                "copy_tags_to_snapshot" => call.copy_tags_to_snapshot(true),
                "auto_minor_version_upgrade" => call.auto_minor_version_upgrade(true),
                "security_groups" => {
                    call.set_vpc_security_group_ids(Some(self.security_groups.clone()))
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

    /// Makes the changes as soon as RDS takes them.
    async fn modify(
        &self,
        changes: &[FieldChange],
        password: Option<&SecretString>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let what = called(self.name());
        poll(self.clients.clock(), USABLE, &what, || async {
            self.until_changeable(watch).await?;
            match self.modification(changes, password)?.send().await {
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

    /// What was asked for and is not told yet. Tags and password stand apart, they are known from what was written;
    /// and a parameter group may wait for a reboot, which a change brings and no waiting.
    fn lagging(&self, actual: &InstanceActual) -> Vec<String> {
        let apart = |change: &FieldChange| {
            tags::is_tag(change) || matches!(change.field.as_str(), "password" | "parameter_group")
        };
        let changes = self.observed(actual).changes_to(&self.desired());
        changes
            .into_iter()
            .filter(|change| !apart(change))
            .map(|change| change.field)
            .collect()
    }

    /// A new parameter group is in force after a reboot only, after a major upgrade too.
    async fn reboot_for_parameters(&self, watch: &dyn Watch) -> Result<()> {
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

fn still_applies(fields: &[String]) -> String {
    format!("RDS still applies {}", fields.join(", "))
}

#[async_trait]
impl Resource for Instance {
    type Actual = InstanceActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let reading = read_instance(&self.clients, self.name()).await?;
        let mut actual = match owned(reading, &self.ownership, |actual| &actual.tags) {
            Reading::Present(actual) => actual,
            other => return Ok(other),
        };
        let given = self
            .given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        actual.password_version = given.or(actual.password_version);
        if let Some(version) = &actual.password_version {
            match value_of(&self.clients, &self.secret, version).await {
                Ok(password) => actual.password = password,
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return Ok(Reading::Denied(error.chain().join(": ")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Reading::Present(actual))
    }

    fn desired(&self) -> Fields {
        let spec = &self.spec;
        let mut fields = Fields::new();
        fields.set("engine", ENGINE);
        fields.set("version", spec.version);
        fields.set("class", &spec.class);
        fields.set("storage", storage_text(self.storage()));
        fields.set("storage_type", STORAGE_TYPE);
        fields.set("encrypted", true);
        fields.set("public", false);
        fields.set("multi_az", spec.high_availability);
        fields.set("backup_days", spec.backup_days);
        fields.set("deletion_protection", spec.deletion_protection);
        fields.set("copy_tags_to_snapshot", true);
        fields.set("auto_minor_version_upgrade", true);
        if !self.security_groups.is_empty() {
            fields.set("security_groups", self.security_groups.join(", "));
        }
        if !spec.adopt {
            fields.set_value("subnet_group", self.subnet_group.field(Clone::clone));
        }
        fields.set_value("parameter_group", self.parameter_group.field(Clone::clone));
        fields.set("user", &spec.user);
        fields.set("database", &spec.database);
        let password = self
            .password
            .field(|version| version_text(&version.version));
        fields.set_value("password", password);
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        let told = actual.fields();
        let mut fields = Fields::new();
        for (name, value) in told.iter() {
            // RDS chooses where we do not; and what is adopted stays in its own network.
            let chosen = match name {
                "security_groups" => !self.security_groups.is_empty(),
                "subnet_group" => !self.spec.adopt,
                _ => true,
            };
            if chosen {
                fields.set_value(name, value.clone());
            }
        }
        fields
    }

    fn effect_of_change(&self, change: &FieldChange) -> Effect {
        effect(change)
    }

    fn publish(&self, actual: &Self::Actual) {
        if let (Some(endpoint), Some(password)) = (&actual.endpoint, &actual.password) {
            let url = url(&self.spec, password, &endpoint.host, endpoint.port);
            self.url.publish(url);
        }
        // A name that is made anew is another database: RDS gives each instance an id of its own, for life.
        if let Some(birth) = &actual.birth {
            self.birth.publish(birth.clone());
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        let new_url = |change: &FieldChange| {
            change.field == "password" || effect(change) == Effect::LosesData
        };
        if changes.iter().any(new_url) {
            self.url.withdraw();
        }
        if changes
            .iter()
            .any(|change| effect(change) == Effect::LosesData)
        {
            self.birth.withdraw();
        }
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Self::Actual> {
        let version = self.password.settled()?;
        let password = self.password_of(&version).await?;
        let made = self.make(&version, &password).await?;
        // What is being deleted still has the name. Otherwise a reply was lost, or the next read says whose it is.
        if !made && self.until_gone(watch).await? {
            self.make(&version, &password).await?;
        }
        self.again().await
    }

    async fn update(
        &self,
        _actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        // While it was made or changed, RDS told less than the truth: compare with what has settled.
        let actual = self.until_changeable(watch).await?;
        let changes = self.observed(&actual).changes_to(&self.desired());
        let has = |field: &str| changes.iter().any(|change| change.field == field);
        let set = match has("password") {
            true => {
                let version = self.password.settled()?;
                let password = self.password_of(&version).await?;
                Some((version.version, password))
            }
            false => None,
        };
        if let Some((version, _)) = &set {
            *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.clone());
        }
        let password = set.as_ref().map(|(_, password)| password);
        if !changes.iter().all(tags::is_tag) {
            self.modify(&changes, password, watch).await?;
        }
        let version = match &set {
            Some((version, _)) => Some(version.as_str()),
            None => actual.password_version.as_deref(),
        };
        let what = called(self.name());
        let desired = self.tags_with(version);
        tagging::retag(&self.clients, &actual.arn, &what, &actual.tags, &desired).await?;
        if has("parameter_group") {
            self.reboot_for_parameters(watch).await?;
        }
        let mut after = self.again().await?;
        if let Some((version, password)) = set {
            after.password_version = Some(version);
            after.password = Some(password);
        }
        Ok(after)
    }

    fn kept(&self, changes: &[FieldChange]) -> Kept {
        let breaks = |change: &FieldChange| {
            matches!(
                change.field.as_str(),
                "password"
                    | "user"
                    | "database"
                    | "security_groups"
                    | "subnet_group"
                    | "parameter_group"
                    | "version"
            )
        };
        match changes.iter().any(breaks) {
            true => Kept::Harms(
                "its password, its version, its parameters or who reaches it is not what the version before was made for",
            ),
            false => Kept::Harmless("it is reached as before, with the same password"),
        }
    }

    async fn delete(&self, _actual: &Self::Actual, token: &Token) -> Result<()> {
        delete_instance(&self.clients, self.name(), token).await
    }

    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        let mut now = match read_instance(&self.clients, self.name()).await? {
            Reading::Tombstoned(how) => {
                return Ok(Ready {
                    state: Readiness::Failed(how),
                    actual: actual.clone(),
                });
            }
            reading => still_there(reading, &called(self.name()))?,
        };
        now.password_version = actual.password_version.clone();
        now.password = actual.password.clone();
        let lagging = self.lagging(&now);
        let state = match (now.readiness(), &now.endpoint) {
            (Readiness::Ready, None) => Readiness::Pending("it has no address yet".into()),
            // RDS calls an instance available for a moment after it has taken a change.
            (Readiness::Ready, Some(_)) if !lagging.is_empty() => {
                Readiness::Pending(still_applies(&lagging))
            }
            (state, _) => state,
        };
        Ok(Ready { state, actual: now })
    }

    fn unsettled(&self, actual: &Self::Actual) -> Option<String> {
        actual.readiness().why()
    }

    fn pace(&self) -> Pace {
        USABLE
    }

    fn holds_data(&self) -> bool {
        true
    }
}
