//! App Runner between the plan and the roll-out, and where an answer is lost: what another hand did
//! meanwhile is seen, and what our own call began is not begun twice.

use std::time::Duration;

use aws_sdk_apprunner::types::{OperationType, ServiceStatus};
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};

use crate::app_runner::{PLAN, SETTLED, client, operations, pause, there, want, want_plain};
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, run, says};

crate::tests! {
    an_update_whose_answer_was_lost_deploys_once => lost_update,
    a_redeploy_whose_answer_was_lost_deploys_once => lost_redeploy,
    a_rollback_whose_answer_was_lost_deploys_once => lost_rollback,
    a_resume_whose_answer_was_lost_is_not_waited_for_twice => lost_resume,
    a_service_paused_between_plan_and_roll_out_is_resumed => paused_meanwhile,
    a_service_deployed_by_another_hand_between_plan_and_roll_out_is_updated_after_it => deployed_meanwhile,
    an_update_that_is_refused_while_another_operation_runs_is_sent_after_it => refused,
    a_service_deleted_between_plan_and_roll_out_is_told_at_once => deleted_meanwhile,
    a_service_that_could_not_be_deleted_is_replaced => delete_failed,
    what_was_paused_before_a_failed_update_is_paused_again => undone_paused,
}

const REDEPLOY: &[&str] = &["apply", "--redeploy", "idp", "--yes", "--no-verify"];
const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];

async fn first_serves(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
}

/// The next call of that name is carried out, and nobody hears of it.
async fn lose_answer(stage: &Stage, operation: &str) {
    let rule =
        format!("[[fault]]\ncall = \"apprunner:{operation}\"\nwhat = \"reset_after\"\nnth = 1\n");
    stage.disturb(&rule).await;
}

async fn lost_update(stage: &Stage) {
    first_serves(stage).await;
    lose_answer(stage, "UpdateService").await;
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.fired().await, 1);
    assert_serves(stage, "aws", 2).await;
    let expected = [OperationType::CreateService, OperationType::UpdateService];
    assert_eq!(operations(stage).await, expected);
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn lost_redeploy(stage: &Stage) {
    first_serves(stage).await;
    lose_answer(stage, "StartDeployment").await;
    run(stage, REDEPLOY, "aws", Exit::Success).await;
    assert_eq!(stage.fired().await, 1);
    let expected = [OperationType::CreateService, OperationType::StartDeployment];
    assert_eq!(operations(stage).await, expected);
}

async fn lost_rollback(stage: &Stage) {
    first_serves(stage).await;
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    lose_answer(stage, "UpdateService").await;
    run(stage, BACK, "aws", Exit::Success).await;
    assert_eq!(stage.fired().await, 1);
    assert_serves(stage, "aws", 1).await;
    let expected = [
        OperationType::CreateService,
        OperationType::UpdateService,
        OperationType::UpdateService,
    ];
    assert_eq!(operations(stage).await, expected);
}

async fn lost_resume(stage: &Stage) {
    first_serves(stage).await;
    pause(stage).await;
    lose_answer(stage, "ResumeService").await;
    let began = stage.time.now();
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.fired().await, 1);
    let took = stage.time.now().duration_since(began).as_secs();
    assert!(took < 900, "{took} s");
    let expected = [
        OperationType::CreateService,
        OperationType::PauseService,
        OperationType::ResumeService,
        OperationType::UpdateService,
    ];
    assert_eq!(operations(stage).await, expected);
}

/// Applies the second version, whose migration takes four minutes: while it runs, another hand
/// does something, which the plan did not see.
async fn apply_while(stage: &Stage, hand: impl Future<Output = ()>) -> (Ended, String) {
    want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.behave(|started| match started.purpose {
        Purpose::Serve => Behaviour::usual(Purpose::Serve),
        Purpose::Finish => Behaviour {
            takes: Duration::from_secs(240),
            ..Behaviour::usual(Purpose::Finish)
        },
    });
    want(stage, &SECOND);
    let before = jobs(stage);
    let meanwhile = async {
        while jobs(stage) == before {
            stage.time.pass(Duration::from_secs(1)).await;
        }
        hand.await;
    };
    let (ended, ()) = tokio::join!(stage.run(APPLY, "aws"), meanwhile);
    ended
}

fn jobs(stage: &Stage) -> usize {
    let started = stage.containers.started();
    let jobs = started.iter().filter(|it| it.purpose == Purpose::Finish);
    jobs.count()
}

fn succeeded((ended, said): &(Ended, String)) {
    assert!(
        matches!(ended, Ended::Exit(Exit::Success)),
        "{ended:?}\n{said}"
    );
}

async fn paused_meanwhile(stage: &Stage) {
    let pause = async {
        let arn = there(stage).await.service_arn().to_owned();
        let pause = client(stage).await.pause_service().service_arn(arn).send();
        pause.await.expect("it is paused");
    };
    succeeded(&apply_while(stage, pause).await);
    assert_serves(stage, "aws", 2).await;
    let expected = [
        OperationType::CreateService,
        OperationType::PauseService,
        OperationType::ResumeService,
        OperationType::UpdateService,
    ];
    assert_eq!(operations(stage).await, expected);
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn deploy(stage: &Stage) {
    let arn = there(stage).await.service_arn().to_owned();
    let deploy = client(stage).await.start_deployment().service_arn(arn);
    deploy.send().await.expect("it deploys");
}

async fn deployed_meanwhile(stage: &Stage) {
    // So late that it goes on when the migration has ended.
    let late = async {
        stage.time.pass(Duration::from_secs(200)).await;
        deploy(stage).await;
    };
    succeeded(&apply_while(stage, late).await);
    assert_serves(stage, "aws", 2).await;
    let expected = [
        OperationType::CreateService,
        OperationType::StartDeployment,
        OperationType::UpdateService,
    ];
    assert_eq!(operations(stage).await, expected);
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// Between our last look and our call: App Runner refuses with InvalidStateException.
async fn refused(stage: &Stage) {
    const UPDATE: &str = "apprunner:UpdateService";
    first_serves(stage).await;
    want_plain(stage, &SECOND);
    stage.calls.delay(UPDATE, Duration::from_secs(3));
    let hand = async {
        while !stage.calls.names().iter().any(|name| name == UPDATE) {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        deploy(stage).await;
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "aws", Exit::Success), hand);
    says(&said, &["another operation of the service is under way"]);
    let sent = stage.calls.names();
    let sent = sent.iter().filter(|name| *name == UPDATE).count();
    assert!(sent > 1, "nothing was refused");
    assert_serves(stage, "aws", 2).await;
    let expected = [
        OperationType::CreateService,
        OperationType::StartDeployment,
        OperationType::UpdateService,
    ];
    assert_eq!(operations(stage).await, expected);
}

async fn deleted_meanwhile(stage: &Stage) {
    let began = stage.time.now();
    let delete = async {
        let arn = there(stage).await.service_arn().to_owned();
        let delete = client(stage).await.delete_service().service_arn(arn).send();
        delete.await.expect("it is deleted");
    };
    let (ended, said) = apply_while(stage, delete).await;
    assert!(!matches!(ended, Ended::Exit(Exit::Success)), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(&said, &["somebody deleted it", "it makes the service anew"]);
    let took = stage.time.now().duration_since(began).as_secs();
    assert!(took < 900, "{took} s");
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
}

async fn delete_failed(stage: &Stage) {
    first_serves(stage).await;
    let failed = there(stage).await;
    stage.sandbox.set_deletes_fail(true);
    let delete = client(stage).await.delete_service();
    let delete = delete.service_arn(failed.service_arn()).send();
    delete.await.expect("it is begun");
    stage.time.pass(SETTLED).await;
    stage.sandbox.set_deletes_fail(false);
    assert_eq!(there(stage).await.status(), &ServiceStatus::DeleteFailed);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["made anew", "could not be deleted -> runs"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    assert_ne!(there(stage).await.service_arn(), failed.service_arn());
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn undone_paused(stage: &Stage) {
    first_serves(stage).await;
    pause(stage).await;
    want_plain(stage, &SECOND);
    let second = stage.digest(2);
    stage.behave(move |started| Behaviour {
        healthy: started.digest != second,
        ..Behaviour::usual(started.purpose)
    });
    let undo: &[&str] = &["apply", "--yes", "--no-verify", "--on-failure", "undo"];
    run(stage, undo, "aws", Exit::RolledBack).await;
    assert_eq!(there(stage).await.status(), &ServiceStatus::Paused);
    let all = operations(stage).await;
    assert_eq!(all.last(), Some(&OperationType::PauseService), "{all:?}");
}
