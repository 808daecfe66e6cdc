//! The load balancers of a service: ours among somebody else's; pure.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{LoadBalancer, Service as SdkService};
use deployer_core::error::Result;
use deployer_core::fields::{FieldValue, Fields};
use deployer_core::graph::Value;
use deployer_core::ours::Past;

use super::service_fields::{balancer_text, sorted, text_of_balancer};
use crate::ground::TargetGroup;

/// The field of the inventory that names the target group that we put a service's tasks into.
const NOTED: &str = "target_group";
/// The field of the ledger's that begins with it.
const LEFT: &str = "load_balancer";

/// How the manifest has a service reached, and which target groups it named before.
#[derive(Clone, Debug)]
pub(super) struct Balancers {
    pub(super) group: Option<Value<TargetGroup>>,
    pub(super) container: String,
    pub(super) port: u16,
    /// Those that earlier runs put the tasks into, or may have. Every other one is somebody's.
    pub(super) earlier: BTreeSet<String>,
}

impl Balancers {
    /// The target groups that earlier runs noted.
    pub(super) fn noted(past: &Past) -> BTreeSet<String> {
        let noted = past.wrote.iter().filter_map(|fields| {
            let left = || Some(fields.get(LEFT)?.to_string());
            let text = fields.get(NOTED).map(ToString::to_string).or_else(left)?;
            Some(text.split(" -> ").next()?.to_owned())
        });
        noted.collect()
    }

    /// What a run is to note.
    pub(super) fn to_note(&self) -> Option<Fields> {
        let mut fields = Fields::new();
        fields.set(NOTED, self.group.as_ref()?.known()?.0);
        Some(fields)
    }

    /// The one that is asked for, for people.
    pub(super) fn wanted(&self) -> Option<FieldValue> {
        let group = self.group.as_ref()?;
        Some(group.field(|group| balancer_text(&group.0, &self.container, i32::from(self.port))))
    }

    /// Those that are ours, for people: what the manifest names, and what it named before. `None`
    /// when there is none.
    pub(super) fn observed(&self, actual: &SdkService) -> Option<String> {
        let ours = actual.load_balancers().iter().filter(|it| self.is_ours(it));
        let texts: Vec<String> = ours.map(text_of_balancer).collect();
        (!texts.is_empty()).then(|| sorted(&texts))
    }

    /// Those of a new service.
    ///
    /// Errors: internal, when the node that makes the target group has not settled.
    pub(super) fn first(&self) -> Result<Vec<LoadBalancer>> {
        let balancer = |group: &Value<TargetGroup>| {
            Ok(LoadBalancer::builder()
                .target_group_arn(group.settled()?.0)
                .container_name(&self.container)
                .container_port(i32::from(self.port))
                .build())
        };
        self.group.iter().map(balancer).collect()
    }

    /// What is there with the wanted one in it and without those that were wanted before. Somebody
    /// else's way in stays, and leads to the container and port that take the place of those that
    /// ours led to.
    ///
    /// Errors: as [`Balancers::first`].
    pub(super) fn among(&self, actual: &SdkService) -> Result<Vec<LoadBalancer>> {
        let there = actual.load_balancers();
        let was = there.iter().find(|it| self.is_ours(it));
        let mut balancers = self.first()?;
        for other in there.iter().filter(|it| !self.is_ours(it)) {
            let mut other = other.clone();
            if let Some(was) = was.filter(|was| was.container_name == other.container_name) {
                other.container_name = Some(self.container.clone());
                if was.container_port == other.container_port {
                    other.container_port = Some(i32::from(self.port));
                }
            }
            balancers.push(other);
        }
        Ok(balancers)
    }

    fn is_ours(&self, balancer: &LoadBalancer) -> bool {
        let Some(group) = balancer.target_group_arn() else {
            return false;
        };
        let wanted = self.group.as_ref().and_then(Value::known);
        wanted.is_some_and(|wanted| wanted.0 == group) || self.earlier.contains(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(group: &str, container: &str, port: i32) -> LoadBalancer {
        LoadBalancer::builder()
            .target_group_arn(group)
            .container_name(container)
            .container_port(port)
            .build()
    }

    fn service(balancers: &[LoadBalancer]) -> SdkService {
        SdkService::builder()
            .set_load_balancers(Some(balancers.to_vec()))
            .build()
    }

    fn balancers(group: Option<&str>, earlier: &[&str]) -> Balancers {
        Balancers {
            group: group.map(|arn| Value::Given(TargetGroup(arn.to_owned()))),
            container: "idp".into(),
            port: 3000,
            earlier: earlier.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn one_that_was_wanted_before_goes_and_somebody_elses_stays() {
        let there = service(&[balancer("old", "app", 80), balancer("theirs", "app", 80)]);
        let changed = balancers(Some("new"), &["old"]);
        assert_eq!(changed.observed(&there).as_deref(), Some("old -> app:80"));
        let expected = [
            balancer("new", "idp", 3000),
            balancer("theirs", "idp", 3000),
        ];
        assert_eq!(changed.among(&there).unwrap(), expected);
        let removed = balancers(None, &["old"]);
        assert_eq!(
            removed.among(&there).unwrap(),
            [balancer("theirs", "idp", 3000)]
        );
        let silent = balancers(None, &[]);
        assert_eq!((silent.observed(&there), silent.wanted()), (None, None));
        assert_eq!(silent.among(&there).unwrap(), there.load_balancers());
    }

    #[test]
    fn another_container_of_somebody_elses_is_left_alone() {
        let there = service(&[
            balancer("new", "idp", 3000),
            balancer("theirs", "agent", 80),
        ]);
        let same = balancers(Some("new"), &[]);
        assert_eq!(same.among(&there).unwrap(), there.load_balancers());
    }

    #[test]
    fn what_was_wanted_before_is_known_by_the_inventory_or_by_what_the_last_apply_left() {
        let mut noted = Fields::new();
        noted.set(NOTED, "one");
        let mut left = Fields::new();
        left.set(LEFT, "two -> idp:3000");
        let past = Past {
            wrote: vec![noted, left, Fields::new()],
            ..Past::default()
        };
        let groups: Vec<String> = Balancers::noted(&past).into_iter().collect();
        assert_eq!(groups, ["one", "two"]);
    }
}
