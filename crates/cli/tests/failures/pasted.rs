//! Whatever command prints a command, that one is of the manifest and the environment that it
//! worked on itself, and a shell and this program take it as it stands.

use std::path::Path;

use deployer_sandbox::runner::Behaviour;

use crate::again::Elsewhere;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{SECOND, unhealthy};

crate::tests! {
    every_command_that_any_command_prints_can_be_pasted => pasted,
    a_plan_of_one_cloud_is_shown_with_the_command_that_applies_it => of_one_cloud,
}

/// What works on no environment.
const ALONE: [&str; 7] = [
    "init",
    "check",
    "permissions",
    "sandbox",
    "completions",
    "env",
    "schema",
];

/// The commands in a text, to where each ends.
fn commands(said: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in said.lines() {
        let mut rest = line;
        while let Some(at) = rest.find("deployer ") {
            let quoted = rest[..at].ends_with('`');
            let begins = at == 0 || quoted || rest[..at].ends_with(' ');
            let tail = &rest[at..];
            let end = match quoted {
                true => tail.find('`'),
                false => tail.find("    #").or_else(|| tail.find(['`', ';', '('])),
            };
            let command = tail[..end.unwrap_or(tail.len())].trim();
            let verb = command.split(' ').nth(1).unwrap_or_default();
            let is_word = verb.len() > 1 && verb.chars().all(|it| it.is_ascii_lowercase());
            // `what deployer made`: prose.
            if begins && is_word && VERBS.contains(&verb) {
                found.push(command.to_owned());
            }
            rest = &rest[at + "deployer ".len()..];
        }
    }
    found
}

const VERBS: [&str; 24] = [
    "init",
    "check",
    "plan",
    "show",
    "apply",
    "migrate",
    "releases",
    "runs",
    "report",
    "status",
    "verify",
    "logs",
    "run",
    "exec",
    "rollback",
    "secrets",
    "lock",
    "destroy",
    "forget",
    "env",
    "config",
    "permissions",
    "sandbox",
    "completions",
];

/// What a person fills in.
fn is_open(word: &str) -> bool {
    word.len() > 1 && word.chars().all(|it| it.is_ascii_uppercase())
}

async fn check(stage: &Stage, of: &[&str], said: &str) {
    for command in commands(said) {
        let words = shlex::split(&command).unwrap_or_else(|| panic!("{of:?}: {command}"));
        if ALONE.contains(&words[1].as_str()) {
            continue;
        }
        let has = |option: &str, value: &str| {
            let mut pairs = words.windows(2);
            pairs.any(|it| it[0] == option && it[1].ends_with(value))
        };
        assert!(
            has("--env", "production") && has("--manifest", "else where/deployer.toml"),
            "`{}` prints `{command}`:\n{said}",
            of.join(" ")
        );
        if words.iter().any(|it| is_open(it)) {
            continue;
        }
        // What changes something asks, and nobody answers.
        let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let (_, answer) = stage.run_as_typed(&words).await;
        for refusal in ["unexpected argument", "there is no command", "Usage: "] {
            assert!(
                !answer.contains(refusal),
                "`{}` prints `{command}`:\n{answer}",
                of.join(" ")
            );
        }
    }
}

async fn pasted(stage: &Stage) {
    let elsewhere = Elsewhere::new(stage);
    let file = |name: &str| {
        let beside = stage.file("beside", "");
        Path::new(&beside)
            .with_file_name(name)
            .display()
            .to_string()
    };
    let (first, second) = (file("first.plan"), file("second.plan"));
    let reads: &[&[&str]] = &[
        &["plan"],
        &["plan", "idp"],
        &["plan", "--details"],
        &["plan", "--format", "markdown"],
        &["status"],
        &["status", "idp"],
        &["releases"],
        &["releases", "idp", "r9"],
        &["runs", "--lines", "1"],
        &["runs", "show", "1"],
        &["runs", "show", "9"],
        &["report"],
        &["report", "--run", "9"],
        &["lock", "show"],
        &["logs", "idp", "--release", "r9"],
        &["logs", "idp", "--migration"],
        &["secrets", "list"],
        &["secrets", "set", "nothing"],
        &["config", "show"],
        &["verify"],
        &["run", "nobody", "--", "true"],
        &["exec", "idp", "--cloud", "gcp", "--", "true"],
        &["rollback", "idp"],
        &["rollback", "idp", "--to", "r9"],
        &["forget", "aws/us-east-1/ecs.service/nobody"],
        &["migrate"],
        &["migrate", "--retry"],
        &["destroy"],
        &["apply"],
    ];
    let look = async || {
        for words in reads {
            let said = elsewhere.say(words).await;
            check(stage, words, &said).await;
        }
    };
    elsewhere.want(&Wanted::FIRST);
    let plan = ["plan", "--new-environment", "--out", &first];
    let said = elsewhere.say(&plan).await;
    check(stage, &plan, &said).await;
    for words in [
        &["show", &first][..],
        &["show", &first, "--format", "markdown"],
    ] {
        let said = elsewhere.say(words).await;
        check(stage, words, &said).await;
    }
    let apply = ["apply", "--yes", "--no-verify", "--new-environment"];
    let said = elsewhere.say(&apply).await;
    check(stage, &apply, &said).await;
    look().await;
    stage.behave(unhealthy);
    elsewhere.want(&SECOND);
    let plan = ["plan", "--out", &second];
    check(stage, &plan, &elsewhere.say(&plan).await).await;
    let apply = ["apply", "--yes", "--no-verify"];
    let said = elsewhere.say(&apply).await;
    assert!(!commands(&said).is_empty(), "{said}");
    check(stage, &apply, &said).await;
    look().await;
    let show = ["show", &second, "--format", "markdown"];
    let said = elsewhere.say(&show).await;
    assert!(!commands(&said).is_empty(), "{said}");
    check(stage, &show, &said).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    elsewhere.assert_alone().await;
}

async fn of_one_cloud(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let path = Path::new(&stage.file("beside", "")).with_file_name("one.plan");
    let path = path.display().to_string();
    crate::run(
        stage,
        &["plan", "--out", &path],
        "aws",
        deployer::Exit::Success,
    )
    .await;
    let manifest = format!("{}/deployer.toml", stage.folder());
    let shown = ["show", &path, "--format", "markdown", "-f", &manifest];
    let (_, said) = stage.run_as_typed(&shown).await;
    let command = commands(&said);
    let words = shlex::split(&command[0]).expect("a shell takes it");
    let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let words = [&words, &["--yes", "--no-verify"][..]].concat();
    let (ended, said) = stage.run_as_typed(&words).await;
    assert!(
        matches!(ended, Ended::Exit(deployer::Exit::Success)),
        "{words:?}: {said}"
    );
}
