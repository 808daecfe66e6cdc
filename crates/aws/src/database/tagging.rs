//! Tags in RDS, by ARN.

use aws_sdk_rds::types::Tag;
use deployer_core::error::Result;
use deployer_core::node::Reading;

use crate::client::Clients;
use crate::error::Told;
use crate::reading::unseen;
use crate::tags::{self, TagChanges, Tags};

/// Tags as RDS takes them.
pub(super) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// Tags as RDS tells them.
pub(super) fn of(list: &[Tag]) -> Tags {
    tags::from_pairs(list.iter().map(|tag| (tag.key(), tag.value())))
}

/// Reads the tags of what has this ARN; `what` names it. Present, absent (gone meanwhile) or denied.
pub(super) async fn read(clients: &Clients, arn: &str, what: &str) -> Result<Reading<Tags>> {
    let listed = clients
        .rds
        .list_tags_for_resource()
        .resource_name(arn)
        .send()
        .await;
    match listed {
        Ok(listed) => Ok(Reading::Present(of(listed.tag_list()))),
        Err(error) => unseen(&error, "DBInstanceNotFound", &format!("the tags of {what}")),
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
            .rds
            .add_tags_to_resource()
            .resource_name(arn)
            .set_tags(Some(sdk_tags(&changes.set)))
            .send()
            .await
            .told(|| format!("tag {what}"))?;
    }
    if !changes.remove.is_empty() {
        clients
            .rds
            .remove_tags_from_resource()
            .resource_name(arn)
            .set_tag_keys(Some(changes.remove))
            .send()
            .await
            .told(|| format!("remove tags of {what}"))?;
    }
    Ok(())
}
