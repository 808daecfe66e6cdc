//! `elasticache.replication_group`: one Redis, with a replica where it is to survive a zone.
//!
//! A new token is added with ROTATE, which leaves the one before it valid: tasks that still run
//! with it, and a release that is rolled back to, go on. The next rotation ends it. A group without
//! TLS or AUTH is given them in two steps each, as ElastiCache wants it: both sorts of clients are
//! taken in between. One that was somebody's stays there until a person says that everybody has
//! followed.

use std::time::Duration;

use std::sync::{Arc, Mutex, PoisonError};

use crate::spec::CacheTls;
use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::SecretVersion;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::{still_there, until_seen};
use deployer_core::node::{Effect, Ready, Resource, Watch};
use deployer_core::ours::Stranger;
use deployer_core::spec::CacheSpec;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use secrecy::{ExposeSecret, SecretString};

use super::calls::{
    USABLE, called, delete_group, describe as described, read_group, release_group,
};
use super::shape::{GroupActual, TOKEN_TAG, effect, still_applies, together};
use crate::access::service_linked_role;
use crate::database::password::just_written;
use crate::database::{encoded, nothing_to_adopt};
use crate::error::{code, failure, incomplete, without};
use crate::ground::SecurityGroups;
use crate::prepared::until_prepared;
use crate::secret_store::value_of;
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

/// The kind of a replication group's node.
pub(crate) const REPLICATION_GROUP: &str = ReplicationGroup::KIND;

const ENGINE: &str = "redis";

/// A replication group that is to exist.
pub(crate) struct ReplicationGroup {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) spec: CacheSpec,
    /// Sorted; empty leaves the choice to ElastiCache.
    pub(super) security_groups: Value<SecurityGroups>,
    pub(super) subnet_group: Value<String>,
    /// Whether it was somebody's: where there is none, none is made.
    pub(super) is_to_be_there: bool,
    /// Whether clients without TLS and token are let in beside ours.
    pub(super) tls: CacheTls,
    pub(super) token: Value<SecretVersion>,
    /// The secret that holds the token, by its name in the cloud.
    pub(super) secret: String,
    pub(super) url: Output<SecretString>,
    /// What the last apply left, where that is known.
    pub(super) left: Mutex<Option<Fields>>,
}

impl ReplicationGroup {
    pub(super) fn name(&self) -> &str {
        &self.address.name
    }

    pub(super) fn nodes(&self) -> u8 {
        if self.spec.high_availability { 2 } else { 1 }
    }

    pub(super) async fn token_of(&self, version: &SecretVersion) -> Result<SecretString> {
        let value = just_written(&self.clients, version).await?;
        value.ok_or_else(|| {
            let what = format!("the token of {} is not there", called(self.name()));
            let key = self.spec.token.as_deref().unwrap_or_default();
            Error::new(ErrorKind::NotFound, what).hint(format!("deployer secrets set {key}"))
        })
    }

    /// The tags that it is to carry, with the one that says which token was set.
    pub(super) fn tags_with(&self, token: Option<&str>) -> Tags {
        let mut tags = self.ownership.tags.clone();
        if let Some(version) = token {
            tags.insert(TOKEN_TAG.to_owned(), version.to_owned());
        }
        tags
    }

    /// Makes it. `false` when something of its name is there.
    async fn make(&self, version: &SecretVersion, token: &SecretString) -> Result<bool> {
        let spec = &self.spec;
        let SecurityGroups(groups) = self.security_groups.settled()?;
        let groups = Some(groups).filter(|groups| !groups.is_empty());
        let tags = sdk_tags(&self.tags_with(Some(&version.version))).map_err(incomplete)?;
        let action = format!("create {}", called(self.name()));
        let subnets = self.subnet_group.settled()?;
        let creation = self
            .clients
            .elasticache
            .create_replication_group()
            .replication_group_id(self.name())
            .replication_group_description(description(&self.ownership))
            .engine(ENGINE)
            .engine_version(&spec.version)
            .cache_node_type(&spec.class)
            .num_cache_clusters(self.nodes().into())
            .automatic_failover_enabled(spec.high_availability)
            .multi_az_enabled(spec.high_availability)
            .transit_encryption_enabled(true)
            .at_rest_encryption_enabled(true)
            .auth_token(token.expose_secret())
            .auto_minor_version_upgrade(true)
            .cache_subnet_group_name(subnets)
            .set_security_group_ids(groups)
            .set_tags(Some(tags));
        until_prepared(self.clients.clock(), &action, || async {
            match creation.clone().send().await {
                Ok(_) => Ok(true),
                Err(error) if code(&error) == Some("ReplicationGroupAlreadyExists") => Ok(false),
                Err(error) => Err(without(failure(&error, &action), token)),
            }
        })
        .await
    }

    /// Waits until the name is free. `false` when what has it stays.
    async fn until_gone(&self, watch: &dyn Watch) -> Result<bool> {
        let what = called(self.name());
        poll(self.clients.clock(), USABLE, &what, || async {
            Ok(match read_group(&self.clients, self.name()).await? {
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

    pub(super) async fn again(&self) -> Result<GroupActual> {
        let (clock, what) = (self.clients.clock(), called(self.name()));
        until_seen(clock, &what, || self.read()).await
    }

    /// What is there with the token that we know was set.
    pub(super) async fn with_token(
        &self,
        version: String,
        token: SecretString,
    ) -> Result<GroupActual> {
        let mut actual = self.again().await?;
        actual.token_version = Some(version);
        actual.token = Some(token);
        Ok(actual)
    }

    /// How we know that it is not ours.
    fn foreign(&self, actual: &GroupActual) -> Option<Stranger> {
        actual.foreign_to(&self.ownership)
    }

    /// What was asked for and is not told yet. Tags and token stand apart: they are known from what
    /// was written.
    pub(super) fn lagging(&self, actual: &GroupActual) -> Vec<String> {
        let changes = self.observed(actual).changes_to(&self.wished());
        changes
            .into_iter()
            .filter(|change| !tags::is_tag(change) && change.field != "token")
            .map(|change| change.field)
            .collect()
    }
}

impl Kind for ReplicationGroup {
    type Site = Clients;
    type Is = GroupActual;
    const KIND: &'static str = "elasticache.replication_group";
    const NOUN: &'static str = "cache";
    const ROLE: Role = Role::Cache;
    /// A whole acceptance test of Terraform's that makes and deletes one node takes 395 s
    /// (hashicorp/terraform, pull request 8275).
    const TAKES: Option<Duration> = Some(Duration::from_secs(7 * 60));
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("elasticache", "replicationgroup")),
        access: Access {
            feature: Feature::Caches,
            read: &[
                grant(
                    &[
                        "elasticache:DescribeReplicationGroups",
                        "elasticache:ListTagsForResource",
                    ],
                    CACHES,
                ),
                grant(&["elasticache:DescribeCacheClusters"], CACHE_NODES),
            ],
            change: &[
                grant(
                    &[
                        "elasticache:AddTagsToResource",
                        "elasticache:CreateReplicationGroup",
                        "elasticache:ModifyReplicationGroup",
                    ],
                    CACHES_IN_GROUPS,
                ),
                grant(
                    &[
                        "elasticache:DeleteReplicationGroup",
                        "elasticache:RemoveTagsFromResource",
                    ],
                    CACHES,
                ),
                service_linked_role!("elasticache.amazonaws.com", "AWSServiceRoleForElastiCache"),
            ],
        },
    };
    /// Sessions and queues are in it, and nowhere else.
    const DATA: Data = Data::Guarded;
    const MARKS: Marks<Self> = Marks::own();
    const ABSENT: &'static [&'static str] = &["ReplicationGroupNotFoundFault"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &GroupActual, to: &mut Description) {
        to.extend(&is.fields());
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<GroupActual>>, Refusal> {
        let reading = read_group(at, at.name()).await?;
        Ok(reading.map(|group| There {
            id: group.arn.clone(),
            // Among its fields, where they are told.
            tags: Tags::new(),
            is: group,
        }))
    }

    /// ElastiCache tells no tags while a group changes: one that was not made by us cannot be
    /// judged then.
    fn foreign(at: &At<Clients>, there: &There<GroupActual>) -> Result<Option<Stranger>> {
        let stranger = there.is.foreign_to(&at.owner);
        let is_marked = |it: &Stranger| it.owner().is_some();
        if there.is.tells_tags() || stranger.as_ref().is_none_or(is_marked) {
            return Ok(stranger);
        }
        let what = format!("cannot see whose {} is while it changes", at.what());
        Err(Error::new(ErrorKind::Unavailable, what)
            .hint("run this again once ElastiCache calls it `available`"))
    }

    async fn remove(
        at: &At<Clients>,
        _there: &There<GroupActual>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(delete_group(at, at.name()).await?)
    }
}

impl Released for ReplicationGroup {
    async fn release(at: &At<Clients>, _there: &There<GroupActual>) -> Result<(), Refusal> {
        Ok(release_group(at, at.name()).await?)
    }
}

#[async_trait]
impl Resource for ReplicationGroup {
    type Actual = GroupActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let reading = read_group(&self.clients, self.name()).await?;
        let mut actual = match reading {
            Reading::Present(actual) => actual,
            Reading::Absent if self.is_to_be_there => {
                let section = format!("targets.aws.caches.{}", self.spec.key);
                return Err(nothing_to_adopt(&called(self.name()), &section));
            }
            other => return Ok(other),
        };
        if let Some(how) = self.foreign(&actual) {
            return Ok(Reading::Foreign(how));
        }
        if let Some(version) = &actual.token_version {
            match value_of(&self.clients, &self.secret, version).await {
                Ok(token) => actual.token = token,
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return Ok(Reading::Denied(error.chain().join(": ")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Reading::Present(actual))
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
        effect(change)
    }

    fn publish(&self, actual: &Self::Actual) {
        if let (Some((host, port)), Some(token)) = (&actual.endpoint, &actual.token) {
            let url = format!("rediss://:{}@{host}:{port}", encoded(token.expose_secret()));
            self.url.publish(SecretString::from(url));
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        let new_url = |change: &FieldChange| {
            // With TLS it has another name.
            let named = change.field == "transit_encryption"
                && change.old == Some(FieldValue::Known("off".into()));
            named
                || change.field == "token"
                || matches!(effect(change), Effect::Replace | Effect::LosesData)
        };
        if changes.iter().any(new_url) {
            self.url.withdraw();
        }
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Self::Actual> {
        let version = self.token.settled()?;
        let token = self.token_of(&version).await?;
        let mut made = self.make(&version, &token).await?;
        // What is being deleted still has the name. Otherwise a reply was lost, or the next read
        // says whose it is.
        if !made && self.until_gone(watch).await? {
            made = self.make(&version, &token).await?;
        }
        match made {
            true => self.with_token(version.version, token).await,
            false => self.again().await,
        }
    }

    async fn update(
        &self,
        _actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        // While it was made or changed, ElastiCache told less than the truth: compare with what has
        // settled.
        let actual = self.until_changeable(watch).await?;
        if let Some(error) = self.refusal(&actual) {
            return Err(error);
        }
        let changes = self.observed(&actual).changes_to(&self.wished());
        let has = |field: &str| changes.iter().any(|change| change.field == field);
        if has("transit_encryption") {
            self.in_turn(watch, |actual| self.offer_tls(actual)).await?;
        }
        // A replica comes before fail-over to it, and goes after.
        let grows = has("nodes") && actual.nodes < usize::from(self.nodes());
        let shrinks = has("nodes") && !grows;
        if grows {
            self.in_turn(watch, |actual| self.set_replicas(actual))
                .await?;
        }
        let mut together = together(&changes);
        if self.tls == CacheTls::Preferred {
            together.retain(|change| change.field != "transit_encryption");
        }
        self.in_turn(watch, |_| self.change(&together)).await?;
        if shrinks {
            self.until_nodes_may_go(watch).await?;
            self.in_turn(watch, |actual| self.set_replicas(actual))
                .await?;
        }
        if has("token") || has("auth") {
            return self.set_token(&actual, watch).await;
        }
        if changes.iter().any(tags::is_tag) {
            self.in_turn(watch, |actual| self.retag(actual, None))
                .await?;
        }
        let mut after = self.again().await?;
        after.token_version = actual.token_version;
        after.token = actual.token;
        Ok(after)
    }

    fn kept(&self, changes: &[FieldChange]) -> Kept {
        let breaks = |change: &FieldChange| {
            matches!(
                change.field.as_str(),
                "token" | "auth" | "transit_encryption" | "subnet_group" | "security_groups"
            )
        };
        match changes.iter().any(breaks) {
            true => Kept::Harms(
                "its token, its encryption or who reaches it is not what the version before was given",
            ),
            false => Kept::Harmless("it is another size or version, and is reached as before"),
        }
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete_group(&self.clients, self.name()).await
    }

    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        let group = match described(&self.clients, self.name()).await? {
            Reading::Present(group) => group,
            other => still_there(other, &called(self.name()))?,
        };
        let mut now = GroupActual::of(&group, None, actual.tags.clone());
        now.token_version = actual.token_version.clone();
        now.token = actual.token.clone();
        let mut state = now.readiness();
        if state == Readiness::Ready {
            // Now its members and, where nobody knew it yet, its token are told.
            let told = self.again().await?;
            let lagging = self.lagging(&told);
            if !lagging.is_empty() {
                state = Readiness::Pending(still_applies(&lagging));
            }
            if now.token.is_none() {
                now = told;
            }
        }
        Ok(Ready { state, actual: now })
    }

    fn unsettled(&self, actual: &Self::Actual) -> Option<String> {
        actual.readiness().why()
    }

    fn pace(&self) -> Pace {
        USABLE
    }

    /// Sessions and queues are in it, and nowhere else.
    fn is_guarded(&self) -> bool {
        true
    }
}
