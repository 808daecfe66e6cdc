//! `deployer completions`: a script with which a shell completes commands.

use clap_complete::env::Shells;
use deployer_core::error::{Error, Result};

use crate::exit::Exit;

/// Names the shell that asks: the script sets it.
const VARIABLE: &str = "COMPLETE";

/// Prints the script of a shell.
pub fn run(shell: clap_complete::Shell) -> Result<Exit> {
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
    out!("{}", String::from_utf8_lossy(&text));
    Ok(Exit::Success)
}
