//! `deployer destroy`: deletes everything that deployer made in this environment, whatever its
//! ledger knows of it, and takes its mark off what it adopted; releases stay on record.

use std::collections::BTreeSet;

use deployer_core::engine::Verdict;
use deployer_core::error::Result;

use crate::again::Again;
use crate::args::{DestroyArgs, Global};
use crate::command::plan;
use crate::exit::Exit;
use crate::outcome;
use crate::recall;
use crate::run::{self, Journals, Manner};
use crate::session::{Place, Session};
use crate::system::Stop;
use crate::{stopped, work};

/// The word that allows to lose all data of an environment: for those that come and go.
const ALL: &str = "all";

/// Plans the deletes, asks, carries them out.
pub async fn run(global: &Global, mut session: Session, args: &DestroyArgs) -> Result<Exit> {
    let stop = session.stop()?;
    let locks = session.lock("destroy", &stop).await?;
    let result = locked(global, &mut session, args, &stop).await;
    locks.finish(result).await
}

async fn locked(
    global: &Global,
    session: &mut Session,
    args: &DestroyArgs,
    stop: &Stop,
) -> Result<Exit> {
    session.leave_unreadable(global).await?;
    session.leave_other_ledgers(global).await?;
    let session = &*session;
    stopped::tell(global, session).await?;
    let (prepared, unknown) = work::prepare_destroy(session).await?;
    let scene = recall::of(session, None).await;
    let how = plan::How::text(plan::shown(args.details));
    let problem = plan::show(global, session, &prepared, &scene, how).unwrap_or(Exit::Success);
    if !args.allow_data_loss.iter().any(|word| word == ALL) {
        let again = Again::new(global, "destroy");
        run::guard_data(&prepared, &args.allow_data_loss, again)?;
    }
    if !prepared.plan.is_empty() {
        let environment = &session.loaded.environment;
        run::confirm(
            args.yes,
            &format!("Delete or release all of this from environment {environment}?"),
        )?;
    }
    let began = session.clock.now();
    let journals = Journals::begin(session, "destroy").await?;
    let means = (stop, global.json);
    let (verdicts, mut unwritten) =
        run::carry_out(session, &prepared, &journals, &(), Manner::THOROUGH, means).await;
    for place in &session.places {
        let whole = verdicts.get(&place.name()).is_some_and(Verdict::succeeded);
        if whole {
            let lifted = lift_holds(session, place).await;
            unwritten.keep(place.name(), lifted);
        }
    }
    let outcomes = run::outcomes(&verdicts, &BTreeSet::new());
    journals.end(&outcomes, &mut unwritten).await;
    outcome::tell(session, &prepared, &verdicts, began, global.json);
    outcome::tell_left(session, &prepared, &verdicts, global.json).await;
    let exit = run::report(&verdicts, &outcomes, &BTreeSet::new(), stop, global.json).max(problem);
    let exit = exit.max(unwritten.report(global.json));
    Ok(match exit {
        Exit::Success if !unknown.is_empty() => Exit::LedgerLost,
        exit => exit,
    })
}

/// What was destroyed whole has no holds any more. Its migrations stay on record: each belongs to
/// the database that it ran on.
async fn lift_holds(session: &Session, place: &Place) -> Result<()> {
    for service in session.services(None)? {
        place.ledger.lift_holds(&service).await?;
    }
    Ok(())
}
