//! Tags of clusters, services, task definitions and tasks.

use serde_json::{Value, json};

use super::names::last_part;
use super::state::State;
use super::{Ecs, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{drop_tags, list, merge_tags, need, texts};
use crate::aws::tagging::Tagged;

impl Ecs {
    /// Everything that has tags, or had: what is inactive too.
    pub fn tagged(&self) -> Vec<Tagged> {
        let state = self.lock();
        let clusters = state.clusters.values().map(|it| (&it.arn, &it.tags));
        let services = state.services.iter().map(|it| (&it.arn, &it.tags));
        let definitions = state.families.values().flatten();
        let definitions = definitions.map(|it| (&it.arn, &it.tags));
        let tasks = state.tasks.values().map(|it| (&it.arn, &it.tags));
        let all = clusters.chain(services).chain(definitions).chain(tasks);
        all.map(|(arn, tags)| Tagged::new(arn, tags, ("key", "value")))
            .collect()
    }

    pub(super) fn list_tags(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let tags = self.tags_of(&mut state, need(input, "resourceArn"))?;
        Ok(json!({"tags": tags}))
    }

    pub(super) fn tag(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let tags = self.tags_of(&mut state, need(input, "resourceArn"))?;
        let mut merged = tags.clone();
        merge_tags(&mut merged, list(input, "tags"), "key");
        if merged.len() > 50 {
            return Err(invalid("The maximum number of tags per resource is 50."));
        }
        *tags = merged;
        Ok(json!({}))
    }

    pub(super) fn untag(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let tags = self.tags_of(&mut state, need(input, "resourceArn"))?;
        drop_tags(tags, &texts(input, "tagKeys"), "key");
        Ok(json!({}))
    }

    fn tags_of<'a>(&self, state: &'a mut State, arn: &str) -> Result<&'a mut Vec<Value>, AwsError> {
        let resource = self
            .inner
            .names
            .resource(arn)
            .ok_or_else(|| invalid("Invalid ARN."))?;
        let (kind, _) = resource
            .split_once('/')
            .ok_or_else(|| invalid("Invalid ARN."))?;
        let found = match kind {
            "cluster" => state
                .clusters
                .get_mut(last_part(arn))
                .map(|cluster| &mut cluster.tags),
            "service" => state
                .services
                .iter_mut()
                .find(|service| service.arn == arn && service.status != "INACTIVE")
                .map(|service| &mut service.tags),
            "task" => state
                .tasks
                .get_mut(last_part(arn))
                .map(|task| &mut task.tags),
            "task-definition" => state
                .families
                .values_mut()
                .flatten()
                .find(|definition| definition.arn == arn)
                .map(|definition| &mut definition.tags),
            _ => return Err(invalid("The resource type cannot be tagged.")),
        };
        found.ok_or_else(|| invalid(format!("The specified {kind} is inactive or does not exist. Specify a valid {kind} and try again.")))
    }
}
