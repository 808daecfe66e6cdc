//! What is told of App Runner where something fails: whose lines they are, how it ended, and what
//! helps.

use std::time::Duration;

use aws_sdk_apprunner::types::{OperationType, Service};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Exit as Ending, Purpose};

use crate::app_runner::{PLAN, SETTLED, client, operations, serving, there, want, want_plain};
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, run, says, unhealthy};

crate::tests! {
    a_failed_deployment_is_explained_by_its_own_lines_and_not_by_what_serves => whose_lines,
    what_a_first_deployment_printed_is_waited_for => late_lines,
    an_update_that_failed_before_its_instances_is_put_back => failed_early,
    a_rollback_is_waited_for_as_long_as_the_manifest_says => patience,
    every_refusal_to_a_closed_account_names_ecs => closed,
    who_may_not_and_has_no_service_there_is_told_of_the_closed_door => perhaps_closed,
    a_threshold_that_another_hand_set_is_drift_and_what_it_made_private_is_told => set_by_another,
    a_migration_that_has_no_way_out_of_the_connectors_subnets_says_what_gives_it_one => cut_off,
    a_word_with_a_blank_reaches_the_program_as_one => quoted,
}

/// Without line breaks: hints are as wide as people's terminals.
fn flat(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The log group of the app's lines.
fn app_log(service: &Service) -> String {
    let (name, id) = (service.service_name(), service.service_id());
    format!("/aws/apprunner/{name}/{id}/application")
}

async fn whose_lines(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    stage.behave(|started| Behaviour {
        lines: vec!["old: listening".to_owned()],
        ..Behaviour::usual(started.purpose)
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    // CloudWatch knows by then that the old one printed.
    stage.time.pass(2 * SETTLED).await;
    let group = app_log(&there(stage).await);
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let streams = logs.describe_log_streams().log_group_name(&group);
    let streams = streams
        .send()
        .await
        .expect("streams")
        .log_streams
        .expect("streams");
    let old = streams[0].log_stream_name().expect("a name").to_owned();
    let goes_on = async {
        loop {
            let now = stage.time.now().as_millisecond();
            let line = InputLogEvent::builder()
                .timestamp(now)
                .message("old: GET / 200");
            let put = logs.put_log_events().log_group_name(&group);
            let put = put
                .log_stream_name(&old)
                .log_events(line.build().expect("a line"));
            put.send().await.expect("it is put");
            stage.time.pass(Duration::from_secs(60)).await;
        }
    };
    stage.behave(unhealthy);
    want_plain(stage, &SECOND);
    let said = tokio::select! {
        said = run(stage, APPLY, "aws", Exit::RolledBack) => said,
        () = goes_on => unreachable!("it never ends"),
    };
    says(&said, &["cannot read the configuration"]);
    assert!(!said.contains("old: "), "{said}");
    let report = ["report", "--run", "2"];
    let (_, said) = stage.run(&report, "aws").await;
    let own = "Failed to deploy your application image";
    says(&flat(&said), &["cannot read the configuration", own]);
    assert!(!said.contains("old: "), "{said}");
}

async fn late_lines(stage: &Stage) {
    stage.behave(|started| Behaviour {
        exit: Some(Ending::with(1)),
        lines: vec!["cannot open the database".to_owned()],
        ..Behaviour::usual(started.purpose)
    });
    want_plain(stage, &Wanted::FIRST);
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(
        &said,
        &["Container exit code: 1", "cannot open the database"],
    );
}

/// A secret goes while the image is pulled: the operation is FAILED, and nothing was put back by
/// name, and what served before serves.
async fn failed_early(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    want_plain(stage, &SECOND);
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let hand = async {
        while operations(stage).await.last() != Some(&OperationType::UpdateService) {
            stage.time.pass(Duration::from_secs(1)).await;
        }
        let gone = secrets
            .delete_secret()
            .secret_id("/swept/test/mail-password");
        let gone = gone.force_delete_without_recovery(true).send().await;
        gone.expect("it is deleted");
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "aws", Exit::RolledBack), hand);
    says(&said, &["FAILED", "MAIL_PASSWORD"]);
    assert_serves(stage, "aws", 1).await;
}

/// On App Runner, on ECS and on Cloud Run alike.
async fn patience(stage: &Stage) {
    gives_up(stage, "aws", want_plain).await;
    let other = stage.beside("prod");
    for cloud in ["aws", "gcp"] {
        gives_up(&other, cloud, Stage::want).await;
    }
    other.clear().await;
}

/// A rollback takes longer than today's manifest says that it is waited for.
async fn gives_up(stage: &Stage, cloud: &str, want: fn(&Stage, &Wanted)) {
    const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];
    let overlay = format!("deployer.{}.toml", stage.environment());
    let patient = "[services.idp.health]\nstart_period = \"5m\"\ninterval = \"20s\"\n";
    stage.file(&overlay, patient);
    stage.behave(|started| Behaviour::usual(started.purpose));
    for wanted in [Wanted::FIRST, SECOND] {
        want(stage, &wanted);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
    let brief = format!("[services.idp]\npatience = \"1m\"\n{patient}");
    stage.file(&overlay, &brief);
    stage.behave(|started| match started.purpose {
        Purpose::Serve => Behaviour {
            takes: Duration::from_secs(200),
            ..Behaviour::usual(Purpose::Serve)
        },
        Purpose::Finish => Behaviour::usual(Purpose::Finish),
    });
    let began = stage.time.now();
    let (ended, said) = stage.run(BACK, cloud).await;
    let took = stage.time.now().duration_since(began).as_secs();
    match cloud {
        // It has the revision still, which started long ago.
        "gcp" => assert!(matches!(ended, Ended::Exit(Exit::Success)), "{said}"),
        _ => {
            assert!(
                matches!(ended, Ended::Exit(Exit::DeploymentFailed)),
                "{said}"
            );
            says(&flat(&said), &["was not ready after 60 s"]);
            assert!(took < 200, "{took} s");
        }
    }
    stage.time.pass(SETTLED).await;
}

/// Whatever is asked of App Runner first.
async fn closed(stage: &Stage) {
    for call in [
        "*",
        "ListServices",
        "CreateAutoScalingConfiguration",
        "CreateVpcConnector",
        "CreateService",
    ] {
        let rule = format!("[[fault]]\ncall = \"apprunner:{call}\"\nwhat = \"closed\"\n");
        stage.disturb(&rule).await;
        want_plain(stage, &Wanted::FIRST);
        let (ended, said) = stage.run(APPLY, "aws").await;
        assert!(!matches!(ended, Ended::Exit(Exit::Success)), "{said}");
        let said = flat(&said);
        assert!(said.contains("runtime = \"ecs\""), "{call}:\n{said}");
        assert!(!said.contains("perhaps"), "{call}:\n{said}");
        stage.disturb("").await;
        run(stage, DESTROY, "aws", Exit::Success).await;
    }
    let rule = "[[fault]]\ncall = \"apprunner:*\"\nwhat = \"closed\"\n";
    stage.disturb(rule).await;
    let (_, said) = stage.run(PLAN, "aws").await;
    says(&flat(&said), &["runtime = \"ecs\""]);
}

async fn perhaps_closed(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    stage.calls.deny("apprunner:CreateService");
    let (_, said) = stage.run(APPLY, "aws").await;
    let said = flat(&said);
    says(&said, &["perhaps", "runtime = \"ecs\""]);
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    // Who has a service there is one of its customers.
    want_plain(stage, &SECOND);
    stage.calls.deny("apprunner:UpdateService");
    let (_, said) = stage.run(APPLY, "aws").await;
    assert!(!said.contains("perhaps"), "{said}");
}

async fn set_by_another(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = there(stage).await;
    let mut health = there.health_check_configuration().expect("a check").clone();
    health.healthy_threshold = Some(7);
    let ingress = aws_sdk_apprunner::types::IngressConfiguration::builder();
    let ingress = ingress.is_publicly_accessible(false).build();
    let network = there.network_configuration().expect("a network").clone();
    let network = aws_sdk_apprunner::types::NetworkConfiguration::builder()
        .set_egress_configuration(network.egress_configuration)
        .ingress_configuration(ingress)
        .build();
    let update = client(stage).await.update_service();
    let update = update
        .service_arn(there.service_arn())
        .health_check_configuration(health)
        .network_configuration(network);
    update.send().await.expect("it is changed");
    stage.time.pass(SETTLED).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(
        &said,
        &[
            "health.passes: 7 -> 1",
            "lets in what comes from a VPC only",
        ],
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    let said = run(stage, PLAN, "aws", Exit::Success).await;
    says(&said, &["No changes"]);
    let network = self::there(stage).await.network_configuration().cloned();
    let ingress = network.and_then(|it| it.ingress_configuration);
    assert_eq!(ingress.map(|it| it.is_publicly_accessible), Some(false));
}

async fn quoted(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    stage.edit(|manifest| {
        let port = "port = 3000\n";
        let command = "command = [\"serve\", \"--greeting\", \"good morning\", \"it's\"]\n";
        manifest.replacen(port, &format!("{port}{command}"), 1)
    });
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["`good morning`", "is quoted"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    let started = stage.containers.started();
    let last = serving(&started).pop().expect("it runs").command.clone();
    assert_eq!(
        last,
        ["/app", "serve", "--greeting", "good morning", "it's"]
    );
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// The service would start there: its image is not pulled through its connector.
async fn cut_off(stage: &Stage) {
    stage.sandbox.have_way_out(false);
    want(stage, &Wanted::FIRST);
    let (_, said) = stage.run(APPLY, "aws").await;
    let said = flat(&said);
    let helps = [
        "could not be started",
        "NAT gateway",
        "VPC endpoints",
        "assign_public_ip = true",
    ];
    says(&said, &helps);
    says(&said, &["App Runner pulls from outside them"]);
    stage.edit(|manifest| {
        let role = "execution_role = \"idp-execution\"\n";
        manifest.replace(role, &format!("{role}assign_public_ip = true\n"))
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
}
