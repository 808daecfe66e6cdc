//! A command of ours as a person types it again: with the options that name what this one works on,
//! quoted for a shell. The one place that writes commands into what people read.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use deployer_core::address::CloudName;
use deployer_core::compose::Part;

use crate::args::{Global, Which};
use crate::whereabouts::{MANIFEST, OF_RECORDS};

tokio::task_local! {
    /// What the command that runs works on.
    static HERE: Global;
}

/// The commands that work on a manifest, an environment and its clouds.
const ON_AN_ENVIRONMENT: [&str; 17] = [
    "plan", "apply", "migrate", "releases", "run", "exec", "runs", "report", "status", "verify",
    "logs", "rollback", "secrets", "lock", "destroy", "forget", "config",
];

/// What the command that runs was typed with. `None` outside of one.
pub fn typed() -> Option<Global> {
    HERE.try_with(Clone::clone).ok()
}

/// Runs a command; what it prints of commands is completed by what it works on itself.
pub async fn here<T>(global: &Global, command: impl Future<Output = T>) -> T {
    HERE.scope(global.clone(), command).await
}

/// The same for a command that waits for nothing.
pub fn here_at_once<T>(global: &Global, command: impl FnOnce() -> T) -> T {
    HERE.sync_scope(global.clone(), command)
}

/// A command that works on what this one works on. Shows as it is typed.
#[derive(Clone, Debug)]
pub struct Again {
    words: String,
    global: Global,
}

impl Again {
    /// `command` is the word after the program's name, such as `apply`.
    pub fn new(global: &Global, command: &str) -> Self {
        Self {
            words: format!("deployer {command}"),
            global: global.clone(),
        }
    }

    /// With a further word.
    #[must_use]
    pub fn with(mut self, word: &str) -> Self {
        self.words.push(' ');
        self.words.push_str(&quoted(word));
        self
    }

    /// With an option and its value.
    #[must_use]
    pub fn option(self, name: &str, value: &str) -> Self {
        self.with(name).with(value)
    }

    /// Of what the wish is for.
    #[must_use]
    pub fn wishing(self, part: &Part, release_hold: bool) -> Self {
        let again = match part {
            Part::All => self,
            Part::CodeOf(services) => services
                .iter()
                .fold(self, |again, service| again.option("--only", service)),
        };
        match release_hold {
            true => again.with("--release-hold"),
            false => again,
        }
    }

    /// With new roll-outs of these services.
    #[must_use]
    pub fn redeploying<'a>(self, services: impl IntoIterator<Item = &'a str>) -> Self {
        let services = services.into_iter();
        services.fold(self, |again, service| again.option("--redeploy", service))
    }

    /// On this cloud alone.
    #[must_use]
    pub fn on(mut self, cloud: CloudName) -> Self {
        self.global.cloud = Which::from(cloud);
        self
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, theirs) = of_a_container(&self.words);
        f.write_str(ours)?;
        for option in wanted(ours, &named(&self.global)) {
            f.write_str(&shown_option(option))?;
        }
        f.write_str(theirs)
    }
}

/// A text with every command of ours in it completed by what the command that runs works on: those
/// between back-ticks, and one that the text begins with.
pub fn completed(text: &str) -> Cow<'_, str> {
    let options = HERE.try_with(named).unwrap_or_default();
    if options.is_empty() || !text.contains("deployer ") {
        return Cow::Borrowed(text);
    }
    if is_ours(text) {
        // What follows the command is prose.
        let end = text.find([';', ',', '(', '`']).unwrap_or(text.len());
        let end = text.find(COMMENT).map_or(end, |comment| comment.min(end));
        let (command, rest) = text.split_at(text[..end].trim_end().len());
        return Cow::Owned(format!("{}{rest}", with_options(command, &options)));
    }
    let parts = text.split('`').enumerate().map(|(at, part)| {
        let is_code = at % 2 == 1;
        match is_code && is_ours(part) {
            true => with_options(part, &options),
            false => part.to_owned(),
        }
    });
    Cow::Owned(parts.collect::<Vec<_>>().join("`"))
}

/// The same without what this very command works on, its clouds aside: who reads it later works on
/// that in another way.
pub fn uncompleted(text: &str) -> String {
    let options = HERE.try_with(named).unwrap_or_default();
    let options = options.iter().filter(|(name, _)| *name != "--cloud");
    options.fold(text.to_owned(), |text, option| {
        text.replace(&shown_option(option), "")
    })
}

/// What stands before a comment of ours behind a command.
const COMMENT: &str = "    #";

fn is_ours(command: &str) -> bool {
    let verb = command
        .strip_prefix("deployer ")
        .and_then(|rest| rest.split([' ', ';', ',', '`']).next());
    verb.is_some_and(|verb| ON_AN_ENVIRONMENT.contains(&verb))
}

fn with_options(command: &str, options: &[(&str, String)]) -> String {
    let (ours, theirs) = of_a_container(command);
    let given = |name: &str| ours.split(' ').any(|word| word == name);
    let missing = wanted(ours, options).filter(|(name, _)| !given(name));
    let missing = missing.map(shown_option);
    format!("{ours}{}{theirs}", missing.collect::<String>())
}

/// Those of the options that a command needs: what is set for a service's variables changes nothing
/// of what was recorded.
fn wanted<'a>(
    command: &str,
    options: &'a [(&'a str, String)],
) -> impl Iterator<Item = &'a (&'a str, String)> {
    let verb = command.split(' ').nth(1).unwrap_or_default();
    let reads = OF_RECORDS.contains(&verb);
    options
        .iter()
        .filter(move |(name, value)| !(reads && *name == "--set" && value.ends_with(UNSAID)))
}

/// Stands for a value that the reader is to fill in.
const UNSAID: &str = "=<VALUE>";

/// A command of ours, and from ` -- ` on the one that it runs in a container, if any: options that
/// stood there would be that one's.
fn of_a_container(command: &str) -> (&str, &str) {
    let at = command.find(" -- ").unwrap_or(command.len());
    command.split_at(at)
}

/// An option as it is typed; one without a value is a switch.
fn shown_option((name, value): &(&str, String)) -> String {
    match value.is_empty() {
        true => format!(" {name}"),
        false => format!(" {name} {value}"),
    }
}

/// The options that name what a command works on, with their values as they are typed.
fn named(global: &Global) -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    if let Some(directory) = &global.directory {
        options.push(("--directory", path(directory)));
    }
    if let Some(manifest) = &global.manifest
        && manifest != Path::new(MANIFEST)
    {
        options.push(("--manifest", path(manifest)));
    }
    if let Some(environment) = &global.env {
        options.push(("--env", quoted(environment).into_owned()));
    }
    if global.new_environment {
        options.push(("--new-environment", String::new()));
    }
    match global.cloud {
        Which::All => {}
        Which::Aws => options.push(("--cloud", "aws".to_owned())),
        Which::Gcp => options.push(("--cloud", "gcp".to_owned())),
    }
    options.extend(global.set.iter().map(|set| ("--set", shown(set))));
    options
}

/// A path as it is typed.
pub fn path(path: &Path) -> String {
    quoted(&path.display().to_string()).into_owned()
}

/// A word as it is typed.
pub fn word(word: &str) -> Cow<'_, str> {
    quoted(word)
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> Cow<'_, str> {
    // Only a NUL cannot be quoted, and no argument holds one.
    shlex::try_quote(word).unwrap_or(Cow::Borrowed("''"))
}

/// `KEY=VALUE` as it is typed. A plain variable may hold anything, also what nobody else is to
/// read: its value is for the reader to fill in, and a shell refuses the line until that is done.
fn shown(set: &str) -> String {
    match set.split_once('=') {
        Some((key, _)) if is_of_a_variable(key) => format!("{}{UNSAID}", quoted(key)),
        Some(_) | None => quoted(set).into_owned(),
    }
}

fn is_of_a_variable(key: &str) -> bool {
    let mut parts = key.split('.').rev();
    // A member of `env`, or the whole of it.
    parts.any(|part| part.trim_matches(['"', '\'', ' ']) == "env")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;

    fn global(arguments: &[&str]) -> Global {
        let words = ["deployer", "plan"].iter().chain(arguments);
        Cli::try_parse_from(words).unwrap().global
    }

    #[test]
    fn a_command_names_what_this_one_works_on() {
        let elsewhere = global(&["-f", "a b/it's.toml", "-e", "production"]);
        let again = Again::new(&elsewhere, "rollback")
            .with("web")
            .option("--to", "r3");
        let again = again.on(CloudName::Aws).to_string();
        assert_eq!(
            again,
            r#"deployer rollback web --to r3 --manifest "a b/it's.toml" --env production --cloud aws"#
        );
        let words = shlex::split(&again).unwrap();
        let read = Cli::try_parse_from(words).unwrap().global;
        assert_eq!(read.manifest, elsewhere.manifest);
        assert_eq!(read.env.as_deref(), Some("production"));
        assert_eq!(read.cloud, Which::Aws);
    }

    #[test]
    fn what_a_container_runs_stands_behind_every_option() {
        let again = Again::new(&global(&["-e", "production"]), "run").with("web");
        let again = again.with("--").with("ls").with("a b");
        let again = again.on(CloudName::Gcp).to_string();
        let typed = "deployer run web --env production --cloud gcp -- ls 'a b'";
        assert_eq!(again, typed);
        let words = shlex::split(&again).unwrap();
        let read = Cli::try_parse_from(words).unwrap().global;
        assert_eq!(read.env.as_deref(), Some("production"));
    }

    #[test]
    fn what_is_usual_is_not_named() {
        let again = Again::new(&global(&[]), "apply");
        let again = again.wishing(&Part::CodeOf(["web".to_owned()].into()), true);
        assert_eq!(
            again.to_string(),
            "deployer apply --only web --release-hold"
        );
    }

    #[test]
    fn the_value_of_a_variable_is_not_printed() {
        let shown = |set: &str| Again::new(&global(&["--set", set]), "apply").to_string();
        assert_eq!(
            shown("services.web.env.TOKEN=hunter2"),
            "deployer apply --set services.web.env.TOKEN=<VALUE>"
        );
        assert_eq!(
            shown("services.web.image=a b"),
            "deployer apply --set 'services.web.image=a b'"
        );
    }

    #[tokio::test]
    async fn a_kept_command_is_typed_as_its_reader_works() {
        let typed = "deployer apply --manifest d/deployer.toml --env prod --cloud aws    # later";
        let writer = global(&["-f", "d/deployer.toml", "-e", "prod"]);
        let kept = here(&writer, async { uncompleted(typed) }).await;
        assert_eq!(kept, "deployer apply --cloud aws    # later");
        let reader = global(&["-e", "prod", "--cloud", "aws"]);
        let read = here(&reader, async { completed(&kept).into_owned() }).await;
        assert_eq!(read, "deployer apply --cloud aws --env prod    # later");
    }

    #[tokio::test]
    async fn commands_in_a_text_are_completed() {
        let check = |text: &str, expected: &str| assert_eq!(completed(text), expected);
        check("`deployer apply` does it", "`deployer apply` does it");
        here(&global(&["-e", "production"]), async {
            check(
                "put it right, then run `deployer migrate --retry`",
                "put it right, then run `deployer migrate --retry --env production`",
            );
            check(
                "`deployer status` says what serves, `deployer plan -f x` what differs",
                "`deployer status --env production` says what serves, `deployer plan -f x --env production` what differs",
            );
            check(
                "deployer secrets set main",
                "deployer secrets set main --env production",
            );
            check(
                "deployer apply --env other (as before)",
                "deployer apply --env other (as before)",
            );
            check(
                "`deployer run web -- ls --env x` runs it by itself",
                "`deployer run web --env production -- ls --env x` runs it by itself",
            );
            check("deployer needs a store", "deployer needs a store");
            check("`deployer sandbox up`", "`deployer sandbox up`");
        })
        .await;
    }

    #[test]
    fn every_command_is_known_to_work_on_an_environment_or_not() {
        let others = [
            "init",
            "schema",
            "show",
            "permissions",
            "man",
            "sandbox",
            "completions",
            "check",
            "env",
        ];
        let mut known: Vec<&str> = ON_AN_ENVIRONMENT.iter().chain(&others).copied().collect();
        known.sort_unstable();
        let command = Cli::command();
        let mut all: Vec<&str> = command.get_subcommands().map(|it| it.get_name()).collect();
        all.sort_unstable();
        assert_eq!(known, all);
    }
}
