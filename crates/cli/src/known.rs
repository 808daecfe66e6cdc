//! Environments are known or refused: a slip in a name must not make a whole new one.

use std::path::Path;

use deployer_core::error::{Error, Result};
use deployer_manifest::Loaded;

use crate::again::Again;
use crate::args::Global;
use crate::session::Session;

/// Lets an environment pass that a file or a ledger knows, or of which a person said that it is
/// new.
///
/// Errors: input, naming those that there are; ledger, when no ledger that can be read knows it and
/// one cannot be read.
pub async fn require(global: &Global, session: &Session, command: &str) -> Result<()> {
    if global.new_environment || session.loaded.is_known() {
        return Ok(());
    }
    let mut unread = None;
    for place in &session.places {
        match place.ledger.has_runs().await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => unread = Some(error),
        }
    }
    match unread {
        Some(error) => Err(error),
        None => Err(unknown(global, &session.loaded, command)),
    }
}

/// Tells of an environment that no file knows, where no ledger can be asked.
pub fn note(global: &Global, loaded: &Loaded) {
    if global.new_environment || loaded.is_known() || global.json || global.quiet {
        return;
    }
    let meant = loaded.meant();
    let meant = meant.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
    sayln!(
        "note: no file tells of an environment `{}`{meant}",
        loaded.environment
    );
}

fn unknown(global: &Global, loaded: &Loaded, command: &str) -> Error {
    let name = &loaded.environment;
    let meant = loaded.meant();
    let meant = meant.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
    let known = loaded.known.iter().map(|it| {
        let file = it.file.file_name().map(Path::new).unwrap_or(&it.file);
        format!("{} ({})", it.name, file.display())
    });
    let known: Vec<String> = known.collect();
    let error = Error::input(format!("there is no environment `{name}`{meant}"));
    let known = format!("known: {}", known.join(", "));
    if !MAKING.contains(&command) {
        return error.hint(known);
    }
    let again = Again::new(
        &Global {
            new_environment: true,
            ..global.clone()
        },
        command,
    );
    error.hint(format!("{known}\na new one: `{again}`"))
}

/// What a new environment begins with; of one that is not there nothing can be read.
const MAKING: [&str; 4] = ["plan", "apply", "migrate", "secrets set"];
