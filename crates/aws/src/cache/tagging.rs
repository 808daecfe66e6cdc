//! Tags in ElastiCache, by ARN.

use aws_sdk_elasticache::types::Tag;
use deployer_core::error::Result;
use deployer_core::node::Reading;

use crate::client::Clients;
use crate::error::{Told, code};
use crate::reading::unseen;
use crate::tags::{self, TagChanges, Tags};

/// Tags as ElastiCache takes them.
pub(super) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

fn from_list(list: &[Tag]) -> Tags {
    tags::from_pairs(list.iter().map(|tag| (tag.key(), tag.value())))
}

/// The code for what is being made or changed: it takes no change, and its tags are neither told nor set.
pub(super) const BUSY: &str = "InvalidReplicationGroupState";

/// Reads the tags of what has this ARN; `what` names it. Present (`None` where they are not told now), absent (gone
/// meanwhile) or denied.
pub(super) async fn read(
    clients: &Clients,
    arn: &str,
    what: &str,
) -> Result<Reading<Option<Tags>>> {
    let listed = clients
        .elasticache
        .list_tags_for_resource()
        .resource_name(arn)
        .send()
        .await;
    match listed {
        Ok(listed) => Ok(Reading::Present(Some(from_list(listed.tag_list())))),
        Err(error) if code(&error) == Some(BUSY) => Ok(Reading::Present(None)),
        Err(error) => unseen(
            &error,
            "ReplicationGroupNotFoundFault",
            &format!("the tags of {what}"),
        ),
    }
}

/// Changes the tags; writes nothing where there is nothing to change.
pub(super) async fn retag(
    clients: &Clients,
    arn: &str,
    what: &str,
    changes: TagChanges,
) -> Result<()> {
    if !changes.set.is_empty() {
        clients
            .elasticache
            .add_tags_to_resource()
            .resource_name(arn)
            .set_tags(Some(sdk_tags(&changes.set)))
            .send()
            .await
            .told(|| format!("tag {what}"))?;
    }
    if !changes.remove.is_empty() {
        clients
            .elasticache
            .remove_tags_from_resource()
            .resource_name(arn)
            .set_tag_keys(Some(changes.remove))
            .send()
            .await
            .told(|| format!("remove tags of {what}"))?;
    }
    Ok(())
}
