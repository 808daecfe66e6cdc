//! What a security team asks of a workflow, and what the scripts in them do when they run.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use super::*;

/// The workflows, as they are read.
fn workflows() -> Vec<(&'static str, Value)> {
    let (_, files) = SCHEMAS[0];
    let files = files.iter();
    files.map(|file| (*file, read(file).unwrap())).collect()
}

/// Every job of every workflow: the file, the job's name, the job.
fn jobs() -> Vec<(&'static str, String, Value)> {
    let mut found = Vec::new();
    for (file, workflow) in workflows() {
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            found.push((file, name.clone(), job.clone()));
        }
    }
    found
}

fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    job["steps"].as_array().unwrap().iter()
}

fn uses<'a>(step: &'a Value, action: &str) -> bool {
    let used: Option<&'a str> = step["uses"].as_str();
    used.is_some_and(|used| used.starts_with(&format!("{action}@")))
}

const AWS_LOGIN: &str = "aws-actions/configure-aws-credentials";
const GOOGLE_LOGIN: &str = "google-github-actions/auth";

#[test]
fn each_job_says_what_it_may_and_how_long_it_takes() {
    for (file, workflow) in workflows() {
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{file}");
        // GitHub's own default has no `pipefail`.
        assert_eq!(workflow["defaults"]["run"]["shell"], "bash", "{file}");
    }
    for (file, name, job) in jobs() {
        assert!(job["timeout-minutes"].is_u64(), "{file}: {name}");
        assert!(job["permissions"].is_object(), "{file}: {name}");
        let logs_in = steps(&job).any(|it| uses(it, AWS_LOGIN) || uses(it, GOOGLE_LOGIN));
        let attests = steps(&job).any(|it| uses(it, "actions/attest-build-provenance"));
        let may = job["permissions"]["id-token"] == "write";
        assert_eq!(may, logs_in || attests, "{file}: {name}");
    }
}

#[test]
fn actions_of_others_are_pinned_to_a_commit_and_name_its_release() {
    for (file, _) in workflows() {
        let text = fs::read_to_string(workspace::root().join(file)).unwrap();
        for line in text.lines() {
            let Some((_, used)) = line.split_once("uses: ") else {
                continue;
            };
            let (action, at) = used.split_once('@').unwrap();
            // Nobody knows the commit of a release that is not made yet.
            if action == "OWNER/deployer" {
                continue;
            }
            let (commit, release) = at.split_once(" # v").unwrap_or((at, ""));
            let is_commit = commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_commit && !release.is_empty(), "{file}: {used}");
        }
    }
}

#[test]
fn pull_requests_are_told_apart_by_number_and_those_of_forks_log_in_nowhere() {
    let mut seen = 0;
    for (file, workflow) in workflows() {
        if workflow["on"].get("pull_request").is_none() {
            continue;
        }
        seen += 1;
        let group = workflow["concurrency"]["group"].as_str().unwrap();
        assert!(group.contains("github.event.pull_request.number"), "{file}");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            if job["permissions"]["id-token"] == "write" {
                let guard = "github.event.pull_request.head.repo.full_name == github.repository";
                assert_eq!(job["if"], guard, "{file}: {name}");
            }
            if job["strategy"].is_object() {
                assert_eq!(job["strategy"]["fail-fast"], false, "{file}: {name}");
            }
        }
    }
    assert_eq!(seen, 1);
}

/// Nothing that writes is cancelled, and no tag takes another one's place.
#[test]
fn what_applies_is_not_cancelled() {
    for (file, workflow) in workflows() {
        if workflow["on"].get("push").is_none() || workflow["concurrency"].is_null() {
            continue;
        }
        let concurrency = &workflow["concurrency"];
        assert_eq!(concurrency["cancel-in-progress"], false, "{file}");
        let group = concurrency["group"].as_str().unwrap();
        assert!(group.contains("github.ref }}"), "{file}: {group}");
    }
}

/// Minutes behind `--wait-lock`.
fn wait(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("--wait-lock ")?;
    let word = rest.split_whitespace().next()?;
    Some(word.strip_suffix('m')?.parse().unwrap())
}

#[test]
fn a_login_outlives_its_job_and_the_job_what_it_waits_for() {
    let mut seen = 0;
    for (file, name, job) in jobs() {
        let minutes = job["timeout-minutes"].as_u64().unwrap();
        let logins: Vec<&Value> = steps(&job).filter(|it| uses(it, AWS_LOGIN)).collect();
        for login in &logins {
            seen += 1;
            let seconds = &login["with"]["role-duration-seconds"];
            let seconds = seconds.as_u64().unwrap_or(3600);
            assert!(seconds > minutes * 60, "{file}: {name}");
            for key in ["role-to-assume", "aws-region"] {
                let value = login["with"][key].as_str().unwrap();
                assert!(value.starts_with("${{ vars."), "{file}: {key} is {value}");
            }
        }
        let on_google = steps(&job).any(|it| uses(it, GOOGLE_LOGIN));
        assert_eq!(!logins.is_empty(), on_google, "{file}: {name}: both clouds");
        for step in steps(&job) {
            if let Some(lock) = step["with"]["command"].as_str().and_then(wait) {
                assert!(lock * 2 < minutes, "{file}: {name}: little is left");
            }
        }
    }
    assert_eq!(seen, 3);
}

/// A command that never ran has no code to read.
#[test]
fn no_step_runs_on_after_a_login_that_failed() {
    for (file, name, job) in jobs() {
        for step in steps(&job) {
            let when = step["if"].as_str().unwrap_or_default();
            assert!(!when.contains("always()"), "{file}: {name}");
            let reads = step["env"].to_string().contains(".outputs.exit-code");
            if reads && !when.is_empty() {
                let is_safe = when.contains(".outputs.exit-code != ''");
                assert!(is_safe, "{file}: {name}: {when}");
            }
        }
    }
}

/// An expression in a script is put in as text, whoever wrote it: it comes by a variable.
#[test]
fn every_script_parses_and_holds_no_expression() {
    let mut seen = 0;
    for (_, files) in SCHEMAS {
        for file in files {
            for (name, script) in scripts(file).unwrap() {
                seen += 1;
                assert!(!script.contains("${{"), "{file}: {name}");
                let mut check = Command::new("bash");
                let parsed = fed(check.args(["-n", "-s"]), &script);
                parsed.unwrap_or_else(|error| panic!("{file}: {name}: {error:#}"));
            }
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn gitlab_fetches_nothing_unchecked_and_applies_protected_tags_alone() {
    let pipeline = read("docs/ci/gitlab.yml").unwrap();
    let whole = pipeline.to_string();
    assert!(
        !whole.contains("install.sh"),
        "a script that nobody checked"
    );
    let install = pipeline[".installed"]["before_script"][0].as_str().unwrap();
    let order = ["curl ", "sha256sum --check", "tar "].map(|it| install.find(it).unwrap());
    assert!(order.is_sorted(), "{install}");
    let tag = pipeline["apply-production"]["rules"][0]["if"]
        .as_str()
        .unwrap();
    assert!(
        tag.contains("$CI_COMMIT_REF_PROTECTED == \"true\""),
        "{tag}"
    );
    assert!(tag.contains("^v"), "{tag}");
    let plan = &pipeline["plan"];
    let environments = &plan["parallel"]["matrix"][0]["ENVIRONMENT"];
    assert_eq!(*environments, serde_json::json!(["staging", "production"]));
    assert!(plan["script"].to_string().contains("--detailed-exitcode"));
}

/// A script with programs of its own in front of the others.
struct Play {
    folder: tempfile::TempDir,
}

impl Play {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn run(&self, script: &str, given: &[(&str, &str)]) -> Output {
        let folder = self.folder.path();
        let programs = std::env::var("PATH").unwrap();
        let mut bash = Command::new("bash");
        // As GitHub runs `shell: bash`.
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
        bash.env("PATH", format!("{}:{programs}", folder.display()));
        bash.env("TMPDIR", folder).env("RUNNER_TEMP", folder);
        bash.env("GITHUB_STEP_SUMMARY", folder.join("summary"));
        bash.env("GITHUB_OUTPUT", folder.join("outputs"));
        bash.envs(given.iter().copied()).output().unwrap()
    }
}

fn script(file: &str, name: &str) -> String {
    let found = scripts(file).unwrap().into_iter();
    let mut found = found.filter(|(of, _)| of == name);
    found
        .next()
        .unwrap_or_else(|| panic!("{file}: no {name}"))
        .1
}

#[test]
fn a_plan_is_one_comment_of_github_and_fails_with_its_own_code() {
    assert!(run::exists("jq"), "install jq");
    let comment = script("docs/ci/github-plan.yml", "Comment");
    let play = Play::new();
    let folder = play.folder.path().display().to_string();
    let gh = |old: &str| {
        let asked = format!("#!/bin/sh\necho \"$1 $2 $3 $4\" >>'{folder}/asked'\n");
        let body = format!("cp '{folder}/comment.md' '{folder}/body'\n");
        play.file(
            "gh",
            &format!("{asked}{body}case \"$*\" in *--paginate*) printf '{old}' ;; esac\n"),
        );
    };
    let plan = play.file("plan.md", "### deployer: shop · staging: 1 to add\n");
    let run = |code: &str| {
        let given = [
            ("PLAN", plan.as_str()),
            ("CODE", code),
            ("NUMBER", "12"),
            ("ENVIRONMENT", "staging"),
            ("RUN", "https://example.com/run"),
            ("GITHUB_REPOSITORY", "team/shop"),
        ];
        play.run(&comment, &given)
    };
    gh("");
    let ended = run("2");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(play.text("asked").ends_with("pr comment 12 --repo\n"));
    let body = "<!-- deployer staging -->\n### deployer: shop · staging: 1 to add\n";
    assert_eq!(play.text("body"), body);
    assert_eq!(play.text("summary"), body);
    gh("77\\n78\\n");
    let ended = run("10");
    assert_eq!(ended.status.code(), Some(10), "{ended:?}");
    let asked = play.text("asked");
    assert!(asked.ends_with("api --silent --method PATCH\n"), "{asked}");
    assert!(
        play.text("body")
            .contains("failed** with exit code 10: [what")
    );
}

#[test]
fn a_summary_of_github_tells_releases_and_failures_and_ends_as_the_apply() {
    assert!(run::exists("jq"), "install jq");
    let summary = script("docs/ci/github-apply.yml", "Summary");
    for (code, ends) in [("0", 0), ("6", 0), ("7", 7)] {
        let play = Play::new();
        let lines = concat!(
            r#"{"event":"release","cloud":"aws","number":3,"service":"web","tag":"1.4"}"#,
            "\n",
            r#"{"event":"failed","error":{"message":"it crashed"}}"#,
        );
        let lines = play.file("lines", lines);
        let given = [
            ("CODE", code),
            ("OUTCOME", "put_back"),
            ("LINES", lines.as_str()),
        ];
        let ended = play.run(&summary, &given);
        assert_eq!(ended.status.code(), Some(ends), "{ended:?}");
        let said = play.text("summary");
        assert!(said.contains("- aws: r3 of `web` (1.4)"), "{said}");
        assert!(said.contains("**failed** it crashed"), "{said}");
    }
}

#[test]
fn a_tag_names_a_service_and_its_image_or_nothing_is_deployed() {
    let says = script("docs/ci/github-tags.yml", "What the tag says");
    let run = |tag: &str| {
        let play = Play::new();
        let given = [
            ("GITHUB_REF_NAME", tag),
            ("GITHUB_REPOSITORY_OWNER", "Team"),
        ];
        let ended = play.run(&says, &given);
        (ended.status.success(), play.text("outputs"))
    };
    let (fine, outputs) = run("backend-v1.4.0");
    assert!(fine);
    assert_eq!(
        outputs,
        "service=backend\nimage=ghcr.io/team/backend:1.4.0\n"
    );
    for odd in ["backend-v1", "worker-v1.0.0", "backend-v1.0.0$(true)"] {
        assert_eq!(run(odd), (false, String::new()), "{odd}");
    }
}

#[test]
fn a_commit_is_built_once_and_named_by_its_digest() {
    assert!(run::exists("jq"), "install jq");
    let image = script("docs/ci/github-apply.yml", "Build and push, or find");
    let play = Play::new();
    let folder = play.folder.path().display().to_string();
    // A registry that has what was pushed.
    let docker = format!(
        "#!/bin/sh\necho \"$1\" >>'{folder}/asked'\ncase \"$1\" in\n\
         login) cat >/dev/null ;;\npush) touch '{folder}/pushed' ;;\n\
         buildx) test -e '{folder}/pushed' && echo '{{\"digest\":\"sha256:abc\"}}' ;;\nesac\n"
    );
    play.file("docker", &docker);
    let given = [
        ("TOKEN", "t"),
        ("GITHUB_REPOSITORY", "Team/Shop"),
        ("GITHUB_SHA", "c0ffee"),
        ("GITHUB_ACTOR", "ann"),
    ];
    for _ in 0..2 {
        let ended = play.run(&image, &given);
        assert!(ended.status.success(), "{ended:?}");
    }
    let wanted = "image=ghcr.io/team/shop@sha256:abc\n".repeat(2);
    assert_eq!(play.text("outputs"), wanted);
    let asked = play.text("asked");
    assert_eq!(asked.matches("push").count(), 1, "{asked}");
}

#[test]
fn logins_of_gitlab_are_read_by_nobody_else_and_go_with_the_job() {
    assert!(run::exists("jq"), "install jq");
    let pipeline = read("docs/ci/gitlab.yml").unwrap();
    let login = pipeline[".logged-in"]["before_script"][1].as_str().unwrap();
    let look = "stat -c '%a' \"$logins\" \"$logins\"/*\njq -r .credential_source.file \"$GOOGLE_APPLICATION_CREDENTIALS\"\n\
                cat \"$AWS_WEB_IDENTITY_TOKEN_FILE\"\n";
    let play = Play::new();
    let given = [
        ("AWS_TOKEN", "of-aws"),
        ("GOOGLE_TOKEN", "of-google"),
        ("GOOGLE_PROVIDER", "projects/1/providers/gitlab"),
        ("GOOGLE_ACCOUNT", "deploy@example.iam.gserviceaccount.com"),
    ];
    let ended = play.run(&format!("{login}\n{look}"), &given);
    assert!(ended.status.success(), "{ended:?}");
    let said = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..4], ["700", "600", "600", "600"], "{said}");
    assert_eq!(lines[5], "of-aws");
    let token = Path::new(lines[4]);
    assert!(token.ends_with("google") && !token.exists(), "{said}");
}
