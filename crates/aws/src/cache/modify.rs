//! Changes of a replication group that is there: one at a time, as ElastiCache takes them.

use std::future::Future;

use crate::spec::CacheTls;
use aws_sdk_elasticache::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticache::operation::modify_replication_group::builders::ModifyReplicationGroupFluentBuilder;
use aws_sdk_elasticache::types::{AuthTokenUpdateStrategyType, TransitEncryptionMode};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::FieldChange;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Readiness, poll};
use secrecy::{ExposeSecret, SecretString};

use super::calls::{USABLE, called};
use super::replication_group::ReplicationGroup;
use super::shape::{AUTH_TAG, GroupActual, may_wait, still_applies};
use crate::error::{Told, code, failure, without, words};
use crate::tagging::TagApi;
use crate::tags::{TagChanges, Tags};

async fn tag(group: &ReplicationGroup, arn: &str, what: &str, changes: TagChanges) -> Result<()> {
    let written = TagApi::ElastiCache
        .write(&group.clients, arn, changes)
        .await;
    written.told(|| format!("tag {what}"))
}

impl ReplicationGroup {
    /// Marks that AUTH is being switched on, or takes that mark off.
    pub(super) async fn mark_auth(&self, actual: &GroupActual, begun: bool) -> Result<()> {
        let has = |tags: &Tags| tags.contains_key(AUTH_TAG);
        let mut changes = TagChanges::default();
        if begun {
            changes.set.insert(AUTH_TAG.to_owned(), "begun".to_owned());
        } else if actual.tags.as_ref().is_some_and(has) {
            changes.remove.push(AUTH_TAG.to_owned());
        }
        let what = called(self.name());
        tag(self, &actual.arn, &what, changes).await
    }

    /// Makes the tags what they are to be.
    pub(super) async fn retag(&self, actual: GroupActual, token: Option<&str>) -> Result<()> {
        let told = actual.tags.clone().unwrap_or_default();
        let mut desired = self.tags_with(token.or(actual.token_version.as_deref()));
        // Where AUTH stays begun, its mark stays.
        if let Some(begun) = told.get(AUTH_TAG) {
            desired.insert(AUTH_TAG.to_owned(), begun.clone());
        }
        let what = called(self.name());
        let changes = self.ownership.changes_to(&told, &desired);
        tag(self, &actual.arn, &what, changes).await
    }

    /// Waits until ElastiCache takes the next change: it takes one at a time.
    pub(super) async fn until_changeable(&self, watch: &dyn Watch) -> Result<GroupActual> {
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
                Readiness::Ready => format!("ElastiCache says `{}`", actual.status),
            };
            watch.note(&why);
            Ok(Look::NotYet(why))
        })
        .await
    }

    /// Makes a change as soon as ElastiCache takes it: it takes one at a time, and may tell late
    /// that it is at one.
    pub(super) async fn in_turn<F, Fut>(&self, watch: &dyn Watch, change: F) -> Result<()>
    where
        F: Fn(GroupActual) -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let what = called(self.name());
        poll(self.clients.clock(), USABLE, &what, || async {
            let actual = self.until_changeable(watch).await?;
            match change(actual).await {
                Ok(()) => Ok(Look::Found(())),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    Ok(Look::NotYet(error.chain().join(": ")))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Waits until all but the number of nodes is as it was asked for: fail-over is off before its
    /// replica goes.
    pub(super) async fn until_nodes_may_go(&self, watch: &dyn Watch) -> Result<()> {
        let what = called(self.name());
        poll(self.clients.clock(), USABLE, &what, || async {
            let actual = self.until_changeable(watch).await?;
            let mut lagging = self.lagging(&actual);
            lagging.retain(|field| field != "nodes");
            Ok(match lagging.is_empty() {
                true => Look::Found(()),
                false => Look::NotYet(still_applies(&lagging)),
            })
        })
        .await
    }

    pub(super) fn modify(&self) -> ModifyReplicationGroupFluentBuilder {
        self.clients
            .elasticache
            .modify_replication_group()
            .replication_group_id(self.name())
            .apply_immediately(true)
    }

    /// From no TLS to TLS for those who like: "Setting TransitEncryptionMode to required is a
    /// two-step process that requires you to first set the TransitEncryptionMode to preferred" (API
    /// reference).
    pub(super) async fn offer_tls(&self, actual: GroupActual) -> Result<()> {
        if !actual.has_no_tls() {
            return Ok(());
        }
        let offer = self
            .modify()
            .transit_encryption_enabled(true)
            .transit_encryption_mode(TransitEncryptionMode::Preferred);
        let sent = offer.send().await;
        match sent.as_ref().is_err_and(is_made_already) {
            true => Ok(()),
            false => sent
                .map(drop)
                .told(|| format!("offer TLS at {}", called(self.name()))),
        }
    }

    /// Everything that one call can change: neither the number of nodes nor the token.
    pub(super) async fn change(&self, changes: &[FieldChange]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let spec = &self.spec;
        // Told to make them at once, ElastiCache makes whatever else waits as well: only where one
        // of them would wait.
        let mut call = self
            .modify()
            .apply_immediately(changes.iter().any(may_wait));
        for change in changes {
            call = match change.field.as_str() {
                "class" => call.cache_node_type(&spec.class),
                "version" => call.engine_version(&spec.version),
                "automatic_failover" => call.automatic_failover_enabled(spec.high_availability),
                "multi_az" => call.multi_az_enabled(spec.high_availability),
                "security_groups" => {
                    call.set_security_group_ids(Some(self.security_groups.settled()?.0))
                }
                // It is on by now. With a group that has AUTH, a call that says so once more is
                // refused: "Modification of transit encryption is not supported for access control
                // enabled clusters." (aws-controllers-k8s/community#2536).
                "transit_encryption" => {
                    call.transit_encryption_mode(TransitEncryptionMode::Required)
                }
                _ => call,
            };
        }
        let sent = call.send().await;
        match sent.as_ref().is_err_and(is_made_already) {
            true => Ok(()),
            false => sent
                .map(drop)
                .told(|| format!("change {}", called(self.name()))),
        }
    }

    pub(super) async fn set_replicas(&self, actual: GroupActual) -> Result<()> {
        let elasticache = &self.clients.elasticache;
        let replicas = i32::from(self.nodes()) - 1;
        let action = || format!("change the number of nodes of {}", called(self.name()));
        let wanted = usize::from(self.nodes());
        if actual.nodes == wanted {
            return Ok(());
        }
        if actual.nodes < wanted {
            elasticache
                .increase_replica_count()
                .replication_group_id(self.name())
                .new_replica_count(replicas)
                .apply_immediately(true)
                .send()
                .await
                .map(drop)
                .told(action)
        } else {
            elasticache
                .decrease_replica_count()
                .replication_group_id(self.name())
                .new_replica_count(replicas)
                .apply_immediately(true)
                .send()
                .await
                .map(drop)
                .told(action)
        }
    }

    pub(super) async fn give(
        &self,
        token: &SecretString,
        how: AuthTokenUpdateStrategyType,
    ) -> Result<()> {
        let sent = self
            .modify()
            .auth_token(token.expose_secret())
            .auth_token_update_strategy(how)
            .send()
            .await;
        match sent {
            Err(error) if is_made_already(&error) => Ok(()),
            sent => sent.map(drop).map_err(|error| {
                let action = format!("set the token of {}", called(self.name()));
                without(failure(&error, &action), token)
            }),
        }
    }

    /// Gives a group its token. One without AUTH takes clients with and without it after a
    /// rotation, and only the former once it is set; which of the two a group has come to, only our
    /// mark tells.
    pub(super) async fn set_token(
        &self,
        actual: &GroupActual,
        watch: &dyn Watch,
    ) -> Result<GroupActual> {
        let version = self.token.settled()?;
        let token = self.token_of(&version).await?;
        let is_new = actual.has_no_auth() || actual.auth_begun;
        if is_new && !actual.auth_begun {
            self.in_turn(watch, |actual| async move {
                self.mark_auth(&actual, true).await
            })
            .await?;
        }
        self.in_turn(watch, |_| {
            self.give(&token, AuthTokenUpdateStrategyType::Rotate)
        })
        .await?;
        if is_new && self.tls == CacheTls::Required {
            self.in_turn(watch, |_| {
                self.give(&token, AuthTokenUpdateStrategyType::Set)
            })
            .await?;
            self.in_turn(watch, |actual| async move {
                self.mark_auth(&actual, false).await
            })
            .await?;
        }
        let set = Some(version.version.as_str());
        self.in_turn(watch, |actual| self.retag(actual, set))
            .await?;
        self.with_token(version.version, token).await
    }
}

/// Whether a change landed before, whose reply was lost: asked for once more, ElastiCache refuses
/// what is so already (Terraform's provider, internal/service/elasticache/replication_group.go).
fn is_made_already<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    code(error) == Some("InvalidParameterCombination")
        && words(error).contains("No modifications were requested")
}
