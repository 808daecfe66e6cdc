//! `cargo xtask demo`: the whole story on this machine, each step checked before the next one
//! starts.

mod combine;
mod service;
pub mod stage;
mod story;
pub mod terminal;

use anyhow::{Context, Result, bail, ensure};

use combine::Combine;
use service::Service;
use stage::Stage;
use story::Story;
use terminal::Say;

use crate::{images, packages, workspace};

/// `docs/exit-codes.md` lists them.
mod exit {
    pub const SUCCESS: i32 = 0;
    pub const CHANGES: i32 = 2;
    pub const HELD: i32 = 6;
    pub const ROLLED_BACK: i32 = 7;
    pub const INPUT: i32 = 64;
}

/// Enough answers to meet every task behind an address.
const ANSWERS: usize = 8;

/// Tells the story; fails at the first step whose claim is not true. What was started is stopped
/// either way.
pub fn command() -> Result<()> {
    let mut story = Story::default();
    let told = tell(&mut story);
    eprint!("\n{}", story.table());
    told.context("the demo stopped here, and everything that it started is gone")?;
    eprintln!("\nevery step did what it says");
    Ok(())
}

fn tell(story: &mut Story) -> Result<()> {
    let binary = story.step("build deployer and the images of three versions", || {
        packages::redis()?;
        let images = images::build()?;
        let binary = workspace::build_everything()?;
        Ok((binary, format!("{} images, without Docker", images.len())))
    })?;
    let mut stage = story.step("start both clouds", || {
        let stage = Stage::set(&binary)?;
        let clouds = format!("AWS at {}, Google Cloud at {}", stage.aws, stage.gcp);
        Ok((stage, clouds))
    })?;
    deploy(story, &mut stage)?;
    update(story, &mut stage)?;
    roll_back(story, &mut stage)?;
    on_app_runner(story, &stage)?;
    story.step("status and releases", || {
        stage
            .deployer(&["status"], Say::everything())?
            .exits(exit::SUCCESS)?;
        stage
            .deployer(&["releases"], Say::everything())?
            .exits(exit::SUCCESS)?;
        Ok(((), "what serves is what was recorded".into()))
    })?;
    story.step("look for secrets in what was printed and written", || {
        let files = stage.find_secrets()?;
        Ok(((), format!("none in the output and {files} files")))
    })?;
    story.step("destroy without a word about the data", || {
        let destroy = stage.deployer(&["destroy", "--yes"], Say::nothing())?;
        destroy.exits(exit::INPUT)?;
        destroy.says("--allow-data-loss")?;
        Ok(((), "exit code 64: what holds data is named".into()))
    })?;
    story.step("destroy", || {
        let destroy = ["destroy", "--yes", "--allow-data-loss", "all"];
        stage
            .deployer(&destroy, Say::results())?
            .exits(exit::SUCCESS)?;
        stage.nothing_is_left()?;
        Ok(((), "both clouds have nothing of it left".into()))
    })?;
    story.step("stop the clouds", || {
        stage.clear()?;
        Ok(((), "no process and no file of it is left".into()))
    })
}

/// Version 1, tokens, and nothing left to do.
fn deploy(story: &mut Story, stage: &mut Stage) -> Result<()> {
    story.step("plan version 1", || {
        let plan = stage.deployer(&["plan", "--detailed-exitcode"], Say::headlines())?;
        plan.exits(exit::CHANGES)?;
        Ok(((), "exit code 2: there are changes".into()))
    })?;
    story.step(
        "apply on both clouds: databases, caches, migration, verification",
        || {
            stage
                .deployer(&["apply", "--yes"], Say::results())?
                .exits(exit::SUCCESS)?;
            both_serve(stage, "1.0.0")
        },
    )?;
    story.step("verify a token of each cloud with the other's keys", || {
        let (aws, gcp) = (stage.on_aws()?, stage.on_gcp()?);
        let key = cross_verify(&aws, &gcp, &stage.client_secret)?;
        let other = cross_verify(&gcp, &aws, &stage.client_secret)?;
        ensure!(
            key == other,
            "the clouds publish different keys: {key} and {other}"
        );
        Ok((
            (),
            "one RS256 key on both, a forged token on neither".into(),
        ))
    })?;
    story.step("plan again", || {
        let plan = stage.deployer(&["plan", "--detailed-exitcode"], Say::everything())?;
        plan.exits(exit::SUCCESS)?;
        Ok(((), "exit code 0: nothing to do".into()))
    })
}

/// Version 2 serves; version 3 never answers its health check and is refused.
fn update(story: &mut Story, stage: &mut Stage) -> Result<()> {
    story.step("apply version 2", || {
        stage.use_version("2.0.0")?;
        let apply = stage.deployer(&["apply", "--yes"], Say::changes_and_results())?;
        apply.exits(exit::SUCCESS)?;
        both_serve(stage, "2.0.0")
    })?;
    story.step("apply version 3, which is broken", || {
        stage.use_version("3.0.0")?;
        let apply = stage.deployer(&["apply", "--yes"], Say::headlines())?;
        apply.exits(exit::ROLLED_BACK)?;
        apply.says("aws  idp       service FAILED")?;
        apply.says("gcp  idp       service FAILED")?;
        let ((), serving) = both_serve(stage, "2.0.0")?;
        Ok(((), format!("exit code 7, {serving}")))
    })
}

/// Google Cloud goes back to version 1 and stays there until a person lets it go on.
fn roll_back(story: &mut Story, stage: &mut Stage) -> Result<()> {
    story.step("roll Google Cloud back", || {
        stage.use_version("2.0.0")?;
        let rollback = ["rollback", "--cloud", "gcp", "--yes"];
        stage
            .deployer(&rollback, Say::everything())?
            .exits(exit::SUCCESS)?;
        clouds_serve(stage, "2.0.0", "1.0.0")
    })?;
    story.step("apply holds it there", || {
        let apply = stage.deployer(&["apply", "--yes"], Say::headlines())?;
        apply.exits(exit::HELD)?;
        apply.says("on hold")?;
        let ((), serving) = clouds_serve(stage, "2.0.0", "1.0.0")?;
        Ok(((), format!("exit code 6, {serving}")))
    })?;
    story.step("change a secret, release the hold, apply", || {
        let before = stage.pinned("vault-token")?;
        stage.set_secret("vault-token")?;
        let apply = ["apply", "--yes", "--release-hold"];
        stage
            .deployer(&apply, Say::changes_and_results())?
            .exits(exit::SUCCESS)?;
        let after = stage.pinned("vault-token")?;
        for (cloud, version) in &after {
            ensure!(
                before.get(cloud) != Some(version),
                "{cloud} still runs version {version} of the secret"
            );
        }
        let ((), serving) = both_serve(stage, "2.0.0")?;
        Ok(((), format!("a new secret version, {serving}")))
    })
}

/// A team's manifest on App Runner: a private database behind a connector, a command beside the
/// service, another version, and all of it gone again.
fn on_app_runner(story: &mut Story, stage: &Stage) -> Result<()> {
    let combine = story.step("apply The Combine on App Runner", || {
        let combine = Combine::set(stage, "1.0.0")?;
        let set = ["secrets", "set", "anthropic-api-key"];
        combine
            .deployer(&set, "sk-ant-of-the-demo", Say::nothing())?
            .exits(exit::SUCCESS)?;
        combine
            .deployer(&["apply", "--yes"], "", Say::results())?
            .exits(exit::SUCCESS)?;
        let serving = serves(&combine, "1.0.0")?;
        Ok((combine, serving))
    })?;
    story.step("run a command beside it, apply version 2, go back", || {
        combine
            .deployer(&["run", "web", "--", "migrate"], "", Say::everything())?
            .exits(exit::SUCCESS)?;
        combine.use_version("2.0.0")?;
        combine
            .deployer(&["apply", "--yes"], "", Say::changes_and_results())?
            .exits(exit::SUCCESS)?;
        serves(&combine, "2.0.0")?;
        combine
            .deployer(&["rollback", "--yes"], "", Say::everything())?
            .exits(exit::SUCCESS)?;
        Ok(((), serves(&combine, "1.0.0")?))
    })?;
    story.step("destroy it", || {
        let destroy = ["destroy", "--yes", "--allow-data-loss", "all"];
        combine
            .deployer(&destroy, "", Say::results())?
            .exits(exit::SUCCESS)?;
        Ok(((), "the demo's own services go on".into()))
    })
}

/// The service's own word, several times over.
fn serves(combine: &Combine, version: &str) -> Result<String> {
    let service = combine.service()?;
    for _ in 0..ANSWERS {
        let answers = service.version()?;
        ensure!(
            answers == version,
            "App Runner serves {answers} and not {version}"
        );
    }
    Ok(format!("{version} serves at {}", service.url))
}

fn both_serve(stage: &Stage, version: &str) -> Result<((), String)> {
    clouds_serve(stage, version, version)?;
    Ok(((), format!("{version} serves on both")))
}

/// The services' own word: what each answers, several times over.
fn clouds_serve(stage: &Stage, aws: &str, gcp: &str) -> Result<((), String)> {
    let clouds = [
        ("AWS", stage.on_aws()?, aws),
        ("Google Cloud", stage.on_gcp()?, gcp),
    ];
    for (cloud, service, expected) in clouds {
        for _ in 0..ANSWERS {
            let version = service.version()?;
            ensure!(
                version == expected,
                "{cloud} serves {version} and not {expected}"
            );
        }
    }
    Ok(((), format!("{aws} serves on AWS, {gcp} on Google Cloud")))
}

/// A token of one service, checked by hand with the keys that the other publishes and by the other
/// itself. Returns the key's id. A token with another payload must fail both ways.
fn cross_verify(signer: &Service, verifier: &Service, secret: &str) -> Result<String> {
    let token = signer.token(secret)?;
    let key = service::verify(&token, &verifier.keys()?)?;
    ensure!(
        verifier.accepts(&token)?,
        "{} refuses the token",
        verifier.url
    );
    let forged = service::forged(&token)?;
    if service::verify(&forged, &verifier.keys()?).is_ok() || verifier.accepts(&forged)? {
        bail!("a forged token passes: the check above proves nothing");
    }
    eprintln!(
        "    {} signed it, {} verifies it: key {key}",
        signer.url, verifier.url
    );
    Ok(key)
}
