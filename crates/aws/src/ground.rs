//! The ground of one composition: what one capability of this cloud makes and another takes.
//!
//! Each part is a [`Value`]: given by the manifest, or from the node that makes it. A kind takes it
//! as an input, so that it depends on that node, and uses it once it is settled; no kind reads an
//! id from the specification.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_sdk_ecs::types::{AssignPublicIp, AwsVpcConfiguration, NetworkConfiguration};
use deployer_core::error::Result;
use deployer_core::graph::{Inputs, Value};

use crate::error::incomplete;
use crate::partition;
use crate::spec::AwsSpec;

/// Subnets, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subnets(pub(crate) Vec<String>);

/// Security groups, by id. None where the manifest is silent: AWS chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecurityGroups(pub(crate) Vec<String>);

/// An ECS cluster: its name or its ARN. Known from the start, also of one that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterName(pub(crate) String);

/// The role with which ECS pulls a task's image and reads its secrets: an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecutionRole(pub(crate) String);

/// The role of the app itself: an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRole(pub(crate) String);

/// The role with which App Runner pulls an image: an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessRole(pub(crate) String);

/// A load balancer's target group: an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetGroup(pub(crate) String);

/// A VPC connector of App Runner's, by its name, which is known from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectorName(pub(crate) String);

/// What the capabilities of one composition hand each other.
pub(crate) struct Ground {
    /// Where tasks run, and what has no network of its own.
    pub(crate) network: Network,
    /// What tasks run as.
    pub(crate) roles: Roles,
    /// With which App Runner pulls the image of a service, by the service's key.
    pub(crate) access_roles: BTreeMap<String, Value<AccessRole>>,
    /// What a load balancer sends to a service, by the service's key.
    pub(crate) target_groups: BTreeMap<String, Value<TargetGroup>>,
    /// Where tasks run. Set by the first one that needs it.
    pub(crate) cluster: OnceLock<Value<ClusterName>>,
    /// What leads App Runner's instances into the network. Set by the first service that needs it.
    pub(crate) connector: OnceLock<Value<ConnectorName>>,
}

impl Ground {
    /// What the manifest gives of it.
    pub(crate) fn given(section: &AwsSpec) -> Self {
        let arn = |role: &str| role_arn(section, role);
        let services = || section.services.iter();
        let access_roles = services().filter_map(|(key, service)| {
            let role = arn(&service.runtime.app_runner()?.access_role);
            Some((key.clone(), Value::Given(AccessRole(role))))
        });
        let target_groups = services().filter_map(|(key, service)| {
            let group = TargetGroup(service.target_group.clone()?);
            Some((key.clone(), Value::Given(group)))
        });
        Self {
            network: Network {
                subnets: Value::Given(Subnets(section.subnets.clone())),
                security_groups: Value::Given(SecurityGroups(section.security_groups.clone())),
            },
            roles: Roles {
                execution: Value::Given(ExecutionRole(arn(&section.execution_role))),
                task: section
                    .task_role
                    .as_deref()
                    .map(|role| Value::Given(TaskRole(arn(role)))),
            },
            access_roles: access_roles.collect(),
            target_groups: target_groups.collect(),
            cluster: OnceLock::new(),
            connector: OnceLock::new(),
        }
    }
}

/// Where something stands in the network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) subnets: Value<Subnets>,
    pub(crate) security_groups: Value<SecurityGroups>,
}

impl Network {
    /// As inputs of a node.
    pub(crate) fn taken(&self, inputs: &mut Inputs) -> Self {
        Self {
            subnets: inputs.pass(&self.subnets),
            security_groups: inputs.pass(&self.security_groups),
        }
    }

    /// Of a task, as ECS takes it.
    ///
    /// Errors: internal, when a node that it comes from has not settled.
    pub(crate) fn of_tasks(&self, public: Option<bool>) -> Result<NetworkConfiguration> {
        let public = match public {
            Some(true) => AssignPublicIp::Enabled,
            Some(false) | None => AssignPublicIp::Disabled,
        };
        let vpc = AwsVpcConfiguration::builder()
            .set_subnets(Some(self.subnets.settled()?.0))
            .set_security_groups(Some(self.security_groups.settled()?.0))
            .assign_public_ip(public)
            .build()
            .map_err(incomplete)?;
        Ok(NetworkConfiguration::builder()
            .awsvpc_configuration(vpc)
            .build())
    }

    /// Of a database or cache: its `own` subnets and security groups, or this. An empty list is
    /// none. The groups are the tasks' own: they say nothing of what was somebody's (`adopt`),
    /// whose clients they would lock out.
    pub(crate) fn of_store(&self, own: Option<(&Vec<String>, &Vec<String>)>, adopt: bool) -> Self {
        let (subnets, groups) = own.unzip();
        let said = |own: Option<&Vec<String>>| own.filter(|own| !own.is_empty()).cloned();
        let subnets = said(subnets).map(|ids| Value::Given(Subnets(ids)));
        let groups = said(groups).map(|ids| Value::Given(SecurityGroups(ids)));
        let subnets = subnets.unwrap_or_else(|| self.subnets.clone());
        let groups = groups.unwrap_or_else(|| match adopt {
            true => Value::Given(SecurityGroups(Vec::new())),
            false => self.security_groups.clone(),
        });
        Self {
            subnets: given(subnets, |Subnets(ids)| Subnets(in_order(ids))),
            security_groups: given(groups, |SecurityGroups(ids)| SecurityGroups(in_order(ids))),
        }
    }
}

/// What a task runs as.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    pub(crate) execution: Value<ExecutionRole>,
    /// `None` where the manifest names none.
    pub(crate) task: Option<Value<TaskRole>>,
}

impl Roles {
    /// As inputs of a node.
    pub(crate) fn taken(&self, inputs: &mut Inputs) -> Self {
        Self {
            execution: inputs.pass(&self.execution),
            task: self.task.as_ref().map(|role| inputs.pass(role)),
        }
    }
}

impl Subnets {
    /// For people, in an order that says nothing.
    pub(crate) fn text(&self) -> String {
        text(&self.0)
    }

    /// Whether a manifest that says these says anything: what a node makes is always some.
    pub(crate) fn are_said(subnets: &Value<Self>) -> bool {
        match subnets {
            Value::Given(subnets) => !subnets.0.is_empty(),
            Value::From(_) => true,
        }
    }
}

impl SecurityGroups {
    /// For people, in an order that says nothing.
    pub(crate) fn text(&self) -> String {
        text(&self.0)
    }

    /// Whether a manifest that says these says anything: what a node makes is always some.
    pub(crate) fn are_said(groups: &Value<Self>) -> bool {
        match groups {
            Value::Given(groups) => !groups.0.is_empty(),
            Value::From(_) => true,
        }
    }
}

impl ClusterName {
    /// Its name; an ARN ends with it.
    pub(crate) fn plain(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

/// A role's ARN; a name, or `service-role/NAME`, becomes one in this account.
pub(crate) fn role_arn(section: &AwsSpec, role: &str) -> String {
    if role.starts_with("arn:") {
        return role.to_owned();
    }
    let partition = partition::of(&section.region).name;
    format!("arn:{partition}:iam::{}:role/{role}", section.account)
}

fn given<T>(value: Value<T>, change: impl FnOnce(T) -> T) -> Value<T> {
    match value {
        Value::Given(value) => Value::Given(change(value)),
        Value::From(output) => Value::From(output),
    }
}

fn in_order(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids.dedup();
    ids
}

fn text(ids: &[String]) -> String {
    let mut ids = ids.to_vec();
    ids.sort();
    ids.join(", ")
}

#[cfg(test)]
mod tests {
    use deployer_core::address::{Address, CloudName, Target};
    use deployer_core::graph::Output;

    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn network(subnets: &[&str], groups: &[&str]) -> Network {
        Network {
            subnets: Value::Given(Subnets(ids(subnets))),
            security_groups: Value::Given(SecurityGroups(ids(groups))),
        }
    }

    fn known(network: &Network) -> (Vec<String>, Vec<String>) {
        let groups = network.security_groups.known().unwrap();
        (network.subnets.known().unwrap().0, groups.0)
    }

    fn made<T: Clone>() -> Output<T> {
        let target = Target {
            cloud: CloudName::Aws,
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            sandbox: false,
        };
        Output::of(&Address::new(&target, "ec2.subnets", "shop"))
    }

    #[test]
    fn a_list_of_its_own_wins_over_the_targets_and_both_are_in_order() {
        let target = network(&["b", "a", "b"], &["y", "x"]);
        let store = target.of_store(None, false);
        assert_eq!(known(&store), (ids(&["a", "b"]), ids(&["x", "y"])));
        let (none, own) = (Vec::new(), ids(&["z"]));
        let store = target.of_store(Some((&none, &none)), false);
        assert_eq!(known(&store), (ids(&["a", "b"]), ids(&["x", "y"])));
        let store = target.of_store(Some((&own, &own)), true);
        assert_eq!(known(&store), (ids(&["z"]), ids(&["z"])));
    }

    #[test]
    fn the_groups_of_tasks_lock_nobody_out_of_what_was_somebodys() {
        let store = network(&["a"], &["x"]).of_store(None, true);
        assert_eq!(known(&store), (ids(&["a"]), Vec::new()));
        assert!(!SecurityGroups::are_said(&store.security_groups));
    }

    #[test]
    fn what_a_node_makes_is_an_input_that_is_known_after_it() {
        let output = made();
        let mut network = network(&[], &["x"]);
        network.subnets = Value::From(output.clone());
        let store = network.of_store(None, false);
        assert_eq!(store.subnets.known(), None);
        assert!(network.of_tasks(None).is_err());
        output.publish(Subnets(ids(&["b", "a"])));
        assert_eq!(known(&store).0, ids(&["b", "a"]));
        let tasks = network.of_tasks(Some(true)).unwrap();
        let vpc = tasks.awsvpc_configuration().unwrap();
        assert_eq!(vpc.subnets(), ids(&["b", "a"]));
        assert_eq!(vpc.assign_public_ip(), Some(&AssignPublicIp::Enabled));
    }
}
