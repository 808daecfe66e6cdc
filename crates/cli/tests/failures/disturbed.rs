//! Calls that go wrong: nothing is made twice, and success is said of nothing but what was asked
//! for.

use std::collections::BTreeSet;

use deployer::Exit;
use deployer_sandbox::runner::Purpose;
use regex_lite::Regex;
use reqwest::Method;
use serde_json::Value;

use crate::in_process::stage::{Ended, LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, SECOND, first_serves, picture, run, says};

crate::tests! {
    a_quota_that_is_used_up_is_told_and_not_asked_for_ever => quota,
    answers_from_before_a_change_are_not_taken_for_what_is => stale,
    calls_that_go_wrong_in_every_way_end_in_the_same_place => in_every_way,
}

const NAME: &str = "swept-test-idp";
/// As many runs as a person would try before the clouds are well again.
const TRIES: u64 = 4;
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Everything that a call can meet, and how often. Who gives out tokens is another service.
fn everything(seed: u64) -> String {
    let kinds = [
        ("throttled", 0.04),
        ("internal", 0.01),
        ("unavailable", 0.01),
        ("reset_before", 0.01),
        ("reset_after", 0.01),
        ("delay", 0.05),
        ("stale", 0.15),
    ];
    let calls = [("aws", "*"), ("gcp", "*.projects.*"), ("gcp", "registry *")];
    let mut rules = format!("seed = {seed}\n");
    for (cloud, call) in calls {
        for (what, probability) in kinds {
            let delay = if what == "delay" {
                "delay = \"3s\"\n"
            } else {
                ""
            };
            rules.push_str(&format!(
                "[[fault]]\ncloud = \"{cloud}\"\ncall = \"{call}\"\nwhat = \"{what}\"\n\
                 probability = {probability}\n{delay}"
            ));
        }
    }
    rules
}

async fn in_every_way(stage: &Stage) {
    let updated = Wanted {
        greeting: "good evening",
        mail_password: "mail two",
        ..SECOND
    };
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&updated);
    run(stage, APPLY, "all", Exit::Success).await;
    let undisturbed = without_repeats(&picture::take(stage).await);
    for seed in SEEDS {
        let disturbed = Stage::set(&stage.time).await;
        for (number, wanted) in [Wanted::FIRST, updated].iter().enumerate() {
            let rules = |attempt| everything(seed * 100 + number as u64 * 10 + attempt);
            arrives(&disturbed, wanted, rules).await;
        }
        let place = without_repeats(&picture::take(&disturbed).await);
        assert!(
            place == undisturbed,
            "seed {seed}: {}",
            differences(&undisturbed, &place)
        );
        disturbed.clear().await;
    }
}

/// Without what tells that an equal revision or version was made once more: neither ECS nor Secret
/// Manager takes a token for one, so that the reads before it decide, and these may lag.
fn without_repeats(picture: &str) -> String {
    let repeats = [
        ("(task-definition/swept-test-idp):[0-9]+", "$1:N"),
        (r"(\.version = |/versions/)[0-9]+", "${1}N"),
        (r"(secretmanager .* versions)\[[0-9]+\]", "$1[N]"),
        ("release number [0-9]+", "release number N"),
        ("(task-definition/.*: value.revision) = [0-9]+", "$1"),
        // An equal value that is put once more is the one before itself.
        (r"(versions\[AWSPREVIOUS\]\.payload\.value) = .*", "$1"),
        // Which version a task definition pins: putting an equal value once more moves the stages.
        (r"(valueFrom = .*:::)[A-Za-z+-]*", "$1"),
    ];
    let mut picture = picture.to_owned();
    for (pattern, masked) in repeats {
        let pattern = Regex::new(pattern).expect("a pattern");
        picture = pattern.replace_all(&picture, masked).into_owned();
    }
    let lines: BTreeSet<&str> = picture.lines().collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// An API may answer what was true before its last change. Each call that reads from one that an
/// update changes does so again and again, in an update of its own.
async fn stale(stage: &Stage) {
    first_serves(stage).await;
    let mut version = 2;
    let mut next = || {
        version += 1;
        stage.write_image(version, "amd64");
        Wanted {
            version,
            greeting: format!("greeting {version}").leak(),
            mail_password: format!("mail {version}").leak(),
            ..Wanted::FIRST
        }
    };
    stage.want(&next());
    stage.calls.arm(None);
    run(stage, APPLY, "all", Exit::Success).await;
    let writes = stage.calls.writes();
    let changed: BTreeSet<&str> = writes.iter().map(|name| api(name)).collect();
    let names: BTreeSet<String> = stage.calls.names().into_iter().collect();
    let reads = names.iter().filter(|name| {
        let changes = changed.contains(api(name)) && !name.starts_with("registry ");
        changes && !writes.contains(name)
    });
    let reads: Vec<&String> = reads.collect();
    assert!(reads.len() > 10, "{reads:?}");
    for call in reads {
        let wanted = next();
        // Of Secret Manager only `latest` lags, which is asked for first: a version is there by its
        // number at once.
        let times = match call.ends_with("versions.access") {
            true => 1,
            false => 8,
        };
        let rule = format!("[[fault]]\ncall = \"{call}\"\nwhat = \"stale\"\ntimes = {times}\n");
        let rules = |_| rule.clone();
        arrives(stage, &wanted, rules).await;
    }
}

/// `ecs` of `ecs:DescribeServices`.
fn api(name: &str) -> &str {
    let end = name.find([':', '.', ' ']);
    &name[..end.unwrap_or(name.len())]
}

/// Applies until it succeeds, the last time without faults. Each success is true, each failure is
/// told.
async fn arrives(stage: &Stage, wanted: &Wanted, rules: impl Fn(u64) -> String) {
    stage.want(wanted);
    for attempt in 0..TRIES {
        stage.calls.arm(None);
        stage.disturb(&rules(attempt)).await;
        let (ended, said) = stage.run(APPLY, "all").await;
        stage.disturb("").await;
        match ended {
            Ended::Exit(Exit::Success) => return is_true(stage, wanted, &said).await,
            Ended::Exit(Exit::Failure) => {
                let told = said.contains("error: ") || said.contains(" failed on ");
                assert!(told, "nothing is said of an error:\n{said}");
            }
            ended => panic!("it ended with {ended:?}:\n{said}"),
        }
    }
    let said = run(stage, APPLY, "all", Exit::Success).await;
    is_true(stage, wanted, &said).await;
}

/// What was asked for serves on both clouds, by their own words, and each migration of it ran once.
async fn is_true(stage: &Stage, wanted: &Wanted, said: &str) {
    let greeting = wanted.greeting;
    let digest = stage.digest(wanted.version);
    for (cloud, (image, found)) in [
        ("aws", serves_on_aws(stage).await),
        ("gcp", serves_on_google(stage).await),
    ] {
        assert!(image.ends_with(&digest), "{cloud} serves {image}:\n{said}");
        assert_eq!(found, greeting, "{cloud}:\n{said}");
    }
    let mut started = stage.containers.started();
    started.retain(|it| it.digest == digest);
    for container in &started {
        let given = &container.env["MAIL_PASSWORD"];
        assert_eq!(given, wanted.mail_password, "{container:?}\n{said}");
    }
    started.retain(|it| it.purpose == Purpose::Finish);
    assert_eq!(started.len(), 2, "{started:#?}\n{said}");
    // The ledger says so too.
    run(stage, &["status"], "all", Exit::Success).await;
}

/// The image and the greeting of what serves alone.
async fn serves_on_aws(stage: &Stage) -> (String, String) {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let seen = ecs.describe_services().services(NAME).send().await;
    let service = seen.expect("an answer").services()[0].clone();
    assert_eq!(service.deployments().len(), 1, "{service:#?}");
    assert_eq!(service.running_count(), service.desired_count());
    let serves = service.task_definition().expect("a definition");
    let seen = ecs.describe_task_definition().task_definition(serves);
    let definition = seen.send().await.expect("an answer").task_definition;
    let container = definition.expect("a definition").container_definitions()[0].clone();
    let mut environment = container.environment().iter();
    let greeting = environment.find(|pair| pair.name() == Some("GREETING"));
    let greeting = greeting.and_then(|pair| pair.value()).expect("a value");
    let image = container.image().expect("an image");
    (image.to_owned(), greeting.to_owned())
}

async fn serves_on_google(stage: &Stage) -> (String, String) {
    let path = format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{NAME}");
    let service = stage.google(Method::GET, &path, None).await;
    assert_eq!(service["trafficStatuses"][0]["percent"], 100, "{service:#}");
    let serves = &service["latestReadyRevision"];
    assert_eq!(*serves, service["latestCreatedRevision"], "{service:#}");
    let path = format!("/v2/{}", serves.as_str().expect("a name"));
    let revision = stage.google(Method::GET, &path, None).await;
    let container = &revision["containers"][0];
    let environment = container["env"].as_array().expect("variables");
    let greeting = environment.iter().find(|it| it["name"] == "GREETING");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let greeting = greeting.expect("it is set");
    (text(&container["image"]), text(&greeting["value"]))
}

/// The lines that only one of two pictures has.
fn differences(one: &str, other: &str) -> String {
    let only = |here: &str, there: &str, mark: char| -> String {
        let missing = here
            .lines()
            .filter(|line| !there.lines().any(|it| it == *line));
        missing.map(|line| format!("\n{mark} {line}")).collect()
    };
    only(one, other, '-') + &only(other, one, '+')
}

/// There may be no more of something: the cloud's own words say so, and nobody asks for ever.
async fn quota(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let aws = "LimitExceededException: The limit for this resource has been exceeded.";
    let google = "RESOURCE_EXHAUSTED: Quota exceeded: project 'sandbox-project' may have no more of these resources.";
    let rounds = [
        ("aws", "ecr:CreateRepository", aws),
        ("aws", "ecs:CreateService", aws),
        (
            "gcp",
            "artifactregistry.projects.locations.repositories.create",
            google,
        ),
        ("gcp", "run.projects.locations.services.create", google),
    ];
    for (cloud, call, words) in rounds {
        let rule = format!("[[fault]]\ncall = \"{call}\"\nwhat = \"quota\"\n");
        stage.disturb(&rule).await;
        stage.calls.arm(None);
        let said = run(stage, APPLY, cloud, Exit::Failure).await;
        says(&said, &["refused by the cloud: ", words, "higher quota"]);
        let names = stage.calls.names();
        let asked = names.iter().filter(|name| *name == call).count();
        // The AWS SDK takes it for a rate, and tries as often as after any passing failure.
        let often = if cloud == "aws" { 5 } else { 1 };
        assert_eq!(asked, often, "{names:?}");
    }
    stage.disturb("").await;
    run(stage, APPLY, "all", Exit::Success).await;
    run(stage, &["status"], "all", Exit::Success).await;
}
