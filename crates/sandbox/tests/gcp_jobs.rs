//! Cloud Run jobs: executions really run, and say how they ended.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::{Cloud, LOCATION, image};
use serde_json::{Value, json};

fn job(args: &[&str], retries: i64) -> Value {
    json!({ "template": { "template": { "maxRetries": retries, "containers": [{ "image": image("v1"), "args": args }] } } })
}

/// What was logged, once there are so many entries: some can be read later than others. Whatever
/// there is after five seconds.
async fn logged(cloud: &Cloud, body: Value, count: usize) -> Vec<Value> {
    let since = std::time::Instant::now();
    loop {
        let answer = cloud.ok("POST", "v2/entries:list", body.clone()).await;
        let entries = answer["entries"].as_array().cloned().unwrap_or_default();
        if entries.len() >= count || since.elapsed().as_secs() >= 5 {
            return entries;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn with_job(job: Value) -> Cloud {
    let cloud = Cloud::start().await.with_image().await;
    let done = cloud.run("POST", "jobs?jobId=migrate", job).await;
    assert_eq!(
        done["response"]["terminalCondition"]["state"], "CONDITION_SUCCEEDED",
        "{done}"
    );
    cloud
}

#[tokio::test]
async fn an_execution_that_succeeds_is_the_operations_response() {
    let cloud = with_job(job(&["exit", "0"], 0)).await;
    let done = cloud.run("POST", "jobs/migrate:run", json!({})).await;
    let execution = &done["response"];
    assert_eq!(
        execution["@type"],
        "type.googleapis.com/google.cloud.run.v2.Execution"
    );
    assert_eq!(
        (&execution["taskCount"], &execution["succeededCount"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(execution.get("runningCount"), None);
    let job = cloud.get(&format!("v2/{LOCATION}/jobs/migrate")).await;
    assert_eq!(
        job["latestCreatedExecution"]["completionStatus"],
        "EXECUTION_SUCCEEDED"
    );
    assert_eq!(job["executionCount"], 1);
}

#[tokio::test]
async fn a_failing_task_is_retried_and_its_exit_code_is_kept() {
    let cloud = with_job(job(&["exit", "3"], 1)).await;
    let done = cloud.run("POST", "jobs/migrate:run", json!({})).await;
    let message = done["error"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("-task0 failed with message: The container exited with an error."),
        "{message}"
    );
    let execution = done["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        (
            &done["metadata"]["failedCount"],
            &done["metadata"]["retriedCount"]
        ),
        (&json!(1), &json!(1))
    );
    let tasks = cloud.get(&format!("v2/{execution}/tasks")).await;
    let task = &tasks["tasks"][0];
    assert_eq!(
        (&task["lastAttemptResult"]["exitCode"], &task["retried"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        task["conditions"][0]["executionReason"],
        "NON_ZERO_EXIT_CODE"
    );
    let short = execution.rsplit('/').next().unwrap();
    let filter = format!(
        "labels.\"run.googleapis.com/execution_name\"=\"{short}\" AND textPayload=\"to stderr\""
    );
    let body = json!({ "resourceNames": ["projects/sandbox-project"], "filter": filter });
    let logged = logged(&cloud, body, 2).await;
    assert_eq!(logged.len(), 2, "both attempts were logged");
}

#[tokio::test]
async fn overrides_change_arguments_environment_and_tasks_of_one_execution() {
    let cloud = with_job(job(&["exit", "3"], 0)).await;
    let change = json!({ "args": ["look"], "env": [{ "name": "COLOR", "value": "red" }] });
    let overrides = json!({ "overrides": { "taskCount": 2, "containerOverrides": [change] } });
    let done = cloud.run("POST", "jobs/migrate:run", overrides).await;
    assert_eq!(done["response"]["succeededCount"], 2, "{done}");
    let body = json!({ "resourceNames": ["projects/sandbox-project"], "filter": "textPayload=~\"^env (COLOR|CLOUD_RUN)\"" });
    // Six variables of each of the two tasks.
    let logged = logged(&cloud, body, 12).await;
    let lines: Vec<&str> = logged
        .iter()
        .map(|e| e["textPayload"].as_str().unwrap())
        .collect();
    for line in [
        "env COLOR=red",
        "env CLOUD_RUN_JOB=migrate",
        "env CLOUD_RUN_TASK_INDEX=1",
        "env CLOUD_RUN_TASK_COUNT=2",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    let kept = cloud.get(&format!("v2/{LOCATION}/jobs/migrate")).await;
    assert_eq!(
        kept["template"]["template"]["containers"][0]["args"],
        json!(["exit", "3"])
    );
    let reserved = json!({ "overrides": { "containerOverrides": [{ "env": [{ "name": "CLOUD_RUN_JOB", "value": "x" }] }] } });
    assert_eq!(
        cloud
            .refused("POST", &format!("v2/{LOCATION}/jobs/migrate:run"), reserved)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_token_starts_one_execution_however_often_it_is_sent() {
    let mut with_token = job(&["exit", "0"], 0);
    with_token["runExecutionToken"] = "r1".into();
    let cloud = with_job(with_token.clone()).await;
    cloud.run("PATCH", "jobs/migrate", with_token.clone()).await;
    let executions = cloud
        .get(&format!("v2/{LOCATION}/jobs/migrate/executions"))
        .await;
    let names: Vec<&Value> = executions["executions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["name"])
        .collect();
    assert_eq!(
        names,
        [&json!(format!(
            "{LOCATION}/jobs/migrate/executions/migrate-r1"
        ))]
    );
    with_token["runExecutionToken"] = "r2".into();
    with_token["template"]["template"]["containers"][0]["args"] = json!(["exit", "3"]);
    let failed = cloud.run("PATCH", "jobs/migrate", with_token).await;
    assert!(
        failed["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("Task migrate-r2-task0 failed"),
        "{failed}"
    );
}

#[tokio::test]
async fn a_cancelled_execution_and_a_slow_task_are_stopped() {
    let cloud = with_job(job(&["sleep"], 0)).await;
    let begun = cloud
        .ok(
            "POST",
            &format!("v2/{LOCATION}/jobs/migrate:run"),
            json!({}),
        )
        .await;
    let name = begun["metadata"]["name"].as_str().unwrap();
    let path = name.strip_prefix(LOCATION).unwrap().trim_start_matches('/');
    cloud
        .run("POST", &format!("{path}:cancel"), json!({}))
        .await;
    let wait = format!("v2/{}:wait", begun["name"].as_str().unwrap());
    let ended = cloud.ok("POST", &wait, json!({ "timeout": "20s" })).await;
    assert_eq!(ended["metadata"]["cancelledCount"], 1, "{ended}");
    assert_eq!(
        ended["metadata"]["conditions"][0]["executionReason"],
        "CANCELLED"
    );
    let slow = cloud
        .run(
            "POST",
            "jobs/migrate:run",
            json!({ "overrides": { "timeout": "1s" } }),
        )
        .await;
    assert!(
        slow["error"]["message"]
            .as_str()
            .unwrap()
            .ends_with("The configured timeout was reached."),
        "{slow}"
    );
}

#[tokio::test]
async fn a_job_without_its_image_is_never_ready() {
    let cloud = Cloud::start().await.with_image().await;
    let mut body = job(&["exit", "0"], 0);
    body["template"]["template"]["containers"][0]["image"] = image("absent").into();
    let failed = cloud.run("POST", "jobs?jobId=migrate", body).await;
    assert_eq!(
        failed["error"]["message"],
        format!("Image '{}' not found.", image("absent"))
    );
    let now = cloud.get(&format!("v2/{LOCATION}/jobs/migrate")).await;
    assert_eq!(now["terminalCondition"]["reason"], "CONTAINER_MISSING");
    assert_eq!(
        cloud
            .refused(
                "POST",
                &format!("v2/{LOCATION}/jobs/migrate:run"),
                json!({})
            )
            .await
            .0,
        400
    );
}
