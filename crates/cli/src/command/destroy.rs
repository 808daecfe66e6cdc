//! `deployer destroy`: deletes everything that deployer made in this environment; releases stay on record.

use std::collections::BTreeSet;

use deployer_core::error::Result;

use crate::args::{DestroyArgs, Global};
use crate::command::plan;
use crate::exit::Exit;
use crate::run::{self, Journals, Manner};
use crate::session::Session;
use crate::system::Stop;
use crate::{stopped, work};

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
    run::guard_data(&prepared, &args.allow_data_loss)?;
    if !prepared.plan.is_empty() {
        let environment = &session.loaded.environment;
        run::confirm(
            args.yes,
            &format!("Delete all of this from environment {environment}?"),
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
    journals.end(&outcomes).await?;
    for place in &session.places {
        if verdicts
            .get(&place.name())
            .is_some_and(|verdict| verdict.succeeded())
        {
            for service in session.services(None)? {
                place.ledger.lift_hold(&service).await?;
            }
            place.ledger.forget_migrations().await?;
        }
    }
    Ok(run::report(&verdicts, &outcomes, stop, global.json).max(problem))
}
