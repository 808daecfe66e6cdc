//! Cloud Run v1: a service replaced, as `gcloud run services update` does it. v2 judges what became
//! of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::{Cloud, LOCATION, image, service};
use serde_json::{Value, json};

const WEB: &str = "apis/serving.knative.dev/v1/namespaces/sandbox-project/services/web";
const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
const PINNED: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

/// A cloud with a service that uses most of what there is.
async fn with_service() -> Cloud {
    let cloud = Cloud::start().await.with_image().await;
    let secrets = "v1/projects/sandbox-project/secrets";
    let automatic = json!({ "replication": { "automatic": {} } });
    cloud
        .ok("POST", &format!("{secrets}?secretId=db"), automatic)
        .await;
    let value = json!({ "payload": { "data": "aHVzaA==" } });
    cloud
        .ok("POST", &format!("{secrets}/db:addVersion"), value)
        .await;
    cloud
        .let_read("db", "web@sandbox-project.iam.gserviceaccount.com")
        .await;
    let secret = json!({ "secretKeyRef": { "secret": "db", "version": "1" } });
    let body = json!({
        "invokerIamDisabled": true,
        "description": "the web",
        "labels": { "team": "a" },
        "annotations": { "example.com/owner": "me" },
        "customAudiences": ["https://example.com"],
        "scaling": { "minInstanceCount": 1 },
        "client": "deploy-tool",
        "template": {
            "labels": { "team": "a", "client.example.dev/nonce": "Abc_1" },
            "annotations": { "example.com/purpose": "test" },
            "serviceAccount": "web@sandbox-project.iam.gserviceaccount.com",
            "timeout": "45s",
            "maxInstanceRequestConcurrency": 7,
            "scaling": { "minInstanceCount": 1, "maxInstanceCount": 3, "cpuUtilization": 0.5 },
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
            "vpcAccess": { "egress": "PRIVATE_RANGES_ONLY", "networkInterfaces": [{ "network": "default", "tags": ["web"] }] },
            "sessionAffinity": true,
            "containers": [{
                "name": "app",
                "image": image("v1"),
                "args": ["listen", "0.0.0.0"],
                "env": [
                    { "name": "NAME", "value": "one" },
                    { "name": "EMPTY", "value": "" },
                    { "name": "SECRET", "valueSource": secret },
                ],
                "ports": [{ "name": "http1", "containerPort": 9090 }],
                "resources": { "limits": { "cpu": "1", "memory": "512Mi" }, "startupCpuBoost": true },
                "livenessProbe": { "periodSeconds": 9, "httpGet": { "path": "/up", "httpHeaders": [{ "name": "a", "value": "b" }] } },
            }],
        },
    });
    let done = cloud.run("POST", "services?serviceId=web", body).await;
    assert_eq!(done.get("error"), None, "{done}");
    cloud
}

async fn v2(cloud: &Cloud) -> Value {
    cloud.get(&format!("v2/{LOCATION}/services/web")).await
}

/// What of a service no change of it leaves as it was.
fn steady(mut service: Value) -> Value {
    for name in [
        "conditions",
        "etag",
        "generation",
        "latestCreatedRevision",
        "latestReadyRevision",
        "observedGeneration",
        "reconciling",
        "terminalCondition",
        "updateTime",
    ] {
        service.as_object_mut().unwrap().remove(name);
    }
    service
}

async fn revisions(cloud: &Cloud) -> usize {
    let path = format!("v2/{LOCATION}/services/web/revisions");
    cloud.get(&path).await["revisions"]
        .as_array()
        .unwrap()
        .len()
}

/// Replaces it and waits as `gcloud` does; what the operation says at its end.
async fn replace(cloud: &Cloud, service: Value) -> Value {
    let begun = cloud.ok("PUT", WEB, service).await;
    assert_ne!(
        begun["status"]["observedGeneration"],
        begun["metadata"]["generation"]
    );
    let operation = begun["metadata"]["annotations"]["run.googleapis.com/operation-id"]
        .as_str()
        .unwrap();
    let path = format!("v1/{LOCATION}/operations/{operation}:wait");
    let done = cloud.ok("POST", &path, json!({ "timeout": "30s" })).await;
    assert_eq!(done["done"], true, "{done}");
    done
}

#[tokio::test]
async fn what_is_not_changed_stays_and_a_new_revision_serves_what_is() {
    let cloud = with_service().await;
    let (before, mut asked) = (v2(&cloud).await, cloud.get(WEB).await);
    let env = &mut asked["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env[0], json!({ "name": "NAME", "value": "one" }));
    env[0]["value"] = "two".into();
    asked["spec"]["template"]["metadata"]["labels"]["client.knative.dev/nonce"] = "xyz".into();
    let done = replace(&cloud, asked).await;
    let replaced = &done["response"];
    assert_eq!(
        replaced["@type"],
        "type.googleapis.com/google.cloud.run.v1.Service"
    );
    assert_eq!(replaced["status"]["conditions"][0]["status"], "True");
    let after = v2(&cloud).await;
    assert_ne!(after["latestReadyRevision"], before["latestReadyRevision"]);
    assert_eq!(after["latestReadyRevision"], after["latestCreatedRevision"]);
    let ready = after["latestReadyRevision"].as_str().unwrap();
    assert!(
        ready.ends_with(
            replaced["status"]["latestReadyRevisionName"]
                .as_str()
                .unwrap()
        )
    );
    assert_eq!(cloud.ask(&after["uri"]).await, (200, "two".into()));
    let mut expected = steady(before);
    expected["template"]["containers"][0]["env"][0]["value"] = "two".into();
    expected["template"]["labels"]["client.knative.dev/nonce"] = "xyz".into();
    assert_eq!(steady(after), expected);
}

#[tokio::test]
async fn the_same_again_makes_no_revision_and_what_was_taken_out_is_gone() {
    let cloud = with_service().await;
    let before = v2(&cloud).await;
    replace(&cloud, cloud.get(WEB).await).await;
    assert_eq!(revisions(&cloud).await, 1);
    assert_eq!(steady(v2(&cloud).await), steady(before));

    let mut bare = cloud.get(WEB).await;
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    bare["metadata"]["annotations"] = json!({ "run.googleapis.com/ingress": "internal" });
    bare["spec"] = json!({ "template": { "spec": { "containers": [{
        "image": image("v1"), "args": ["listen", "0.0.0.0"], "env": [{ "name": "NAME", "value": "two" }],
    }] } } });
    let done = replace(&cloud, bare).await;
    assert_eq!(done.get("error"), None, "{done}");
    let after = v2(&cloud).await;
    assert_eq!(after["ingress"], "INGRESS_TRAFFIC_INTERNAL_ONLY");
    for name in [
        "labels",
        "annotations",
        "description",
        "customAudiences",
        "client",
        "invokerIamDisabled",
    ] {
        assert_eq!(after.get(name), None, "{name}");
    }
    let template = &after["template"];
    assert_eq!(
        template["scaling"],
        json!({ "maxInstanceCount": 100, "cpuUtilization": 0.5 })
    );
    assert_eq!(template["timeout"], "300s");
    assert_eq!(template["maxInstanceRequestConcurrency"], 80);
    for name in [
        "labels",
        "annotations",
        "executionEnvironment",
        "vpcAccess",
        "sessionAffinity",
    ] {
        assert_eq!(template.get(name), None, "{name}");
    }
    let container = &template["containers"][0];
    assert_eq!(
        container["env"],
        json!([{ "name": "NAME", "value": "two" }])
    );
    let resources = json!({ "cpuIdle": true, "limits": { "cpu": "1000m", "memory": "512Mi" } });
    assert_eq!(container["resources"], resources);
    assert_eq!(container.get("livenessProbe"), None);
    assert_eq!(container["ports"][0]["containerPort"], 8080);
}

#[tokio::test]
async fn pinned_traffic_stays_pinned_and_v1_moves_it() {
    let cloud = with_service().await;
    let first = v2(&cloud).await["latestReadyRevision"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = first.rsplit('/').next().unwrap();
    let pinned = json!([
        { "type": PINNED, "revision": first, "percent": 100 },
        { "type": LATEST, "tag": "next" },
    ]);
    let body = json!({ "traffic": pinned });
    cloud
        .run("PATCH", "services/web?updateMask=traffic", body)
        .await;
    let mut asked = cloud.get(WEB).await;
    asked["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "two".into();
    replace(&cloud, asked).await;
    let held = v2(&cloud).await;
    assert_eq!(held["traffic"], pinned);
    assert_eq!(cloud.ask(&held["uri"]).await.1, "one");
    let mut asked = cloud.get(WEB).await;
    asked["spec"]["traffic"] = json!([{ "latestRevision": true, "percent": 100 }]);
    replace(&cloud, asked).await;
    let moved = v2(&cloud).await;
    assert_eq!(
        moved["traffic"],
        json!([{ "type": LATEST, "percent": 100 }])
    );
    assert_eq!(cloud.ask(&moved["uri"]).await.1, "two");
    assert_eq!(revisions(&cloud).await, 2);
}

#[tokio::test]
async fn who_saw_another_version_is_refused_and_nothing_changes() {
    let cloud = with_service().await;
    let old = cloud.get(WEB).await;
    replace(&cloud, old.clone()).await;
    let version = |of: &Value| {
        of["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let now = cloud.get(WEB).await;
    assert_eq!(
        cloud.refused("PUT", WEB, old.clone()).await,
        (
            409,
            "ABORTED".to_owned(),
            format!(
                "Conflict for resource 'web': version '{}' was specified but current version is '{}'.",
                version(&old),
                version(&now)
            )
        )
    );
    let path = format!("{WEB}2");
    assert_eq!(cloud.refused("PUT", &path, now.clone()).await.0, 404);
    let mut tried = now.clone();
    tried["spec"]["template"]["spec"]["timeoutSeconds"] = 60.into();
    let answer = cloud
        .ok("PUT", &format!("{WEB}?dryRun=all"), tried.clone())
        .await;
    assert_eq!(answer["spec"]["template"]["spec"]["timeoutSeconds"], 60);
    assert_eq!(cloud.get(WEB).await, now);
    // Without a version the last one wins.
    tried["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    replace(&cloud, tried).await;
    assert_eq!(v2(&cloud).await["template"]["timeout"], "60s");
}

#[tokio::test]
async fn a_revision_that_fails_ends_the_operation_and_is_seen() {
    let cloud = with_service().await;
    let mut broken = cloud.get(WEB).await;
    broken["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["exit", "3"]);
    let done = replace(&cloud, broken).await;
    let message = done["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("is not ready and cannot serve traffic."),
        "{message}"
    );
    let now = cloud.get(WEB).await;
    assert_eq!(
        now["status"]["observedGeneration"],
        now["metadata"]["generation"]
    );
    assert_eq!(now["status"]["conditions"][0]["status"], "False");
    assert_eq!(cloud.ask(&now["status"]["url"]).await, (200, "one".into()));
}

#[tokio::test]
async fn what_v1_says_and_v2_cannot_is_refused() {
    let cloud = with_service().await;
    let known = cloud.get(WEB).await;
    let container = "/spec/template/spec/containers/0";
    let env = |more: Value| json!([more]);
    for (path, name, value, status, words) in [
        (
            "",
            "kind",
            json!("Configuration"),
            400,
            "kind: must be 'Service'",
        ),
        (
            "/metadata",
            "name",
            json!("api"),
            400,
            "metadata.name: 'api' is not",
        ),
        (
            "/metadata",
            "namespace",
            json!("another"),
            400,
            "metadata.namespace: 'another' is not",
        ),
        (
            "/metadata",
            "finalizers",
            json!(["a"]),
            400,
            "metadata.finalizers should be empty",
        ),
        (
            "/metadata/labels",
            "run.googleapis.com/x",
            json!("a"),
            400,
            "metadata.labels: Label 'run.googleapis.com/x'",
        ),
        (
            "/metadata/annotations",
            "run.googleapis.com/secrets",
            json!("a"),
            400,
            "Supported kinds are: Revision, Execution",
        ),
        (
            "/metadata/annotations",
            "run.googleapis.com/mesh",
            json!("a"),
            400,
            "'run.googleapis.com/mesh' is not supported on resources of kind 'Service'.",
        ),
        (
            "/spec/template/metadata/annotations",
            "run.googleapis.com/ingress",
            json!("all"),
            400,
            "Supported kinds are: Service, Instance",
        ),
        (
            "/spec/template/metadata/annotations",
            "autoscaling.knative.dev/maxScale",
            json!("x"),
            400,
            "spec.template.metadata.annotations: Invalid value 'x'",
        ),
        (
            "/spec/template/metadata/annotations",
            "run.googleapis.com/cloudsql-instances",
            json!("a"),
            501,
            "does not offer the annotation",
        ),
        (
            "/spec/template/metadata",
            "generateName",
            json!("a"),
            400,
            "spec.template.metadata.generateName should be empty",
        ),
        (
            "/spec/template/metadata",
            "name",
            json!("another"),
            400,
            "spec.template.metadata.name: Revision name must be prefixed",
        ),
        (
            "/spec/template/spec",
            "enableServiceLinks",
            json!(true),
            400,
            "spec.template.spec.enableServiceLinks should be empty",
        ),
        (
            "/spec/template/spec",
            "volumes",
            json!([{ "name": "a" }]),
            501,
            "does not offer volumes",
        ),
        (
            "/spec/template/spec",
            "nodeSelector",
            json!({ "disk": "fast" }),
            400,
            "Node selector 'disk'",
        ),
        (
            "/spec/template/spec",
            "containers",
            json!([]),
            400,
            "spec.template.spec.containers: must be set",
        ),
        (
            "/spec/template/spec",
            "timeoutSeconds",
            json!(4000),
            400,
            "spec.template.spec.timeout: must be greater than 0 and at most 3600",
        ),
        (
            container,
            "envFrom",
            json!([{ "prefix": "a" }]),
            400,
            "spec.template.spec.containers[0].envFrom should be empty",
        ),
        (
            container,
            "imagePullPolicy",
            json!("Always"),
            400,
            "containers[0].imagePullPolicy should be empty",
        ),
        (
            container,
            "env",
            env(json!({ "name": "PORT", "value": "1" })),
            400,
            "spec.template.spec.containers[0].env: The following reserved env names",
        ),
        (
            container,
            "env",
            env(
                json!({ "name": "A", "value": "1", "valueFrom": { "secretKeyRef": { "name": "a", "key": "1" } } }),
            ),
            400,
            "env[0].valueFrom should be empty",
        ),
        (
            container,
            "env",
            env(
                json!({ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "a", "key": "1" } } }),
            ),
            400,
            "env[0].valueFrom.configMapKeyRef should be empty",
        ),
        (
            container,
            "env",
            env(json!({ "name": "A", "valueFrom": { "secretKeyRef": { "name": "a" } } })),
            400,
            "valueFrom.secretKeyRef.key: must be set",
        ),
        (
            container,
            "ports",
            json!([{ "containerPort": 1, "protocol": "UDP" }]),
            400,
            "ports[0].protocol: must be TCP",
        ),
        (
            container,
            "livenessProbe",
            json!({ "exec": { "command": ["a"] } }),
            400,
            "livenessProbe.exec should be empty",
        ),
        (
            container,
            "livenessProbe",
            json!({ "httpGet": { "host": "a" } }),
            400,
            "livenessProbe.httpGet.host should be empty",
        ),
        (
            container,
            "livenessProbe",
            json!({ "httpGet": {}, "successThreshold": 2 }),
            400,
            "livenessProbe.successThreshold: must be 1",
        ),
        (
            "/spec",
            "traffic",
            json!([{ "percent": 90 }]),
            400,
            "spec.traffic: the percentages must sum to 100",
        ),
        (
            "/spec",
            "traffic",
            json!([{ "percent": 100, "latestRevision": true, "revisionName": "web-1" }]),
            400,
            "spec.traffic[0].latestRevision: must be false",
        ),
        (
            "/spec",
            "traffic",
            json!([{ "percent": 100, "configurationName": "web" }]),
            400,
            "spec.traffic[0].configurationName should be empty",
        ),
        (
            "/spec",
            "unknown",
            json!("a"),
            400,
            "Unknown name \"unknown\" at 'service.spec'",
        ),
    ] {
        let mut asked = known.clone();
        asked.pointer_mut(path).unwrap()[name] = value;
        let (got, answer) = cloud.call("PUT", WEB, asked).await;
        assert_eq!(got, status, "{path} {name}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{path} {name}: {message}");
    }
    assert_eq!(cloud.get(WEB).await, known);
    let bad = format!("{WEB}?dryRun=some");
    assert_eq!(cloud.refused("PUT", &bad, known).await.0, 400);
}

#[tokio::test]
async fn calls_are_counted_by_name_on_each_cloud() {
    let cloud = Cloud::start().await.with_image().await;
    let count = |name: &str| {
        let status = cloud.sandbox.status();
        status["calls"]["gcp"][name].as_u64().unwrap_or(0)
    };
    let name = "run.namespaces.services.replaceService";
    assert_eq!(count(name), 0);
    for _ in 0..2 {
        cloud.refused("PUT", WEB, service("one")).await;
    }
    assert_eq!(count(name), 2, "refused calls are calls");
    assert_eq!(count("registry PUT manifest"), 1);
}
