//! Tasks as DescribeTasks shows them.

use serde_json::{Map, Value, json};

use super::state::{ContainerView, State, Task};
use crate::aws::json::seconds;

/// A task's member of an answer.
pub fn task_view(state: &State, task: &Task, tags: bool) -> Value {
    let mut out: Map<String, Value> = task.fixed.clone();
    let subnet = out.remove("subnet");
    let attached = match task.last_status {
        "PROVISIONING" => "PRECREATED",
        "STOPPED" => "DELETED",
        _ => "ATTACHED",
    };
    let attachment = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, task.arn.as_bytes());
    let details = subnet.map(|subnet| {
        json!([
            {"name": "subnetId", "value": subnet},
            {"name": "networkInterfaceId", "value": format!("eni-{}", &task.id[..17])},
            {"name": "privateIPv4Address", "value": task.private_ip},
        ])
    });
    let known = json!({
        "attachments": details.map_or_else(|| json!([]), |details| json!([
            {"id": attachment, "type": "ElasticNetworkInterface", "status": attached, "details": details},
        ])),
        "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
        "clusterArn": state.clusters.get(&task.cluster).map(|it| it.value["clusterArn"].clone()),
        "containers": task.containers.iter().map(|one| container(task, one, attachment)).collect::<Vec<_>>(),
        "desiredStatus": task.desired_status,
        "group": task.group,
        "healthStatus": task.health,
        "lastStatus": task.last_status,
        "overrides": overrides(task),
        "taskArn": task.arn,
        "taskDefinitionArn": task.definition,
        "version": task.version,
        "tags": if tags { task.tags.clone() } else { Vec::new() },
    });
    out.extend(known.as_object().cloned().unwrap_or_default());
    for (name, at) in &task.times {
        out.insert((*name).to_owned(), seconds(*at));
    }
    if matches!(
        task.last_status,
        "RUNNING" | "DEACTIVATING" | "STOPPING" | "DEPROVISIONING" | "STOPPED"
    ) && let Some(at) = task.times.get("pullStoppedAt")
    {
        out.insert("connectivity".into(), json!("CONNECTED"));
        out.insert("connectivityAt".into(), seconds(*at));
    }
    if let Some(stop) = &task.stopped {
        out.insert("stopCode".into(), json!(stop.code));
        out.insert("stoppedReason".into(), json!(stop.reason));
    }
    Value::Object(out)
}

/// The overrides with an entry for every container, as the vendor answers them.
fn overrides(task: &Task) -> Value {
    let mut out = task.overrides.clone();
    let given = out
        .get("containerOverrides")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let all: Vec<Value> = task
        .containers
        .iter()
        .map(|one| {
            let own = given
                .iter()
                .find(|container| container["name"] == one.name.as_str());
            own.cloned().unwrap_or_else(|| json!({"name": one.name}))
        })
        .collect();
    out["containerOverrides"] = json!(all);
    if out.get("inferenceAcceleratorOverrides").is_none() {
        out["inferenceAcceleratorOverrides"] = json!([]);
    }
    out
}

fn container(task: &Task, of: &ContainerView, attachment: uuid::Uuid) -> Value {
    let mut out = json!({
        "containerArn": of.arn,
        "taskArn": task.arn,
        "name": of.name,
        "image": of.image,
        "lastStatus": of.last_status,
        "networkInterfaces": [{"attachmentId": attachment, "privateIpv4Address": task.private_ip}],
        "networkBindings": [],
        "healthStatus": of.health,
        "cpu": of.cpu,
    });
    if of.last_status != "PENDING" {
        out["runtimeId"] = json!(of.runtime_id);
    }
    if let Some(agent) = task.agent_of(Some(&of.name)) {
        out["managedAgents"] = json!([agent.view()]);
    }
    if let Some(digest) = &of.digest {
        out["imageDigest"] = json!(digest);
    }
    if let Some(code) = of.exit_code {
        out["exitCode"] = json!(code);
    }
    if let Some(reason) = &of.reason {
        out["reason"] = json!(reason);
    }
    if let Some(memory) = &of.memory {
        out["memory"] = json!(memory);
    }
    out
}
