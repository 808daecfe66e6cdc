//! `deployer rollback`: makes an earlier release serve again and puts the rejected one on hold.

use std::collections::BTreeMap;

use deployer_core::address::Address;
use deployer_core::capability::{Activation, SecretVersion};
use deployer_core::engine::Journal;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::journal::Event;
use deployer_core::ledger::{Hold, Release};
use deployer_core::node::{Action, Token};
use deployer_core::report::{self, Reporter};
use deployer_core::spec::OnRollback;
use serde_json::json;
use uuid::Uuid;

use crate::args::{Global, RollbackArgs};
use crate::command::releases::short;
use crate::exit::Exit;
use crate::run::{self, Journals};
use crate::session::{Place, Session, header};
use crate::system::{self, Stop};
use crate::view;

/// What is going to serve on one target.
struct Choice<'a> {
    place: &'a Place,
    service: String,
    from: Release,
    to: Release,
    /// Secrets that follow, by the manifest's names: the versions that are current now.
    follow: BTreeMap<String, SecretVersion>,
}

/// Chooses on every target asked for, asks, activates, verifies, records, holds.
pub async fn run(global: &Global, session: Session, args: &RollbackArgs) -> Result<Exit> {
    let service = one_service(&session, args.service.as_deref())?;
    let stop = Stop::on_signals()
        .map_err(|error| Error::internal("cannot listen to signals").because(error))?;
    let locks = session.lock("rollback", &stop).await?;
    let result = locked(global, &session, &service, args).await;
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
) -> Result<Exit> {
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
    let reporter = view::progress::reporter(global.json);
    let work = choices
        .iter()
        .map(|choice| activate(session, choice, &journals, reporter.as_ref()));
    let results = futures::future::join_all(work).await;
    let mut worst = session.failure();
    let mut outcomes = BTreeMap::new();
    for (choice, result) in choices.iter().zip(results) {
        let cloud = choice.place.name();
        match result {
            Ok(release) => {
                outcomes.insert(cloud, "succeeded".to_owned());
                say(global, choice, &release);
            }
            Err(error) => {
                outcomes.insert(cloud, "failed".to_owned());
                worst = worst.max(Exit::from(error.kind()));
                view::error::print(&error, global.json);
            }
        }
    }
    journals.end(&outcomes).await?;
    Ok(worst)
}

fn say(global: &Global, choice: &Choice<'_>, release: &Release) {
    let cloud = choice.place.name();
    if global.json {
        view::json_line(&json!({"event": "release", "cloud": cloud, "release": release}));
        return;
    }
    sayln!(
        "{cloud}: r{} serves: r{} again ({}); r{} is on hold until the manifest changes",
        release.number,
        choice.to.number,
        short(&release.revision.0),
        choice.from.number
    );
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
    let follow = following(place, &to).await?;
    Ok(Choice {
        place,
        service: service.to_owned(),
        from,
        to,
        follow,
    })
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

/// The secrets of the release that follow and have another version now. By the manifest's names.
async fn following(place: &Place, to: &Release) -> Result<BTreeMap<String, SecretVersion>> {
    let mut follow = BTreeMap::new();
    for (key, pinned) in &to.secrets {
        let Some(secret) = place.env.secrets.get(key) else {
            continue;
        };
        if secret.on_rollback != OnRollback::Follow {
            continue;
        }
        let status = place.cloud.secrets().status(&secret.name).await?;
        let current = status.and_then(|status| status.version).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("secret `{key}` is gone from {}", place.name()),
            )
            .hint(format!("set it again: `deployer secrets set {key}`"))
        })?;
        if current != *pinned {
            follow.insert(key.clone(), current);
        }
    }
    Ok(follow)
}

struct Notes<'a> {
    address: &'a Address,
    reporter: &'a dyn Reporter,
}

impl deployer_core::node::Watch for Notes<'_> {
    fn note(&self, line: &str) {
        self.reporter.event(&report::Event::Note {
            address: self.address,
            line,
        });
    }
}

/// Activates, waits, verifies, records. A target that serves the release already is only recorded.
async fn activate(
    session: &Session,
    choice: &Choice<'_>,
    journals: &Journals,
    reporter: &dyn Reporter,
) -> Result<Release> {
    let place = choice.place;
    let address = Address::new(place.cloud.target(), "rollback", &choice.to.spec.name);
    let journal = journals.of(place.name())?;
    let token = Token(Uuid::new_v4().to_string());
    let (action, started) = (Action::Update, session.clock.now());
    reporter.event(&report::Event::Started {
        address: &address,
        action,
    });
    journal
        .write(Event::Started {
            address: address.clone(),
            action,
            token: token.0.clone(),
        })
        .await?;
    let result = serve(
        choice,
        &token,
        &Notes {
            address: &address,
            reporter,
        },
    )
    .await;
    let took = session
        .clock
        .now()
        .duration_since(started)
        .try_into()
        .unwrap_or_default();
    match result {
        Ok(release) => {
            journal
                .write(Event::Landed {
                    address: address.clone(),
                })
                .await?;
            let release = record(session, choice, release, &journals.name(place.name())).await?;
            journal
                .write(Event::Ready {
                    address: address.clone(),
                })
                .await?;
            reporter.event(&report::Event::Done {
                address: &address,
                action,
                took,
            });
            Ok(release)
        }
        Err(error) => {
            let why = error.chain().join(": ");
            journal
                .write(Event::Failed {
                    address: address.clone(),
                    why,
                })
                .await?;
            reporter.event(&report::Event::Failed {
                address: &address,
                error: &error,
                took,
            });
            Err(error)
        }
    }
}

/// Makes the release's revision serve. Returns the release as it serves now.
async fn serve(choice: &Choice<'_>, token: &Token, watch: &Notes<'_>) -> Result<Release> {
    let follow: BTreeMap<String, SecretVersion> = choice
        .to
        .spec
        .secrets
        .iter()
        .filter_map(|(variable, used)| {
            Some((variable.clone(), choice.follow.get(&used.secret)?.clone()))
        })
        .collect();
    let activation = Activation {
        service: choice.to.spec.name.clone(),
        revision: choice.to.revision.clone(),
        follow,
    };
    let revision = choice
        .place
        .cloud
        .runtime()
        .activate(&activation, token, watch)
        .await?;
    let mut release = Release {
        revision,
        ..choice.to.clone()
    };
    release.secrets.extend(choice.follow.clone());
    Ok(release)
}

async fn record(
    session: &Session,
    choice: &Choice<'_>,
    release: Release,
    run: &str,
) -> Result<Release> {
    let place = choice.place;
    let release = Release {
        number: choice.from.number + 1,
        at: session.clock.now(),
        by: system::who(),
        run: run.to_owned(),
        rollback_to: Some(choice.to.rollback_to.unwrap_or(choice.to.number)),
        detached: false,
        verified: None,
        ..release
    };
    place.ledger.record_release(&release).await?;
    // What serves already was not rejected by this: an older hold, if any, stays.
    if choice.to.revision == choice.from.revision {
        return Ok(release);
    }
    let hold = Hold {
        rejected: choice.from.number,
        content_id: choice.from.content_id.clone(),
        serving: release.number,
        since: session.clock.now(),
        by: system::who(),
    };
    place.ledger.set_hold(&choice.service, &hold).await?;
    Ok(release)
}
