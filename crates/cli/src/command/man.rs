//! `deployer man`: a manual page for the program and one for each command.

use clap::CommandFactory;
use deployer_core::error::{Error, Result};

use crate::args::{Cli, ManArgs};
use crate::exit::Exit;

/// Writes the pages, over those that are there.
pub fn run(args: &ManArgs) -> Result<Exit> {
    let cannot = |error: std::io::Error| {
        Error::input(format!(
            "cannot write the manual to `{}`",
            args.out.display()
        ))
        .because(error)
    };
    std::fs::create_dir_all(&args.out).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), &args.out).map_err(cannot)?;
    outln!(
        "the manual is in {}; read it with `man -l {}/deployer.1`",
        args.out.display(),
        args.out.display()
    );
    Ok(Exit::Success)
}
