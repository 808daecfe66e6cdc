//! Finds log groups: those that are asked for at the same time by what their names begin with.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_cloudwatchlogs::error::SdkError;
use aws_sdk_cloudwatchlogs::operation::describe_log_groups::DescribeLogGroupsError;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use deployer_core::batch::Batches;
use futures::FutureExt;

/// How many groups DescribeLogGroups answers at once.
const PAGE: usize = 50;

type Refusal = SdkError<DescribeLogGroupsError>;

/// Log groups as they are found: those that are asked for at the same time by what their names
/// begin with.
pub(crate) struct LogGroups(Batches<LogGroup, Refusal>);

impl LogGroups {
    /// Nothing is asked yet.
    pub(crate) fn new(logs: &aws_sdk_cloudwatchlogs::Client) -> Self {
        let logs = logs.clone();
        Self(Batches::new(PAGE, move |names| {
            let logs = logs.clone();
            async move { find(&logs, names).await.map_err(Arc::new) }.boxed()
        }))
    }

    /// The group of this name. `None` when there is none.
    pub(crate) async fn ask(&self, name: &str) -> Result<Option<LogGroup>, Arc<Refusal>> {
        self.0.ask(name).await
    }
}

/// Finds the groups of these names. No more than twice the calls that asking for each alone would
/// take.
async fn find(
    logs: &aws_sdk_cloudwatchlogs::Client,
    names: Vec<String>,
) -> Result<BTreeMap<String, LogGroup>, Refusal> {
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

/// Lists what begins with `prefix`, and keeps what is named in `names`. Says whether that was all
/// of it; it stops after so many pages.
async fn list(
    logs: &aws_sdk_cloudwatchlogs::Client,
    prefix: &str,
    names: &[String],
    most: usize,
    found: &mut BTreeMap<String, LogGroup>,
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
