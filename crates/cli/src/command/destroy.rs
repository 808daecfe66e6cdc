//! `deployer destroy`: deletes everything that deployer made in this environment, and takes its mark off what it adopted;
//! releases stay on record.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::engine::Verdict;
use deployer_core::error::Result;

use crate::args::{DestroyArgs, Global};
use crate::command::plan;
use crate::exit::Exit;
use crate::run::{self, Journals, Manner};
use crate::session::Session;
use crate::system::Stop;
use crate::{stopped, work};

/// The word that allows to lose all data of an environment: for those that come and go.
const ALL: &str = "all";

/// Plans the deletes, asks, carries them out.
pub async fn run(global: &Global, session: Session, args: &DestroyArgs) -> Result<Exit> {
    let stop = session.stop()?;
    let locks = session.lock("destroy", &stop).await?;
    let result = locked(global, &session, args, &stop).await;
    let released = locks.release().await;
    let exit = result?;
    released?;
    Ok(exit)
}

async fn locked(
    global: &Global,
    session: &Session,
    args: &DestroyArgs,
    stop: &Stop,
) -> Result<Exit> {
    stopped::tell(global, session).await?;
    let prepared = work::prepare_destroy(session).await?;
    let problem = plan::show(global, session, &prepared).unwrap_or(Exit::Success);
    if !args.allow_data_loss.iter().any(|word| word == ALL) {
        let again = run::typed(global, "destroy");
        run::guard_data(&prepared, &args.allow_data_loss, &again)?;
    }
    if !prepared.plan.is_empty() {
        let environment = &session.loaded.environment;
        run::confirm(
            args.yes,
            &format!("Delete or release all of this from environment {environment}?"),
        )?;
    }
    let journals = Journals::begin(session, "destroy").await?;
    let verdicts = run::carry_out(
        session,
        &prepared,
        &journals,
        Manner::THOROUGH,
        stop,
        global.json,
    )
    .await?;
    let outcomes = run::outcomes(&verdicts, &BTreeSet::new());
    let written = write_down(session, &verdicts, &outcomes, &journals).await;
    run::or_tell(written, &verdicts, stop, global.json)?;
    Ok(run::report(&verdicts, &outcomes, stop, global.json).max(problem))
}

/// Ends the journals; what was destroyed whole has no holds and no migrations any more.
async fn write_down(
    session: &Session,
    verdicts: &BTreeMap<CloudName, Verdict>,
    outcomes: &BTreeMap<CloudName, String>,
    journals: &Journals,
) -> Result<()> {
    journals.end(outcomes).await?;
    for place in &session.places {
        let verdict = verdicts.get(&place.name());
        if verdict.is_some_and(|verdict| verdict.succeeded()) {
            for service in session.services(None)? {
                place.ledger.lift_hold(&service).await?;
            }
            place.ledger.forget_migrations().await?;
        }
    }
    Ok(())
}
