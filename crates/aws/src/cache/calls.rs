//! Calls about a replication group that need nothing but its name: reads and the delete.

use std::time::Duration;

use aws_sdk_elasticache::types::{CacheCluster, ReplicationGroup as SdkGroup};
use deployer_core::error::Result;
use deployer_core::kind::{Refused, read_or_sort, seen, still_there};
use deployer_core::node::Reading;
use deployer_core::wait::{Look, Pace, poll};

use super::shape::GroupActual;
use crate::client::Clients;
use crate::error::{Told, code, unseen};
use crate::tagging::TagApi;
use crate::tags::{self, Tags};

/// The code of calls on a group that is being made or changed: ElastiCache then refuses changes,
/// and neither lists nor sets tags.
pub(super) const BUSY: &str = "InvalidReplicationGroupState";

/// A new group takes 5 to 15 minutes; a larger class or a newer engine, longer.
pub(super) const USABLE: Pace = Pace::until(Duration::from_secs(40 * 60));

/// The code for a group that is not there.
const NOT_FOUND: &str = "ReplicationGroupNotFoundFault";

pub(super) fn called(name: &str) -> String {
    format!("cache `{name}`")
}

pub(super) async fn describe(clients: &Clients, name: &str) -> Result<Reading<SdkGroup>> {
    let answer = clients
        .elasticache
        .describe_replication_groups()
        .replication_group_id(name)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(match answer.replication_groups.unwrap_or_default().pop() {
            Some(group) => Reading::Present(group),
            None => Reading::Absent,
        }),
        Err(error) => unseen(&error, NOT_FOUND, &called(name)),
    }
}

/// One member tells what the group does not: engine version, security groups, subnet group.
pub(super) async fn member(
    clients: &Clients,
    name: &str,
    group: &SdkGroup,
) -> Result<Reading<CacheCluster>> {
    let Some(id) = group.member_clusters().first() else {
        return Ok(Reading::Absent);
    };
    let answer = clients
        .elasticache
        .describe_cache_clusters()
        .cache_cluster_id(id)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(match answer.cache_clusters.unwrap_or_default().pop() {
            Some(member) => Reading::Present(member),
            None => Reading::Absent,
        }),
        Err(error) => unseen(&error, "CacheClusterNotFound", &called(name)),
    }
}

/// Reads a replication group, not its token.
pub(crate) async fn read_group(clients: &Clients, name: &str) -> Result<Reading<GroupActual>> {
    let group = match describe(clients, name).await? {
        Reading::Present(group) => group,
        other => return Ok(other.map(|group| GroupActual::of(&group, None, None))),
    };
    if group.status() == Some("deleting") {
        return Ok(Reading::Tombstoned("it is being deleted".into()));
    }
    let (member, tags) = tokio::join!(member(clients, name, &group), told_tags(clients, &group));
    let member = match member? {
        Reading::Present(member) => Some(member),
        Reading::Denied(words) => return Ok(Reading::Denied(words)),
        Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => None,
    };
    Ok(tags?.map(|tags| GroupActual::of(&group, member.as_ref(), tags)))
}

/// The tags. `None` while the group is made or changed: ElastiCache then tells none and takes none.
async fn told_tags(clients: &Clients, group: &SdkGroup) -> Result<Reading<Option<Tags>>> {
    if group.status() != Some("available") {
        return Ok(Reading::Present(None));
    }
    let arn = group.arn().unwrap_or_default();
    match TagApi::ElastiCache.read(clients, arn).await {
        Ok(tags) => Ok(Reading::Present(Some(tags))),
        Err(refusal) if refusal.is_one_of(&[BUSY]) => Ok(Reading::Present(None)),
        Err(refusal) => {
            let name = group.replication_group_id().unwrap_or_default();
            let what = format!("the tags of {}", called(name));
            read_or_sort(refusal, &[NOT_FOUND], &what)
        }
    }
}

/// Takes our marks off a replication group, the one too that says which token it has; waits until
/// ElastiCache tells and takes tags, which it does not while the group changes.
pub(crate) async fn release_group(clients: &Clients, name: &str) -> Result<()> {
    let what = called(name);
    poll(clients.clock(), USABLE, &what, || async {
        let actual = match read_group(clients, name).await? {
            Reading::Present(actual) => actual,
            Reading::Tombstoned(_) => return Ok(Look::Found(())),
            other => return seen(other, &what).map(|_| Look::Found(())),
        };
        let Some(tags) = &actual.tags else {
            let why = format!("ElastiCache says `{}`", actual.status);
            return Ok(Look::NotYet(why));
        };
        let changes = tags::MARKING.unmark(tags);
        let written = TagApi::ElastiCache
            .write(clients, &actual.arn, changes)
            .await;
        written.told(|| format!("tag {what}"))?;
        Ok(Look::Found(()))
    })
    .await
}

/// Starts to delete a replication group, waiting until ElastiCache takes the call: it refuses it
/// while the group is made or changed. Succeeds when it is on its way out or gone. What needs its
/// place waits for it: the delete of the subnet group, and the next group of that name.
pub(crate) async fn delete_group(clients: &Clients, name: &str) -> Result<()> {
    let what = called(name);
    poll(clients.clock(), USABLE, &what, || async {
        let deleted = clients
            .elasticache
            .delete_replication_group()
            .replication_group_id(name)
            .retain_primary_cluster(false)
            .send()
            .await;
        match deleted {
            Err(error) if code(&error) == Some(NOT_FOUND) => Ok(Look::Found(())),
            Err(error) if code(&error) == Some(BUSY) => match read_group(clients, name).await? {
                Reading::Absent | Reading::Tombstoned(_) => Ok(Look::Found(())),
                other => {
                    let actual = still_there(other, &what)?;
                    Ok(Look::NotYet(format!(
                        "ElastiCache says `{}`",
                        actual.status
                    )))
                }
            },
            other => {
                other.told(|| format!("delete {what}"))?;
                Ok(Look::Found(()))
            }
        }
    })
    .await
}
