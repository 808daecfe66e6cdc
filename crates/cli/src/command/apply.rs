//! `deployer apply`: makes the clouds what the manifest says, and records the releases.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::capability::Rerun;
use deployer_core::engine::{Interrupt, Verdict};
use deployer_core::error::{Error, Result};
use deployer_core::history::{History, same_revision};
use deployer_core::node::{Action, Waiting};
use jiff::Timestamp;
use serde_json::json;

use crate::acceptance::{self, Acceptance};
use crate::activation::{self, Choice, Over, Rest};
use crate::again::Again;
use crate::applied;
use crate::args::{ApplyArgs, Global};
use crate::command::plan;
use crate::command::rollback::{self, Rolled};
use crate::examination;
use crate::exit::Exit;
use crate::facts::ImageName;
use crate::failure::AllMissed;
use crate::gate::Gates;
use crate::outcome;
use crate::pins;
use crate::plan_file::PlanFile;
use crate::recall;
use crate::record::{self, Recorder};
use crate::redeploys::Asked;
use crate::run::{self, Aim, Journals, Manner, Unwritten};
use crate::session::{Place, Session};
use crate::stopped;
use crate::system::Stop;
use crate::view;
use crate::view::served::{Beside, Served, Still};
use crate::work::{self, Wish, Work};

/// Plans under the lock, asks, carries out, records, verifies.
pub async fn run(global: &Global, mut session: Session, args: &ApplyArgs) -> Result<Exit> {
    let file = args.plan.as_deref().map(PlanFile::read).transpose()?;
    let renames = session.loaded.manifest.renames();
    let file = file.map(|file| renames.exchanged(file));
    if file.is_some() && !args.scope.redeploy.is_empty() {
        return Err(
            Error::input("a plan file says itself what is rolled out anew")
                .hint("`deployer plan --redeploy SERVICE --out FILE` makes one that does"),
        );
    }
    let wish = match &file {
        None => plan::wish(&args.scope),
        Some(file) => Wish {
            part: plan::part(file.services()),
            release_hold: file.release_hold,
            rerun: Rerun::No,
            redeploy: Asked::AsPlanned(file.redeploys.clone()),
            gates: None,
        },
    };
    let stop = session.stop()?;
    let gated = !args.no_verify && !args.detach;
    let wish = Wish {
        gates: gated.then(|| Gates::new(&stop)),
        ..wish
    };
    let locks = work::lock(&mut session, "apply", &wish, &stop).await?;
    let result = locked(global, &mut session, args, file.as_ref(), &wish, &stop).await;
    locks.finish(result).await
}

async fn locked(
    global: &Global,
    session: &mut Session,
    args: &ApplyArgs,
    file: Option<&PlanFile>,
    wish: &Wish,
    stop: &Stop,
) -> Result<Exit> {
    session.leave_unreadable(global).await?;
    let session = &*session;
    stopped::tell(global, session).await?;
    let work = work::prepare(session, wish).await?;
    if let Some(file) = file
        && let Err(stale) = file.check_fresh(&work.prepared.plan, &work.sources())
    {
        return Err(applied::find(session, &file.id()).await.unwrap_or(stale));
    }
    let problem = match global.json {
        true => problems_as_lines(session, &work),
        false => {
            let scene = recall::of(session, Some(&work)).await;
            let how = plan::How::text(plan::shown(args.scope.details));
            plan::show(global, session, &work.prepared, &scene, how)
        }
    };
    let held = if work.held.is_empty() {
        Exit::Success
    } else {
        Exit::Held
    };
    let unfinished = Unfinished::find(global, session, &work).await;
    let problem = problem.max(unfinished.problem);
    let finished = finish_rollbacks(global, session, args, &unfinished, stop).await?;
    if finished != Exit::Success {
        return Ok(finished.max(problem.unwrap_or(Exit::Success)));
    }
    let settles = work
        .prepared
        .plan
        .changes
        .iter()
        .any(|change| change.settling.is_some());
    if work.prepared.plan.is_empty() && (!settles || args.detach) {
        let exit = nothing_to_do(global, session, args, (&work, &unfinished), stop).await?;
        let exit = problem.unwrap_or(Exit::Success).max(exit);
        let exit = exit.max(held).max(interruption(stop));
        return Ok(detached(args, settles, exit));
    }
    run::guard_data(
        &work.prepared,
        &args.allow_data_loss,
        typed(global, args, wish),
    )?;
    if !work.prepared.plan.is_empty() && file.is_none() {
        run::confirm(args.yes, "Apply this plan?")?;
    }
    let began = session.clock.now();
    let plan = file.map(PlanFile::id);
    let aim = |cloud| Aim {
        plan: plan.clone(),
        ..work.aim(cloud)
    };
    let journals = Journals::begin_with(session, "apply", aim).await?;
    let manner = Manner {
        waiting: match args.detach {
            true => Waiting::Detached,
            false => Waiting::Ready,
        },
        on_failure: args.on_failure.into(),
    };
    let recorder = Recorder::new(session, &work, &journals);
    let means = (stop, global.json);
    let early = unfinished.write_over().await;
    let (verdicts, mut unwritten) =
        run::carry_out(session, &work.prepared, &journals, &recorder, manner, means).await;
    unwritten.extend(early);
    let recorded = recorder.conclude(&verdicts, &mut unwritten).await;
    let accepted = accept(
        global,
        session,
        args,
        (&work, &verdicts),
        (&journals, stop),
        &mut unwritten,
    )
    .await;
    let outcomes = run::outcomes(&verdicts, &accepted.failed());
    journals.end(&outcomes, &mut unwritten).await;
    // A plan file is of what was there before: the same command without it.
    let again = Again::new(global, "apply")
        .wishing(&wish.part, wish.release_hold)
        .redeploying(wish.redeploy.services());
    let attempt = work.attempt(session, &again);
    let told = examination::told(session, &verdicts, &attempt);
    let exit = run::report(&verdicts, &outcomes, &told, stop, global.json);
    let exit = exit.max(accepted.exit());
    if let Some(gates) = &wish.gates {
        gates.tell(global);
    }
    accepted.tell(global, &recorded);
    outcome::tell_left(session, &work.prepared, &verdicts, global.json).await;
    let missed = examination::missed(&verdicts, &attempt);
    if stop.requested() && recorded.is_empty() && !global.json {
        out!("{}", stopped_at(session, &work, &verdicts, began));
    }
    let changes = verdicts.values().map(|it| it.done.len()).sum();
    let came = (recorded.as_slice(), &accepted, &missed, changes);
    tell_what_serves(global, session, &work, came, began).await;
    // Last, where it is seen: of thirty services that serve one may have failed.
    let means = (&journals, &mut unwritten);
    examination::report(global, session, &verdicts, &attempt, means).await;
    let exit = exit.max(unwritten.report(global.json));
    let begun = verdicts.values().any(|it| !it.detached.is_empty());
    let exit = exit
        .max(problem.unwrap_or(Exit::Success))
        .max(if exit == Exit::Success { held } else { exit });
    Ok(detached(args, begun, exit))
}

/// How far a run came that was stopped and made no release.
fn stopped_at(
    session: &Session,
    work: &Work,
    verdicts: &BTreeMap<CloudName, Verdict>,
    began: Timestamp,
) -> String {
    let done: usize = verdicts.values().map(|it| it.done.len()).sum();
    let changes = work.prepared.plan.changes.iter();
    let all = changes.filter(|it| it.action != Action::NoOp).count();
    let words = format!("STOPPED; {done} of {all} done, and no service has a new release");
    let subject = (
        session.loaded.manifest.app.as_str(),
        session.loaded.environment.as_str(),
    );
    let took = session.clock.now().duration_since(began);
    let page = (took.try_into().unwrap_or_default(), view::width());
    view::served::title(subject, &words, page)
}

/// The command without the names of what may lose its data.
fn typed(global: &Global, args: &ApplyArgs, wish: &Wish) -> Again {
    let again = Again::new(global, "apply");
    match &args.plan {
        Some(file) => again.with(&file.display().to_string()),
        None => again
            .wishing(&wish.part, wish.release_hold)
            .redeploying(wish.redeploy.services()),
    }
}

/// Nothing differs: what a run that was killed did not come to is written down, and what was not
/// verified is examined.
async fn nothing_to_do(
    global: &Global,
    session: &Session,
    args: &ApplyArgs,
    (work, unfinished): (&Work, &Unfinished<'_>),
    stop: &Stop,
) -> Result<Exit> {
    let began = session.clock.now();
    let journals = Journals::begin_with(session, "apply", |cloud| work.aim(cloud)).await?;
    let verdicts = BTreeMap::from_iter(
        session
            .places
            .iter()
            .map(|p| (p.name(), Verdict::default())),
    );
    let mut unwritten = unfinished.write_over().await;
    let reconciled = run::reconcile(session, &work.prepared, &journals, &verdicts).await;
    unwritten.extend(reconciled);
    let recorder = Recorder::new(session, work, &journals);
    let recorded = recorder.conclude(&verdicts, &mut unwritten).await;
    let accepted = accept(
        global,
        session,
        args,
        (work, &verdicts),
        (&journals, stop),
        &mut unwritten,
    )
    .await;
    let outcomes = run::outcomes(&verdicts, &accepted.failed());
    journals.end(&outcomes, &mut unwritten).await;
    accepted.tell(global, &recorded);
    let came = (recorded.as_slice(), &accepted, &AllMissed::new(), 0);
    tell_what_serves(global, session, work, came, began).await;
    Ok(accepted.exit().max(unwritten.report(global.json)))
}

async fn accept(
    global: &Global,
    session: &Session,
    args: &ApplyArgs,
    (work, verdicts): (&Work, &BTreeMap<CloudName, Verdict>),
    means: (&Journals, &Stop),
    unwritten: &mut Unwritten,
) -> Acceptance {
    let due = acceptance::of_apply(session, args, work, verdicts, unwritten).await;
    acceptance::examine(global, session, due, means, unwritten).await
}

/// Gives way to every other code: whatever is not well comes first.
fn detached(args: &ApplyArgs, begun: bool, exit: Exit) -> Exit {
    match exit {
        Exit::Success if begun && args.detach && args.detailed_exitcode => Exit::Detached,
        exit => exit,
    }
}

/// The rollbacks that were killed.
#[derive(Default)]
struct Unfinished<'a> {
    choices: Vec<Choice<'a>>,
    /// Those of which only that is to be written.
    over: Vec<Over<'a>>,
    problem: Option<Exit>,
}

impl<'a> Unfinished<'a> {
    /// One that cannot be finished, with its target's word, leaves the others alone: its service
    /// stays held.
    async fn find(global: &Global, session: &'a Session, work: &Work) -> Self {
        let mut found = Self::default();
        for held in work.unfinished() {
            let place = session.places.iter().find(|it| it.name() == held.cloud);
            let Some(place) = place else { continue };
            match Choice::unfinished(place, &held.service, &held.hold).await {
                Ok(Some(Rest::Goes(choice))) => found.choices.push(*choice),
                Ok(Some(Rest::Ended(over) | Rest::Superseded(over))) => found.over.push(over),
                Ok(None) => {}
                Err(error) => {
                    found.problem = found.problem.max(Some(Exit::from(error.kind())));
                    view::error::print(&error, global.json);
                }
            }
        }
        found
    }

    /// A run has begun.
    async fn write_over(&self) -> Unwritten {
        let mut unwritten = Unwritten::default();
        for over in &self.over {
            unwritten.keep(over.cloud(), over.write().await);
        }
        unwritten
    }
}

/// A rollback that was killed comes first: what it was to make serve is what people last agreed to.
async fn finish_rollbacks(
    global: &Global,
    session: &Session,
    args: &ApplyArgs,
    unfinished: &Unfinished<'_>,
    stop: &Stop,
) -> Result<Exit> {
    let choices = unfinished.choices.as_slice();
    if choices.is_empty() {
        return Ok(Exit::Success);
    }
    run::confirm(args.yes, "Finish the rollback?")?;
    let began = session.clock.now();
    let journals = Journals::begin(session, "rollback").await?;
    let early = unfinished.write_over().await;
    let mut outcome = activation::carry_out(session, choices, &journals, stop, global.json).await;
    outcome.unwritten.extend(early);
    let rolled = Rolled {
        choices,
        outcome,
        began,
    };
    rollback::conclude(global, session, rolled, &journals, args.no_verify, stop).await
}

fn interruption(stop: &Stop) -> Exit {
    match stop.requested() {
        true => Exit::Interrupted,
        false => Exit::Success,
    }
}

fn problems_as_lines(session: &Session, work: &Work) -> Option<Exit> {
    view::json_line(&json!({
        "event": "plan", "plan": work.prepared.plan, "counts": work.prepared.plan.counts(),
        "empty": work.prepared.plan.is_empty(),
    }));
    for blocked in &work.prepared.blocked {
        view::error::print(&blocked.error, true);
    }
    let blocked = work.prepared.blocked.iter().map(|blocked| &blocked.error);
    let errors = session.failed.iter().map(|(_, error)| error).chain(blocked);
    errors.map(|error| Exit::from(error.kind())).max()
}

/// The end: what serves now, as JSON lines or for people.
async fn tell_what_serves(
    global: &Global,
    session: &Session,
    work: &Work,
    (recorded, accepted, missed, changes): (&[record::Recorded], &Acceptance, &AllMissed, usize),
    began: Timestamp,
) {
    if global.json {
        for release in recorded {
            view::json_line(&view::release::event(release.cloud, &release.release));
        }
        return;
    }
    let still = unchanged(session, work, recorded, missed).await;
    let under_way = still.iter().filter(|it| it.release.detached);
    let served: Vec<Served> = recorded
        .iter()
        .chain(under_way)
        .map(|it| served(work, it, accepted))
        .collect();
    let still: Vec<Still> = still
        .iter()
        .filter(|it| !it.release.detached)
        .map(|it| (it.cloud, it.release.service.clone(), it.release.number))
        .collect();
    // Where everything failed, the report says all.
    if served.is_empty() && (!missed.is_empty() || still.is_empty()) {
        return;
    }
    let back = way_back(global, session, work, recorded).await;
    let subject = (
        session.loaded.manifest.app.as_str(),
        session.loaded.environment.as_str(),
    );
    let took = session.clock.now().duration_since(began);
    let took = took.try_into().unwrap_or_default();
    let page = (took, view::width());
    let beside = Beside {
        still: &still,
        missed,
        changes,
    };
    let more: Vec<String> = back.iter().map(|back| format!("back: {back}")).collect();
    let text = view::served::render(subject, &served, beside, &more, page);
    out!("{text}");
}

/// The services of what was applied that have no new release, with those that they have.
async fn unchanged(
    session: &Session,
    work: &Work,
    recorded: &[record::Recorded],
    missed: &AllMissed,
) -> Vec<record::Recorded> {
    let mut still = Vec::new();
    for place in &session.places {
        let cloud = place.name();
        let declared = work.declared.iter().filter(|it| it.cloud == cloud);
        for key in declared.flat_map(|it| it.services.keys()) {
            let is_it = |it: &record::Recorded| it.cloud == cloud && it.release.service == *key;
            let unread = session.failed.iter().any(|(failed, _)| *failed == cloud)
                || work.prepared.is_blocked(cloud);
            if unread || missed.contains_key(&(cloud, key.clone())) || recorded.iter().any(is_it) {
                continue;
            }
            if let Ok(Some(release)) = work.numbers.newest_on(place, key).await {
                still.push(record::Recorded { cloud, release });
            }
        }
    }
    still
}

fn served(work: &Work, recorded: &record::Recorded, accepted: &Acceptance) -> Served {
    let release = &recorded.release;
    let mut declared = work.declared.iter();
    let declared = declared.find(|declared| declared.cloud == recorded.cloud);
    let service = declared.and_then(|declared| declared.services.get(&release.service));
    Served {
        cloud: recorded.cloud,
        service: release.service.clone(),
        number: release.number,
        again: None,
        detached: release.detached,
        rejected: accepted.failed().contains(&recorded.cloud),
        checked: accepted.checked(recorded.cloud, &release.service),
        instances: accepted.instances(recorded.cloud, &release.service),
        url: service
            .and_then(|service| service.outputs.url.known())
            .flatten(),
    }
}

/// The command that goes back, where one service got a release and there is one to go back to
/// everywhere.
async fn way_back(
    global: &Global,
    session: &Session,
    work: &Work,
    recorded: &[record::Recorded],
) -> Option<String> {
    let service = &recorded.first()?.release.service;
    let mut earlier = Vec::new();
    for one in recorded {
        let is_new = work.creates(one.cloud, service);
        if one.release.service != *service || one.release.detached || is_new {
            return None;
        }
        let mut places = session.places.iter();
        let place = places.find(|place| place.name() == one.cloud)?;
        let releases = place.ledger.releases(service).await.ok()?;
        let follows = pins::follows(place);
        // What no revision has is not gone back to: the one before serves already.
        let mut others = releases
            .iter()
            .rev()
            .filter(|it| it.number < one.release.number);
        let last = others.next()?;
        if last.image == one.release.image && same_revision(&last.revision, &one.release.revision) {
            return None;
        }
        let before = History::new(&releases, &follows).before(&one.release)?;
        earlier.push((before.number, ImageName::of(before).name()));
    }
    let mut back = Again::new(global, "rollback").with(service);
    let mut others = session.places.iter();
    let mut is_everywhere = true;
    let is_recorded = |place: &&Place| recorded.iter().any(|it| it.cloud == place.name());
    while let Some(place) = others.next().filter(|_| is_everywhere) {
        if is_recorded(&place) {
            continue;
        }
        // What an apply that was stopped released there belongs to it.
        let releases = place.ledger.releases(service).await.ok()?;
        let follows = pins::follows(place);
        let history = History::new(&releases, &follows);
        let same = releases.last().filter(|it| {
            recorded
                .iter()
                .all(|one| it.content_id == one.release.content_id)
        });
        match same.and_then(|it| history.before(it)) {
            Some(before) => earlier.push((before.number, ImageName::of(before).name())),
            None => is_everywhere = false,
        }
    }
    if !is_everywhere {
        back = back.on(recorded.first()?.cloud);
        earlier.truncate(recorded.len());
    }
    let (number, image) = earlier.first()?;
    let same = earlier.iter().all(|it| it == &earlier[0]);
    Some(match same {
        true => format!("{back}    # to r{number}, image {image}"),
        false => back.to_string(),
    })
}
