//! What GitHub's runners make of lines: groups that fold, and notes beside the code.
//!
//! "Workflow commands for GitHub Actions" (GitHub Docs): `::group::TITLE`, `::endgroup::`,
//! `::error file=F,line=L,title=T::MESSAGE`; the runner reads them on both streams.

/// Whether this is a job of GitHub's.
fn is_job() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|it| it == "true") && !crate::output::is_kept()
}

/// Lines that fold, until it is dropped.
pub struct Group(());

impl Drop for Group {
    fn drop(&mut self) {
        sayln!("::endgroup::");
    }
}

/// Folds what is said from now on. `None` outside of a job.
pub fn group(title: &str) -> Option<Group> {
    is_job().then(|| {
        sayln!("::group::{}", message(title));
        Group(())
    })
}

/// Notes an error on the job's page.
pub fn error(title: &str, what: &str) {
    if is_job() {
        sayln!("::error title={}::{}", property(title), message(what));
    }
}

/// Notes an error beside a line of a file.
pub fn error_at(file: &str, line: usize, what: &str) {
    if is_job() {
        sayln!(
            "::error file={},line={line}::{}",
            property(file),
            message(what)
        );
    }
}

/// As the runner unescapes it (actions/toolkit, `packages/core/src/command.ts`).
fn message(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_a_command_or_begins_another() {
        assert_eq!(message("100 %\n::error::x"), "100 %25%0A::error::x");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }
}
