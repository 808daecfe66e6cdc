//! `deployer rollback`: makes an earlier release serve again and puts the rejected one on hold.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::engine::Verdict;
use deployer_core::error::{Error, Result};
use deployer_core::ledger::Release;
use serde_json::json;

use crate::acceptance::{self, Acceptance, Due};
use crate::activation::{self, Choice};
use crate::args::{Global, RollbackArgs};
use crate::command::releases::short;
use crate::exit::Exit;
use crate::failure::{self, Attempt};
use crate::record::Recorded;
use crate::run::{self, Journals};
use crate::session::{Place, Session, header};
use crate::stopped;
use crate::system::Stop;
use crate::view;

/// Chooses on every target asked for, asks, activates, verifies, records, holds.
pub async fn run(global: &Global, session: Session, args: &RollbackArgs) -> Result<Exit> {
    let service = one_service(&session, args.service.as_deref())?;
    let stop = session.stop()?;
    let locks = session.lock("rollback", &stop).await?;
    let result = locked(global, &session, &service, args, &stop).await;
    let released = locks.release().await;
    let exit = result?;
    released?;
    Ok(exit)
}

fn one_service(session: &Session, named: Option<&str>) -> Result<String> {
    let mut services = session.services(named)?;
    match services.len() {
        1 => Ok(services.remove(0)),
        _ => Err(Error::input("which service is to be rolled back?")
            .hint(format!("name one of: {}", services.join(", ")))),
    }
}

async fn locked(
    global: &Global,
    session: &Session,
    service: &str,
    args: &RollbackArgs,
    stop: &Stop,
) -> Result<Exit> {
    stopped::tell(global, session).await?;
    let mut choices = Vec::new();
    for place in &session.places {
        choices.push(choose(place, service, args.to.as_deref()).await?);
    }
    if !global.json {
        for choice in &choices {
            outln!(
                "{}",
                header(choice.place.cloud.target(), &choice.place.caller)
            );
            outln!(
                "  {service}: r{} ({}) -> r{} ({}, image {})",
                choice.from.number,
                short(&choice.from.revision.0),
                choice.to.number,
                short(&choice.to.revision.0),
                choice.to.tag.as_deref().unwrap_or(&choice.to.image.0)
            );
            for key in choice.follow.keys() {
                outln!("  secret `{key}` stays at its current version: it follows");
            }
        }
    }
    run::confirm(args.yes, "Make that serve?")?;
    let journals = Journals::begin(session, "rollback").await?;
    let (verdicts, recorded) =
        activation::carry_out(session, &choices, &journals, stop, global.json).await?;
    let rolled = Rolled {
        choices: &choices,
        verdicts,
        recorded,
    };
    let exit = conclude(global, session, rolled, &journals, args.no_verify, stop).await?;
    Ok(exit.max(session.failure()))
}

/// What came of the rollbacks of one run.
pub struct Rolled<'a> {
    pub choices: &'a [Choice<'a>],
    pub verdicts: BTreeMap<CloudName, Verdict>,
    pub recorded: Vec<Recorded>,
}

/// Verifies what serves now, ends the journals and tells.
pub async fn conclude(
    global: &Global,
    session: &Session,
    rolled: Rolled<'_>,
    journals: &Journals,
    no_verify: bool,
    stop: &Stop,
) -> Result<Exit> {
    let Rolled {
        choices,
        verdicts,
        recorded,
    } = rolled;
    let written = async {
        let accepted = examine(global, session, no_verify, &recorded, stop).await?;
        let outcomes = run::outcomes(&verdicts, &accepted.failed());
        journals.end(&outcomes).await?;
        Ok((accepted, outcomes))
    };
    let (accepted, outcomes) = run::or_tell(written.await, &verdicts, stop, global.json)?;
    let exit = run::report(&verdicts, &outcomes, stop, global.json);
    let nodes = choices.iter().map(|choice| {
        let name = (choice.place.name(), choice.service.as_str());
        (name, BTreeSet::from([choice.address()]))
    });
    let attempt = Attempt {
        again: "deployer rollback",
        nodes: nodes.collect(),
    };
    failure::report(global, session, &verdicts, &attempt).await;
    tell(global, choices, &recorded);
    accepted.tell(global);
    Ok(exit.max(accepted.exit()))
}

async fn examine(
    global: &Global,
    session: &Session,
    no_verify: bool,
    recorded: &[Recorded],
    stop: &Stop,
) -> Result<Acceptance> {
    let places = session.places.iter();
    let places = places.filter(|place| recorded.iter().any(|it| it.cloud == place.name()));
    let due = recorded.iter().map(|it| {
        let name = (it.cloud, it.release.service.clone());
        (name, it.release.clone())
    });
    let due = Due {
        places: places.collect(),
        releases: due.collect(),
        // A rollback changes nothing of who may call.
        admission: std::time::Duration::ZERO,
        unwanted: no_verify.then_some("--no-verify"),
    };
    acceptance::examine(global, session, due, stop).await
}

/// Says what serves now, and what is on hold.
fn tell(global: &Global, choices: &[Choice<'_>], recorded: &[Recorded]) {
    for Recorded { cloud, release } in recorded {
        if global.json {
            view::json_line(&json!({"event": "release", "cloud": cloud, "release": release}));
            continue;
        }
        let choice = choices.iter().find(|it| it.place.name() == *cloud);
        let words = choice.map_or_else(String::new, |choice| {
            format!(
                ": r{} again ({}); r{} is on hold until the manifest changes",
                choice.to.number,
                short(&release.revision.0),
                choice.from.number
            )
        });
        sayln!("{cloud}: r{} serves{words}", release.number);
    }
}

async fn choose<'a>(place: &'a Place, service: &str, to: Option<&str>) -> Result<Choice<'a>> {
    let releases = place.ledger.releases(service).await?;
    let Some(from) = releases.last().cloned() else {
        return Err(
            Error::input(format!("`{service}` has no release on {}", place.name()))
                .hint("`deployer apply` makes the first one"),
        );
    };
    let to = match to {
        Some(word) => find(&releases, word, place)?,
        None => before(&releases, &from, place)?,
    };
    Choice::new(place, from, to).await
}

/// The newest release with another content than the one that serves.
fn before(releases: &[Release], from: &Release, place: &Place) -> Result<Release> {
    let origin = |release: &Release| release.rollback_to.unwrap_or(release.number);
    releases
        .iter()
        .rev()
        .find(|release| {
            release.rollback_to.is_none()
                && release.number < origin(from)
                && release.revision != from.revision
        })
        .cloned()
        .ok_or_else(|| {
            Error::input(format!(
                "{} has no release before r{}",
                place.name(),
                from.number
            ))
            .hint("`deployer releases` lists what there is")
        })
}

/// A release by number, content id, revision or tag; the newest that fits.
fn find(releases: &[Release], word: &str, place: &Place) -> Result<Release> {
    let number = word.strip_prefix('r').unwrap_or(word).parse::<u64>().ok();
    let fits = |release: &&Release| {
        number == Some(release.number)
            || (word.len() >= 4 && release.content_id.starts_with(word))
            || release.revision.0 == word
            || short(&release.revision.0) == word
            || release.tag.as_deref() == Some(word)
            || (word.starts_with("sha256:") && release.image.0.ends_with(word))
    };
    let by_number = releases
        .iter()
        .find(|release| number == Some(release.number));
    by_number
        .or_else(|| releases.iter().rev().find(fits))
        .cloned()
        .ok_or_else(|| {
            let known: Vec<String> = releases
                .iter()
                .map(|release| {
                    format!(
                        "r{} ({}, {})",
                        release.number,
                        release.content_id,
                        short(&release.revision.0)
                    )
                })
                .collect();
            Error::input(format!("no release on {} is called `{word}`", place.name()))
                .hint(format!("there are: {}", known.join(", ")))
        })
}
