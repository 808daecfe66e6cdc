//! Secret values: how they come in, and that they never come out.

use deployer_tests::deployer::exit;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::{Sandbox, Shared};
use deployer_tests::terminal::Terminal;

static SANDBOX: Shared = Shared::new();

fn project(test: &str) -> Option<Project> {
    let prepared = Prepared::find(test)?;
    let sandbox = Sandbox::shared(&SANDBOX, &prepared);
    Some(Project::new(&prepared, sandbox))
}

#[test]
fn not_even_the_most_talkative_log_says_a_secret() {
    let Some(mut project) = project("not_even_the_most_talkative_log_says_a_secret") else {
        return;
    };
    project.deployer = project.deployer.with("DEPLOYER_LOG", "trace");
    project
        .deployer
        .run(&["plan", "--verbose", "--out", "a.plan"])
        .exits(exit::SUCCESS);
    let applied = project
        .deployer
        .run(&["apply", "--yes", "--verbose"])
        .exits(exit::SUCCESS);
    assert!(applied.stderr.contains("DEBUG"), "the log is talkative");
    project
        .deployer
        .run(&["plan", "--json", "--verbose"])
        .exits(exit::SUCCESS);
    project
        .deployer
        .run(&["secrets", "list", "--json"])
        .exits(exit::SUCCESS);
    project
        .deployer
        .run(&["config", "show", "--origin"])
        .exits(exit::SUCCESS);
    project.assert_no_secret_escaped(&[]);
}

#[test]
fn a_value_is_typed_on_a_line_that_nobody_sees() {
    let Some(mut project) = project("a_value_is_typed_on_a_line_that_nobody_sees") else {
        return;
    };
    project.change(|manifest| manifest.extra_secrets = vec!["partner-key".to_owned()]);
    let line = "exec \"$DEPLOYER\" secrets set partner-key";
    let terminal = Terminal::start(&project.deployer, line, (100, 30));
    terminal.until_it_shows("value of partner-key for ");
    terminal.until_it_shows(" (hidden):");
    terminal.types("hunter2\n");
    let (code, shown) = terminal.finish();
    assert_eq!(code, exit::SUCCESS, "{shown}");
    assert!(shown.contains("`partner-key` is version"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_set_by_hand_rolls_out_at_the_next_apply_and_not_before() {
    let name = "a_secret_set_by_hand_rolls_out_at_the_next_apply_and_not_before";
    let Some(mut project) = project(name) else {
        return;
    };
    project.change(|manifest| manifest.extra_secrets = vec!["partner-key".to_owned()]);
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::SUCCESS);
    let set = ["secrets", "set", "partner-key"];
    let by_hand = "a value that a person chose";
    project
        .deployer
        .run_with_input(&set, &format!("{by_hand}\n"))
        .exits(exit::SUCCESS);
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    project
        .deployer
        .run_with_input(&set, by_hand)
        .exits(exit::SUCCESS)
        .says("already");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    let before = project.status();
    project
        .deployer
        .run(&["plan", "--detailed-exitcode"])
        .exits(exit::CHANGES);
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::SUCCESS);
    let after = project.status();
    for cloud in ["aws", "gcp"] {
        let wanted = |status: &std::collections::BTreeMap<String, serde_json::Value>| {
            status[cloud]["serving"]["wanted"].clone()
        };
        assert_ne!(wanted(&before), wanted(&after), "{cloud} rolled out");
    }
    project
        .deployer
        .run(&["plan", "--detailed-exitcode"])
        .exits(exit::SUCCESS);
    project.assert_no_secret_escaped(&[by_hand]);
}

#[test]
fn a_secret_that_the_next_apply_would_put_back_cannot_be_set_by_hand() {
    let name = "a_secret_that_the_next_apply_would_put_back_cannot_be_set_by_hand";
    let Some(project) = project(name) else {
        return;
    };
    let set = |secret: &str, value: &str| {
        project
            .deployer
            .run_with_input(&["secrets", "set", secret], value)
    };
    set("client-secret", "x")
        .exits(exit::INPUT)
        .says("IDP_CLIENT_SECRET");
    set("jwt-private-key", "x")
        .exits(exit::INPUT)
        .says("key pair");
    set("nobody-declared", "x")
        .exits(exit::INPUT)
        .says("declares");
    set("client-secret", "").exits(exit::INPUT);
    // A value as an argument would stand in the list of processes; it is not said again.
    let typed = project
        .deployer
        .run(&["secrets", "set", "client-secret", "hunter2"])
        .exits(exit::INPUT);
    typed.says("never passes through arguments");
    assert!(!typed.stderr.contains("hunter2"), "{}", typed.stderr);
    let writes = [
        project.aws.mark_all().writes(),
        project.gcp.mark_all().writes(),
    ]
    .concat();
    assert_eq!(writes, Vec::<String>::new());
}
