//! `logs.group`: where the containers' output goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::error::SdkError;
use aws_sdk_cloudwatchlogs::operation::describe_log_groups::DescribeLogGroupsError;
use aws_sdk_cloudwatchlogs::types::LogGroup as SdkLogGroup;
use deployer_core::address::Address;
use deployer_core::batch::Batches;
use deployer_core::error::Result;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use futures::FutureExt;

use super::LogGroupReady;
use crate::client::Clients;
use crate::error::{Told, code, denied, failure};
use crate::reading::{owned, seen, still_there};
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The kind of a log group's node.
pub(crate) const LOG_GROUP: &str = "logs.group";

/// How many groups DescribeLogGroups answers at once.
const PAGE: usize = 50;

/// A log group that is to exist.
pub(super) struct LogGroup {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) retention_days: u32,
    pub(super) output: Output<LogGroupReady>,
}

/// A log group as CloudWatch Logs has it.
#[derive(Clone, Debug)]
pub(crate) struct LogGroupActual {
    arn: String,
    retention_days: Option<i32>,
    tags: Tags,
}

impl LogGroupActual {
    /// Its tags.
    pub(crate) fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set_some("retention_days", self.retention_days);
        tags::describe(&mut fields, &self.tags);
        fields
    }
}

type Refusal = SdkError<DescribeLogGroupsError>;

/// Log groups as they are found: those that are asked for at the same time by what their names begin with.
pub(crate) struct LogGroups(Batches<SdkLogGroup, Refusal>);

impl LogGroups {
    /// Nothing is asked yet.
    pub(crate) fn new(logs: &aws_sdk_cloudwatchlogs::Client) -> Self {
        let logs = logs.clone();
        Self(Batches::new(PAGE, move |names| {
            let logs = logs.clone();
            async move { find(&logs, names).await.map_err(Arc::new) }.boxed()
        }))
    }
}

/// Finds the groups of these names. No more than twice the calls that asking for each alone would take.
async fn find(
    logs: &aws_sdk_cloudwatchlogs::Client,
    names: Vec<String>,
) -> Result<BTreeMap<String, SdkLogGroup>, Refusal> {
    let mut found = BTreeMap::new();
    let pages = names.len();
    if list(logs, common_start(&names), &names, pages, &mut found).await? {
        return Ok(found);
    }
    // So many others begin like these that each is found faster alone.
    for name in &names {
        if !found.contains_key(name) {
            list(logs, name, &names, usize::MAX, &mut found).await?;
        }
    }
    Ok(found)
}

/// Lists what begins with `prefix`, and keeps what is named in `names`. Says whether that was all of it; it stops after so
/// many pages.
async fn list(
    logs: &aws_sdk_cloudwatchlogs::Client,
    prefix: &str,
    names: &[String],
    most: usize,
    found: &mut BTreeMap<String, SdkLogGroup>,
) -> Result<bool, Refusal> {
    let mut pages = logs
        .describe_log_groups()
        .set_log_group_name_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
        .into_paginator()
        .send();
    for _ in 0..most {
        let Some(page) = pages.next().await else {
            return Ok(true);
        };
        let page = page?;
        let is_last = page.next_token().is_none();
        for group in page.log_groups.into_iter().flatten() {
            let name = group.log_group_name().unwrap_or_default().to_owned();
            if names.contains(&name) {
                found.insert(name, group);
            }
        }
        if is_last || names.iter().all(|name| found.contains_key(name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What all of these names begin with.
fn common_start(names: &[String]) -> &str {
    let Some((first, others)) = names.split_first() else {
        return "";
    };
    let common = others.iter().fold(first.len(), |length, other| {
        let both = first.char_indices().zip(other.chars());
        let differ = both.clone().find(|((_, a), b)| a != b);
        let end = differ.map_or(first.len().min(other.len()), |((at, _), _)| at);
        length.min(end)
    });
    &first[..common]
}

/// Reads a log group and its tags.
pub(crate) async fn read_log_group(
    clients: &Clients,
    name: &str,
) -> Result<Reading<LogGroupActual>> {
    let group = match clients.log_groups.0.ask(name).await {
        Ok(Some(group)) => group,
        Ok(None) => return Ok(Reading::Absent),
        Err(error) => {
            return match denied(&error) {
                Some(words) => Ok(Reading::Denied(words)),
                None => Err(failure(&error, &format!("read log group `{name}`"))),
            };
        }
    };
    // `arn` ends with `:*`, which the tagging calls refuse.
    let arn = group
        .arn()
        .unwrap_or_default()
        .trim_end_matches(":*")
        .to_owned();
    let listed = clients
        .logs
        .list_tags_for_resource()
        .resource_arn(&arn)
        .send()
        .await;
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            return match denied(&error) {
                Some(words) => Ok(Reading::Denied(words)),
                None => Err(failure(
                    &error,
                    &format!("read the tags of log group `{name}`"),
                )),
            };
        }
    };
    let pairs = listed.tags().into_iter().flatten();
    Ok(Reading::Present(LogGroupActual {
        arn,
        retention_days: group.retention_in_days(),
        tags: tags::from_pairs(
            pairs.map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))),
        ),
    }))
}

/// Deletes a log group with its lines.
pub(crate) async fn delete_log_group(clients: &Clients, name: &str) -> Result<()> {
    let deleted = clients
        .logs
        .delete_log_group()
        .log_group_name(name)
        .send()
        .await;
    match deleted {
        Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(()),
        other => other
            .map(drop)
            .told(|| format!("delete log group `{name}`")),
    }
}

/// Takes our mark off a log group.
pub(crate) async fn release_log_group(clients: &Clients, name: &str) -> Result<()> {
    match read_log_group(clients, name).await? {
        Reading::Present(actual) => {
            retag(clients, name, &actual, TagChanges::unmark(&actual.tags)).await
        }
        other => seen(other, &format!("log group `{name}`")).map(drop),
    }
}

async fn retag(
    clients: &Clients,
    name: &str,
    actual: &LogGroupActual,
    changes: TagChanges,
) -> Result<()> {
    let logs = &clients.logs;
    if !changes.set.is_empty() {
        logs.tag_resource()
            .resource_arn(&actual.arn)
            .set_tags(Some(changes.set.into_iter().collect()))
            .send()
            .await
            .told(|| format!("tag log group `{name}`"))?;
    }
    if !changes.remove.is_empty() {
        logs.untag_resource()
            .resource_arn(&actual.arn)
            .set_tag_keys(Some(changes.remove))
            .send()
            .await
            .told(|| format!("remove tags of log group `{name}`"))?;
    }
    Ok(())
}

impl LogGroup {
    fn name(&self) -> &str {
        &self.address.name
    }

    async fn retain(&self) -> Result<()> {
        self.clients
            .logs
            .put_retention_policy()
            .log_group_name(self.name())
            .retention_in_days(i32::try_from(self.retention_days).unwrap_or(i32::MAX))
            .send()
            .await
            .map(drop)
            .told(|| format!("set the retention of log group `{}`", self.name()))
    }

    async fn again(&self) -> Result<LogGroupActual> {
        let what = format!("log group `{}`", self.name());
        still_there(self.read().await?, &what)
    }
}

#[async_trait]
impl Resource for LogGroup {
    type Actual = LogGroupActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let reading = read_log_group(&self.clients, self.name()).await?;
        Ok(owned(reading, &self.ownership, |actual| &actual.tags))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("retention_days", self.retention_days);
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields()
    }

    fn publish(&self, _actual: &Self::Actual) {
        self.output.publish(LogGroupReady);
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        let created = self
            .clients
            .logs
            .create_log_group()
            .log_group_name(self.name())
            .set_tags(Some(self.ownership.tags.clone().into_iter().collect()))
            .send()
            .await;
        match created {
            // A lost reply: what is there is ours, or this read says otherwise.
            Err(error) if code(&error) == Some("ResourceAlreadyExistsException") => {
                self.again().await?;
            }
            other => {
                other.told(|| format!("create log group `{}`", self.name()))?;
            }
        }
        self.retain().await?;
        self.again().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        if changes
            .iter()
            .any(|change| change.field == "retention_days")
        {
            self.retain().await?;
        }
        let changes = self.ownership.changes(&actual.tags);
        retag(&self.clients, self.name(), actual, changes).await?;
        self.again().await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("it takes the logs of what served before as well")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete_log_group(&self.clients, self.name()).await
    }

    fn is_guarded(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_alike_up_to_where_they_differ() {
        let start = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            common_start(&names).to_owned()
        };
        assert_eq!(
            start(&["/ecs/shop-s1", "/ecs/shop-s12", "/ecs/shop-s2"]),
            "/ecs/shop-s"
        );
        assert_eq!(start(&["/ecs/shop"]), "/ecs/shop");
        assert_eq!(start(&["/ecs/shop", "/ecs/shop-api"]), "/ecs/shop");
        assert_eq!(start(&["/ecs/shop", "logs"]), "");
        assert_eq!(start(&["/ecs/ä1", "/ecs/ö1"]), "/ecs/");
    }
}
