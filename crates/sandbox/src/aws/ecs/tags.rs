//! Tags of clusters, services, task definitions and tasks.

use super::clusters::CLUSTER;
use super::names::last_part;
use super::state::State;
use super::{Ecs, SERVICE, invalid};
use crate::aws::shelf::Found;
use crate::aws::tagging::Tagged;

impl Ecs {
    /// Everything that has tags, or had: what is inactive too.
    pub fn tagged(&self) -> Vec<Tagged> {
        let state = self.lock();
        let services = state.services.iter().map(|it| (&it.arn, &it.tags));
        let definitions = state.families.values().flatten();
        let definitions = definitions.map(|it| (&it.arn, &it.tags));
        let tasks = state.tasks.values().map(|it| (&it.arn, &it.tags));
        let others = services.chain(definitions).chain(tasks);
        let others = others.map(|(arn, tags)| SERVICE.tags.tagged(arn, tags));
        CLUSTER.tagged(&state).into_iter().chain(others).collect()
    }

    /// The tags of what an ARN names.
    pub(super) fn tags_at<'a>(&self, state: &'a mut State, arn: &str) -> Found<'a> {
        let resource = self.inner.names.resource(arn);
        let kind = resource.and_then(|it| it.split_once('/'));
        let (kind, _) = kind.ok_or_else(|| invalid("Invalid ARN."))?;
        let found = match kind {
            "cluster" => {
                let clusters = &mut state.clusters;
                clusters.get_mut(last_part(arn)).map(|it| &mut it.tags)
            }
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
