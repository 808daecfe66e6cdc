//! The Cloud SQL instance: made, changed in place, and never deleted without a last backup.
// long: an instance compares itself, so that its kind and its node are one

use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, SecretVersion};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::{Ownership, Tags};
use deployer_core::node::{Effect, Ready, Resource, Watch};
use deployer_core::ours::Stranger;
use deployer_core::wait::{Pace, Readiness};
use google_cloud_sql_v1::model::database_instance::SqlInstanceState;
use google_cloud_sql_v1::model::{DatabaseInstance, Operation, Settings};
use secrecy::SecretString;

use super::calls::{self, Calls, DEADLINE, Rewrite, Standing};
use super::shape::{self, Shape};
use super::{Home, Nobody, Sight, made};
use crate::error::{self, CloudError, Found};
use crate::hints;
use crate::labels;
use crate::paths::Names;
use crate::site::prelude::*;

/// The kind in addresses.
pub(crate) const KIND: &str = Instance::KIND;

/// An instance as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    instance: DatabaseInstance,
    /// The operation that this run started on it.
    operation: Option<String>,
    /// The certificates that the server's one may be signed by, where they are asked for and it
    /// runs.
    authority: Option<SecretString>,
}

impl Actual {
    fn settled(instance: DatabaseInstance) -> Self {
        Self {
            instance,
            operation: None,
            authority: None,
        }
    }
}

/// One instance of the manifest.
pub(crate) struct Instance {
    pub(super) calls: Calls,
    pub(super) address: Address,
    pub(super) shape: Shape,
    /// What its user is to have.
    pub(super) password: Value<SecretVersion>,
    pub(super) seen: Sight,
    pub(super) home: Output<Home>,
    pub(super) host: Output<SecretString>,
    pub(super) birth: Output<Birth>,
    /// Where somebody asks for the server's authorities.
    pub(super) authority: Option<Output<SecretString>>,
}

impl Instance {
    /// Asks for it, also where an instance of its name is still being deleted: its name is free
    /// once that has ended.
    async fn insert(
        &self,
        instance: &DatabaseInstance,
        watch: &dyn Watch,
    ) -> Result<Result<Operation, CloudError>> {
        let outcome = self.insert_once(instance, watch).await?;
        let taken = outcome.as_ref().is_err_and(error::exists_already);
        if !(taken && matches!(self.calls.find().await?, Found::Here(there) if is_going(&there))) {
            return Ok(outcome);
        }
        watch.note("an instance of its name is still being deleted");
        self.calls.gone().await?;
        self.insert_once(instance, watch).await
    }

    async fn insert_once(
        &self,
        instance: &DatabaseInstance,
        watch: &dyn Watch,
    ) -> Result<Result<Operation, CloudError>> {
        self.calls
            .start(watch, || async {
                self.calls
                    .project
                    .clients
                    .sql_instances
                    .changing()
                    .await
                    .insert()
                    .set_project(&self.calls.project.names.project)
                    .set_body(instance.clone())
                    .send()
                    .await
            })
            .await
    }

    /// What stands in the way of a create: our own one whose reply was lost, another's, or a name
    /// that Google keeps.
    async fn taken(&self, error: CloudError) -> Result<Actual> {
        let action = self.calls.cannot("create");
        match self.calls.find().await? {
            Found::Here(instance) => match self.objection(&instance) {
                None => Ok(Actual::settled(instance)),
                Some(stranger) => {
                    Err(stranger.refusal(format!("database instance `{}`", self.calls.instance)))
                }
            },
            Found::Absent => Err(error::failed(error, &action).hint(format!(
                "nothing can be seen under this name: try again in a few minutes, or give it another one: \
                 `name = \"...\"` in [targets.gcp.databases.{}]",
                self.shape.spec.key
            ))),
            Found::Denied(_) => Err(error::failed(error, &action)),
        }
    }

    fn objection(&self, instance: &DatabaseInstance) -> Option<Stranger> {
        self.shape.ownership.foreign(&tags_of(instance))
    }

    /// The instance with its server's authorities, where they are asked for and it runs.
    async fn with_authority(&self, instance: DatabaseInstance) -> Result<Actual> {
        let asked = self.authority.is_some() && instance.state == SqlInstanceState::Runnable;
        let authority = match asked {
            true => self.calls.authorities().await?,
            false => None,
        };
        Ok(Actual {
            authority,
            ..Actual::settled(instance)
        })
    }

    /// Fails when another hand changed the instance between the plan and now.
    fn unchanged_since(&self, planned: &Fields, now: &DatabaseInstance) -> Result<()> {
        if let Some(stranger) = self.objection(now) {
            return Err(stranger.refusal(format!("database instance `{}`", self.calls.instance)));
        }
        // Tags of others are no affair of the plan's.
        let ours = |fields: &Fields| labels::ours_alone(fields, &self.shape.ownership.tags);
        let (planned, now) = (ours(planned), ours(&self.shape.describe(now)));
        match planned.changes_to(&now).first() {
            None => Ok(()),
            Some(change) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "database instance `{}` was changed since it was planned: `{}`",
                    self.calls.instance, change.field
                ),
            )
            .hint("plan again")),
        }
    }

    /// A new major version is an operation of its own.
    async fn upgrade(&self, watch: &dyn Watch) -> Result<Operation> {
        let wanted = self.shape.compose(DatabaseInstance::new());
        let body = DatabaseInstance::new().set_database_version(wanted.database_version);
        self.calls.patch(body, "upgrade", watch).await
    }

    /// The changes that Cloud SQL takes with no others, in their order: one that stands still runs
    /// first, and another edition comes with its tier alone (`resource_sql_database_instance.go` in
    /// terraform-provider-google patches each before the rest).
    fn alone(&self, there: &DatabaseInstance, changes: &[FieldChange]) -> Vec<DatabaseInstance> {
        let wanted = self.shape.compose(there.clone());
        let wanted = wanted.settings.unwrap_or_default();
        let runs = Settings::new().set_activation_policy(wanted.activation_policy.clone());
        let edition = Settings::new()
            .set_edition(wanted.edition.clone())
            .set_tier(&wanted.tier);
        let changed = |field: &str| changes.iter().any(|it| it.field == field);
        let mut steps = Vec::new();
        if changed("runs") {
            steps.push(runs);
        }
        if changed("edition") {
            // Enterprise Plus keeps logs for up to 35 days, and no other edition takes over more
            // than it keeps itself.
            let backups = wanted.backup_configuration.clone();
            steps.extend(
                backups
                    .filter(|_| changed(shape::LOGS))
                    .map(|backups| Settings::new().set_backup_configuration(backups)),
            );
            steps.push(edition);
        }
        let body = |settings| DatabaseInstance::new().set_settings(settings);
        steps.into_iter().map(body).collect()
    }

    /// Waits until the change before is done, where there is one.
    async fn settled(&self, before: &mut Option<Operation>) -> Result<bool> {
        match before.take() {
            None => Ok(false),
            Some(operation) => {
                let action = self.calls.cannot("change");
                self.calls.settle(operation, &action).await?;
                Ok(true)
            }
        }
    }
}

/// Whether a change is among those that are written with no others; a tier is where the edition
/// changes too.
fn is_alone(field: &str, changes: &[FieldChange]) -> bool {
    match field {
        "runs" | "edition" | "version" => true,
        "tier" | shape::LOGS => changes.iter().any(|change| change.field == "edition"),
        _ => false,
    }
}

impl Kind for Instance {
    type Site = Project;
    type Is = (DatabaseInstance, Names);
    const KIND: &'static str = "sql.instance";
    const NOUN: &'static str = "database instance";
    const ROLE: Role = Role::Database;
    const TAKES: Option<Duration> = Some(Duration::from_secs(10 * 60));
    const TIER: Tier = Tier::Store;
    const LEAVES: Option<&'static str> =
        Some("the last backup of `NAME`, which Cloud SQL keeps for 30 days");
    const FACTS: Facts = Facts {
        api: "sqladmin.googleapis.com",
        unnamed: Unnamed::Listed {
            what: "Cloud SQL instances",
            list: |project, label| Box::pin(calls::list(project, label)),
        },
        access: Access {
            feature: Feature::Databases,
            // Operations are read by the permission on their instance.
            read: &[
                "cloudsql.instances.get",
                "cloudsql.instances.list",
                "cloudsql.instances.listServerCas",
            ],
            change: &[
                "cloudsql.instances.create",
                "cloudsql.instances.delete",
                "cloudsql.instances.update",
            ],
            roles: &["roles/cloudsql.admin"],
            on: On::Project,
        },
    };
    const DATA: Data = Data::Guarded;
    const MARKS: Marks<Self> = Marks::own();
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe((instance, names): &Self::Is, to: &mut Description) {
        to.extend(&shape::describe(instance, names));
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<Self::Is>>, Refusal> {
        let found = Reading::from(Calls::new(at.site(), at.name()).find().await?);
        Ok(match found {
            Reading::Present(instance) if is_going(&instance) => {
                match at.owner.foreign(&tags_of(&instance)) {
                    Some(stranger) => Reading::Foreign(stranger),
                    None => Reading::Tombstoned("it is being deleted".to_owned()),
                }
            }
            found => found.map(|instance| There {
                id: String::new(),
                tags: tags_of(&instance),
                is: (instance, at.names.clone()),
            }),
        })
    }

    async fn remove(
        at: &At<Project>,
        _there: &There<Self::Is>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(Calls::new(at.site(), at.name()).delete(&Nobody).await?)
    }
}

impl Released for Instance {
    async fn release(at: &At<Project>, there: &There<Self::Is>) -> Result<(), Refusal> {
        let calls = Calls::new(at.site(), at.name());
        let unmark = Rewrite {
            make: &|mut there| {
                if let Some(settings) = &mut there.settings {
                    settings.user_labels = labels::unmarked(&settings.user_labels);
                }
                there
            },
            check: &|now| match at.owner.foreign(&tags_of(now)) {
                None => Ok(()),
                Some(stranger) => Err(stranger.refusal(at.what())),
            },
        };
        let instance = there.is.0.clone();
        let operation = calls.write(instance, &unmark, &Nobody).await?;
        Ok(calls.settle(operation, &calls.cannot("release")).await?)
    }
}

fn tags_of(instance: &DatabaseInstance) -> Tags {
    let settings = instance.settings.as_ref();
    settings.map_or_else(Tags::new, |it| tags(&it.user_labels))
}

#[async_trait]
impl Resource for Instance {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let reading = sort(self.seen.look(&self.calls).await?, &self.shape.ownership);
        match &reading {
            Reading::Present(actual) => self.seen.remember(Some(&actual.instance)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Denied(_) | Reading::Foreign(_) => {
                self.seen.remember(None)
            }
        }
        let Reading::Present(actual) = reading else {
            return Ok(reading);
        };
        match self.with_authority(actual.instance).await {
            Ok(actual) => Ok(Reading::Present(actual)),
            Err(error) if error.kind() == ErrorKind::Denied => {
                Ok(Reading::Denied(error::in_words(&error)))
            }
            Err(error) => Err(error),
        }
    }

    /// By what is there, as far as that is more than the manifest asks for, or the manifest is
    /// silent.
    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let fields = self.shape.describe(&self.shape.compose(self.seen.last()));
        labels::ours_alone(&fields, &self.shape.ownership.tags)
    }

    fn observed(&self, actual: &Actual) -> Fields {
        self.shape.describe(&actual.instance)
    }

    fn objection(&self, actual: &Actual, left: Option<&Fields>) -> Option<Error> {
        self.shape.objection(&actual.instance, left?)
    }

    fn notes(&self, actual: &Actual) -> Vec<String> {
        self.shape.beyond(&actual.instance)
    }

    fn cost(&self, change: &FieldChange, _there: &Self::Actual) -> Effect {
        shape::effect(change)
    }

    fn publish(&self, actual: &Actual) {
        match shape::door(&actual.instance, self.shape.spec.sslmode) {
            Some((host, sslmode)) => {
                self.host.publish(host.clone().into());
                self.home.publish(Home {
                    host,
                    sslmode,
                    made: made(&actual.instance),
                });
            }
            None => {
                self.host.withdraw();
                self.home.withdraw();
            }
        }
        match super::birth(&actual.instance) {
            Some(birth) => self.birth.publish(birth),
            None => self.birth.withdraw(),
        }
        match (&self.authority, &actual.authority) {
            (Some(output), Some(authority)) => output.publish(authority.clone()),
            (Some(output), None) => output.withdraw(),
            (None, _) => {}
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        // A new network gives it another address; another instance has everything anew.
        let anew = changes.iter().any(|change| is_anew(shape::effect(change)));
        if anew || changes.iter().any(|change| change.field == "network") {
            self.host.withdraw();
            self.home.withdraw();
        }
        if anew {
            self.birth.withdraw();
        }
        if let Some(authority) = self.authority.as_ref().filter(|_| anew) {
            authority.withdraw();
        }
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        // Noted in advance, which saves the user's node a change of the instance: without a user,
        // the note means nothing.
        let password = self.password.settled()?;
        let instance = self.shape.compose(DatabaseInstance::new());
        let instance = shape::with_password_label(instance, &password.version);
        match self.insert(&instance, watch).await? {
            Ok(operation) => Ok(Actual {
                operation: Some(operation.name),
                ..Actual::settled(instance)
            }),
            Err(error) if error::exists_already(&error) => self.taken(error).await,
            Err(error) => Err(self.calls.failed(error, "create")),
        }
    }

    async fn update(
        &self,
        actual: &Actual,
        changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        let mut operation = None;
        for body in self.alone(&actual.instance, changes) {
            self.settled(&mut operation).await?;
            operation = Some(self.calls.patch(body, "change", watch).await?);
        }
        if changes.iter().any(|it| !is_alone(&it.field, changes)) {
            // What was changed alone has given the settings another version.
            let there = match self.settled(&mut operation).await? {
                true => self.calls.get().await?,
                false => actual.instance.clone(),
            };
            let planned = self.shape.describe(&there);
            let rewrite = Rewrite {
                make: &|there| {
                    let version = there.database_version.clone();
                    self.shape.compose(there).set_database_version(version)
                },
                check: &|now| self.unchanged_since(&planned, now),
            };
            operation = Some(self.calls.write(there, &rewrite, watch).await?);
        }
        if changes.iter().any(|change| change.field == "version") {
            if self.settled(&mut operation).await? {
                watch.note("its settings are changed, then its version");
            }
            operation = Some(self.upgrade(watch).await?);
        }
        Ok(Actual {
            operation: operation.map(|operation| operation.name),
            ..actual.clone()
        })
    }

    fn kept(&self, changes: &[FieldChange]) -> Kept {
        let breaks = |change: &FieldChange| {
            matches!(
                change.field.as_str(),
                "network" | "public address" | "tls" | "version"
            )
        };
        match changes.iter().any(breaks) {
            true => Kept::Harms(
                "its version, its address or its encryption is not what the version before was made for",
            ),
            false => Kept::Harmless("it is reached as before"),
        }
    }

    /// Leaves a last backup, and ends when the name is free: what was deleted can be made anew
    /// under it.
    async fn delete(&self, _actual: &Actual, _token: &Token) -> Result<()> {
        self.calls.delete(&Nobody).await
    }

    async fn readiness(&self, actual: &Actual) -> Result<Ready<Actual>> {
        if let Some(operation) = &actual.operation {
            let state = match self.calls.standing(operation).await? {
                Standing::Running(why) => Some(Readiness::Pending(why)),
                Standing::Failed(why) => Some(Readiness::Failed(hints::told(why))),
                Standing::Done => None,
            };
            if let Some(state) = state {
                return Ok(Ready {
                    state,
                    actual: actual.clone(),
                });
            }
        }
        Ok(match self.calls.find().await? {
            Found::Here(instance) => Ready {
                state: judge(&instance),
                actual: self.with_authority(instance).await?,
            },
            Found::Absent => Ready {
                state: Readiness::Failed("it is not there any more".to_owned()),
                actual: actual.clone(),
            },
            Found::Denied(why) => {
                return Err(Error::new(ErrorKind::Denied, self.calls.cannot("see")).because(why));
            }
        })
    }

    fn unsettled(&self, actual: &Actual) -> Option<String> {
        judge(&actual.instance).why()
    }

    fn pace(&self) -> Pace {
        Pace::until(DEADLINE)
    }

    fn holds_data(&self) -> bool {
        true
    }
}

fn sort(found: Found<DatabaseInstance>, ownership: &Ownership) -> Reading<Actual> {
    match found {
        Found::Absent => Reading::Absent,
        Found::Denied(why) => Reading::Denied(why),
        Found::Here(instance) => match ownership.foreign(&tags_of(&instance)) {
            Some(why) => Reading::Foreign(why),
            None if is_going(&instance) => Reading::Tombstoned("it is being deleted".to_owned()),
            None => Reading::Present(Actual::settled(instance)),
        },
    }
}

/// Whether a change of this effect makes another instance.
fn is_anew(effect: Effect) -> bool {
    match effect {
        Effect::InPlace | Effect::Interrupts => false,
        Effect::Replace | Effect::LosesData => true,
    }
}

fn is_going(instance: &DatabaseInstance) -> bool {
    instance.state == SqlInstanceState::PendingDelete
}

/// What its state says of an instance.
pub(super) fn judge(instance: &DatabaseInstance) -> Readiness {
    let state = instance
        .state
        .name()
        .unwrap_or("in a state unknown to this version");
    match &instance.state {
        SqlInstanceState::Runnable => match shape::host(instance) {
            Some(_) => Readiness::Ready,
            None => Readiness::Pending("it has no address yet".to_owned()),
        },
        SqlInstanceState::Failed | SqlInstanceState::Suspended => {
            let reasons = &instance.suspension_reason;
            let reasons: Vec<&str> = reasons.iter().filter_map(|reason| reason.name()).collect();
            let words = if reasons.is_empty() {
                format!("it is {state}")
            } else {
                format!("it is {state}: {}", reasons.join(", "))
            };
            Readiness::Failed(words)
        }
        // Google's own list of states is open; every other one passes.
        _ => Readiness::Pending(format!("it is {state}")),
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_sql_v1::model::{IpMapping, SqlIpAddressType, SqlSuspensionReason};

    use super::*;

    #[test]
    fn an_instance_is_ready_when_it_runs_and_has_an_address() {
        let instance = DatabaseInstance::new().set_state(SqlInstanceState::PendingCreate);
        assert_eq!(
            judge(&instance),
            Readiness::Pending("it is PENDING_CREATE".into())
        );
        let instance = instance.set_state(SqlInstanceState::Runnable);
        assert!(matches!(judge(&instance), Readiness::Pending(why) if why.contains("address")));
        let address = IpMapping::new()
            .set_type(SqlIpAddressType::Primary)
            .set_ip_address("203.0.113.9");
        let instance = instance.set_ip_addresses([address]);
        assert_eq!(judge(&instance), Readiness::Ready);
    }

    #[test]
    fn a_suspended_instance_has_failed_in_the_clouds_words() {
        let instance = DatabaseInstance::new()
            .set_state(SqlInstanceState::Suspended)
            .set_suspension_reason([SqlSuspensionReason::BillingIssue]);
        assert_eq!(
            judge(&instance),
            Readiness::Failed("it is SUSPENDED: BILLING_ISSUE".into())
        );
    }
}
