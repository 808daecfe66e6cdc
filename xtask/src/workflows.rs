//! Checks what runs in other people's pipelines: workflows, the action, the template for GitLab,
//! and their scripts. Needs no network once its programs are installed.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::{self, Outcome};
use crate::{venv, workspace};

/// Which of the schemas that `check-jsonschema` brings is for which files.
const SCHEMAS: [(&str, &[&str]); 3] = [
    (
        "vendor.github-workflows",
        &[
            ".github/workflows/release.yml",
            "docs/ci/github-apply.yml",
            "docs/ci/github-plan.yml",
            "docs/ci/github-tags.yml",
        ],
    ),
    ("vendor.github-actions", &["action.yml"]),
    ("vendor.gitlab-ci", &["docs/ci/gitlab.yml"]),
];

const SCRIPTS: [&str; 3] = [
    ".github/action/install.sh",
    ".github/action/run.sh",
    "xtask/src/dist/install.sh",
];

/// Every file against the schema of those who run it, and every script.
pub fn check() -> Result<Outcome> {
    let venv = venv::of_workflows()?;
    for (schema, files) in SCHEMAS {
        let mut check = within(&venv, "check-jsonschema");
        run::run(check.args(["--builtin-schema", schema]).args(files))?;
    }
    run::run(within(&venv, "shellcheck").args(SCRIPTS))?;
    Ok(Outcome::Passed)
}

fn within(venv: &Path, program: &str) -> Command {
    let mut command = Command::new(venv.join("bin").join(program));
    command.current_dir(workspace::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is added is checked, too.
    #[test]
    fn every_workflow_and_script_is_checked() {
        let listed = SCHEMAS.iter().flat_map(|(_, files)| *files).chain(&SCRIPTS);
        let listed: Vec<&str> = listed.copied().collect();
        for folder in [".github/workflows", ".github/action", "docs/ci"] {
            for entry in std::fs::read_dir(workspace::root().join(folder)).unwrap() {
                let name = entry.unwrap().file_name();
                let path = format!("{folder}/{}", name.to_string_lossy());
                assert!(listed.contains(&path.as_str()), "{path} is not checked");
            }
        }
        for path in listed {
            assert!(workspace::root().join(path).is_file(), "{path} is gone");
        }
    }
}
