//! The Memorystore instance: made, changed, and ready only when it takes connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::node::{Effect, Ready, Resource, Watch};
use deployer_core::wait::{Pace, Readiness};
use google_cloud_longrunning::model::{Operation, operation};
use google_cloud_redis_v1::model;
use google_cloud_redis_v1::model::instance::State;
use google_cloud_wkt::FieldMask;
use secrecy::SecretString;

use super::calls::{Actual, Calls, DEADLINE, judge};
use super::shape::{Shape, describe, effect, googles_version, masks};
use crate::error::{self, CloudError, Found};
use crate::hints;
use crate::labels;
use crate::paths::Names;
use crate::site::prelude::*;

/// One cache of the manifest.
pub(crate) struct Instance {
    pub(super) calls: Calls,
    pub(super) address: Address,
    pub(super) shape: Shape,
    /// As it was last read: what the manifest is silent about stays as it is there.
    pub(super) seen: Mutex<model::Instance>,
    pub(super) url: Output<SecretString>,
    pub(super) authority: Output<SecretString>,
}

impl Instance {
    async fn change(&self, instance: model::Instance, mask: Vec<&str>) -> Result<Operation> {
        self.calls
            .project
            .clients
            .redis
            .changing()
            .await
            .update_instance()
            .set_instance(instance)
            .set_update_mask(FieldMask::default().set_paths(mask))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.calls.cannot("change")))
    }

    async fn create_once(&self, instance: &model::Instance) -> Result<Operation, CloudError> {
        self.calls
            .project
            .clients
            .redis
            .changing()
            .await
            .create_instance()
            .set_parent(self.calls.project.names.location())
            .set_instance_id(&self.calls.name)
            .set_instance(instance.clone())
            .send()
            .await
    }

    fn remember(&self, instance: model::Instance) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = instance;
    }

    async fn upgrade(&self) -> Result<Operation> {
        self.calls
            .project
            .clients
            .redis
            .changing()
            .await
            .upgrade_instance()
            .set_name(self.calls.path())
            .set_redis_version(googles_version(&self.shape.spec.version))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.calls.cannot("upgrade")))
    }

    /// Where the operation that this run started stands. `None` when it is done or there is none.
    async fn standing(&self, actual: &Actual) -> Result<Option<Readiness>> {
        let Some(name) = &actual.operation else {
            return Ok(None);
        };
        let operation = self
            .calls
            .project
            .clients
            .redis
            .reading()
            .await
            .get_operation()
            .set_name(name)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.calls.cannot("see an operation on")))?;
        Ok(match operation.result {
            Some(operation::Result::Error(status)) => {
                Some(Readiness::Failed(hints::told(status.message)))
            }
            _ if operation.done => None,
            _ => Some(Readiness::Pending("the operation is under way".to_owned())),
        })
    }
}

impl Kind for Instance {
    type Site = Project;
    type Is = CacheIs;
    const KIND: &'static str = "redis.instance";
    const NOUN: &'static str = "cache";
    const ROLE: Role = Role::Cache;
    const TAKES: Option<Duration> = Some(Duration::from_secs(5 * 60));
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        api: "redis.googleapis.com",
        unnamed: Unnamed::Listed {
            what: "Memorystore instances",
            list: |project, _| Box::pin(list(project)),
        },
        access: Access {
            feature: Feature::Caches,
            read: &[
                "redis.instances.get",
                "redis.instances.getAuthString",
                "redis.instances.list",
                "redis.operations.get",
            ],
            change: &[
                "redis.instances.create",
                "redis.instances.delete",
                "redis.instances.update",
                "redis.instances.upgrade",
            ],
            roles: &["roles/redis.admin"],
            on: On::Project,
        },
    };
    /// Sessions and queues are in it, and nowhere else.
    const DATA: Data = Data::Guarded;
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe((instance, names): &CacheIs, to: &mut Description) {
        to.extend(&describe(instance, names));
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<CacheIs>>, Refusal> {
        let found = Reading::from(Calls::new(at.site(), at.name()).find().await?);
        Ok(found.map(|instance| There {
            id: String::new(),
            tags: tags(&instance.labels),
            is: (instance, at.names.clone()),
        }))
    }

    async fn remove(
        at: &At<Project>,
        _there: &There<CacheIs>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(Calls::new(at.site(), at.name()).delete().await?)
    }
}

async fn list(project: &Project) -> Labelled {
    let redis = project.clients.redis.reading().await;
    read!(redis.list_instances().set_parent(project.names.location()))
}

impl Tagged for Instance {
    async fn mark(at: &At<Project>, there: &There<CacheIs>, by: TagChanges) -> Result<(), Refusal> {
        let calls = Calls::new(at.site(), at.name());
        let instance = model::Instance::new()
            .set_name(calls.path())
            .set_labels(by.applied_to(&there.tags));
        let redis = at.clients.redis.changing().await;
        let call = redis.update_instance().set_instance(instance);
        let call = call.set_update_mask(FieldMask::default().set_paths(["labels"]));
        let begun = call.send().await?;
        Ok(calls.settle(begun, &calls.cannot("label")).await?)
    }
}

/// An instance, and the names that it is described with.
type CacheIs = (model::Instance, Names);

#[async_trait]
impl Resource for Instance {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        self.remember(model::Instance::new());
        let instance = match self.calls.find().await? {
            Found::Absent => return Ok(Reading::Absent),
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Here(instance) => instance,
        };
        if let Some(why) = self.shape.ownership.foreign(&tags(&instance.labels)) {
            return Ok(Reading::Foreign(why));
        }
        if instance.state == State::Deleting {
            return Ok(Reading::Tombstoned("it is being deleted".to_owned()));
        }
        self.remember(instance.clone());
        match self.calls.with_token(instance).await {
            Ok(actual) => Ok(Reading::Present(actual)),
            Err(error) if error.kind() == ErrorKind::Denied => {
                Ok(Reading::Denied(error::in_words(&error)))
            }
            Err(error) => Err(error),
        }
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = describe(&self.shape.compose(seen.clone()), &self.shape.names);
        labels::ours_alone(&fields, &self.shape.ownership.tags)
    }

    fn observed(&self, actual: &Actual) -> Fields {
        describe(&actual.instance, &self.shape.names)
    }

    fn cost(&self, change: &FieldChange, _there: &Self::Actual) -> Effect {
        effect(change)
    }

    fn publish(&self, actual: &Actual) {
        match actual.url() {
            Some(url) => self.url.publish(url),
            None => self.url.withdraw(),
        }
        match actual.authority() {
            Some(authority) => self.authority.publish(authority),
            None => self.authority.withdraw(),
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        let anew = changes
            .iter()
            .any(|change| effect(change) == Effect::LosesData);
        if anew || changes.iter().any(|change| change.field == "token") {
            self.url.withdraw();
        }
        if anew {
            self.authority.withdraw();
        }
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        let instance = self.shape.compose(model::Instance::new());
        let mut outcome = self.create_once(&instance).await;
        let taken = outcome.as_ref().is_err_and(error::exists_already);
        if taken && self.calls.is_going().await? {
            watch.note("a cache of its name is still being deleted");
            self.calls.gone().await?;
            outcome = self.create_once(&instance).await;
        }
        match outcome {
            Ok(operation) => Ok(Actual {
                instance,
                token: None,
                operation: Some(operation.name),
            }),
            Err(error) if error::exists_already(&error) => match self.read().await? {
                // Our own create, whose reply was lost.
                Reading::Present(actual) => Ok(actual),
                Reading::Absent
                | Reading::Tombstoned(_)
                | Reading::Denied(_)
                | Reading::Foreign(_) => Err(error::failed(error, &self.calls.cannot("create"))),
            },
            Err(error) => Err(error::failed(error, &self.calls.cannot("create"))),
        }
    }

    async fn update(
        &self,
        actual: &Actual,
        changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        let masks = masks(changes);
        let mut operation = None;
        let interrupts = |change: &FieldChange| effect(change) == Effect::Interrupts;
        if actual.instance.tier == model::instance::Tier::Basic && changes.iter().any(interrupts) {
            watch.note("it has no replica: the change empties it");
        }
        if !masks.is_empty() {
            let wanted = self.shape.compose(actual.instance.clone());
            operation = Some(self.change(wanted, masks).await?);
        }
        if changes.iter().any(|change| change.field == "version") {
            if let Some(operation) = operation.take() {
                watch.note("it is changed first, then upgraded");
                self.calls
                    .settle(operation, &self.calls.cannot("change"))
                    .await?;
            }
            operation = Some(self.upgrade().await?);
        }
        Ok(Actual {
            operation: operation.map(|operation| operation.name),
            ..actual.clone()
        })
    }

    fn kept(&self, changes: &[FieldChange]) -> Kept {
        let breaks =
            |change: &FieldChange| matches!(change.field.as_str(), "token" | "tls" | "network");
        match changes.iter().any(breaks) {
            true => Kept::Harms(
                "its AUTH string, its encryption or its network is not what the version before was given",
            ),
            false => Kept::Harmless("it is another size or version, and is reached as before"),
        }
    }

    async fn delete(&self, _actual: &Actual, _token: &Token) -> Result<()> {
        self.calls.delete().await
    }

    async fn readiness(&self, actual: &Actual) -> Result<Ready<Actual>> {
        if let Some(state) = self.standing(actual).await? {
            return Ok(Ready {
                state,
                actual: actual.clone(),
            });
        }
        Ok(match self.calls.find().await? {
            Found::Here(instance) => {
                let actual = self.calls.with_token(instance).await?;
                Ready {
                    state: judge(&actual.instance),
                    actual,
                }
            }
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
        // It serves while Google maintains it, and that is no change of ours to wait for.
        match actual.instance.state {
            State::Maintenance => None,
            _ => judge(&actual.instance).why(),
        }
    }

    fn pace(&self) -> Pace {
        Pace::until(DEADLINE)
    }

    /// Sessions and queues are in it, and nowhere else.
    fn is_guarded(&self) -> bool {
        true
    }
}
