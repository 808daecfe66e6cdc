//! Clusters.

use serde_json::{Value, json};

use super::names::last_part;
use super::state::State;
use super::{Ecs, SERVICE, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{need, number, text, texts};
use crate::aws::pages::Pages;
use crate::aws::shelf::{Going, Kind, Site, Taken, Thing, all, given};

/// The members of CreateCluster that are echoed.
const ECHOED: [&str; 5] = [
    "settings",
    "configuration",
    "capacityProviders",
    "defaultCapacityProviderStrategy",
    "serviceConnectDefaults",
];

/// DescribeClusters answers what is not there as failures: it is below.
pub(super) const CLUSTER: Kind<State> = Kind {
    noun: ("Cluster", "Clusters"),
    answers: ("cluster", "clusterArns"),
    arn: ("cluster/", "clusterArn"),
    on: (|it| &it.clusters, |it| &mut it.clusters),
    named: |_, _, input| {
        let name = text(input, "clusterName").unwrap_or("default");
        check_name(name, "cluster").map(|()| name.to_owned())
    },
    asked: |_, _, input| {
        let cluster = text(input, "cluster").map(last_part);
        Ok(cluster.map(str::to_owned).into_iter().collect())
    },
    made: |_, site, name, input| Ok(members(site, name, input)),
    changes: &[],
    free: |state, _, name, _| {
        let mut services = state.services.iter();
        if services.any(|s| s.cluster == name && s.status != "INACTIVE") {
            return Err(AwsError::new(
                "ClusterContainsServicesException",
                "The Cluster cannot be deleted while Services are active.",
            ));
        }
        let mut tasks = state.tasks.values();
        match tasks.any(|task| task.cluster == name && task.last_status != "STOPPED") {
            false => Ok(()),
            true => Err(AwsError::new(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            )),
        }
    },
    going: Going::Described(|_, value| value["status"] = json!("INACTIVE")),
    taken: Taken::Answered,
    absent: |_, _| no_cluster(),
    shown: |state, it, operation| match operation {
        "ListClusters" => it.value["clusterArn"].clone(),
        _ => view(state, it, operation == "CreateCluster"),
    },
    fits: all,
    service: &SERVICE,
};

fn members(site: &Site, name: &str, input: &Value) -> Value {
    let mut made = json!({
        "clusterArn": site.arn(&format!("cluster/{name}")),
        "clusterName": name,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": 0,
        "statistics": [],
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    });
    if let (Some(made), Value::Object(given)) = (made.as_object_mut(), given(input, &ECHOED)) {
        made.extend(given);
    }
    made
}

impl Ecs {
    pub(super) fn add_default_cluster(&self) {
        let members = members(&self.site(), "default", &json!({}));
        CLUSTER.put(&mut self.lock(), "default", members);
    }

    pub(super) fn describe_clusters(&self, input: &Value) -> Result<Value, AwsError> {
        let mut wanted = texts(input, "clusters");
        if wanted.is_empty() {
            wanted.push("default".to_owned());
        }
        if wanted.len() > 100 {
            return Err(invalid("Clusters cannot have more than 100 entries."));
        }
        let includes = |part: &str| texts(input, "include").iter().any(|it| it == part);
        let (tags, configurations) = (includes("TAGS"), includes("CONFIGURATIONS"));
        let state = self.lock();
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for id in wanted {
            let name = last_part(&id);
            match state.clusters.get(name) {
                Some(cluster) => {
                    let mut view = view(&state, cluster, tags);
                    // "If this value is omitted, then the additional information isn't included"
                    // (`include` of DescribeClusters).
                    if let (false, Some(members)) = (configurations, view.as_object_mut()) {
                        members.remove("configuration");
                    }
                    clusters.push(view);
                }
                None => {
                    let arn = self.inner.names.arn(&format!("cluster/{name}"));
                    failures.push(json!({"arn": arn, "reason": "MISSING"}));
                }
            }
        }
        Ok(json!({"clusters": clusters, "failures": failures}))
    }

    /// Has the sessions of a cluster encrypted with a key: `executeCommandConfiguration.kmsKeyId`,
    /// as UpdateCluster sets it.
    pub fn encrypt_sessions(&self, cluster: &str, key: &str) {
        if let Some(cluster) = self.lock().clusters.get_mut(cluster) {
            let configuration = json!({"executeCommandConfiguration": {
                "kmsKeyId": key, "logging": "DEFAULT",
            }});
            cluster.value["configuration"] = configuration;
        }
    }
}

/// A page of ARNs, as all of ECS's listings answer.
pub fn listed<T: Into<Value>>(
    input: &Value,
    member: &str,
    arns: Vec<T>,
) -> Result<Value, AwsError> {
    const PAGES: Pages = Pages {
        members: ("maxResults", "nextToken"),
        size: 100,
        wrong: || invalid("Invalid token."),
    };
    match number(input, "maxResults").is_none_or(|size| (1..=100).contains(&size)) {
        true => PAGES.of(input, member, arns.into_iter().map(Into::into).collect()),
        false => Err(invalid("maxResults must be between 1 and 100.")),
    }
}

/// Names of clusters and services: letters, digits, hyphens, underscores, at most 255.
pub fn check_name(name: &str, what: &str) -> Result<(), AwsError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() {
        return Err(invalid(format!("{what} name can not be blank.")));
    }
    match name.len() <= 255 && name.chars().all(fits) {
        true => Ok(()),
        false => Err(invalid(
            "Invalid identifier: Identifier must contain only alphanumeric characters, hyphens and underscores and be at most 255 characters long.",
        )),
    }
}

/// Refuses a cluster that is not there.
pub fn check_cluster(state: &State, name: &str) -> Result<(), AwsError> {
    match state.clusters.get(name) {
        Some(cluster) if !cluster.gone => Ok(()),
        _ => Err(no_cluster()),
    }
}

fn no_cluster() -> AwsError {
    AwsError::new("ClusterNotFoundException", "Cluster not found.")
}

fn view(state: &State, cluster: &Thing, tags: bool) -> Value {
    let name = need(&cluster.value, "clusterName");
    let own = || state.tasks.values().filter(|task| task.cluster == name);
    let tasks = |status: &str| own().filter(|task| task.last_status == status).count();
    let services = state.services.iter();
    let services = services.filter(|s| s.cluster == name && s.status == "ACTIVE");
    let mut out = cluster.value.clone();
    out["runningTasksCount"] = json!(tasks("RUNNING"));
    out["pendingTasksCount"] = json!(tasks("PENDING") + tasks("PROVISIONING"));
    out["activeServicesCount"] = json!(services.count());
    out["tags"] = json!(if tags { &cluster.tags[..] } else { &[] });
    out
}
