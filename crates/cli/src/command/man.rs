//! `deployer man`: a manual page for the program and one for each command.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use deployer_core::error::{Error, Result};

use crate::args::{Cli, ManArgs};
use crate::exit::Exit;

/// The page from which EXIT STATUS is made.
const EXIT_CODES: &str = include_str!("../../../../docs/exit-codes.md");

/// Variables that no option names.
const VARIABLES: [(&str, &str); 9] = [
    ("DEPLOYER_ENV", "the environment, as --env"),
    ("DEPLOYER_MANIFEST", "the manifest, as --manifest"),
    (
        "DEPLOYER_KEY__PATH",
        "any value of the manifest: DEPLOYER_SERVICES__WEB__PORT=8080",
    ),
    (
        "DEPLOYER_LOG",
        "which log lines are shown: deployer_aws=debug",
    ),
    ("DEPLOYER_SANDBOX_HOME", "where the sandbox keeps its state"),
    (
        "NO_COLOR, CLICOLOR_FORCE",
        "no colour; colour also where there is no terminal",
    ),
    ("CI, TERM", "set, and `dumb`: plain lines instead of a bar"),
    (
        "AWS_PROFILE, AWS_REGION, ...",
        "credentials for AWS, as `aws` takes them",
    ),
    (
        "GOOGLE_APPLICATION_CREDENTIALS, ...",
        "credentials for Google Cloud, as the client libraries take them",
    ),
];

/// Files that are read or written.
const FILES: [(&str, &str); 5] = [
    ("deployer.toml", "the manifest, in this folder or above"),
    ("deployer.ENV.toml", "what differs in an environment"),
    (".deployer/", "the ledger of a sandbox, beside the manifest"),
    (
        "s3://deployer-ACCOUNT-REGION, gs://deployer-PROJECT-REGION",
        "the ledgers, unless `ledger` in the target says otherwise",
    ),
    (
        "~/.local/state/deployer/sandbox/",
        "the sandbox's own state",
    ),
];

/// What people type most, by command.
const EXAMPLES: [(&str, &[&str]); 18] = [
    (
        "",
        &[
            "deployer init",
            "deployer plan",
            "deployer apply --env production",
        ],
    ),
    (
        "plan",
        &[
            "deployer plan --detailed-exitcode --out staging.plan",
            "deployer plan --only web",
        ],
    ),
    (
        "apply",
        &[
            "deployer apply",
            "deployer apply staging.plan --wait-lock 10m",
            "deployer apply --yes --only web --only worker",
            "deployer apply --redeploy web",
        ],
    ),
    ("check", &["deployer check", "deployer check --json"]),
    ("migrate", &["deployer migrate --retry"]),
    ("releases", &["deployer releases web"]),
    (
        "runs",
        &["deployer runs", "deployer runs show 12 --cloud aws"],
    ),
    ("report", &["deployer report", "deployer report --run 12"]),
    ("status", &["deployer status web --json"]),
    ("verify", &["deployer verify --patience 60s"]),
    (
        "logs",
        &[
            "deployer logs web worker --follow",
            "deployer logs --since 1h --grep timeout",
            "deployer logs web --release r7",
            "deployer logs web --migration",
        ],
    ),
    (
        "run",
        &[
            "deployer run web --cloud aws -- bin/rails db:seed",
            "deployer run web --release r7 --timeout 1h -- node report.js > report.csv",
        ],
    ),
    (
        "exec",
        &[
            "deployer exec web",
            "deployer exec web --task 0a1b -- printenv GREETING",
        ],
    ),
    (
        "rollback",
        &[
            "deployer rollback web --to r3",
            "deployer rollback --cloud gcp",
        ],
    ),
    (
        "secrets",
        &["openssl rand -hex 16 | deployer secrets set api-token"],
    ),
    ("lock", &["deployer lock show"]),
    (
        "init",
        &[
            "deployer init --cloud aws --database",
            "deployer init --yes",
        ],
    ),
    (
        "sandbox",
        &[
            "deployer sandbox try",
            "deployer sandbox up",
            "eval \"$(deployer sandbox env)\"",
        ],
    ),
];

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
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    gather(&program, "", &mut pages);
    for (name, text) in pages {
        std::fs::write(args.out.join(name), text).map_err(cannot)?;
    }
    outln!(
        "the manual is in {}; read it with `man -l {}/deployer.1`",
        args.out.display(),
        args.out.display()
    );
    Ok(Exit::Success)
}

/// The pages of a command and of those below it: file name and text.
fn gather(command: &Command, below: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    let man = Man::new(command.clone()).source(concat!("deployer ", env!("CARGO_PKG_VERSION")));
    let (name, mut text) = (man.get_filename(), Vec::new());
    // Writing into memory cannot fail.
    let written = man
        .render(&mut text)
        .and_then(|()| more(below).to_writer(&mut text));
    written.unwrap_or_default();
    pages.push((name, text));
    for sub in command.get_subcommands() {
        let below = match below.is_empty() {
            true => sub.get_name(),
            false => below,
        };
        gather(sub, below, pages);
    }
}

/// What the arguments alone do not tell. `below` is the command of the first level, empty for the
/// program itself.
fn more(below: &str) -> Roff {
    let mut page = Roff::default();
    let mut section = |title: &str, rows: &[(String, String)]| {
        page.control("SH", [title]);
        for (what, why) in rows {
            page.control("TP", []);
            page.text([bold(what.as_str())]);
            page.text([roman(why.as_str())]);
        }
    };
    let owned = |rows: &[(&str, &str)]| {
        let rows = rows.iter();
        rows.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect::<Vec<_>>()
    };
    section("EXIT STATUS", &exit_codes());
    section("ENVIRONMENT", &owned(&VARIABLES));
    section("FILES", &owned(&FILES));
    let examples = EXAMPLES.iter().find(|(command, _)| *command == below);
    if let Some((_, lines)) = examples {
        page.control("SH", ["EXAMPLES"]);
        for line in *lines {
            page.control("PP", []);
            page.text([bold(*line)]);
        }
    }
    page
}

/// The table of the page, without its last column and its marks.
fn exit_codes() -> Vec<(String, String)> {
    let rows = EXIT_CODES
        .lines()
        .filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        let (code, meaning) = (cells.next()?, cells.next()?);
        code.parse::<u8>().ok()?;
        Some((code.to_owned(), meaning.replace('`', "")))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Vec<(String, String)> {
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let mut pages = Vec::new();
        gather(&program, "", &mut pages);
        let text = |text| String::from_utf8(text).unwrap();
        pages
            .into_iter()
            .map(|(name, page)| (name, text(page)))
            .collect()
    }

    #[test]
    fn every_page_tells_exit_codes_variables_and_files() {
        let pages = pages();
        assert!(
            pages
                .iter()
                .any(|(name, _)| name == "deployer-sandbox-up.1")
        );
        for (name, page) in &pages {
            for section in ["EXIT STATUS", "ENVIRONMENT", "FILES"] {
                let heading = format!(".SH \"{section}\"");
                let plain = format!(".SH {section}");
                assert!(
                    page.contains(&heading) || page.contains(&plain),
                    "{name}: {section}"
                );
            }
        }
        let (_, apply) = pages
            .iter()
            .find(|(name, _)| name == "deployer-apply.1")
            .unwrap();
        assert!(
            apply.contains("EXAMPLES") && apply.contains("130"),
            "{apply}"
        );
    }

    #[test]
    fn every_example_is_a_command_that_there_is() {
        use clap::Parser;
        for line in EXAMPLES.iter().flat_map(|(_, lines)| lines.iter()) {
            let from = line.find("deployer ").unwrap();
            let command = line[from..].trim_end_matches(['"', ')']);
            let words = shlex::split(command).unwrap();
            assert!(Cli::try_parse_from(&words).is_ok(), "{line}");
        }
    }
}
