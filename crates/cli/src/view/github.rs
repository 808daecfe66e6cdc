//! What GitHub's runners make of lines: groups that fold, and notes beside the code.
//!
//! "Workflow commands for GitHub Actions" (GitHub Docs): `::group::TITLE`, `::endgroup::`,
//! `::error file=F,line=L,title=T::MESSAGE`; the runner reads them on both streams.

use deployer_manifest::{Problem, Severity};

/// Whether this is a job of GitHub's.
fn is_job() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|it| it == "true") && !crate::capture::is_kept()
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

/// Notes each problem of a manifest beside its line, or what it says of where it is.
pub fn problems<'a>(problems: impl IntoIterator<Item = &'a Problem>) {
    for problem in problems.into_iter().filter(|_| is_job()) {
        sayln!("{}", annotation(problem));
    }
}

fn annotation(problem: &Problem) -> String {
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let file = problem.file.as_ref();
    let file = file.map(|file| format!("file={}", property(&file.to_string_lossy())));
    let line = problem.line.map(|line| format!("line={line}"));
    // A line is one of a file; what a flag or a variable gave has neither.
    let place: Vec<String> = match &problem.given_by {
        Some(_) => Vec::new(),
        None => file.into_iter().chain(line).collect(),
    };
    let space = if place.is_empty() { "" } else { " " };
    let place = place.join(",");
    let what = match place.contains("line=") || problem.path.is_empty() {
        true => problem.to_string(),
        false => format!("{}: {problem}", problem.path),
    };
    format!("::{level}{space}{place}::{}", message(&what))
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

    #[test]
    fn each_problem_stands_beside_its_line_and_what_has_none_is_told_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("deployer.toml");
        std::fs::write(&manifest, "app = \"shop\"\n[services.web]\nprot = 1\n").unwrap();
        let inputs = deployer_manifest::Inputs {
            manifest,
            set: vec!["services.web.port=x".to_owned()],
            ..deployer_manifest::Inputs::default()
        };
        let problems = deployer_manifest::load(&inputs).unwrap_err();
        let lines: Vec<String> = problems.iter().map(annotation).collect();
        let has = |begins: &str, holds: &str| {
            let mut lines = lines.iter();
            lines.any(|it| it.starts_with(begins) && it.contains(holds))
        };
        assert!(has("::error file=", "deployer.toml,line=3::"), "{lines:#?}");
        assert!(has("::error::services.web.port: ", "--set"), "{lines:#?}");
        assert!(lines.iter().all(|it| !it.contains('\n')), "{lines:#?}");
    }
}
