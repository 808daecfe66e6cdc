//! Clusters.

use serde_json::{Map, Value, json};

use super::names::{Names, last_part};
use super::state::{Cluster, State};
use super::{Ecs, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, list, number, page, text, texts};

/// The members of CreateCluster that are echoed.
const ECHOED: [&str; 5] = [
    "settings",
    "configuration",
    "capacityProviders",
    "defaultCapacityProviderStrategy",
    "serviceConnectDefaults",
];

impl Ecs {
    pub(super) fn add_default_cluster(&self) {
        let cluster = self.cluster_of("default", Map::new(), Vec::new());
        self.lock().clusters.insert(cluster.name.clone(), cluster);
    }

    fn cluster_of(&self, name: &str, settings: Map<String, Value>, tags: Vec<Value>) -> Cluster {
        Cluster {
            arn: self.inner.names.arn(&format!("cluster/{name}")),
            name: name.to_owned(),
            settings,
            tags,
            active: true,
        }
    }

    pub(super) fn create_cluster(&self, input: &Value) -> Result<Value, AwsError> {
        let name = text(input, "clusterName").unwrap_or("default");
        check_name(name, "cluster")?;
        let mut state = self.lock();
        let exists = state
            .clusters
            .get(name)
            .is_some_and(|cluster| cluster.active);
        if !exists {
            let mut settings = Map::new();
            copy(input, &ECHOED, &mut settings);
            let cluster = self.cluster_of(name, settings, list(input, "tags").to_vec());
            state.clusters.insert(name.to_owned(), cluster);
        }
        let cluster = state.clusters.get(name).ok_or_else(no_cluster)?;
        Ok(json!({"cluster": view(&state, cluster, true)}))
    }

    pub(super) fn delete_cluster(&self, input: &Value) -> Result<Value, AwsError> {
        let name = Names::cluster(text(input, "cluster"));
        let mut state = self.lock();
        check_cluster(&state, &name)?;
        let services = state
            .services
            .iter()
            .any(|s| s.cluster == name && s.status != "INACTIVE");
        if services {
            return Err(AwsError::new(
                "ClusterContainsServicesException",
                "The Cluster cannot be deleted while Services are active.",
            ));
        }
        if state
            .tasks
            .values()
            .any(|task| task.cluster == name && task.last_status != "STOPPED")
        {
            return Err(AwsError::new(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            ));
        }
        if let Some(cluster) = state.clusters.get_mut(&name) {
            cluster.active = false;
        }
        let cluster = state.clusters.get(&name).ok_or_else(no_cluster)?;
        Ok(json!({"cluster": view(&state, cluster, false)}))
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
            let settings = &mut cluster.settings;
            settings.insert("configuration".to_owned(), configuration);
        }
    }

    pub(super) fn list_clusters(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let active = state.clusters.values().filter(|cluster| cluster.active);
        let arns: Vec<String> = active.map(|cluster| cluster.arn.clone()).collect();
        listed(input, "clusterArns", arns)
    }
}

/// A page of ARNs, as all of ECS's listings answer.
pub fn listed(input: &Value, member: &str, arns: Vec<String>) -> Result<Value, AwsError> {
    let size = number(input, "maxResults").unwrap_or(100);
    if !(1..=100).contains(&size) {
        return Err(invalid("maxResults must be between 1 and 100."));
    }
    let bad = |()| invalid("Invalid token.");
    let (arns, next) = page(arns, text(input, "nextToken"), size as usize).map_err(bad)?;
    let mut out = json!({});
    out[member] = json!(arns);
    if let Some(next) = next {
        out["nextToken"] = json!(next);
    }
    Ok(out)
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
        Some(cluster) if cluster.active => Ok(()),
        _ => Err(no_cluster()),
    }
}

fn no_cluster() -> AwsError {
    AwsError::new("ClusterNotFoundException", "Cluster not found.")
}

fn view(state: &State, cluster: &Cluster, tags: bool) -> Value {
    let tasks = |status: &str| {
        state
            .tasks
            .values()
            .filter(|task| task.cluster == cluster.name && task.last_status == status)
            .count()
    };
    let services = state
        .services
        .iter()
        .filter(|s| s.cluster == cluster.name && s.status == "ACTIVE")
        .count();
    let mut out = json!({
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": tasks("RUNNING"),
        "pendingTasksCount": tasks("PENDING") + tasks("PROVISIONING"),
        "activeServicesCount": services,
        "statistics": [],
        "tags": if tags { cluster.tags.clone() } else { Vec::new() },
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    });
    if let Some(members) = out.as_object_mut() {
        members.extend(cluster.settings.clone());
    }
    out
}
