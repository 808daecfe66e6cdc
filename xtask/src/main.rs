//! The project's own commands: `cargo xtask <command>`.

mod bench;
mod ci;
#[cfg(test)]
mod circles;
mod demo;
mod deny;
mod dist;
mod docs;
mod images;
mod interrupt;
mod node;
mod oci_layout;
mod packages;
mod picture;
mod postgres;
mod run;
mod sweep;
mod test;
#[cfg(test)]
mod tidy;
mod venv;
mod workflows;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo       the whole story on this machine: two clouds, three versions, a rollback
  ci         everything that must pass: fmt, clippy, rustdoc, test, workflows, deny
  test       every test, with images, PostgreSQL and Python clients prepared
  sweep      every call fails, every entry is the last: all points, where test tries a sample
  bench      what the program costs: calls, critical path, lag, scale, footprint, beside the runbook
             (`bench runbook`: the last of these alone)
  docs       write docs/manifest.md from the manifest's schema, and docs/permissions.md from the program
  dist       a release under target/dist: static binary, completions, manual, image, sums, installer
             (`--target TRIPLE`; `--binary FILE` packs one that is built already;
             `--profile dev --target host` tries all of it with what the tests built)
  picture    write docs/terminal.svg from a real plan and apply
  images     build the test service and write its images under target/images
  postgres   run a PostgreSQL in the foreground and print its URL
  venv       prepare the Python clients under target/venv
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo"] => demo::command(),
        ["ci"] => ci::ci(),
        ["test", filter @ ..] => test::test(filter),
        ["bench"] => bench::command(),
        ["bench", "runbook"] => bench::runbook(),
        ["sweep"] => sweep::command(None),
        ["sweep", filter] => sweep::command(Some(filter)),
        ["dist", words @ ..] => dist::command(words),
        ["docs"] => docs::command(),
        ["picture"] => picture::command(),
        ["images"] => images::command(),
        ["postgres"] => postgres::command(),
        ["venv"] => venv::command(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
