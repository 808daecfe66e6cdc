//! `deployer migrate`: runs the manifest's migration as a one-off job; traffic stays where it is.

use std::collections::BTreeSet;

use deployer_core::address::Address;
use deployer_core::capability::Rerun;
use deployer_core::compose::Part;
use deployer_core::error::{Error, Result};
use deployer_core::node::{Action, Sort};
use deployer_core::plan::Prepared;

use crate::again::Again;
use crate::args::{Global, MigrateArgs};
use crate::command::plan;
use crate::examination;
use crate::exit::Exit;
use crate::outcome;
use crate::recall;
use crate::redeploys::Asked;
use crate::run::{self, Journals, Manner};
use crate::session::Session;
use crate::stopped;
use crate::system::Stop;
use crate::view::plan::is_migration;
use crate::work::{self, Wish};

/// Plans what the migration needs (image, secrets, job) and runs only that.
pub async fn run(global: &Global, mut session: Session, args: &MigrateArgs) -> Result<Exit> {
    let stop = session.stop()?;
    let wish = wish(args);
    let locks = work::lock(&mut session, "migrate", &wish, &stop).await?;
    let result = locked(global, &mut session, args, &wish, &stop).await;
    locks.finish(result).await
}

/// A held release may be migrated by hand: only its traffic is held back.
fn wish(args: &MigrateArgs) -> Wish {
    Wish {
        part: Part::All,
        release_hold: true,
        rerun: match args {
            MigrateArgs { again: true, .. } => Rerun::Any,
            MigrateArgs { retry: true, .. } => Rerun::Failed,
            MigrateArgs { .. } => Rerun::No,
        },
        redeploy: Asked::NOTHING,
        gates: None,
    }
}

async fn locked(
    global: &Global,
    session: &mut Session,
    args: &MigrateArgs,
    wish: &Wish,
    stop: &Stop,
) -> Result<Exit> {
    session.leave_unreadable(global).await?;
    let session = &*session;
    stopped::tell(global, session).await?;
    let mut work = work::prepare(session, wish).await?;
    restrict(&mut work.prepared)?;
    let scene = recall::of(session, Some(&work)).await;
    let how = plan::How::text(plan::shown(args.details));
    let problem = plan::show(global, session, &work.prepared, &scene, how);
    if work.prepared.plan.is_empty() {
        if !global.json {
            outln!(
                "the migration of this release has run already; after a restore of its database in place, `--again` runs it once more"
            );
        }
        return Ok(problem.unwrap_or(Exit::Success));
    }
    // A database that has to be made anew is the business of an apply: here nobody could name what
    // is lost.
    run::guard_data(&work.prepared, &[], Again::new(global, "apply"))?;
    run::confirm(args.yes, "Run this migration?")?;
    let began = session.clock.now();
    let journals = Journals::begin(session, "migrate").await?;
    let means = (stop, global.json);
    let (verdicts, mut unwritten) = run::carry_out(
        session,
        &work.prepared,
        &journals,
        &(),
        Manner::THOROUGH,
        means,
    )
    .await;
    let outcomes = run::outcomes(&verdicts, &BTreeSet::new());
    journals.end(&outcomes, &mut unwritten).await;
    let again = Again::new(global, "migrate").with("--retry");
    let attempt = work.attempt(session, &again);
    let told = examination::told(session, &verdicts, &attempt);
    outcome::tell(session, &work.prepared, &verdicts, began, global.json);
    let exit = run::report(&verdicts, &outcomes, &told, stop, global.json);
    examination::report(
        global,
        session,
        &verdicts,
        &attempt,
        (&journals, &mut unwritten),
    )
    .await;
    let exit = exit.max(unwritten.report(global.json));
    Ok(exit.max(problem.unwrap_or(Exit::Success)))
}

/// Leaves only the migrations and what they need; nothing is deleted.
fn restrict(prepared: &mut Prepared) -> Result<()> {
    let changes = &prepared.plan.changes;
    let mut wanted: BTreeSet<Address> = changes
        .iter()
        .filter(|change| change.sort == Sort::Step && is_migration(&change.address))
        .map(|change| change.address.clone())
        .collect();
    if wanted.is_empty() && prepared.blocked.is_empty() {
        return Err(Error::input("the manifest has no migration")
            .hint("add `migrate = { command = [\"...\"] }` to a service"));
    }
    // Changes stand in an order of dependencies, so one pass from the end finds every need.
    for change in changes.iter().rev() {
        if wanted.contains(&change.address) {
            wanted.extend(change.needs.iter().cloned());
        }
    }
    for change in &mut prepared.plan.changes {
        if !wanted.contains(&change.address) {
            change.action = Action::NoOp;
            change.settling = None;
        }
    }
    prepared
        .plan
        .changes
        .retain(|change| wanted.contains(&change.address));
    // Nothing is deleted: what would take the place of another one is only made.
    for change in &mut prepared.plan.changes {
        change.action = change.act();
        change.replaces.clear();
    }
    prepared.orphans.clear();
    // What was found is not noted.
    prepared.listed.clear();
    Ok(())
}
