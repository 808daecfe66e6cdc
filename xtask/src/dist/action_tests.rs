//! The scripts of the action, as GitHub runs them, with a release and a program made for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::tests::released;
use crate::{run, workspace};

/// A job's folder, with what GitHub gives each step.
struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn step(&self, script: &str, given: &[(&str, &str)]) -> Output {
        let path = |name: &str| self.folder.path().join(name);
        let mut step = Command::new("bash");
        step.arg(workspace::root().join(".github/action").join(script));
        step.env("GITHUB_ACTION_PATH", workspace::root());
        step.env("GITHUB_PATH", path("path"));
        step.env("GITHUB_OUTPUT", path("outputs"));
        step.env("GITHUB_REPOSITORY", "team/shop");
        step.env("RUNNER_TEMP", self.folder.path());
        step.env("HOME", self.folder.path());
        let programs = std::env::var("PATH").unwrap();
        step.env("PATH", format!("{}:{programs}", path("bin").display()));
        step.envs(given.iter().copied()).output().unwrap()
    }

    /// Puts a program in the `PATH` that prints these lines and ends with this code.
    fn program(&self, prints: &str, code: u8) {
        let folder = self.folder.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let asked = self.folder.path().join("asked").display().to_string();
        let text = format!(
            "#!/bin/sh\nprintf '%s|' \"$@\" >'{asked}'\nprintf '%s' \"$DEPLOYER_ENV\" >>'{asked}'\ncat <<'END'\n{prints}\nEND\nexit {code}\n"
        );
        let program = folder.join("deployer");
        fs::write(&program, text).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.folder.path().join("asked")).unwrap()
    }

    fn outputs(&self) -> BTreeMap<String, String> {
        let path = self.folder.path().join("outputs");
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        let lines = text.lines().map(|line| line.split_once('=').unwrap());
        lines.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_action_installs_a_release_for_later_steps() {
    let folder = tempfile::tempdir().unwrap();
    let release = released(folder.path());
    let job = Job::new();
    let from = format!("file://{}", folder.path().display());
    let ended = job.step(
        "install.sh",
        &[
            ("DEPLOYER_VERSION", release.version),
            ("DEPLOYER_TARGET", release.target),
            ("REPOSITORY", &from),
        ],
    );
    assert!(ended.status.success(), "{ended:?}");
    let bin = text(&job.folder.path().join("path"));
    let said = run::output(&mut Command::new(Path::new(bin.trim()).join("deployer"))).unwrap();
    assert_eq!(said.trim(), "deployer 1.2.3");
}

#[test]
fn what_a_command_ended_with_are_outputs_and_the_steps_own_end() {
    assert!(run::exists("jq"), "install jq");
    let job = Job::new();
    let lines =
        "{\"event\":\"started\"}\n{\"event\":\"result\",\"outcome\":\"put_back\",\"exit_code\":7}";
    job.program(lines, 7);
    let given = |command, fail, chosen| {
        let format = ("FORMAT", "json");
        [
            ("COMMAND", command),
            ("FAIL", fail),
            ("CHOSEN", chosen),
            format,
        ]
    };
    let apply = "apply --yes  --set services.web.image=$HOME/*;true";
    let ended = job.step("run.sh", &given(apply, "true", "production"));
    assert_eq!(ended.status.code(), Some(7));
    let words = "--json|apply|--yes|--set|services.web.image=$HOME/*;true|production";
    assert_eq!(job.asked(), words);
    let outputs = job.outputs();
    assert_eq!(outputs["exit-code"], "7");
    assert_eq!(outputs["outcome"], "put_back");
    assert_eq!(outputs["changed"], "");
    assert_eq!(text(Path::new(&outputs["output"])), format!("{lines}\n"));

    job.program("{\n  \"format\": 1,\n  \"empty\": false\n}", 2);
    let plan = given("plan --detailed-exitcode", "false", "");
    let ended = job.step("run.sh", &plan);
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(job.asked(), "--json|plan|--detailed-exitcode|");
    let outputs = job.outputs();
    assert_eq!(outputs["exit-code"], "2");
    assert_eq!(outputs["changed"], "true");
    assert_eq!(outputs["outcome"], "");

    // Nothing on standard output: the manifest was not even read.
    job.program("", 64);
    let ended = job.step("run.sh", &given("plan", "true", ""));
    assert_eq!(ended.status.code(), Some(64));
    assert_eq!(job.outputs()["changed"], "");
}

#[test]
fn a_plan_in_markdown_is_a_file_for_a_comment() {
    let job = Job::new();
    let page = "### deployer: shop · staging: 1 to add";
    let plan = |command, format| {
        let given = [("COMMAND", command), ("FORMAT", format)];
        job.step(
            "run.sh",
            &[&given[..], &[("FAIL", "false"), ("CHOSEN", "")]].concat(),
        )
    };
    for (code, changed) in [(0, "false"), (2, "true"), (6, "false"), (1, "")] {
        job.program(page, code);
        let ended = plan("plan --detailed-exitcode", "markdown");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(job.asked(), "plan|--detailed-exitcode|--format|markdown|");
        let outputs = job.outputs();
        assert_eq!(outputs["exit-code"], code.to_string());
        assert_eq!(outputs["changed"], changed);
        assert_eq!(text(Path::new(&outputs["output"])), format!("{page}\n"));
    }
    // Without the option the code says nothing of it.
    job.program(page, 0);
    plan("plan", "markdown");
    assert_eq!(job.outputs()["changed"], "");
    let ended = plan("plan", "text");
    assert_eq!(ended.status.code(), Some(64), "{ended:?}");
}
