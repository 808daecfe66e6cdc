//! Words that other tools know and this one does not, with what is meant here; never one that
//! deletes, and never what may be a secret.

use std::path::Path;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use deployer_core::error::Error;

use crate::args::{Cli, Global};

/// What is never suggested: a guess must not lead to it.
const NEVER: [&str; 2] = ["destroy", "forget"];

/// What people type, what it is here, and the command.
const MEANT: [(&[&str], &str, &str); 25] = [
    (
        &[
            "deploy", "up", "push", "upgrade", "update", "sync", "launch", "ship",
        ],
        "make the clouds what the manifest says",
        "deployer apply",
    ),
    (
        &["restart", "redeploy", "reload", "bounce", "recycle"],
        "roll out anew what serves, also where nothing differs",
        "deployer apply --redeploy web",
    ),
    (
        &["start", "stop", "pause", "resume"],
        "what the manifest has runs; what it no longer has is deleted",
        "deployer apply",
    ),
    (
        &["history", "versions", "revisions", "deployments"],
        "the releases of each service",
        "deployer releases",
    ),
    (
        &["scale", "autoscale", "replicas", "resize"],
        "change `replicas`, `cpu` or `memory` in the manifest",
        "deployer apply",
    ),
    (
        &["ssh", "shell", "console", "attach", "sh"],
        "a shell in a task that serves, on ECS",
        "deployer exec web",
    ),
    (
        &["job", "task", "once", "one-off", "invoke"],
        "a command of your own, once, with what serves",
        "deployer run web -- env",
    ),
    (
        &["open", "url", "browse", "address"],
        "what serves, and where",
        "deployer status",
    ),
    (
        &["validate", "lint", "test"],
        "the manifest, for every environment",
        "deployer check",
    ),
    (
        &["ps", "ls", "list", "info", "describe", "get"],
        "what serves",
        "deployer status",
    ),
    (
        &["diff", "preview", "dry-run", "refresh"],
        "what would change",
        "deployer plan",
    ),
    (
        &["promote"],
        "name the same digest (`image = \"NAME@sha256:...\"`) for the other environment",
        "deployer plan --env ENV",
    ),
    (
        &["undo", "revert", "back"],
        "make an earlier release serve again",
        "deployer rollback",
    ),
    (
        &["tail", "log", "output"],
        "what the containers print",
        "deployer logs",
    ),
    (
        &["secret", "vars", "variables", "set"],
        "secrets; plain variables stand in the manifest",
        "deployer secrets list",
    ),
    (
        &["unlock", "force-unlock"],
        "take the lock from a run that will not give it back",
        "deployer lock release",
    ),
    (
        &["workspace", "workspaces", "environments", "envs", "stages"],
        "the environments",
        "deployer env list",
    ),
    (
        &["events", "audit", "activity", "jobs"],
        "who tried what, and how it ended",
        "deployer runs",
    ),
    (
        &["migration", "migrations", "db"],
        "the manifest's migration, without moving traffic",
        "deployer migrate",
    ),
    (
        &["version", "about"],
        "which version this is",
        "deployer --version",
    ),
    (
        &[
            "new",
            "create",
            "setup",
            "generate",
            "scaffold",
            "initialise",
            "initialize",
        ],
        "a first manifest",
        "deployer init",
    ),
    (
        &["import", "adopt", "state"],
        "there is no state to fill: `adopt = true` in the manifest takes over what is there",
        "deployer plan",
    ),
    (
        &["login", "auth", "policy", "iam"],
        "credentials are those of `aws` and `gcloud`; what they must be allowed",
        "deployer permissions",
    ),
    (
        &["delete", "remove", "rm", "down", "teardown", "purge"],
        "what the manifest no longer has is deleted by an apply; what that would be",
        "deployer plan",
    ),
    (
        &["local", "dev", "emulator"],
        "both clouds on this machine",
        "deployer sandbox up",
    ),
];

/// The same below a command of ours.
const MEANT_BELOW: [(&str, &[&str], &str, &str); 9] = [
    (
        "secrets",
        &["ls", "show"],
        "secrets with their versions",
        "deployer secrets list",
    ),
    (
        "secrets",
        &["get", "read", "cat", "view"],
        "values are never printed; the secrets that there are",
        "deployer secrets list",
    ),
    (
        "secrets",
        &["add", "create", "put", "new", "update", "edit", "rotate"],
        "a new value",
        "deployer secrets set NAME",
    ),
    (
        "secrets",
        &["rm", "remove", "delete", "unset"],
        "a secret that the manifest no longer has is deleted by an apply; what that would be",
        "deployer plan",
    ),
    (
        "lock",
        &["status", "list", "ls", "info"],
        "who holds it",
        "deployer lock show",
    ),
    (
        "lock",
        &["break", "unlock", "force-unlock", "steal", "take"],
        "take it from a run that will not give it back",
        "deployer lock release",
    ),
    (
        "env",
        &["ls", "show", "all"],
        "the environments",
        "deployer env list",
    ),
    (
        "env",
        &["use", "select", "switch", "set", "new", "create"],
        "each command names its own with `--env`; those that there are",
        "deployer env list",
    ),
    (
        "config",
        &["list", "ls", "get", "view", "print"],
        "the merged manifest",
        "deployer config show",
    ),
];

/// What to say of a command that does not exist, of a word too much, or of a value that is not
/// there. `None` when this is another error. `typed` are the words after the program's name.
pub fn explain(error: &clap::Error, typed: &[&str]) -> Option<(String, Option<String>)> {
    if error.kind() == ErrorKind::UnknownArgument {
        return unknown_argument(error);
    }
    if error.kind() == ErrorKind::InvalidValue && typed.contains(&"logs") {
        let of_manifest = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(option)) => option.starts_with("--manifest"),
            _ => false,
        };
        return of_manifest.then(|| (MANIFEST_OPTION.to_owned(), Some(FOLLOW.to_owned())));
    }
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let group = group(error);
    let message = format!("there is no command `{}`", join(&group, typed));
    Some((message, meant(&group, typed)))
}

/// What `-f` is here, and what other tools mean by it.
const MANIFEST_OPTION: &str = "`-f` names the manifest, and wants one";
const FOLLOW: &str = "to go on printing as lines come: deployer logs --follow (or -F)";

/// Whether the manifest that `logs` is given is a word of somebody who means `--follow`: no file,
/// and not called like one.
pub fn means_follow(global: &Global) -> bool {
    let named = global.manifest.as_deref();
    named.is_some_and(|it| it.extension().is_none() && it.components().count() == 1 && !it.exists())
}

/// What is said then.
pub fn follow(named: &Path) -> Error {
    let message = format!(
        "`-f` names the manifest, and there is no file `{}`",
        named.display()
    );
    Error::input(message).hint(FOLLOW)
}

/// A word that a command does not take, where there is more to say than that.
fn unknown_argument(error: &clap::Error) -> Option<(String, Option<String>)> {
    // A slip in an option that there is, is no value.
    let slip = error.get(ContextKind::SuggestedArg).is_some();
    match group(error).as_str() {
        // Whatever it is, it may be the value: it is not said again.
        "secrets set" if !slip => Some((
            "the value of a secret never passes through arguments: what is typed there stays in \
             the shell's history, and others see it in the list of processes"
                .to_owned(),
            Some(
                "leave it out and type it hidden, pipe it in, or name a file: \
                 deployer secrets set NAME --file FILE"
                    .to_owned(),
            ),
        )),
        "apply" | "destroy" | "rollback" | "migrate" if is_dry_run(error) => {
            let words =
                "there is no `--dry-run`: without `--yes` it shows what it would do, and asks";
            Some((
                words.to_owned(),
                Some("what an apply would change: deployer plan".to_owned()),
            ))
        }
        _ => None,
    }
}

fn is_dry_run(error: &clap::Error) -> bool {
    let typed = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(typed)) => typed.as_str(),
        _ => "",
    };
    ["--dry-run", "--check", "--plan", "--simulate"].contains(&typed)
}

/// The command whose own commands do not have that word: `secrets`, and empty for the program.
fn group(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    // `Usage: PROGRAM secrets [OPTIONS] <COMMAND>`, whatever the program is called.
    let words = usage
        .split_whitespace()
        .skip_while(|word| *word != "Usage:");
    let words = words
        .skip(2)
        .take_while(|word| !word.starts_with(['[', '<', '-']));
    words.collect::<Vec<_>>().join(" ")
}

fn join(group: &str, word: &str) -> String {
    match group.is_empty() {
        true => word.to_owned(),
        false => format!("{group} {word}"),
    }
}

fn meant(group: &str, typed: &str) -> Option<String> {
    if group.is_empty() {
        let mut known = MEANT.iter();
        let found = known.find(|(words, ..)| words.contains(&typed));
        if let Some((_, what, command)) = found {
            return Some(format!("{what}: {command}"));
        }
    }
    let mut known = MEANT_BELOW.iter();
    let found = known.find(|(of, words, ..)| *of == group && words.contains(&typed));
    if let Some((.., what, command)) = found {
        return Some(format!("{what}: {command}"));
    }
    if group == "runs" && typed.parse::<u64>().is_ok() {
        return Some(format!("what one run did: deployer runs show {typed}"));
    }
    let mut command = Cli::command();
    let mut at = &mut command;
    for word in group.split_whitespace() {
        at = at.find_subcommand_mut(word)?;
    }
    let all = at.get_subcommands().map(clap::Command::get_name);
    let (never, names): (Vec<&str>, Vec<&str>) = all.partition(|name| NEVER.contains(name));
    match deployer_manifest::nearest(typed, names.iter().copied()) {
        Some(name) => Some(format!("did you mean `deployer {}`?", join(group, name))),
        None if never.is_empty() => Some(format!("there are: {}", names.join(", "))),
        None => Some(format!("there are, among others: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn said(words: &[&str]) -> String {
        let typed = [&["deployer"], words].concat();
        let error = Cli::try_parse_from(typed).unwrap_err();
        let (message, hint) = explain(&error, words).expect("there is no such command");
        format!("{message}: {}", hint.unwrap_or_default())
    }

    #[test]
    fn a_word_of_another_tool_leads_to_its_neighbour_here() {
        for (word, command) in [
            ("history", "deployer releases"),
            ("validate", "deployer check"),
            ("ps", "deployer status"),
            ("deploy", "deployer apply"),
            ("upgrade", "deployer apply"),
            ("diff", "deployer plan"),
            ("scale", "deployer apply"),
            ("open", "deployer status"),
            ("secret", "deployer secrets list"),
            ("log", "deployer logs"),
            ("up", "deployer apply"),
            ("down", "deployer plan"),
            ("ssh", "deployer exec web"),
            ("version", "deployer --version"),
            ("initialise", "deployer init"),
        ] {
            let said = said(&[word]);
            assert!(said.contains(&format!("`{word}`")), "{said}");
            assert!(said.ends_with(command), "{said}");
        }
        assert!(said(&["staus"]).ends_with("did you mean `deployer status`?"));
        assert!(said(&["secrets", "lst"]).ends_with("did you mean `deployer secrets list`?"));
        assert!(said(&["release"]).ends_with("did you mean `deployer releases`?"));
        // Nobody who looks for a value is led to write one.
        assert!(said(&["secrets", "get", "token"]).ends_with("deployer secrets list"));
        assert!(said(&["lock", "status"]).ends_with("deployer lock show"));
        assert!(said(&["runs", "7"]).ends_with("deployer runs show 7"));
        for command in ["apply", "rollback", "destroy"] {
            assert!(said(&[command, "--dry-run"]).ends_with("deployer plan"));
        }
    }

    #[test]
    fn a_value_that_is_typed_as_an_argument_is_not_said_again() {
        for words in [
            &["secrets", "set", "api-token", "hunter2"][..],
            &[
                "secrets",
                "set",
                "api-token",
                "hunter2",
                "--env",
                "production",
            ],
            &[
                "-e",
                "production",
                "secrets",
                "set",
                "--file",
                "x",
                "api-token",
                "hunter2",
            ],
            &["secrets", "set", "api-token", "--hunter2"],
        ] {
            let said = said(words);
            assert!(said.contains("never passes through arguments"), "{said}");
            assert!(!said.contains("hunter"), "{said}");
        }
    }

    #[test]
    fn who_follows_logs_as_elsewhere_is_told_how_it_is_done_here() {
        let said = said(&["logs", "web", "-f"]);
        assert!(said.contains("--follow"), "{said}");
        let global = |words: &[&str]| {
            let typed = [&["deployer"], words].concat();
            Cli::try_parse_from(typed).unwrap().global
        };
        assert!(means_follow(&global(&["logs", "-f", "web"])));
        assert!(!means_follow(&global(&["logs", "-f", "other.toml"])));
        assert!(!means_follow(&global(&["logs", "-f", "a/web"])));
        assert!(!means_follow(&global(&["logs", "web"])));
        let tail = Cli::try_parse_from(["deployer", "logs", "web", "--tail", "5"]);
        assert!(tail.is_ok());
    }

    #[test]
    fn nothing_that_is_typed_leads_to_what_deletes() {
        let words = MEANT.iter().flat_map(|(words, ..)| words.iter().copied());
        for word in words.chain(["destry", "destory", "destroi", "forgt", "restrt"]) {
            let said = said(&[word]);
            let (_, hint) = said.split_once(": ").expect("a hint");
            assert!(
                !NEVER.iter().any(|never| hint.contains(never)),
                "{word}: {said}"
            );
        }
    }

    fn parses(command: &str) -> bool {
        match Cli::try_parse_from(command.split(' ')) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::DisplayVersion,
        }
    }

    #[test]
    fn every_word_is_unknown_and_every_command_is_there() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(|it| it.get_name()).collect();
        for (words, _, command) in MEANT {
            assert!(words.iter().all(|word| !names.contains(word)), "{words:?}");
            assert!(parses(command), "{command}");
        }
        let mut command = Cli::command();
        for (group, words, _, meant) in MEANT_BELOW {
            let below = command.find_subcommand_mut(group).expect("a command");
            let names: Vec<&str> = below.get_subcommands().map(|it| it.get_name()).collect();
            assert!(words.iter().all(|word| !names.contains(word)), "{words:?}");
            assert!(parses(meant), "{meant}");
        }
    }
}
