//! `logs.group`: where the containers' output goes.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::error::SdkError;
use aws_sdk_cloudwatchlogs::operation::describe_log_groups::DescribeLogGroupsError;
use aws_sdk_cloudwatchlogs::types::LogGroup as SdkLogGroup;
use deployer_core::address::Address;
use deployer_core::batch::Batches;
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::Output;
use deployer_core::node::{Effect, Kept, Reading, Resource, Token, Watch};
use futures::FutureExt;

use super::LogGroupReady;
use crate::client::Clients;
use crate::error::{Told, code, denied, failure};
use crate::prepared::until_taken;
use crate::reading::{owned, seen, until_seen};
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The kind of a log group's node.
pub(crate) const LOG_GROUP: &str = "logs.group";

/// How many groups DescribeLogGroups answers at once.
const PAGE: usize = 50;

/// The field of how long lines are kept.
const RETENTION: &str = "retention_days";

/// Of our own groups, unless the manifest says otherwise.
const USUAL_DAYS: u32 = 30;

/// In milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// How long a call is tried again that CloudWatch Logs refuses because another one on the same group is not done: "A conflicting
/// operation is currently in progress against this resource. Please try again." (`OperationAbortedException`; the Terraform
/// provider waits a minute for it, `internal/service/logs/group.go` of hashicorp/terraform-provider-aws).
const BUSY: Duration = Duration::from_secs(60);

/// A log group that is to exist.
pub(super) struct LogGroup {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    /// `None` where the manifest does not say.
    pub(super) retention: Option<u32>,
    /// Whether it may be one that was there before us.
    pub(super) adopt: bool,
    /// What the last apply left, where that is known.
    pub(super) left: Mutex<Option<Fields>>,
    pub(super) output: Output<LogGroupReady>,
}

/// A log group as CloudWatch Logs has it.
#[derive(Clone, Debug)]
pub(crate) struct LogGroupActual {
    arn: String,
    /// `None`: its lines never expire.
    retention_days: Option<i32>,
    /// How old it is, in days.
    age: Option<i64>,
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
        fields.set_some(RETENTION, self.retention_days);
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
        age: group
            .creation_time()
            .map(|made| (clients.clock().now().as_millisecond() - made) / DAY),
        tags: tags::from_pairs(
            pairs.map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))),
        ),
    }))
}

/// Makes a call as often as CloudWatch Logs is at another one.
async fn in_turn<T, F, Fut>(clients: &Clients, what: &str, call: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let busy = |error: &Error| {
        let said = error.chain();
        said.iter()
            .any(|it| it.contains("OperationAbortedException"))
    };
    until_taken(clients.clock(), BUSY, busy, what, call).await
}

/// Deletes a log group with its lines.
pub(crate) async fn delete_log_group(clients: &Clients, name: &str) -> Result<()> {
    let action = format!("delete log group `{name}`");
    in_turn(clients, &action, || async {
        let delete = clients.logs.delete_log_group();
        match delete.log_group_name(name).send().await {
            Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(()),
            other => other.map(drop).told(|| action.clone()),
        }
    })
    .await
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
    let TagChanges { set, remove } = changes;
    if !set.is_empty() {
        let action = format!("tag log group `{name}`");
        let set: HashMap<String, String> = set.into_iter().collect();
        in_turn(clients, &action, || async {
            let call = clients.logs.tag_resource().resource_arn(&actual.arn);
            let call = call.set_tags(Some(set.clone()));
            call.send().await.map(drop).told(|| action.clone())
        })
        .await?;
    }
    if !remove.is_empty() {
        let action = format!("remove tags of log group `{name}`");
        in_turn(clients, &action, || async {
            let call = clients.logs.untag_resource().resource_arn(&actual.arn);
            let call = call.set_tag_keys(Some(remove.clone()));
            call.send().await.map(drop).told(|| action.clone())
        })
        .await?;
    }
    Ok(())
}

impl LogGroup {
    fn name(&self) -> &str {
        &self.address.name
    }

    fn days(&self) -> i32 {
        let days = self.retention.unwrap_or(USUAL_DAYS);
        i32::try_from(days).unwrap_or(i32::MAX)
    }

    /// Whether how long its lines are kept is the manifest's affair: a group that was there before us has its own time.
    fn compares_retention(&self) -> bool {
        self.retention.is_some() || !self.adopt
    }

    /// Whether its lines are kept as long as is asked for, or longer, and the manifest did not itself ask for that before. A group
    /// without a time keeps them for good, unless it is one of ours that a run made and never finished: then it is new, no run
    /// has noted it, and no line is lost.
    fn is_enough(&self, actual: &LogGroupActual) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = left.as_ref();
        match actual.retention_days {
            None => {
                let young = actual.age.is_some_and(|age| age < i64::from(self.days()));
                left.is_some() || self.adopt || !young
            }
            Some(have) => {
                let before = left.and_then(|left| left.get(RETENTION));
                let asked_before = before == Some(&FieldValue::Known(have.to_string()));
                have == self.days() || have > self.days() && !asked_before
            }
        }
    }

    async fn make(&self) -> Result<Created> {
        let name = self.name();
        let action = format!("create log group `{name}`");
        in_turn(&self.clients, &action, || async {
            let create = self.clients.logs.create_log_group().log_group_name(name);
            let tags = self.ownership.tags.clone().into_iter().collect();
            match create.set_tags(Some(tags)).send().await {
                Err(error) if code(&error) == Some("ResourceAlreadyExistsException") => {
                    Ok(Created::WasThere)
                }
                other => other.map(|_| Created::New).told(|| action.clone()),
            }
        })
        .await
    }

    async fn retain(&self) -> Result<()> {
        let name = self.name();
        let action = format!("set the retention of log group `{name}`");
        in_turn(&self.clients, &action, || async {
            let put = self.clients.logs.put_retention_policy();
            let put = put.log_group_name(name).retention_in_days(self.days());
            put.send().await.map(drop).told(|| action.clone())
        })
        .await
    }

    async fn again(&self) -> Result<LogGroupActual> {
        let what = format!("log group `{}`", self.name());
        until_seen(self.clients.clock(), &what, || self.read()).await
    }
}

/// How a create ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Created {
    New,
    WasThere,
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

    fn recall(&self, left: Option<&Fields>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left.cloned();
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        if self.compares_retention() {
            fields.set(RETENTION, self.days());
        }
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        let mut fields = Fields::new();
        if self.compares_retention() {
            match self.is_enough(actual) {
                true => fields.set(RETENTION, self.days()),
                false => fields.set_some(RETENTION, actual.retention_days),
            }
        }
        tags::describe(&mut fields, &actual.tags);
        fields
    }

    /// Lines that are older than the new time go: "It can take up to 72 hours before they are deleted" (user guide, "Change log data
    /// retention").
    fn effect_of_change(&self, change: &FieldChange) -> Effect {
        let days = |value: &Option<FieldValue>| match value {
            Some(FieldValue::Known(text)) => text.parse::<i32>().ok(),
            _ => None,
        };
        match (days(&change.old), days(&change.new)) {
            (Some(old), Some(new)) if change.field == RETENTION && new < old => Effect::LosesData,
            _ => Effect::InPlace,
        }
    }

    fn loses_in_place(&self, _changes: &[FieldChange]) -> bool {
        true
    }

    fn publish(&self, _actual: &Self::Actual) {
        self.output.publish(LogGroupReady);
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        match self.make().await? {
            // A lost reply: what is there is ours, or this read says otherwise.
            Created::WasThere if self.is_enough(&self.again().await?) => {}
            Created::WasThere | Created::New => self.retain().await?,
        }
        self.again().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        if changes.iter().any(|change| change.field == RETENTION) {
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
