//! `deployer rollback`: makes an earlier release serve again and puts the rejected one on hold.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::capability::LetIn;
use deployer_core::error::{Error, Result};
use deployer_core::ledger::Release;
use jiff::Timestamp;
use serde_json::json;

use crate::acceptance::{self, Acceptance, Due};
use crate::activation::{self, Choice, Outcome, Over};
use crate::again::Again;
use crate::args::{Global, RollbackArgs};
use crate::choosing::{self, Chosen};
use crate::examination;
use crate::exit::Exit;
use crate::facts::revision_name;
use crate::facts::{self, Fact, ImageName, Version};
use crate::failure::{AllMissed, Attempt, Tried};
use crate::record::Recorded;
use crate::run::{self, Journals};
use crate::session::{Place, Session, header};
use crate::stopped;
use crate::system::Stop;
use crate::view::plan::list;
use crate::view::said::Said;
use crate::view::served::{Beside, Served};
use crate::view::{self, foreign};

/// Chooses on every target asked for, asks, activates, verifies, records, holds.
pub async fn run(global: &Global, mut session: Session, args: &RollbackArgs) -> Result<Exit> {
    let service = one_service(&session, args.service.as_deref())?;
    let stop = session.stop()?;
    let locks = session.lock("rollback", &stop).await?;
    let result = locked(global, &mut session, &service, args, &stop).await;
    locks.finish(result).await
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
    session: &mut Session,
    service: &str,
    args: &RollbackArgs,
    stop: &Stop,
) -> Result<Exit> {
    session.leave_unreadable(global).await?;
    session.leave_other_ledgers(global).await?;
    session.leave_unanswering(global, service).await?;
    let session = &*session;
    stopped::tell(global, session).await?;
    let (chosen, over) = choosing::choose(session, service, args.to.as_deref()).await?;
    show(global, session, service, &chosen);
    let (mut choices, mut unrecorded) = (Vec::new(), Vec::new());
    for chosen in chosen {
        match chosen {
            Chosen::Goes(choice) => choices.push(*choice),
            Chosen::Finishes(choice) => choices.push(*choice),
            Chosen::Serves {
                place,
                release,
                unrecorded: true,
                ..
            } => unrecorded.push((place, *release)),
            Chosen::Serves { .. } => {}
        }
    }
    if choices.is_empty() {
        let exit = end_stopped(session, &unrecorded, &over).await?;
        return Ok(exit.max(session.failure()));
    }
    run::confirm(args.yes, "Make that serve?")?;
    let began = session.clock.now();
    let journals = Journals::begin(session, "rollback").await?;
    let mut early = run::Unwritten::default();
    record(&journals, &unrecorded, &over, &mut early).await;
    let mut outcome = activation::carry_out(session, &choices, &journals, stop, global.json).await;
    outcome.unwritten.extend(early);
    let rolled = Rolled {
        choices: &choices,
        outcome,
        began,
    };
    let exit = conclude(global, session, rolled, &journals, args.no_verify, stop).await?;
    Ok(exit.max(session.failure()))
}

/// What serves already and stands in no ledger is recorded. A run that had come to its end but for
/// its last entry gets a run after it that has one: the next rollback is one more.
async fn end_stopped(
    session: &Session,
    unrecorded: &[(&Place, Release)],
    over: &[Over<'_>],
) -> Result<Exit> {
    let mut ended = unrecorded.is_empty() && over.is_empty();
    for place in &session.places {
        let last = place.ledger.last_run().await?;
        ended &= last.is_none_or(|run| run.outcome().is_some());
    }
    if ended {
        return Ok(Exit::Success);
    }
    let journals = Journals::begin(session, "rollback").await?;
    let mut unwritten = run::Unwritten::default();
    record(&journals, unrecorded, over, &mut unwritten).await;
    let outcomes = session.places.iter();
    let outcomes = outcomes.map(|place| (place.name(), "succeeded".to_owned()));
    journals.end(&outcomes.collect(), &mut unwritten).await;
    Ok(unwritten.report(false))
}

/// Records what serves already, of which no release says so, and which rollbacks are over.
async fn record(
    journals: &Journals,
    unrecorded: &[(&Place, Release)],
    over: &[Over<'_>],
    unwritten: &mut run::Unwritten,
) {
    for (place, release) in unrecorded {
        let cloud = place.name();
        let run = journals.name(cloud);
        let release = Release {
            run,
            ..release.clone()
        };
        unwritten.keep(cloud, place.ledger.record_release(&release).await);
    }
    for over in over {
        unwritten.keep(over.cloud(), over.write().await);
    }
}

/// Says what is done on each cloud; what is the same on several, once.
fn show(global: &Global, session: &Session, service: &str, all: &[Chosen<'_>]) {
    if global.json {
        for chosen in all {
            if let Chosen::Serves { place, release, .. } = chosen {
                view::json_line(&json!({
                    "event": "serves_already", "cloud": place.name(), "release": release,
                }));
            }
        }
        return;
    }
    for chosen in all {
        let place = chosen.place();
        for line in view::whole_or_wrapped(&header(place.cloud.target(), &place.caller)) {
            outln!("{line}");
        }
    }
    let mut told: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    for chosen in all {
        let lines = match chosen {
            Chosen::Serves { .. } => served_already(chosen),
            Chosen::Goes(choice) => steps_back(choice),
            Chosen::Finishes(choice) => {
                let finishing = "finishing the rollback that stopped, and nothing more".to_owned();
                std::iter::once(finishing)
                    .chain(steps_back(choice))
                    .collect()
            }
        };
        let cloud = chosen.place().name().as_str();
        match told.iter_mut().find(|(same, _)| *same == lines) {
            Some((_, clouds)) => clouds.push(cloud),
            None => told.push((lines, vec![cloud])),
        }
    }
    let environment = &session.loaded.environment;
    for (lines, clouds) in told {
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let title = format!("{service} · {environment} on {}: {first}", list(&clouds));
        for line in view::whole_or_wrapped(&title) {
            outln!("{line}");
        }
        for line in lines {
            outln!("  {line}");
        }
    }
}

/// That nothing is done, and why.
fn served_already(chosen: &Chosen<'_>) -> Vec<String> {
    let Chosen::Serves {
        release,
        finished,
        unrecorded,
        ..
    } = chosen
    else {
        return Vec::new();
    };
    let finished = match finished {
        true => "the rollback before had come to its end here: ",
        false => "",
    };
    let done = match unrecorded {
        true => "no run recorded it: that is made up for, and nothing else is done",
        false => "nothing is done",
    };
    let which = match release.rollback_to {
        Some(origin) => format!("r{origin} serves already, as r{}", release.number),
        None => format!("r{} serves already", release.number),
    };
    vec![format!(
        "{finished}{which} ({}); {done}",
        revision_name(&release.revision.0)
    )]
}

/// Where it goes, and below that what differs and what stays.
fn steps_back(choice: &Choice<'_>) -> Vec<String> {
    let (from, to) = (&choice.from, &choice.to);
    let mut lines = vec![format!(
        "r{} ({}) → r{} ({})",
        from.number,
        foreign::one_line(&ImageName::of(from).name()),
        to.number,
        foreign::one_line(&ImageName::of(to).name())
    )];
    if choice.unrecorded {
        let whose = match from.rollback_to {
            Some(number) => format!("r{number} again"),
            None => "recorded by no run".to_owned(),
        };
        lines.push(format!(
            "{} serves, {whose}: it is recorded as r{} first",
            revision_name(&from.revision.0),
            from.number
        ));
    }
    lines.extend(view::said::in_columns(&rows(choice), view::width()));
    lines
}

/// What differs between what serves and what is to, as the releases say, and what stays: a name,
/// and what is said of it.
fn rows(choice: &Choice<'_>) -> Vec<(String, Said)> {
    let (from, to) = (&choice.from, &choice.to);
    let facts = facts::between(&Version::of(from), &Version::of(to));
    let follows = |fact: &Fact| {
        let used = to.spec.secrets.get(&fact.what);
        used.is_some_and(|used| choice.follow.contains_key(&used.secret))
    };
    let mut rows: Vec<(String, Said)> = facts
        .into_iter()
        // What follows stays as it is.
        .filter(|fact| !follows(fact))
        .map(|fact| (fact.what.clone(), Said::Differs(fact)))
        .collect();
    let stays = |words: &str| Said::Words(words.to_owned());
    let following = choice.follow.keys();
    rows.extend(following.map(|key| {
        let words = "stays at its current version (on_rollback = \"follow\")";
        (key.clone(), stays(words))
    }));
    if to.migration != from.migration && from.migration.is_some() {
        let words = format!(
            "schema stays as the migrations of r{} left it: none is undone",
            from.number
        );
        rows.push(("database".to_owned(), Said::Words(words)));
    }
    let kept = choice.kept().into_iter();
    rows.extend(kept.map(|kept| ("but".to_owned(), Said::Words(kept))));
    let skipped = choice.skipped.iter();
    rows.extend(skipped.map(|it| ("skipped".to_owned(), Said::Words(it.clone()))));
    rows
}

/// What came of the rollbacks of one run.
pub struct Rolled<'a> {
    pub choices: &'a [Choice<'a>],
    pub outcome: Outcome,
    /// When they began.
    pub began: Timestamp,
}

/// Verifies what serves now, tells, ends the journals: once a run has ended, people have been told
/// what it did.
pub async fn conclude(
    global: &Global,
    session: &Session,
    rolled: Rolled<'_>,
    journals: &Journals,
    no_verify: bool,
    stop: &Stop,
) -> Result<Exit> {
    let (choices, began) = (rolled.choices, rolled.began);
    let Outcome {
        verdicts,
        recorded,
        mut unwritten,
    } = rolled.outcome;
    let means = (journals, stop);
    let accepted = examine(global, session, no_verify, &recorded, means, &mut unwritten).await;
    tell(global, session, choices, (&recorded, &accepted), began);
    let mut outcomes = run::outcomes(&verdicts, &accepted.failed());
    // Where nothing was to be done, nothing failed: the next rollback is one more there.
    for place in &session.places {
        let succeeded = || "succeeded".to_owned();
        outcomes.entry(place.name()).or_insert_with(succeeded);
    }
    journals.end(&outcomes, &mut unwritten).await;
    let tried = choices.iter().map(|choice| {
        let (cloud, service) = (choice.place.name(), choice.service.as_str());
        let again = Again::new(global, "rollback").with(service);
        let again = again.option("--to", &format!("r{}", choice.to.number));
        let tried = Tried {
            nodes: BTreeSet::from([choice.address()]),
            release: Some(choice.to.number),
            again,
            version: Some((choice.to.spec.clone(), ImageName::of(&choice.to))),
        };
        ((cloud, service), tried)
    });
    let attempt: Attempt<'_> = tried.collect();
    let told = examination::told(session, &verdicts, &attempt);
    let exit = run::report(&verdicts, &outcomes, &told, stop, global.json);
    examination::report(
        global,
        session,
        &verdicts,
        &attempt,
        (journals, &mut unwritten),
    )
    .await;
    accepted.tell(global, &recorded);
    let unwritten = unwritten.report(global.json);
    Ok(exit.max(accepted.exit()).max(unwritten))
}

async fn examine(
    global: &Global,
    session: &Session,
    no_verify: bool,
    recorded: &[Recorded],
    means: (&Journals, &Stop),
    unwritten: &mut run::Unwritten,
) -> Acceptance {
    let places = session.places.iter();
    let places = places.filter(|place| recorded.iter().any(|it| it.cloud == place.name()));
    let due = recorded.iter().map(|it| {
        let name = (it.cloud, it.release.service.clone());
        (name, it.release.clone())
    });
    let due = Due {
        places: places.collect(),
        releases: due.collect::<BTreeMap<_, _>>(),
        created: BTreeSet::new(),
        // A rollback changes nothing of who may call.
        let_in: LetIn::Cloud,
        admission: std::time::Duration::ZERO,
        unwanted: no_verify.then_some("--no-verify"),
    };
    acceptance::examine(global, session, due, means, unwritten).await
}

/// Says what serves now, and what is on hold.
fn tell(
    global: &Global,
    session: &Session,
    choices: &[Choice<'_>],
    (recorded, accepted): (&[Recorded], &Acceptance),
    began: Timestamp,
) {
    if global.json {
        for Recorded { cloud, release } in recorded {
            view::json_line(&view::release::event(*cloud, release));
        }
        return;
    }
    if recorded.is_empty() {
        return;
    }
    let choice = |it: &Recorded| {
        let mut choices = choices.iter();
        choices
            .find(|choice| choice.place.name() == it.cloud && choice.service == it.release.service)
    };
    let served = recorded.iter().map(|it| Served {
        cloud: it.cloud,
        service: it.release.service.clone(),
        number: it.release.number,
        again: choice(it).map(|choice| choice.to.number),
        detached: it.release.detached,
        rejected: accepted.failed().contains(&it.cloud),
        instances: accepted.instances(it.cloud, &it.release.service),
        url: None,
        checked: accepted.checked(it.cloud, &it.release.service),
    });
    let served: Vec<Served> = served.collect();
    let held = recorded.iter().filter_map(choice);
    let held: BTreeSet<String> = held
        .filter(|choice| choice.rejects())
        .map(|choice| {
            let (service, from) = (&choice.service, choice.from.number);
            format!("{service} r{from} is on hold: apply rolls out only what is not r{from}")
        })
        .collect();
    let held: Vec<String> = held.into_iter().collect();
    let subject = (
        session.loaded.manifest.app.as_str(),
        session.loaded.environment.as_str(),
    );
    let took = session.clock.now().duration_since(began);
    let page = (took.try_into().unwrap_or_default(), view::width());
    let beside = Beside {
        still: &[],
        missed: &AllMissed::new(),
        changes: 0,
    };
    out!(
        "{}",
        view::served::render(subject, &served, beside, &held, page)
    );
}
