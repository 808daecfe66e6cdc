//! What is decided of a migration, on two fake clouds: one that takes tokens and forgets, one that
//! counts and remembers.

mod fake;

use std::time::Duration;

use super::*;
use crate::jobs::{End, State};
use fake::{Cloud, Kill, Stage};

const BOTH: [Cloud; 2] = [Cloud::TOKENS, Cloud::COUNTS];
const FAILED: End = End::Failed(String::new());
/// At a look, once its id is noted.
const WHILE_IT_RUNS: Kill = Kill::After(5);

fn never_ran() -> End {
    End::NeverRan("no such image".into())
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

#[tokio::test]
async fn one_that_succeeded_is_not_run_again_without_a_persons_word() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.run(Rerun::No).await.unwrap();
        stage.run(Rerun::No).await.unwrap();
        stage.run(Rerun::Failed).await.unwrap();
        assert_eq!(stage.ran(), 1);
        stage.run(Rerun::Any).await.unwrap();
        stage.run(Rerun::Any).await.unwrap();
        assert_eq!(stage.ran(), 3, "once in each run that says so");
    }
}

#[tokio::test]
async fn one_that_failed_stops_there_until_a_person_says_so() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().end = End::Failed("exit code 3".into());
        for _ in 0..2 {
            let error = stage.run(Rerun::No).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Failed);
            assert!(error.chain().join(": ").contains("exit code 3"));
            assert!(error.hint_text().unwrap().contains("--retry"));
            assert_eq!(stage.ran(), 1);
        }
        stage.world().end = End::Succeeded;
        stage.run(Rerun::Failed).await.unwrap();
        assert_eq!(stage.ran(), 2);
        assert!(matches!(
            stage.standing(),
            MigrationStanding::Succeeded { .. }
        ));
    }
}

#[tokio::test]
async fn what_a_program_printed_is_with_the_error_and_not_in_the_ledger() {
    let stage = Stage::new(Cloud::COUNTS);
    stage.world().end = End::Failed("exit code 3".into());
    let error = stage.run(Rerun::No).await.unwrap_err();
    assert_eq!(error.output(), ["it printed this"]);
    let MigrationStanding::Failed { why, .. } = stage.standing() else {
        panic!("it failed");
    };
    assert_eq!(why, "exit code 3; task 0");
}

#[tokio::test]
async fn after_a_lost_ledger_one_that_runs_is_waited_for_and_one_that_succeeded_is_done() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(4);
        stage.killed(Kill::Note(2)).await;
        stage.lose_ledger();
        stage.clock.pass(minutes(1));
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1, "waited for");
        stage.lose_ledger();
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1, "done");
        assert!(matches!(
            stage.standing(),
            MigrationStanding::Succeeded { .. }
        ));
    }
}

#[tokio::test]
async fn after_a_lost_ledger_one_that_failed_needs_a_persons_word() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().end = End::Failed("exit code 3".into());
        stage.run(Rerun::No).await.unwrap_err();
        stage.lose_ledger();
        let error = stage.run(Rerun::No).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("--retry"));
        assert_eq!(stage.ran(), 1);
        stage.lose_ledger();
        stage.world().end = End::Succeeded;
        stage.run(Rerun::Failed).await.unwrap();
        assert_eq!(stage.ran(), 2);
    }
}

#[tokio::test]
async fn after_a_lost_ledger_one_of_which_nothing_ran_counts_as_none() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().end = never_ran();
        stage.run(Rerun::No).await.unwrap_err();
        stage.lose_ledger();
        stage.world().end = End::Succeeded;
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn one_of_which_nothing_ran_is_started_once_more_by_the_next_run() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().end = never_ran();
        for made in 1..=2 {
            let error = stage.run(Rerun::No).await.unwrap_err();
            assert!(error.to_string().contains("could not be started"));
            assert_eq!(stage.made(), made, "one in each run");
        }
        stage.world().end = End::Succeeded;
        stage.run(Rerun::No).await.unwrap();
        assert_eq!((stage.made(), stage.ran()), (3, 1));
    }
}

#[tokio::test]
async fn one_whose_time_is_over_is_stopped_and_has_failed_once_it_has_ended() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(60);
        let error = stage.run(Rerun::No).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("and was stopped"), "{error}");
        assert!(matches!(stage.standing(), MigrationStanding::Failed { .. }));
        assert!((300..400).contains(&stage.clock.seconds()));
        stage.run(Rerun::No).await.unwrap_err();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn one_that_ends_well_while_it_is_stopped_has_succeeded() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(60);
        stage.world().stopped = End::Succeeded;
        stage.run(Rerun::No).await.unwrap();
        assert!(matches!(
            stage.standing(),
            MigrationStanding::Succeeded { .. }
        ));
    }
}

#[tokio::test]
async fn one_that_cannot_be_stopped_stays_started_and_the_next_run_looks_at_it_first() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(7);
        stage.world().stoppable = false;
        let error = stage.run(Rerun::No).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("stop it: `stop "), "{hint}");
        assert!(matches!(
            stage.standing(),
            MigrationStanding::Started {
                execution: Some(_),
                ..
            }
        ));
        stage.clock.pass(minutes(2));
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn one_that_cannot_be_attended_is_stopped_when_new_and_awaited_when_started_before() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(4);
        stage.world().unattended = true;
        stage.world().stopped = never_ran();
        let error = stage.run(Rerun::No).await.unwrap_err();
        assert_eq!(error.to_string(), "nobody takes commands");
        assert!(stage.world().calls.contains(&"stop"));

        let stage = Stage::new(cloud);
        stage.world().takes = minutes(4);
        stage.killed(WHILE_IT_RUNS).await;
        stage.world().unattended = true;
        stage.run(Rerun::No).await.unwrap();
        assert!(!stage.world().calls.contains(&"stop"));
        assert_eq!((stage.made(), stage.ran()), (1, 1));

        // The same when nothing tells that it was started before but the cloud.
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(4);
        stage.killed(WHILE_IT_RUNS).await;
        stage.lose_ledger();
        stage.world().unattended = true;
        stage.clock.pass(minutes(1));
        stage.run(Rerun::No).await.unwrap();
        assert!(!stage.world().calls.contains(&"stop"));
        assert_eq!((stage.made(), stage.ran()), (1, 1));
    }
}

#[tokio::test]
async fn why_one_could_not_be_attended_is_told_however_it_ended() {
    for cloud in BOTH {
        for before in [false, true] {
            let stage = Stage::new(cloud);
            stage.world().takes = minutes(4);
            stage.world().end = End::Failed("exit code 143".into());
            stage.world().stopped = End::Failed("exit code 143".into());
            if before {
                stage.killed(WHILE_IT_RUNS).await;
            }
            stage.world().unattended = true;
            let error = stage.run(Rerun::No).await.unwrap_err();
            let told = error.chain().join(": ");
            assert!(told.contains("exit code 143"), "{told}");
            assert!(told.contains("nobody takes commands"), "{told}");
            let hint = error.hint_text().unwrap();
            assert!(hint.contains("let it; "), "{hint}");
            assert_eq!(error.output(), ["it printed this"]);
        }
    }
}

#[tokio::test]
async fn the_time_of_one_that_was_started_before_counts_from_its_start() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().takes = minutes(60);
        stage.killed(WHILE_IT_RUNS).await;
        stage.clock.pass(minutes(3));
        stage.run(Rerun::No).await.unwrap_err();
        assert!((300..400).contains(&stage.clock.seconds()));
    }
}

#[tokio::test]
async fn answers_that_lag_right_after_a_start_are_borne() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().lag = Duration::from_secs(40);
        stage.world().takes = minutes(2);
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn one_that_the_cloud_has_forgotten_is_a_persons_to_judge() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.killed(WHILE_IT_RUNS).await;
        stage.world().executions.clear();
        let error = stage.run(Rerun::No).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("how it ended is not known"), "{said}");
        stage.run(Rerun::No).await.unwrap_err();
        assert_eq!(stage.made(), 0, "nothing is started unasked");
        stage.run(Rerun::Failed).await.unwrap();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn a_start_that_was_not_answered_is_found_though_lists_lag() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().lag = Duration::from_secs(15);
        stage.world().reply_lost = true;
        stage.run(Rerun::No).await.unwrap_err();
        stage.world().reply_lost = false;
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn a_start_that_never_arrived_is_made_by_the_next_run() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().refuses = Some(ErrorKind::Unavailable);
        stage.run(Rerun::No).await.unwrap_err();
        stage.world().refuses = None;
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 1);
    }
}

#[tokio::test]
async fn a_start_that_nobody_can_tell_of_any_more_is_a_persons_to_judge() {
    let forgotten = Stage::new(Cloud::TOKENS);
    let hidden = Stage::new(Cloud::COUNTS);
    hidden.world().hides = true;
    for stage in [forgotten, hidden] {
        stage.world().reply_lost = true;
        stage.run(Rerun::No).await.unwrap_err();
        stage.world().reply_lost = false;
        stage.clock.pass(minutes(180));
        let error = stage.run(Rerun::No).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("how it ended is not known"));
        assert!(error.hint_text().unwrap().contains("--retry"));
        assert_eq!(stage.ran(), 1);
        stage.world().hides = false;
        stage.run(Rerun::Failed).await.unwrap();
    }
}

#[tokio::test]
async fn a_retry_that_was_not_answered_is_not_mistaken_for_what_failed_before() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.world().end = FAILED;
        stage.run(Rerun::No).await.unwrap_err();
        stage.world().end = End::Succeeded;
        stage.world().lag = Duration::from_secs(15);
        stage.world().reply_lost = true;
        stage.run(Rerun::Failed).await.unwrap_err();
        stage.world().reply_lost = false;
        stage.run(Rerun::No).await.unwrap();
        assert_eq!(stage.ran(), 2);
    }
}

#[tokio::test]
async fn a_start_that_the_cloud_does_not_name_is_found_by_its_ticket() {
    let stage = Stage::new(Cloud::COUNTS);
    stage.world().names = false;
    stage.world().lag = Duration::from_secs(15);
    stage.run(Rerun::No).await.unwrap();
    assert_eq!(stage.ran(), 1);
}

#[tokio::test]
async fn what_the_cloud_refuses_to_start_has_not_started() {
    for kind in [ErrorKind::Denied, ErrorKind::Rejected] {
        for cloud in BOTH {
            let stage = Stage::new(cloud);
            stage.world().refuses = Some(kind);
            let (error, left) = stage.run_and_undo(Rerun::No).await;
            assert_eq!(error.unwrap_err().kind(), kind);
            assert_eq!(left, Undone::Stays("it did not run".into()));
            stage.world().refuses = None;
            // However long that takes: nothing has to be looked for.
            stage.clock.pass(minutes(600));
            let began = stage.clock.seconds();
            stage.run(Rerun::No).await.unwrap();
            assert!(stage.clock.seconds() - began < 60);
            stage.lose_ledger();
            stage.run(Rerun::No).await.unwrap();
            assert_eq!(stage.ran(), 1);
        }
    }
}

#[tokio::test]
async fn a_start_that_is_asked_for_again_and_refused_may_have_landed_the_first_time() {
    let stage = Stage::new(Cloud::TOKENS);
    stage.world().takes = minutes(4);
    stage.world().reply_lost = true;
    stage.run(Rerun::No).await.unwrap_err();
    stage.world().reply_lost = false;
    stage.world().refuses = Some(ErrorKind::Denied);
    stage.run(Rerun::No).await.unwrap_err();
    stage.world().refuses = None;
    stage.run(Rerun::No).await.unwrap();
    assert_eq!(stage.ran(), 1);
}

#[tokio::test]
async fn where_there_is_no_room_nothing_ran_and_the_next_run_starts_it() {
    let stage = Stage::new(Cloud::TOKENS);
    stage.world().room = false;
    let error = stage.run(Rerun::No).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("could not be started: full"));
    let error = stage.run(Rerun::No).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // Nor is there a second one where the answer to the first that succeeds is lost.
    stage.world().room = true;
    stage.world().takes = minutes(4);
    stage.world().reply_lost = true;
    stage.run(Rerun::No).await.unwrap_err();
    stage.world().reply_lost = false;
    stage.run(Rerun::No).await.unwrap();
    assert_eq!(stage.ran(), 1);
}

#[tokio::test]
async fn two_migrations_never_run_at_once() {
    for cloud in BOTH {
        for kill in [WHILE_IT_RUNS, Kill::Note(2)] {
            let stage = Stage::new(cloud);
            stage.world().takes = minutes(4);
            stage.world().lag = Duration::from_secs(15);
            stage.killed(kill).await;
            let another = stage.of_image("idp@sha256:two");
            let error = another.run(Rerun::No).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains("is still running"), "{error}");
            assert!(error.hint_text().unwrap().contains("wait for its end"));
            assert_eq!(stage.made(), 1, "{kill:?}: nothing is started beside it");
            stage.clock.pass(minutes(5));
            another.run(Rerun::No).await.unwrap();
            assert_eq!(stage.made(), 2);
        }
    }
}

#[tokio::test]
async fn the_start_of_another_services_migration_holds_nobody_up() {
    for cloud in BOTH {
        let stage = Stage::new(cloud);
        stage.killed(Kill::Note(2)).await;
        stage.world().executions.clear();
        let another = stage.of_another_service("web@sha256:two");
        let began = stage.clock.seconds();
        another.run(Rerun::No).await.unwrap();
        assert!(stage.clock.seconds() - began < 60, "it was not looked for");
    }
}

/// A run may end at any note and any call, before it is done or after, and so may the next one.
#[tokio::test]
async fn whenever_runs_are_killed_it_runs_once() {
    let points = || (1..=4).flat_map(|nth| [Kill::Note(nth), Kill::Before(nth), Kill::After(nth)]);
    for cloud in BOTH {
        for nothing_ran in [false, true] {
            for (first, second) in points().flat_map(|first| points().map(move |it| (first, it))) {
                let stage = Stage::new(cloud);
                stage.world().takes = Duration::from_secs(30);
                stage.world().lag = Duration::from_secs(10);
                if nothing_ran {
                    stage.world().end = never_ran();
                    stage.run(Rerun::No).await.unwrap_err();
                    stage.world().end = End::Succeeded;
                }
                for kill in [first, second] {
                    stage.killed(kill).await;
                    stage.clock.pass(minutes(2));
                }
                let point = (cloud, nothing_ran, first, second);
                let last = stage.run(Rerun::No).await;
                assert!(last.is_ok(), "{point:?}: {last:?}");
                assert_eq!(stage.ran(), 1, "{point:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_undo_says_what_may_have_become_of_the_database() {
    let ends = [
        (
            End::Succeeded,
            Undone::Stays("the database stays migrated".into()),
        ),
        (never_ran(), Undone::Stays("it did not run".into())),
        (
            FAILED,
            Undone::Spoilt(
                "the migration failed on its way, and may have changed the database in part".into(),
            ),
        ),
    ];
    for (end, left) in ends {
        let stage = Stage::new(Cloud::COUNTS);
        stage.world().end = end;
        assert_eq!(stage.run_and_undo(Rerun::No).await.1, left);
    }
    let stage = Stage::new(Cloud::COUNTS);
    stage.world().takes = minutes(60);
    stage.world().stoppable = false;
    let left = stage.run_and_undo(Rerun::No).await.1;
    assert!(matches!(left, Undone::Lost(_)), "{left:?}");
}

#[tokio::test]
async fn no_search_is_made_where_the_start_itself_tells() {
    let calls = |cloud: Cloud| async move {
        let stage = Stage::new(cloud);
        stage.run(Rerun::No).await.unwrap();
        let calls = stage.world().calls.clone();
        calls
            .into_iter()
            .filter(|it| *it != "look")
            .collect::<Vec<_>>()
    };
    assert_eq!(calls(Cloud::TOKENS).await, ["beside", "ticket", "start"]);
    let counted = ["find", "beside", "ticket", "start"];
    assert_eq!(calls(Cloud::COUNTS).await, counted);
}

#[test]
fn only_a_success_is_proof_and_everything_else_says_why_it_runs() {
    let at = jiff::Timestamp::UNIX_EPOCH;
    let why = || "exit code 3".to_owned();
    let due = |standing, rerun| match proof(standing, rerun) {
        Evidence::NotDone(why) => why,
        other => panic!("{other:?}"),
    };
    let succeeded = || MigrationStanding::Succeeded { at };
    assert!(matches!(proof(succeeded(), Rerun::No), Evidence::Done(_)));
    assert!(matches!(
        proof(succeeded(), Rerun::Failed),
        Evidence::Done(_)
    ));
    assert!(due(succeeded(), Rerun::Any).contains("to be run again"));
    assert!(due(MigrationStanding::Never, Rerun::No).contains("it has not run"));
    let failed = || MigrationStanding::Failed { at, why: why() };
    let said = due(failed(), Rerun::No);
    assert!(said.contains("exit code 3") && said.contains("--retry"));
    assert!(due(failed(), Rerun::Failed).contains("to be tried again"));
    let not_started = MigrationStanding::NotStarted {
        at,
        execution: "x".into(),
        why: why(),
    };
    assert!(due(not_started, Rerun::No).contains("it could not be started at"));
    let started = MigrationStanding::Started {
        execution: None,
        at: None,
        before: None,
    };
    assert!(due(started, Rerun::No).contains("how it ended is not known"));
}

#[test]
fn one_of_which_nothing_ran_is_no_trace_of_a_run() {
    let execution = |state| crate::jobs::Execution {
        id: "x".into(),
        made: None,
        state,
    };
    let trail = |state| crate::jobs::Trail {
        executions: vec![execution(state)],
        hidden: false,
    };
    assert!(trail(State::Over(never_ran())).begun().is_none());
    assert!(trail(State::Over(FAILED)).begun().is_some());
    assert!(trail(State::Running("pending".into())).begun().is_some());
}
