//! What a command tells people to type acts on what it acted on itself: each printed command is run
//! as it stands.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose};

use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::web::Web;
use crate::{APPLY, SECOND, says, unhealthy};

crate::tests! {
    what_a_failed_roll_out_says_to_type_acts_on_the_same_environment => roll_out,
    what_a_failed_migration_says_to_type_acts_on_the_same_environment => migration,
    what_a_rollback_says_to_type_acts_on_the_same_environment => rollback,
    what_a_failed_verification_says_to_type_acts_on_the_same_environment => verification,
}

/// A manifest in another folder, whose name a shell takes apart, and its environment.
pub struct Elsewhere<'a> {
    stage: &'a Stage,
    manifest: PathBuf,
}

impl<'a> Elsewhere<'a> {
    pub fn new(stage: &'a Stage) -> Self {
        let folder = Path::new(&stage.file("beside", "")).with_file_name("it's else where");
        std::fs::create_dir(&folder).expect("a folder");
        let manifest = folder.join("deployer.toml");
        for name in ["image-1", "image-2", "mail-password"] {
            symlink(folder.with_file_name(name), folder.join(name)).expect("a link");
        }
        Self { stage, manifest }
    }

    pub fn want(&self, wanted: &Wanted) {
        self.stage.want(wanted);
        let beside = Path::new(&self.stage.file("beside", "")).with_file_name("deployer.toml");
        std::fs::copy(&beside, &self.manifest).expect("a copy");
        // Whatever does not name the manifest meets none.
        std::fs::remove_file(beside).expect("it is gone");
    }

    /// Runs a command on production, however it ends.
    pub async fn say(&self, words: &[&str]) -> String {
        let manifest = self.manifest.display().to_string();
        let options = ["-f", &manifest, "-e", "production"];
        self.stage.run_as_typed(&[words, &options].concat()).await.1
    }

    /// Runs a command on production.
    async fn run(&self, words: &[&str], exit: Exit) -> String {
        let manifest = self.manifest.display().to_string();
        let options = ["-f", &manifest, "-e", "production"];
        self.as_typed(&[words, &options].concat(), exit).await
    }

    /// Applies for the first time: no file tells of production.
    async fn run_first(&self, words: &[&str]) -> String {
        let words = [words, &["--new-environment"]].concat();
        self.run(&words, Exit::Success).await
    }

    async fn as_typed(&self, arguments: &[&str], exit: Exit) -> String {
        let (ended, said) = self.stage.run_as_typed(arguments).await;
        assert!(
            matches!(&ended, Ended::Exit(ended) if *ended == exit),
            "{arguments:?} ended with {ended:?}, not {exit:?}:\n{said}"
        );
        said
    }

    /// Runs a printed command; what asks is answered.
    async fn type_in(&self, line: &str, exit: Exit) -> String {
        let command = line.split("    #").next().unwrap_or_default();
        let mut words = shlex::split(command).expect("a shell takes it");
        assert_eq!(words.remove(0), "deployer");
        let verb = words[0].clone();
        if ["apply", "migrate", "rollback"].contains(&verb.as_str()) {
            words.push("--yes".to_owned());
        }
        // Simulated containers listen nowhere.
        if ["apply", "rollback"].contains(&verb.as_str()) {
            words.push("--no-verify".to_owned());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.as_typed(&words, exit).await
    }

    /// Nothing was done in an environment that nobody asked for.
    pub async fn assert_alone(&self) {
        for path in self.stage.ledger.standing().await {
            let path = path.to_string();
            assert!(path.contains("/production/"), "{path}");
        }
    }
}

/// The commands after `next:`.
fn next(said: &str) -> Vec<String> {
    let lines = said.lines();
    let next = lines.map(|line| {
        line.trim()
            .trim_start_matches("next")
            .trim_start_matches(':')
            .trim()
    });
    let next = next.filter(|line| line.starts_with("deployer "));
    next.map(str::to_owned).collect()
}

/// The commands between back-ticks.
fn quoted(said: &str) -> Vec<String> {
    let parts = said.split('`').enumerate();
    let code = parts.filter(|(at, part)| at % 2 == 1 && part.starts_with("deployer "));
    code.map(|(_, part)| part.to_owned()).collect()
}

async fn roll_out(stage: &Stage) {
    let elsewhere = Elsewhere::new(stage);
    elsewhere.want(&Wanted::FIRST);
    elsewhere.run_first(APPLY).await;
    stage.behave(unhealthy);
    elsewhere.want(&SECOND);
    let said = elsewhere.run(APPLY, Exit::RolledBack).await;
    let next = next(&said);
    assert_eq!(next.len(), 2, "one each for both clouds: {said}");
    stage.behave(|started| Behaviour::usual(started.purpose));
    for line in next {
        let said = elsewhere.type_in(&line, Exit::Success).await;
        if line.contains("deployer apply") {
            says(&said, &["swept · production", "idp r2 serves on "]);
        }
    }
    elsewhere.assert_alone().await;
}

async fn migration(stage: &Stage) {
    let elsewhere = Elsewhere::new(stage);
    elsewhere.want(&Wanted::FIRST);
    stage.behave(|started| Behaviour {
        exit: (started.purpose == Purpose::Finish).then_some(runner::Exit::with(3)),
        ..Behaviour::usual(started.purpose)
    });
    let words = [APPLY, &["--new-environment"]].concat();
    let said = elsewhere.run(&words, Exit::DeploymentFailed).await;
    let again = elsewhere.run(APPLY, Exit::DeploymentFailed).await;
    for hint in quoted(&again) {
        says(&hint, &["--env production", "it's else where"]);
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    for line in next(&said) {
        let said = elsewhere.type_in(&line, Exit::Success).await;
        if line.contains("deployer apply") {
            says(&said, &["swept · production", "idp r1 serves on "]);
        }
    }
    elsewhere.assert_alone().await;
}

async fn rollback(stage: &Stage) {
    let elsewhere = Elsewhere::new(stage);
    for wanted in [Wanted::FIRST, SECOND] {
        elsewhere.want(&wanted);
        let said = match wanted.version {
            1 => elsewhere.run_first(APPLY).await,
            _ => elsewhere.run(APPLY, Exit::Success).await,
        };
        let verify = quoted(&said);
        assert_eq!(verify.len(), 1, "{said}");
        says(&verify[0], &["deployer verify", "--env production"]);
    }
    let words = ["rollback", "idp", "--to", "r9", "--yes"];
    let said = elsewhere.run(&words, Exit::Input).await;
    let hints = quoted(&said);
    assert!(!hints.is_empty(), "{said}");
    for hint in hints {
        let said = elsewhere.type_in(&hint, Exit::Success).await;
        says(&said, &["r1", "r2"]);
    }
    for call in ["ecs:UpdateService", "run.projects.locations.services.patch"] {
        stage
            .disturb(&format!(
                "[[fault]]\ncall = \"{call}\"\nwhat = \"denied\"\n"
            ))
            .await;
        let (_, said) = stage
            .run_as_typed(&[
                "rollback",
                "idp",
                "--to",
                "r1",
                "--yes",
                "--no-verify",
                "-f",
                &elsewhere.manifest.display().to_string(),
                "-e",
                "production",
            ])
            .await;
        stage.disturb("").await;
        let next = next(&said);
        let back: Vec<&String> = next.iter().filter(|it| it.contains("rollback")).collect();
        assert_eq!(back.len(), 1, "{said}");
        says(back[0], &["rollback idp --to r1"]);
        let said = elsewhere.type_in(back[0], Exit::Success).await;
        says(&said, &["r1 again"]);
        elsewhere
            .run(
                &["apply", "--yes", "--no-verify", "--release-hold"],
                Exit::Success,
            )
            .await;
    }
    elsewhere.assert_alone().await;
}

async fn verification(stage: &Stage) {
    let elsewhere = Elsewhere::new(stage);
    let web = Web::serve(|path| match path {
        "/health" => (200, "{}"),
        _ => (503, ""),
    })
    .await;
    let overlay = elsewhere
        .manifest
        .with_file_name("deployer.production.toml");
    let url = format!(
        "[targets.aws.services.idp]\nurl = \"http://{0}\"\n\n[targets.gcp.services.idp]\nurl = \"http://{0}\"\n",
        web.host()
    );
    std::fs::write(&overlay, &url).expect("an overlay");
    // It is at its name alone that the second version does not do what it should.
    let candidate = Web::serve(|_| (200, "{}")).await;
    stage.behave(candidate.answers());
    elsewhere.want(&Wanted::FIRST);
    elsewhere.run(&["apply", "--yes"], Exit::Success).await;
    let check = "[[services.idp.verify.checks]]\nname = \"greeting\"\npath = \"/greeting\"\n\n";
    std::fs::write(&overlay, format!("{check}{url}")).expect("an overlay");
    elsewhere.want(&SECOND);
    let said = elsewhere
        .run(&["apply", "--yes"], Exit::VerificationFailed)
        .await;
    let next = next(&said);
    assert_eq!(next.len(), 2, "{said}");
    std::fs::write(&overlay, &url).expect("an overlay");
    for line in next {
        let said = elsewhere.type_in(&line, Exit::Success).await;
        says(&said, &["r1 again"]);
    }
    elsewhere.assert_alone().await;
}
