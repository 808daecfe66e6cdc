//! Tags of services, VPC connectors and auto scaling configurations.

use serde_json::{Value, json};

use super::state::State;
use super::{AppRunner, invalid, not_found};
use crate::aws::error::AwsError;
use crate::aws::json::{drop_tags, list, merge_tags, need, texts};
use crate::aws::tagging::Tagged;

impl AppRunner {
    /// Everything that has tags, or had: what is deleted too. "The GetResources ... operations
    /// support all resource types" (Resource Groups Tagging API Reference, "Services that support
    /// the Resource Groups Tagging API").
    pub fn tagged(&self) -> Vec<Tagged> {
        let state = self.lock();
        let services = state.services.iter().map(|it| (&it.arn, &it.tags));
        let connectors = state.connectors.iter().map(|it| (&it.arn, &it.tags));
        let scaling = state.scaling.iter().map(|it| (&it.arn, &it.tags));
        let all = services.chain(connectors).chain(scaling);
        all.map(|(arn, tags)| Tagged::new(arn, tags, ("Key", "Value")))
            .collect()
    }

    pub(super) fn list_tags(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let tags = tags_of(&mut state, need(input, "ResourceArn"))?;
        Ok(json!({ "Tags": tags }))
    }

    pub(super) fn tag(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let tags = tags_of(&mut state, need(input, "ResourceArn"))?;
        let mut merged = tags.clone();
        merge_tags(&mut merged, list(input, "Tags"), "Key");
        if merged.len() > 50 {
            return Err(invalid("A resource can have at most 50 tags."));
        }
        *tags = merged;
        Ok(json!({}))
    }

    pub(super) fn untag(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let tags = tags_of(&mut state, need(input, "ResourceArn"))?;
        drop_tags(tags, &texts(input, "TagKeys"), "Key");
        Ok(json!({}))
    }
}

/// The tags of whatever is not deleted.
fn tags_of<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut Vec<Value>, AwsError> {
    let services = state.services.iter_mut();
    let services = services.map(|it| (&it.arn, it.deleted, &mut it.tags));
    let connectors = state.connectors.iter_mut();
    let connectors = connectors.map(|it| (&it.arn, it.deleted, &mut it.tags));
    let scaling = state.scaling.iter_mut();
    let scaling = scaling.map(|it| (&it.arn, it.deleted, &mut it.tags));
    services
        .chain(connectors)
        .chain(scaling)
        .find(|(of, deleted, _)| *of == arn && deleted.is_none())
        .map(|(_, _, tags)| tags)
        .ok_or_else(|| not_found(arn))
}
