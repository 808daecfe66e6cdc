//! `deployer completions`: a script with which a shell completes commands.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory};
use clap_complete::env::Shells;
use deployer_core::error::{Error, Result};

use crate::args::Cli;
use crate::exit::Exit;

/// Names the shell that asks: the script sets it.
const VARIABLE: &str = "COMPLETE";

/// What ends the script of zsh: it names the function.
const COMPDEF: &str = "\ncompdef _clap_dynamic_completer_deployer deployer\n";

/// Beside that, where zsh loads the script itself, as `_deployer` in a folder of `fpath`, on the
/// first Tab: that one is to be answered too.
const LOADED: &str = "\
if [[ $funcstack[1] == _deployer ]]; then
    _clap_dynamic_completer_deployer \"$@\"
fi
";

/// Prints the script of a shell.
pub fn run(shell: clap_complete::Shell) -> Result<Exit> {
    out!("{}", script(shell)?);
    Ok(Exit::Success)
}

fn script(shell: clap_complete::Shell) -> Result<String> {
    let cannot = |error: std::io::Error| {
        Error::internal("cannot write the completion script").because(error)
    };
    let mut text = Vec::new();
    let name = shell.to_string();
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(&name) else {
        return Err(Error::input(format!("there are no completions for {name}")));
    };
    completer
        .write_registration(VARIABLE, "deployer", "deployer", "deployer", &mut text)
        .map_err(cannot)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.replace(COMPDEF, &format!("{COMPDEF}{LOADED}")))
}

/// The commands as they are completed: where a word begins that is no option, what else can stand
/// there is offered alone.
pub fn command() -> Command {
    let words: Vec<OsString> = std::env::args_os()
        .skip_while(|it| it != "--")
        .skip(1)
        .collect();
    let at = std::env::var("_CLAP_COMPLETE_INDEX").ok();
    let at = at.and_then(|it| it.parse().ok());
    let word = words.get(at.unwrap_or(words.len().saturating_sub(1)));
    let is_option = word.is_some_and(|it| it.to_string_lossy().starts_with('-'));
    match is_option {
        true => Cli::command(),
        false => without_options(Cli::command()),
    }
}

/// What is hidden is offered where nothing else is.
fn without_options(command: Command) -> Command {
    let hide = |arg: Arg| {
        let is_option = !arg.is_positional();
        arg.hide(is_option)
    };
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .mut_args(hide)
        .mut_subcommands(without_options)
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn the_first_tab_is_answered_where_zsh_loads_the_script_itself() {
        let text = script(Shell::Zsh).unwrap();
        assert!(text.starts_with("#compdef deployer"), "{text}");
        assert!(text.ends_with(&format!("{COMPDEF}{LOADED}")), "{text}");
        for shell in [Shell::Bash, Shell::Fish] {
            assert!(!script(shell).unwrap().contains("funcstack"));
        }
    }

    #[test]
    fn options_are_offered_where_a_word_begins_like_one_or_nothing_else_can_stand() {
        let offered = |command: Command, words: &[&str]| {
            let mut command = command;
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let at = words.len() - 1;
            let found = clap_complete::engine::complete(&mut command, words, at, None).unwrap();
            let names = found.into_iter();
            names
                .map(|it| it.get_value().to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        let bare = || without_options(Cli::command());
        assert!(offered(bare(), &["deployer", ""]).contains(&"apply".to_owned()));
        let is_option = |it: &String| it.starts_with('-');
        assert!(!offered(bare(), &["deployer", ""]).iter().any(is_option));
        assert!(
            !offered(bare(), &["deployer", "lock", ""])
                .iter()
                .any(is_option)
        );
        // Nothing else can stand there.
        assert!(
            offered(bare(), &["deployer", "check", ""])
                .iter()
                .all(is_option)
        );
        let named = offered(Cli::command(), &["deployer", "logs", "--"]);
        assert!(named.contains(&"--follow".to_owned()), "{named:?}");
    }
}
