//! `deployer completions`: a script with which a shell completes commands.

use clap_complete::env::Shells;
use deployer_core::error::{Error, Result};

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
}
