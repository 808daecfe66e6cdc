//! `deployer lock`: shows who holds each target's lock, and takes it from a run that will not give
//! it back.

use deployer_core::address::Target;
use deployer_core::error::Result;
use deployer_core::ledger::Standing;
use jiff::Timestamp;
use serde_json::json;

use crate::args::{Global, LockCommand};
use crate::exit::Exit;
use crate::machine;
use crate::run::confirm;
use crate::session::{Place, Session};
use crate::view::{self, foreign};

/// Shows or releases.
pub async fn run(global: &Global, session: Session, command: &LockCommand) -> Result<Exit> {
    match command {
        LockCommand::Show => show(global, &session).await,
        LockCommand::Release { yes } => release(global, &session, *yes).await,
    }
}

async fn show(global: &Global, session: &Session) -> Result<Exit> {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for place in &session.places {
        let standing = place.ledger.lock_standing().await?;
        rows.push(row(place, &standing, session.clock.now()));
        documents.push(document(place.cloud.target(), &standing));
    }
    if global.json {
        view::json(&documents);
    } else {
        let header = [
            "CLOUD", "LOCK", "USER", "HOST", "PROCESS", "COMMAND", "SINCE", "UNTIL",
        ];
        out!("{}", view::table::render(&header, &rows));
    }
    Ok(session.failure())
}

fn row(place: &Place, standing: &Standing, now: Timestamp) -> Vec<String> {
    let cloud = place.name().to_string();
    match standing {
        Standing::Free => vec![cloud, "free".into()],
        Standing::Held { holder, until, .. } => vec![
            cloud,
            // The next run takes it over; until then it stands as it is.
            if *until < now { "ran out" } else { "held" }.into(),
            holder.user.clone(),
            holder.host.clone(),
            holder.process.to_string(),
            holder.run.clone(),
            format!("{:.0}", holder.since),
            format!("{until:.0}"),
        ],
    }
}

fn document(target: &Target, standing: &Standing) -> serde_json::Value {
    let mut document = json!({ "cloud": target.cloud, "target": target });
    match standing {
        Standing::Free => document["state"] = "free".into(),
        Standing::Held {
            holder,
            renewed,
            until,
        } => {
            document["state"] = "held".into();
            document["holder"] = json!({
                "user": holder.user, "host": holder.host, "process": holder.process,
                "command": holder.run, "since": holder.since,
            });
            document["renewed"] = json!(renewed);
            document["until"] = json!(until);
        }
    }
    document
}

async fn release(global: &Global, session: &Session, yes: bool) -> Result<Exit> {
    let mut held = Vec::new();
    for place in &session.places {
        match place.ledger.lock_standing().await? {
            Standing::Free if global.json => {
                view::json_line(&json!({
                    "event": "lock_released", "cloud": place.name(), "released": false,
                }));
            }
            Standing::Free => outln!("{}: nobody holds the lock", place.name()),
            Standing::Held { holder, .. } => {
                let holder = foreign::one_line(&holder.to_string());
                sayln!("{}: held by {holder}", place.name());
                held.push(place);
            }
        }
    }
    if held.is_empty() {
        return Ok(session.failure());
    }
    confirm(yes, "Take the lock from that run?")?;
    for place in held {
        let former = place
            .ledger
            .break_lock(machine::holder("lock release", session.clock.now()))
            .await?;
        if global.json {
            let former = former.map(|holder| holder.to_string());
            view::json_line(&json!({
                "event": "lock_released", "cloud": place.name(), "released": former.is_some(), "former": former,
            }));
            continue;
        }
        match former {
            Some(holder) => outln!(
                "{}: took the lock from {}; where that still runs, it stops at its next renewal: the next command waits for that, 30 s at most",
                place.name(),
                foreign::one_line(&holder.to_string())
            ),
            None => outln!("{}: it was given back meanwhile", place.name()),
        }
    }
    Ok(session.failure())
}
