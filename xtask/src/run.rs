//! Runs programs and steps, and says what they did.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a program on this terminal; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a program and returns its standard output; an error, with its standard error, unless it
/// succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            said.trim()
        );
    }
    String::from_utf8(output.stdout).context("the output is not UTF-8")
}

/// Whether a program of this name can be started.
pub fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The program and its arguments, without the environment, which may hold passwords.
fn shown(command: &Command) -> String {
    let mut line = format!("`{}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line.push('`');
    line
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it is for.
    Passed,
    /// It could not be tried; says why.
    Skipped(String),
    /// It failed; says how.
    Failed(String),
}

/// Steps in the order they ran, with the time that each took.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<(String, Duration, Outcome)>,
}

impl Steps {
    /// Runs one step; a failure is kept, so that the steps after it still run.
    pub fn step(&mut self, name: &str, body: impl FnOnce() -> Result<Outcome>) {
        eprintln!("== {name}");
        let started = Instant::now();
        let outcome = body().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        self.done
            .push((name.to_owned(), started.elapsed(), outcome));
    }

    /// One line a step: name, seconds, result.
    pub fn table(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|(name, _, _)| name.len())
            .max()
            .unwrap_or(0);
        let mut table = String::new();
        for (name, took, outcome) in &self.done {
            let word = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Skipped(why) => format!("skipped: {why}"),
                Outcome::Failed(why) => format!("FAILED: {why}"),
            };
            let seconds = took.as_secs_f64();
            writeln!(table, "{name:<width$}  {seconds:>7.1} s  {word}").expect("strings grow");
        }
        table
    }

    /// Prints the table; an error if any step failed.
    pub fn finish(self) -> Result<()> {
        eprint!("\n{}", self.table());
        let failed = |(_, _, outcome): &&(_, _, Outcome)| matches!(outcome, Outcome::Failed(_));
        match self.done.iter().filter(failed).count() {
            0 => Ok(()),
            count => bail!("{count} of {} steps failed", self.done.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_told_and_does_not_stop_the_next() {
        let mut steps = Steps::default();
        steps.step("first", || bail!("broken"));
        steps.step("second", || Ok(Outcome::Skipped("no network".to_owned())));
        let table = steps.table();
        assert!(table.contains("FAILED: broken"), "{table}");
        assert!(table.contains("skipped: no network"), "{table}");
        assert!(steps.finish().is_err());
    }

    #[test]
    fn a_program_that_fails_is_named_with_its_own_words() {
        let error =
            output(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("sh -c") && said.contains("no luck"), "{said}");
    }
}
