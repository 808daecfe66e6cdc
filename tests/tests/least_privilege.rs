//! `apply --only` in a pipeline whose role may do no more than deploy code.

use std::collections::BTreeSet;
use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::Sandbox;
use serde_json::Value;

#[test]
fn only_the_code_of_a_service_needs_only_the_actions_of_a_deployment_role() {
    let name = "only_the_code_of_a_service_needs_only_the_actions_of_a_deployment_role";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project.change(|manifest| manifest.migrates = false);
    // The database is there before: an administrator migrates it once.
    project.change(|manifest| manifest.gcp = None);
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::SUCCESS);
    project.use_version("2.0.0");
    let policy = policy(&project);
    restrict(&project, &policy);
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::DENIED);
    let mark = project.aws.mark();
    project
        .deployer
        .run(&["apply", "--only", "idp", "--yes"])
        .exits(exit::SUCCESS);
    assert_eq!(project.on_aws().version(), "2.0.0");
    let api = mark
        .calls()
        .into_iter()
        .filter(|call| call.contains(':') && !call.contains(' '));
    let used: BTreeSet<String> = api.collect();
    let actions = policy["Statement"].as_array().into_iter().flatten();
    let allowed: BTreeSet<String> = actions.flat_map(|it| texts(&it["Action"])).collect();
    let more: Vec<&String> = used
        .difference(&allowed)
        // Nobody can be denied to ask who he is.
        .filter(|call| *call != "sts:GetCallerIdentity")
        .collect();
    assert!(more.is_empty(), "the policy does not allow {more:?}");
    assert!(used.contains("ecs:UpdateService"), "{used:?}");
    let (aws, again) = (project.aws.mark(), ["apply", "--only", "idp", "--yes"]);
    project.deployer.run(&again).exits(exit::SUCCESS);
    assert_eq!(aws.writes(), Vec::<String>::new());
}

/// What the program itself says that such a pipeline needs, names left open.
fn policy(project: &Project) -> Value {
    let permissions = ["permissions", "--cloud", "aws", "--json"];
    let printed = project.deployer.run(&permissions).exits(exit::SUCCESS);
    let only = printed.json()["aws"]["only"].clone();
    let [policy] = only.as_array().map_or(&[][..], Vec::as_slice) else {
        panic!("one policy is enough: {only}");
    };
    policy.clone()
}

/// One text, or several.
fn texts(value: &Value) -> Vec<String> {
    let text = |it: &Value| it.as_str().map(str::to_owned);
    match value {
        Value::Array(all) => all.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

/// From now on the sandbox's user may do no more than that.
fn restrict(project: &Project, policy: &Value) {
    let url = format!("{}/_sandbox/aws/policy", project.sandbox.aws_url());
    ureq::post(&url)
        .header("authorization", project.sandbox.control())
        .send(policy.to_string())
        .expect("the sandbox takes a policy");
}
