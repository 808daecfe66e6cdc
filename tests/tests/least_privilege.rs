//! `apply --only` in a pipeline whose role may do no more than deploy code.

use std::collections::BTreeSet;
use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::Sandbox;
use serde_json::{Value, json};

/// What a team that deploys with GitHub Actions gives its role.
const ALLOWED: [&str; 14] = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:DescribeRepositories",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
    "ecs:DescribeServices",
    "ecs:DescribeTaskDefinition",
    "ecs:RegisterTaskDefinition",
    "ecs:UpdateService",
    "iam:PassRole",
];

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
    restrict(&project);
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
    let allowed: BTreeSet<String> = ALLOWED.map(str::to_owned).into();
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

/// From now on the sandbox's user may do no more than that.
fn restrict(project: &Project) {
    let policy: Value = json!({
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Deploy", "Effect": "Allow", "Action": ALLOWED, "Resource": "*"}],
    });
    let url = format!("{}/_sandbox/aws/policy", project.sandbox.aws_url());
    ureq::post(&url)
        .header("authorization", project.sandbox.control())
        .send(policy.to_string())
        .expect("the sandbox takes a policy");
}
