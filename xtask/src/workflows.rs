//! Checks what runs in other people's pipelines: workflows, the action, the template for GitLab,
//! and their scripts. Needs no network once its programs are installed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

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

#[cfg(test)]
mod kept;

/// Every file against the schema of those who run it, and every script.
pub fn check() -> Result<Outcome> {
    let venv = venv::of_workflows()?;
    for (schema, files) in SCHEMAS {
        let mut check = within(&venv, "check-jsonschema");
        run::run(check.args(["--builtin-schema", schema]).args(files))?;
    }
    run::run(within(&venv, "shellcheck").args(SCRIPTS))?;
    for (_, files) in SCHEMAS {
        for file in files {
            for (name, script) in scripts(file)? {
                let mut check = within(&venv, "shellcheck");
                let checked = fed(check.args(["--shell", "bash", "-"]), &script);
                checked.with_context(|| format!("{file}: {name}"))?;
            }
        }
    }
    Ok(Outcome::Passed)
}

/// A file in YAML, as JSON has it.
///
/// Errors: it cannot be read, or is no YAML.
fn read(file: &str) -> Result<Value> {
    let text = fs::read_to_string(workspace::root().join(file))
        .with_context(|| format!("cannot read {file}"))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{file} is no YAML"))
}

/// Every script that stands in a workflow, an action or a pipeline, with the name of its step or
/// job.
///
/// Errors: the file cannot be read.
fn scripts(file: &str) -> Result<Vec<(String, String)>> {
    let read = read(file)?;
    let mut found = Vec::new();
    let name = |step: &Value, of: &str| step["name"].as_str().unwrap_or(of).to_owned();
    let jobs = read["jobs"].as_object().into_iter().flatten();
    let jobs = jobs.map(|(of, job)| (of.as_str(), &job["steps"]));
    for (of, steps) in jobs.chain([("the action", &read["runs"]["steps"])]) {
        for step in steps.as_array().into_iter().flatten() {
            if let Some(script) = step["run"].as_str() {
                found.push((name(step, of), script.to_owned()));
            }
        }
    }
    // GitLab runs the two lists of a job as one script.
    for (of, job) in read.as_object().into_iter().flatten() {
        let of_job = ["before_script", "script"].map(|key| job[key].as_array());
        let lines = of_job.into_iter().flatten().flatten();
        let lines: Vec<&str> = lines.filter_map(Value::as_str).collect();
        if !lines.is_empty() {
            found.push((of.clone(), lines.join("\n")));
        }
    }
    Ok(found)
}

/// Runs a program with this on its standard input.
fn fed(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("it has no standard input")?;
    pipe.write_all(input.as_bytes())?;
    drop(pipe);
    match child.wait()?.success() {
        true => Ok(()),
        false => bail!("it is not accepted"),
    }
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
