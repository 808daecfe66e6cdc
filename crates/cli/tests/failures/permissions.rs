//! The permissions that `docs/permissions.md` lists are in force, and are those that calls take:
//! none is missing, and none is listed that no call takes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use deployer::Exit;
use deployer_aws::permissions as aws;
use deployer_core::permissions::Feature;
use deployer_gcp::permissions as gcp;
use deployer_sandbox::call::{ApiCall, Cloud};
use deployer_sandbox::runner::{Behaviour, Purpose, Started};
use serde_json::{Value, json};

use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, run, says, unhealthy};
use crate::{app_runner, domains};

crate::tests! {
    a_manifest_needs_the_permissions_of_what_it_has_and_a_pipeline_less => of_parts,
    who_only_runs_commands_needs_the_permissions_of_that_alone => of_commands,
    the_permissions_of_the_page_are_those_that_calls_take_on_aws => on_aws,
    the_permissions_of_the_page_are_those_that_calls_take_on_google => on_google,
}

const OVERLAY: &str = "deployer.test.toml";
/// Longer than anything here takes.
const SETTLED: Duration = Duration::from_secs(3600);
const LIFE: Wanted = Wanted {
    data: true,
    keys: true,
    old_secret: true,
    ..Wanted::FIRST
};
/// What a manifest with secrets and a migration needs.
const PLAIN: [Feature; 3] = [Feature::Always, Feature::Secrets, Feature::Migrations];

/// Actions that no call here takes, a whole service's where only its name stands, and why.
const NOT_HERE_ON_AWS: &[(&str, &str)] = &[
    (
        "application-autoscaling:DeleteScalingPolicy",
        "a policy on requests alone goes by itself, and there is no load balancer",
    ),
    ("ecr:GetDownloadUrlForLayer", "no layer is read back"),
    (
        "ecs:ExecuteCommand",
        "the manifest has Google Cloud too, where no command runs in a container",
    ),
    ("elasticache:ModifyCacheSubnetGroup", "the subnets stay"),
    (
        "elasticache:ModifyReplicationGroup",
        "the cache stays as it was made",
    ),
    (
        "elasticloadbalancing:",
        "moto has the load balancers, and is not in this process",
    ),
    (
        "rds:DescribeDBEngineVersions",
        "PostgreSQL stays at its major version",
    ),
    ("rds:ModifyDBSubnetGroup", "the subnets stay"),
    ("rds:RebootDBInstance", "no parameter waits for a restart"),
    (
        "route53:GetHostedZone",
        "zones are found by themselves here",
    ),
    (
        "route53:ListHostedZonesByName",
        "zones are found by themselves here",
    ),
    ("s3:", "the ledger is in memory here"),
    (
        "secretsmanager:ListSecretVersionIds",
        "no secret has so many versions that old ones lose their labels",
    ),
    (
        "ssmmessages:OpenDataChannel",
        "no command runs in a container, as above",
    ),
];

/// The same on Google Cloud.
const NOT_HERE_ON_GOOGLE: &[(&str, &str)] = &[
    ("dns.", "the manifest has no record"),
    ("redis.instances.upgrade", "the cache stays at its version"),
    ("redis.operations.get", "the cache stays as it was made"),
    (
        "resourcemanager.projects.getIamPolicy",
        "the caller may let accounts read secrets",
    ),
    (
        "run.executions.cancel",
        "no migration takes longer than it may",
    ),
    (
        "run.jobs.runWithOverrides",
        "calls are known by their methods, and overrides are no method of their own",
    ),
    (
        "run.revisions.list",
        "no rollback looks for a revision by what it is called",
    ),
    (
        "run.services.setIamPolicy",
        "a service is opened by switching its check off, for which Google wants it and the sandbox does not",
    ),
    ("serviceusage.operations.get", "every API is on"),
    ("serviceusage.services.enable", "every API is on"),
    (
        "serviceusage.services.use",
        "no method takes it: it is asked for where calls count against another project",
    ),
    ("storage.", "the ledger is in memory here"),
];

/// One cloud and the names of the calls that the program made on it.
struct Watched<'a> {
    stage: &'a Stage,
    cloud: &'static str,
    seen: RefCell<BTreeSet<String>>,
}

impl<'a> Watched<'a> {
    fn new(stage: &'a Stage, cloud: &'static str) -> Self {
        Self {
            stage,
            cloud,
            seen: RefCell::default(),
        }
    }

    /// Runs a command with the whole of the permissions in force, and notes its calls.
    async fn run(&self, words: &[&str], exit: Exit) -> String {
        self.stage.calls.allow_only(is_permitted);
        let said = run(self.stage, words, self.cloud, exit).await;
        // Key pairs are looked for on the other cloud too.
        let of_aws = |name: &str| name.contains(':');
        let mut names = self.stage.calls.names();
        names.retain(|it| it.starts_with("registry ") || of_aws(it) == (self.cloud == "aws"));
        self.seen.borrow_mut().extend(names);
        self.stage.time.pass(SETTLED).await;
        said
    }
}

/// On AWS the sandbox itself has the policy.
fn is_permitted(call: &ApiCall) -> bool {
    permits_on_google(call, |permission| {
        let mut all = gcp::NEEDS.iter().flat_map(gcp::Need::permissions);
        all.any(|it| it == permission)
    })
}

fn is_permitted_to_a_plain_manifest(call: &ApiCall) -> bool {
    permits_on_google(call, |permission| {
        let needs = gcp::NEEDS.iter();
        let mut all = needs
            .filter(|need| PLAIN.contains(&need.access.feature))
            .flat_map(gcp::Need::permissions);
        all.any(|it| it == permission)
    })
}

fn is_permitted_to_commands(call: &ApiCall) -> bool {
    permits_on_google(call, |permission| {
        let needs = gcp::NEEDS.iter();
        let needs =
            needs.filter(|it| it.access.feature == Feature::OneOffs || it.kind == "project");
        let mut all = needs.flat_map(gcp::Need::permissions);
        all.any(|it| it == permission)
    })
}

fn is_permitted_to_a_pipeline(call: &ApiCall) -> bool {
    permits_on_google(call, |permission| {
        gcp::ONLY.contains(&permission) || permission == "iam.serviceAccounts.actAs"
    })
}

fn permits_on_google(call: &ApiCall, has: impl Fn(&str) -> bool) -> bool {
    call.cloud == Cloud::Aws
        || gcp::permissions_of(&call.name)
            .is_some_and(|needed| needed.iter().all(|permission| has(permission)))
}

/// From now on the sandbox's AWS user may do no more than these policies say.
async fn hold_to(stage: &Stage, policies: &[Value]) {
    let statements = policies.iter().filter_map(|it| it["Statement"].as_array());
    let statements: Vec<&Value> = statements.flatten().collect();
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let url = format!("{}/_sandbox/aws/policy", stage.sandbox.aws_url);
    let token = &stage.sandbox.running().control_token;
    let call = stage.http.post(url).bearer_auth(token);
    let answer = call.body(policy.to_string()).send().await;
    let answer = answer.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// What varies beside [`Wanted`].
fn overlay(stage: &Stage, tag: &str, replicas: &str, storage: &str) {
    let text = format!(
        "[tags]\n{tag} = \"one\"\n\n[services.idp]\nreplicas = {replicas}\n\n\
         [services.idp.env]\nDATABASE_CA = {{ secret = \"main-ca\" }}\n\n\
         [databases.main]\nsslmode = \"verify-full\"\nstorage = \"{storage}\"\n",
    );
    stage.file(OVERLAY, &text);
}

/// A whole life, from nothing to nothing and once more.
async fn live(watched: &Watched<'_>) {
    let stage = watched.stage;
    stage.want(&LIFE);
    overlay(stage, "team", "{ min = 1, max = 4 }", "20GiB");
    watched.run(APPLY, Exit::Success).await;
    watched.run(APPLY, Exit::Success).await;
    // Everything that can be changed is.
    stage.want(&Wanted {
        version: 2,
        greeting: "good day",
        mail_password: "mail two",
        internal: true,
        old_secret: false,
        ..LIFE
    });
    overlay(stage, "cost", "{ min = 2, max = 3 }", "30GiB");
    watched.run(APPLY, Exit::Success).await;
    let value = stage.file("value", "a-password-of-another-kind-1");
    for secret in ["cookie-key", "main-password"] {
        let set = ["secrets", "set", secret, "--file", &value];
        watched.run(&set, Exit::Success).await;
    }
    watched.run(APPLY, Exit::Success).await;
    for words in [
        &["logs"][..],
        &["logs", "--release", "r1"],
        &["logs", "--migration"],
        &["status"],
        &["releases"],
        &["secrets", "list"],
        &["plan"],
        &["run", "idp", "--", "seed"],
    ] {
        watched.run(words, Exit::Success).await;
    }
    watched
        .run(&["rollback", "--yes", "--no-verify"], Exit::Success)
        .await;
    fail(watched).await;
    stage.want(&Wanted {
        greeting: "good night",
        ..LIFE
    });
    overlay(stage, "cost", "2", "30GiB");
    watched.run(APPLY, Exit::Success).await;
    // What was deleted may linger under its name.
    watched.run(DESTROY, Exit::Success).await;
    watched.run(APPLY, Exit::Success).await;
    watched.run(DESTROY, Exit::Success).await;
}

/// The same of a service that App Runner runs: everything of it is made, changed, and fails once.
async fn live_on_app_runner(watched: &Watched<'_>) {
    let stage = watched.stage;
    let overlay = format!("deployer.{}.toml", stage.environment());
    let tagged = |tag: &str| {
        let tags = format!("[tags]\n{tag} = \"one\"\n");
        stage.file(&overlay, &format!("{tags}\n{}", domains::ONE));
    };
    // Another hand may do more.
    let all = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
    let all = [json!({ "Statement": [all] })];
    hold_to(stage, &all).await;
    domains::want_one(stage).await;
    hold_to(stage, &aws::policies(&Feature::ALL)).await;
    app_runner::want(stage, &Wanted::FIRST);
    tagged("team");
    watched.run(APPLY, Exit::Success).await;
    watched.run(APPLY, Exit::Success).await;
    hold_to(stage, &all).await;
    app_runner::pause(stage).await;
    hold_to(stage, &aws::policies(&Feature::ALL)).await;
    app_runner::want(
        stage,
        &Wanted {
            replicas: 2,
            ..SECOND
        },
    );
    tagged("cost");
    stage.edit(|manifest| manifest.replace("e5f60002", "e5f60009"));
    watched.run(APPLY, Exit::Success).await;
    let seed = ["run", "idp", "--", "seed"];
    let release = ["logs", "--release", "r1"];
    for words in [
        &["logs"][..],
        &release,
        &["status"],
        &["releases"],
        &["plan"],
        &seed,
        &["apply", "--redeploy", "idp", "--yes", "--no-verify"],
    ] {
        watched.run(words, Exit::Success).await;
    }
    let back = ["rollback", "--yes", "--no-verify"];
    watched.run(&back, Exit::Success).await;
    // What was paused is resumed for what fails, and paused again.
    hold_to(stage, &all).await;
    app_runner::pause(stage).await;
    hold_to(stage, &aws::policies(&Feature::ALL)).await;
    let second = stage.digest(2);
    stage.behave(move |started| match started.digest == second {
        true => unhealthy(started),
        false => Behaviour::usual(started.purpose),
    });
    let held = ["apply", "--yes", "--no-verify", "--release-hold"];
    let undone = [&held[..], &["--on-failure", "undo"]].concat();
    watched.run(&undone, Exit::RolledBack).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    watched.run(DESTROY, Exit::Success).await;
}

/// A migration takes too long, and a version is never healthy.
async fn fail(watched: &Watched<'_>) {
    let stage = watched.stage;
    stage.write_image(3, "amd64");
    let third = Wanted { version: 3, ..LIFE };
    stage.want(&third);
    stage.behave(|started: &Started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => Duration::from_secs(7200),
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
    watched.run(APPLY, Exit::DeploymentFailed).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    let again = ["migrate", "--retry", "--yes"];
    watched.run(&again, Exit::Success).await;
    stage.behave(unhealthy);
    let failed = match watched.cloud {
        "aws" => Exit::RolledBack,
        _ => Exit::DeploymentFailed,
    };
    watched.run(APPLY, failed).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
}

/// Every action that calls took is listed, and every one that is listed was taken, or is known not
/// to be here.
fn assert_covered(
    listed: &BTreeSet<&'static str>,
    taken: &BTreeSet<&'static str>,
    not_here: &[(&str, &str)],
) {
    let missing: Vec<_> = taken.difference(listed).collect();
    let is = |it: &str, of: &str| it == of || of.ends_with([':', '.']) && it.starts_with(of);
    let elsewhere = |it: &str| not_here.iter().any(|(of, _)| is(it, of));
    let never = listed.difference(taken).filter(|it| !elsewhere(it));
    let never: Vec<_> = never.collect();
    let here: Vec<_> = taken.iter().filter(|it| elsewhere(it)).collect();
    assert!(
        missing.is_empty() && never.is_empty() && here.is_empty(),
        "not in the table: {missing:?}; no call takes {never:?}; taken although it is said that they are not: {here:?}"
    );
}

/// A whole life on AWS, with the page's policies in force.
async fn on_aws(stage: &Stage) {
    hold_to(stage, &aws::policies(&Feature::ALL)).await;
    let watched = Watched::new(stage, "aws");
    live(&watched).await;
    let beside = stage.beside("runner");
    let runner = Watched::new(&beside, "aws");
    live_on_app_runner(&runner).await;
    let mut seen = watched.seen.into_inner();
    seen.extend(runner.seen.into_inner());
    let unknown: Vec<_> = seen
        .iter()
        .filter(|call| aws::actions_of(call).is_none())
        .collect();
    assert!(unknown.is_empty(), "calls without an action: {unknown:?}");
    let taken = seen.iter().filter_map(|call| aws::actions_of(call));
    let taken = taken.flatten().collect();
    let listed = aws::NEEDS.iter().flat_map(aws::Need::actions);
    let listed = listed.flatten().collect();
    assert_covered(&listed, &taken, NOT_HERE_ON_AWS);
    beside.clear().await;
}

/// A whole life on Google Cloud, with the page's permissions in force.
async fn on_google(stage: &Stage) {
    let watched = Watched::new(stage, "gcp");
    live(&watched).await;
    let seen = watched.seen.into_inner();
    let unknown: Vec<_> = seen
        .iter()
        .filter(|method| gcp::permissions_of(method).is_none())
        .collect();
    assert!(
        unknown.is_empty(),
        "methods without a permission: {unknown:?}"
    );
    let taken = seen.iter().filter_map(|method| gcp::permissions_of(method));
    let taken = taken.flatten().copied().collect();
    let needs = gcp::NEEDS.iter();
    let listed = needs.flat_map(gcp::Need::permissions);
    let listed = listed.collect();
    assert_covered(&listed, &taken, NOT_HERE_ON_GOOGLE);
}

/// What a manifest does not have it needs no permission for; and a pipeline that deploys code alone
/// needs less still.
async fn of_parts(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    hold_to(stage, &aws::policies(&PLAIN)).await;
    for cloud in ["aws", "gcp"] {
        stage.calls.allow_only(is_permitted_to_a_plain_manifest);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
    // The manifest has a migration, which a pipeline does not run.
    stage.want(&SECOND);
    stage.want_no_migration();
    hold_to(stage, &aws::only()).await;
    for cloud in ["aws", "gcp"] {
        stage.calls.allow_only(is_permitted_to_a_pipeline);
        let said = run(stage, APPLY, cloud, Exit::Denied).await;
        says(&said, &["deployer permissions"]);
        stage.calls.allow_only(is_permitted_to_a_pipeline);
        let only = ["apply", "--only", "idp", "--yes", "--no-verify"];
        run(stage, &only, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 2).await;
        stage.calls.allow_only(is_permitted_to_a_pipeline);
        let anew = [&only[..], &["--redeploy", "idp"]].concat();
        run(stage, &anew, cloud, Exit::Success).await;
    }
    untagged(stage).await;
}

/// A pipeline with a policy of before, which may not tag, deploys all the same; the next whole
/// apply marks what it registered.
async fn untagged(stage: &Stage) {
    let mut policies = aws::only();
    for policy in &mut policies {
        for statement in policy["Statement"].as_array_mut().expect("statements") {
            if let Some(actions) = statement["Action"].as_array_mut() {
                actions.retain(|action| action != "ecs:TagResource");
            } else if statement["Action"] == "ecs:TagResource" {
                statement["Action"] = json!("ecs:DescribeServices");
            }
        }
    }
    hold_to(stage, &policies).await;
    stage.write_image(3, "amd64");
    stage.want(&Wanted {
        version: 3,
        ..Wanted::FIRST
    });
    stage.want_no_migration();
    let only = ["apply", "--only", "idp", "--yes", "--no-verify"];
    run(stage, &only, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 3).await;
    hold_to(stage, &aws::policies(&Feature::ALL)).await;
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(&said, &["tags.deployer"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    let plan = ["plan", "--detailed-exitcode"];
    run(stage, &plan, "aws", Exit::Success).await;
}

/// Beside the ledger's, which is in memory here, and the project's.
async fn of_commands(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    let beside = stage.beside("runner");
    app_runner::want_plain(&beside, &Wanted::FIRST);
    run(&beside, APPLY, "aws", Exit::Success).await;
    hold_to(stage, &aws::policies(&[Feature::OneOffs])).await;
    let seed = ["run", "idp", "--", "seed"];
    for (stage, cloud) in [(stage, "aws"), (stage, "gcp"), (&beside, "aws")] {
        stage.calls.allow_only(is_permitted_to_commands);
        run(stage, &seed, cloud, Exit::Success).await;
    }
    beside.clear().await;
}
