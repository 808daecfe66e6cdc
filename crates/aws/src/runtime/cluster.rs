//! `ecs.cluster`: where one-off tasks run beside services that App Runner runs, unless the manifest
//! names one.

use std::time::Duration;

use aws_sdk_ecs::types::ClusterField;

use deployer_core::capability::Scope;
use deployer_core::graph::{Graph, Value};
use deployer_core::kind::Declared;

use super::Declaration;
use crate::ground::ClusterName;
use crate::site::prelude::*;
use crate::tags;

/// A cluster of nothing but Fargate tasks: it needs no capacity provider, as every task says that
/// it runs on Fargate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster;

impl Declaration<'_> {
    /// The cluster of the tasks, which the first service declares where it is ours to make.
    pub(super) fn cluster(&self, graph: &mut Graph) -> Value<ClusterName> {
        let (section, name) = (&self.clients.section, &self.clients.cluster);
        let is_made = section.cluster_is_ours && section.runs_tasks();
        if !is_made || self.scope == Scope::CodeOnly {
            return Value::Given(name.clone());
        }
        let cluster = self.ground.cluster.get_or_init(|| {
            let declared = Declared {
                site: self.clients,
                name: &name.0,
                env: self.env,
                adopt: false,
            };
            let made = graph.declare(declared, |_| Cluster);
            // Its name is given: it is known before there is one.
            made.publish(name.clone());
            Value::From(made)
        });
        cluster.clone()
    }
}

impl Kind for Cluster {
    type Site = Clients;
    type Is = ();
    const KIND: &'static str = "ecs.cluster";
    const NOUN: &'static str = "ECS cluster";
    const ROLE: Role = Role::Shared;
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("ecs", "cluster")),
        access: Access {
            feature: Feature::AppRunner,
            read: &[grant(&["ecs:DescribeClusters"], CLUSTERS)],
            change: &[
                // It does not exist yet, and IAM takes no resource for it.
                given(&["ecs:CreateCluster"], ANYTHING, TO_BE_MARKED),
                grant(
                    &["ecs:DeleteCluster", "ecs:TagResource", "ecs:UntagResource"],
                    CLUSTERS,
                ),
            ],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["ClusterNotFoundException"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = BUSY;
    /// "You can't delete a cluster that has active tasks" (DeleteCluster, Amazon ECS API
    /// Reference, its errors).
    const IN_USE: Passing = Passing {
        codes: &[
            "ClusterContainsTasksException",
            "ClusterContainsServicesException",
            "UpdateInProgressException",
        ],
        why: "a task still runs in it",
        patience: Duration::from_secs(10 * 60),
    };

    fn describe((): &(), _to: &mut Description) {}

    /// One that was deleted is described as inactive for a while.
    async fn find(at: &At<Clients>) -> Result<Reading<There<()>>, Refusal> {
        let ask = at.ecs.describe_clusters().clusters(at.name());
        let answer = ask.include(ClusterField::Tags).send().await?;
        let mut found = answer.clusters.into_iter().flatten();
        let Some(cluster) = found.find(|it| it.status() != Some("INACTIVE")) else {
            return Ok(Reading::Absent);
        };
        let pairs = cluster.tags().iter().map(|tag| (tag.key(), tag.value()));
        Ok(Reading::Present(There {
            id: cluster.cluster_arn().unwrap_or_default().to_owned(),
            is: (),
            tags: tags::from_pairs(pairs),
        }))
    }

    async fn remove(at: &At<Clients>, _there: &There<()>, _token: &Token) -> Result<(), Refusal> {
        at.ecs.delete_cluster().cluster(at.name()).send().await?;
        Ok(())
    }
}

impl Tagged for Cluster {
    async fn mark(at: &At<Clients>, there: &There<()>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::Ecs.write(at, &there.id, by).await
    }
}

impl Wish for Cluster {
    type Output = ClusterName;
    const KEPT: Kept = Kept::Harmless("one-off tasks alone run in it");

    fn over(&self, _at: &At<Clients>, _seen: Seen<'_, ()>) {}

    fn output(at: &At<Clients>, _there: &There<()>) -> ClusterName {
        ClusterName(at.name().to_owned())
    }

    /// A call for one that is there answers with it, and changes nothing.
    async fn make(&self, at: &At<Clients>, (): &(), _: &Token) -> Result<(), Refusal> {
        let call = at.ecs.create_cluster().cluster_name(at.name());
        let tags = sdk_tags(&at.owner.tags)?;
        call.set_tags(Some(tags)).send().await?;
        Ok(())
    }

    /// Nothing of it is compared.
    async fn change(
        &self,
        _at: &At<Clients>,
        _there: &There<()>,
        (): &(),
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        Ok(())
    }
}

/// The role that ECS works with is made by the first cluster of an account, and is not known at
/// once: "Unable to assume the service linked role" (hashicorp/terraform-provider-aws,
/// `internal/service/ecs/cluster.go`, which tries for as long).
const BUSY: Passing = Passing {
    codes: &["InvalidParameterException"],
    why: "the role that ECS works with is being made",
    patience: Duration::from_secs(2 * 60),
};
