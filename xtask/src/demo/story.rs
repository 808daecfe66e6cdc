//! Numbers the steps, times them and keeps what each one showed.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps so far, in order.
#[derive(Debug, Default)]
pub struct Story {
    steps: Vec<(String, Duration, String)>,
}

impl Story {
    /// Runs one step; `body` returns what later steps need and what was checked.
    ///
    /// Fails as the body does: the caller goes no further.
    pub fn step<T>(
        &mut self,
        title: &str,
        body: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        eprintln!("\n== {}. {title}", self.steps.len() + 1);
        let started = Instant::now();
        let done = body();
        let took = started.elapsed();
        let word = match &done {
            Ok((_, checked)) => checked.clone(),
            Err(_) => "FAILED".to_owned(),
        };
        eprintln!("   {:.1} s: {word}", took.as_secs_f64());
        self.steps.push((title.to_owned(), took, word));
        let (value, _) = done.with_context(|| format!("step `{title}`"))?;
        Ok(value)
    }

    /// One line a step: title, seconds, what was checked.
    pub fn table(&self) -> String {
        let width = self.steps.iter().map(|(title, _, _)| title.len()).max();
        let width = width.unwrap_or(0);
        let mut table = String::new();
        let mut total = Duration::ZERO;
        for (title, took, checked) in &self.steps {
            total += *took;
            let seconds = took.as_secs_f64();
            writeln!(table, "{title:<width$}  {seconds:>6.1} s  {checked}").expect("strings grow");
        }
        let seconds = total.as_secs_f64();
        writeln!(table, "{:<width$}  {seconds:>6.1} s", "together").expect("strings grow");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_is_named_and_stands_in_the_table() {
        let mut story = Story::default();
        let value = story.step("first", || Ok((7, "seen".to_owned())));
        assert_eq!(value.unwrap(), 7);
        let failed: Result<()> = story.step("second", || anyhow::bail!("untrue"));
        assert_eq!(
            format!("{:#}", failed.unwrap_err()),
            "step `second`: untrue"
        );
        let table = story.table();
        assert!(
            table.contains("seen") && table.contains("FAILED"),
            "{table}"
        );
    }
}
