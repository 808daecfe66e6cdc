//! A secret's versions: puts new ones and keeps those alive that releases pin.
//!
//! Secrets Manager drops versions without a staging label. So each of ours carries one of its own,
//! `deployer-<first 8 of its id>`, and the oldest ones are taken off again.

use std::collections::HashMap;

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use deployer_core::error::Result;
use deployer_core::node::Token;
use secrecy::{ExposeSecret, SecretString};

use super::{CURRENT, current};
use crate::client::Clients;
use crate::error::{Told, failure, without};

/// How many of our labels a secret keeps: it may carry 20 in all, two or three of them AWS's own.
const LABELS: usize = 15;

/// A secret's labels, by version.
type Stages = HashMap<String, Vec<String>>;

/// The label that keeps a version.
fn label(version: &str) -> String {
    format!("deployer-{}", version.chars().take(8).collect::<String>())
}

fn is_kept(stages: &Stages, version: &str) -> bool {
    stages
        .get(version)
        .is_some_and(|stages| stages.contains(&label(version)))
}

/// Adds a version and makes it the current one; returns its id, which on AWS is the token.
///
/// Repeated with the same token it adds nothing.
pub(super) async fn put(
    clients: &Clients,
    name: &str,
    secret: &DescribeSecretOutput,
    value: &SecretString,
    token: &Token,
) -> Result<String> {
    let mut stages = secret.version_ids_to_stages().cloned().unwrap_or_default();
    if let Some(version) = current(secret)
        && version != token.0
        && !is_kept(&stages, &version)
    {
        keep(clients, name, &version).await?;
        stages
            .entry(version.clone())
            .or_default()
            .push(label(&version));
    }
    prune(clients, name, &stages).await?;
    let put = clients
        .secrets
        .put_secret_value()
        .secret_id(name)
        .client_request_token(&token.0)
        .secret_string(value.expose_secret())
        .version_stages(CURRENT)
        .version_stages(label(&token.0))
        .send()
        .await;
    let answer = put.map_err(|error| {
        let error = failure(&error, &format!("add a version to secret `{name}`"));
        without(error, value)
    })?;
    Ok(answer.version_id.unwrap_or_else(|| token.0.clone()))
}

async fn keep(clients: &Clients, name: &str, version: &str) -> Result<()> {
    clients
        .secrets
        .update_secret_version_stage()
        .secret_id(name)
        .version_stage(label(version))
        .move_to_version_id(version)
        .send()
        .await
        .map(drop)
        .told(|| format!("keep version `{version}` of secret `{name}`"))
}

/// Makes room for the label of one more version.
async fn prune(clients: &Clients, name: &str, stages: &Stages) -> Result<()> {
    let kept = stages
        .keys()
        .filter(|version| is_kept(stages, version))
        .count();
    let excess = (kept + 1).saturating_sub(LABELS);
    if excess == 0 {
        return Ok(());
    }
    let made = creation_dates(clients, name).await?;
    for version in oldest(stages, &made, excess) {
        clients
            .secrets
            .update_secret_version_stage()
            .secret_id(name)
            .version_stage(label(version))
            .remove_from_version_id(version)
            .send()
            .await
            .told(|| format!("let go of version `{version}` of secret `{name}`"))?;
    }
    Ok(())
}

fn oldest<'a>(stages: &'a Stages, made: &HashMap<String, i64>, count: usize) -> Vec<&'a str> {
    let mut kept: Vec<&str> = stages
        .keys()
        .map(String::as_str)
        .filter(|version| is_kept(stages, version))
        .collect();
    kept.sort_by_key(|version| (made.get(*version).copied().unwrap_or_default(), *version));
    kept.truncate(count);
    kept
}

async fn creation_dates(clients: &Clients, name: &str) -> Result<HashMap<String, i64>> {
    let mut dates = HashMap::new();
    let mut pages = clients
        .secrets
        .list_secret_version_ids()
        .secret_id(name)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.told(|| format!("list the versions of secret `{name}`"))?;
        for version in page.versions() {
            if let (Some(id), Some(at)) = (version.version_id(), version.created_date()) {
                dates.insert(id.to_owned(), at.secs());
            }
        }
    }
    Ok(dates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_labels_of_ours_make_room_first() {
        let stages = HashMap::from([
            ("a".to_owned(), vec!["deployer-a".to_owned()]),
            ("b".to_owned(), vec!["deployer-b".to_owned()]),
            ("c".to_owned(), vec![CURRENT.to_owned()]),
        ]);
        let made = HashMap::from([
            ("a".to_owned(), 9),
            ("b".to_owned(), 5),
            ("c".to_owned(), 1),
        ]);
        assert_eq!(oldest(&stages, &made, 1), ["b"]);
        assert_eq!(oldest(&stages, &made, 9), ["b", "a"]);
    }
}
