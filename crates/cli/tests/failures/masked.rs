//! No value of a secret is printed: neither those that are set now nor those that an earlier
//! release is started with.

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};

use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, SECOND, run, says};

crate::tests! {
    a_rollback_that_fails_prints_no_value_that_the_earlier_release_pins => earlier_values,
    a_report_keeps_no_line_of_the_app_where_a_value_could_not_be_looked_for => kept,
    logs_hide_the_values_of_secrets_unless_they_are_asked_not_to => logs,
    logs_say_which_values_they_cannot_hide => unread,
}

const FIRST_VALUE: &str = "the first pass word";
const SECOND_VALUE: &str = "the second pass word";

fn telling(started: &Started, healthy: bool) -> Behaviour {
    let usual = Behaviour::usual(started.purpose);
    match started.purpose {
        Purpose::Finish => usual,
        Purpose::Serve => Behaviour {
            healthy,
            lines: vec![
                format!("cannot log in with '{FIRST_VALUE}'"),
                "nor with 'the+second+pass+word'".to_owned(),
            ],
            ..usual
        },
    }
}

fn hides(said: &str) {
    says(
        said,
        &["cannot log in with '[redacted]'", "nor with '[redacted]'"],
    );
    assert!(!said.contains("pass word"), "{said}");
    assert!(!said.contains("pass+word"), "{said}");
}

async fn two_releases(stage: &Stage) {
    for (wanted, mail_password) in [(Wanted::FIRST, FIRST_VALUE), (SECOND, SECOND_VALUE)] {
        stage.want(&Wanted {
            mail_password,
            ..wanted
        });
        run(stage, APPLY, "all", Exit::Success).await;
    }
}

/// ECS starts the earlier release anew; Cloud Run only moves traffic back to it.
async fn earlier_values(stage: &Stage) {
    two_releases(stage).await;
    stage.behave(|started| telling(started, false));
    let back = ["rollback", "idp", "--to", "r1", "--yes", "--no-verify"];
    let (ended, said) = stage.run(&back, "aws").await;
    assert!(!matches!(ended, Ended::Exit(Exit::Success)), "{said}");
    hides(&said);
}

/// The ledger never has a secret's value: with every value at hand the lines are kept without them,
/// and else not at all.
async fn kept(stage: &Stage) {
    two_releases(stage).await;
    stage.behave(|started| telling(started, false));
    let back = ["rollback", "idp", "--to", "r1", "--yes", "--no-verify"];
    let (_, said) = stage.run(&back, "aws").await;
    hides(&said);
    hides(&run(stage, &["report"], "aws", Exit::Success).await);
    stage.disturb(&unreadable()).await;
    let (_, said) = stage.run(&back, "aws").await;
    says(&said, &[FIRST_VALUE]);
    for words in [vec!["report"], vec!["report", "--json"]] {
        let said = run(stage, &words, "aws", Exit::Success).await;
        says(&said, &["what the app printed is not kept: the value of `"]);
        assert!(!said.contains("cannot log in"), "{said}");
    }
}

async fn logs(stage: &Stage) {
    stage.behave(|started| telling(started, true));
    two_releases(stage).await;
    for cloud in ["aws", "gcp"] {
        hides(&run(stage, &["logs", "idp"], cloud, Exit::Success).await);
        hides(&run(stage, &["logs", "idp", "--json"], cloud, Exit::Success).await);
        let said = run(stage, &["logs", "idp", "--unmasked"], cloud, Exit::Success).await;
        says(&said, &[FIRST_VALUE, "the+second+pass+word"]);
    }
}

/// No value of a secret may be read.
fn unreadable() -> String {
    let calls = [
        "secretsmanager:BatchGetSecretValue",
        "secretsmanager:GetSecretValue",
        "secretmanager.projects.secrets.versions.access",
    ];
    let faults = calls.map(|call| format!("[[fault]]\ncall = \"{call}\"\nwhat = \"denied\"\n"));
    faults.concat()
}

async fn unread(stage: &Stage) {
    stage.behave(|started| telling(started, true));
    two_releases(stage).await;
    stage.disturb(&unreadable()).await;
    for cloud in ["aws", "gcp"] {
        let said = run(stage, &["logs", "idp"], cloud, Exit::Success).await;
        says(
            &said,
            &[
                "`mail-password`",
                "are not hidden in what follows",
                FIRST_VALUE,
            ],
        );
    }
}
