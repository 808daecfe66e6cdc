//! `rds.instance`: one PostgreSQL.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::spec::Maintenance;
use async_trait::async_trait;
use aws_sdk_rds::operation::create_db_instance::builders::CreateDBInstanceFluentBuilder;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, SecretVersion};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::{owned, still_there, until_seen};
use deployer_core::node::{Effect, Ready, Resource, Watch};
use deployer_core::spec::DatabaseSpec;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use super::authority::Bundle;
use super::calls::{GONE, called, delete_instance, read_instance, upgrades};
use super::password::just_written;
use super::shape::{ENGINE, InstanceActual, PASSWORD_TAG, REBOOT_TAG, effect, may_wait};
use super::subnet_group::vpc_of;
use super::{nothing_to_adopt, url};
use crate::access::service_linked_role;
use crate::error::{Told, code, failure, incomplete, without};
use crate::ground::SecurityGroups;
use crate::prepared::until_prepared;
use crate::secret_store::value_of;
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

/// The kind of an instance's node.
pub(crate) const INSTANCE: &str = Instance::KIND;

/// The disk that new instances get: cheaper than gp2 and quicker at most sizes.
const STORAGE_TYPE: &str = "gp3";

/// Multi-AZ instances of some size take 15 minutes, major upgrades longer.
pub(super) const USABLE: Pace = Pace::until(Duration::from_secs(40 * 60));

/// An instance that is to exist.
pub(crate) struct Instance {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) spec: DatabaseSpec,
    /// Sorted; empty leaves the choice to RDS.
    pub(super) security_groups: Value<SecurityGroups>,
    pub(super) subnet_group: Value<String>,
    pub(super) parameter_group: Value<String>,
    /// Whether a new one goes on past its version's standard support, in RDS's words; `None` leaves
    /// it to RDS.
    pub(super) lifecycle: Option<&'static str>,
    /// Whether it was somebody's: where there is none, none is made.
    pub(super) is_to_be_there: bool,
    pub(super) password: Value<SecretVersion>,
    /// The secret that holds the password, by its name in the cloud.
    pub(super) secret: String,
    /// Whether changes that interrupt are made at once.
    pub(super) maintenance: Maintenance,
    /// Where the certificates of its authorities are found. `None` where nobody asks for them.
    pub(super) bundle: Option<Bundle>,
    pub(super) url: Output<SecretString>,
    pub(super) host: Output<SecretString>,
    /// Which database it is: see [`deployer_core::capability::DatabaseOutputs::birth`].
    pub(super) birth: Output<Birth>,
    /// The version whose value this run set as the password, or tried to: its tag is written after
    /// it.
    pub(super) given: Mutex<Option<String>>,
    pub(super) authority: Output<SecretString>,
    /// What the last apply left, where that is known.
    pub(super) left: Mutex<Option<Fields>>,
    pub(super) looked_up: LookedUp,
}

/// What does not change while a run goes on: it is asked for once, however often the instance is
/// looked at.
#[derive(Default)]
pub(super) struct LookedUp {
    authority: OnceCell<SecretString>,
    /// What a version can become.
    upgrades: OnceCell<(String, Vec<String>)>,
}

impl Instance {
    pub(super) fn name(&self) -> &str {
        &self.address.name
    }

    async fn password_of(&self, version: &SecretVersion) -> Result<SecretString> {
        let value = just_written(&self.clients, version).await?;
        value.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the password of {} is not there", called(self.name())),
            )
            .hint(format!("deployer secrets set {}", self.spec.password))
        })
    }

    /// The tags that it is to carry, with the one that says which password was set.
    pub(super) fn tags_with(&self, password: Option<&str>, reboot: Option<&str>) -> Tags {
        let mut tags = self.ownership.tags.clone();
        for (tag, value) in [(PASSWORD_TAG, password), (REBOOT_TAG, reboot)] {
            if let Some(value) = value {
                tags.insert(tag.to_owned(), value.to_owned());
            }
        }
        tags
    }

    pub(super) fn storage(&self) -> i32 {
        i32::try_from(self.spec.storage_gib).unwrap_or(i32::MAX)
    }

    fn creation(
        &self,
        version: &SecretVersion,
        password: &SecretString,
    ) -> Result<CreateDBInstanceFluentBuilder> {
        let spec = &self.spec;
        let SecurityGroups(groups) = self.security_groups.settled()?;
        let groups = Some(groups).filter(|groups| !groups.is_empty());
        let tags = sdk_tags(&self.tags_with(Some(&version.version), None));
        let tags = tags.map_err(incomplete)?;
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
            // Silence leaves the account's default.
            .set_engine_lifecycle_support(self.lifecycle.map(str::to_owned))
            .set_tags(Some(tags)))
    }

    /// Makes it. `false` when something of its name is there.
    async fn make(&self, version: &SecretVersion, password: &SecretString) -> Result<bool> {
        let what = format!("create {}", called(self.name()));
        until_prepared(self.clients.clock(), &what, || async {
            match self.creation(version, password)?.send().await {
                Ok(_) => Ok(true),
                Err(error) if code(&error) == Some("DBInstanceAlreadyExists") => Ok(false),
                Err(error) => Err(without(failure(&error, &what), password)),
            }
        })
        .await
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

    pub(super) async fn again(&self) -> Result<InstanceActual> {
        let (clock, what) = (self.clients.clock(), called(self.name()));
        until_seen(clock, &what, || self.read()).await
    }

    /// What was asked for and is not told yet. Tags and password stand apart, they are known from
    /// what was written.
    pub(super) fn lagging(&self, actual: &InstanceActual) -> Vec<String> {
        let apart = |change: &FieldChange| {
            tags::is_tag(change) || matches!(change.field.as_str(), "password" | "parameter_group")
        };
        let changes = self.observed(actual).changes_to(&self.wished());
        changes
            .into_iter()
            .filter(|change| !apart(change))
            .map(|change| change.field)
            .collect()
    }

    async fn upgrades_of(&self, version: &str) -> Result<Vec<String>> {
        let look = || async {
            let found = upgrades(&self.clients, version).await?;
            Ok::<_, Error>((version.to_owned(), found))
        };
        let (of, found) = self.looked_up.upgrades.get_or_try_init(look).await?;
        match of == version {
            true => Ok(found.clone()),
            // RDS gave it another minor version meanwhile.
            false => upgrades(&self.clients, version).await,
        }
    }

    /// Adds to what was read what other calls tell: the password, the versions that it can become,
    /// its authorities.
    async fn completed(&self, mut actual: InstanceActual) -> Result<Reading<InstanceActual>> {
        if let Some(version) = &actual.password_version {
            match value_of(&self.clients, &self.secret, version).await {
                Ok(password) => actual.password = password,
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return Ok(Reading::Denied(error.chain().join(": ")));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(group) = self.other_subnet_group(&actual) {
            actual.wanted_vpc = vpc_of(&self.clients, &group).await?;
        }
        if self.is_older(&actual) {
            actual.upgrades = self.upgrades_of(&actual.full_version).await?;
        }
        Ok(Reading::Present(actual))
    }
}

pub(super) fn still_applies(fields: &[String]) -> String {
    format!("RDS still applies {}", fields.join(", "))
}

impl Kind for Instance {
    type Site = Clients;
    type Is = InstanceActual;
    const KIND: &'static str = "rds.instance";
    const NOUN: &'static str = "database";
    const ROLE: Role = Role::Database;
    const TAKES: Option<Duration> = Some(Duration::from_secs(8 * 60));
    const TIER: Tier = Tier::Store;
    const LEAVES: Option<&'static str> = Some(
        "the snapshot `NAME-final-…` of RDS, which stays until somebody deletes it (RDS makes none of a database that it calls failed)",
    );
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("rds", "db")),
        access: Access {
            feature: Feature::Databases,
            read: &[
                grant(&["rds:DescribeDBEngineVersions"], ANYTHING),
                grant(
                    &["rds:DescribeDBInstances", "rds:ListTagsForResource"],
                    INSTANCES,
                ),
            ],
            change: &[
                grant(
                    &["rds:CreateDBInstance", "rds:ModifyDBInstance"],
                    INSTANCES_IN_GROUPS,
                ),
                grant(
                    &[
                        "rds:DeleteDBInstance",
                        "rds:RebootDBInstance",
                        "rds:RemoveTagsFromResource",
                    ],
                    INSTANCES,
                ),
                // The last snapshot, which takes the instance's tags.
                grant(
                    &["rds:AddTagsToResource", "rds:CreateDBSnapshot"],
                    SNAPSHOTS,
                ),
                service_linked_role!("rds.amazonaws.com", "AWSServiceRoleForRDS"),
            ],
        },
    };
    const DATA: Data = Data::Held;
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["DBInstanceNotFound"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &InstanceActual, to: &mut Description) {
        to.extend(&is.fields());
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<InstanceActual>>, Refusal> {
        let reading = read_instance(at, at.name()).await?;
        Ok(reading.map(|instance| There {
            id: instance.arn.clone(),
            tags: instance.tags.clone(),
            is: instance,
        }))
    }

    async fn remove(
        at: &At<Clients>,
        _there: &There<InstanceActual>,
        token: &Token,
    ) -> Result<(), Refusal> {
        Ok(delete_instance(at, at.name(), token).await?)
    }
}

impl Tagged for Instance {
    async fn mark(
        at: &At<Clients>,
        there: &There<InstanceActual>,
        by: TagChanges,
    ) -> Result<(), Refusal> {
        TagApi::Rds.write(at, &there.id, by).await
    }
}

#[async_trait]
impl Resource for Instance {
    type Actual = InstanceActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        if let Some(bundle) = &self.bundle {
            let read = || bundle.read(&self.clients);
            let found = self.looked_up.authority.get_or_try_init(read).await?;
            self.authority.publish(found.clone());
        }
        let reading = read_instance(&self.clients, self.name()).await?;
        match owned(reading, &self.ownership, |actual| &actual.tags) {
            Reading::Present(mut actual) => {
                let given = self
                    .given
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                actual.password_version = given.or(actual.password_version);
                self.completed(actual).await
            }
            Reading::Absent if self.is_to_be_there => {
                let section = format!("targets.aws.databases.{}", self.spec.key);
                Err(nothing_to_adopt(&called(self.name()), &section))
            }
            other => Ok(other),
        }
    }

    fn recall(&self, left: Option<&Fields>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left.cloned();
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        self.wished()
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        self.told(actual)
    }

    fn objection(&self, actual: &Self::Actual, _left: Option<&Fields>) -> Option<Error> {
        self.refusal(actual)
    }

    fn notes(&self, actual: &Self::Actual) -> Vec<String> {
        self.remarks(actual)
    }

    fn cost(&self, change: &FieldChange, _there: &Self::Actual) -> Effect {
        match (effect(change), self.maintenance) {
            (Effect::Interrupts, Maintenance::Window) if may_wait(change) => Effect::InPlace,
            (effect, _) => effect,
        }
    }

    fn publish(&self, actual: &Self::Actual) {
        if let (Some(endpoint), Some(password)) = (&actual.endpoint, &actual.password) {
            let place = self.place_in(actual);
            let url = url(&place, password, endpoint, self.spec.sslmode);
            self.url.publish(url);
        }
        if let Some(endpoint) = &actual.endpoint {
            self.host.publish(endpoint.host.clone().into());
        }
        // A name that is made anew is another database: RDS gives each instance an id of its own,
        // for life.
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
            self.host.withdraw();
            self.birth.withdraw();
        }
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Self::Actual> {
        let version = self.password.settled()?;
        let password = self.password_of(&version).await?;
        let made = self.make(&version, &password).await?;
        // What is being deleted still has the name. Otherwise a reply was lost, or the next read
        // says whose it is.
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
        // While it was made or changed, RDS told less than the truth: compare with what has
        // settled.
        let actual = self.until_changeable(watch).await?;
        let changes = self.observed(&actual).changes_to(&self.wished());
        if let Some(error) = self.refusal(&actual) {
            return Err(error);
        }
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
        let mark = self.mark_reboot(&actual, &changes).await?;
        let password = set.as_ref().map(|(_, password)| password);
        if !changes.iter().all(tags::is_tag) {
            let modified = self.modify(&changes, password, watch).await;
            // What RDS refuses has not become the password.
            if matches!(&modified, Err(error) if matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Denied))
            {
                *self.given.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            modified?;
        }
        let version = match &set {
            Some((version, _)) => Some(version.as_str()),
            None => actual.password_version.as_deref(),
        };
        let what = called(self.name());
        let desired = self.tags_with(version, mark.as_deref());
        let mut there = actual.tags.clone();
        there.extend(mark.clone().map(|group| (REBOOT_TAG.to_owned(), group)));
        let retag = self.ownership.changes_to(&there, &desired);
        let written = TagApi::Rds.write(&self.clients, &actual.arn, retag).await;
        written.told(|| format!("tag {what}"))?;
        if mark.is_some() {
            self.reboot_for_parameters(watch).await?;
            self.unmark_reboot(&actual).await?;
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
        now.upgrades = actual.upgrades.clone();
        now.wanted_vpc = actual.wanted_vpc.clone();
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
