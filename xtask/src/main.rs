//! The project's own commands: `cargo xtask <command>`.

mod ci;
mod demo;
mod deny;
mod docs;
mod images;
mod interrupt;
mod oci_layout;
mod packages;
mod picture;
mod postgres;
mod run;
mod test;
mod venv;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo       the whole story on this machine: two clouds, three versions, a rollback
  ci         everything that must pass: fmt, clippy, rustdoc, test, deny
  test       every test, with images, PostgreSQL and Python clients prepared
  docs       write docs/manifest.md from the manifest's schema
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
