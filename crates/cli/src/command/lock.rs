//! `deployer lock`: shows who holds each target's lock, and takes it from a run that will not give
//! it back.

use deployer_core::address::{CloudName, Target};
use deployer_core::error::Result;
use deployer_core::ledger::{Known, Standing, Witness};
use jiff::Timestamp;
use serde_json::json;

use crate::args::{Global, LockCommand};
use crate::exit::Exit;
use crate::machine;
use crate::run::confirm;
use crate::session::Session;
use crate::view::{self, foreign};

/// Shows or releases.
pub async fn run(global: &Global, session: Session, command: &LockCommand) -> Result<Exit> {
    match command {
        LockCommand::Show => show(global, &session).await,
        LockCommand::Release { yes } => release(global, &session, *yes).await,
    }
}

async fn show(global: &Global, session: &Session) -> Result<Exit> {
    let (mut rows, mut passing) = (Vec::new(), Vec::new());
    let mut documents = Vec::new();
    let now = session.clock.now();
    for place in &session.places {
        let standing = place.ledger.lock_standing().await?;
        rows.push(row(place.name(), &standing, now));
        passing.extend(what_becomes(place.name(), &standing, now));
        documents.push(document(place.cloud.target(), &standing));
    }
    if global.json {
        view::json(&documents);
    } else {
        let header = ["CLOUD", "LOCK", "COMMAND", "SINCE", "UNTIL", "HOLDER"];
        out!("{}", view::table::fitting(&header, &rows));
        for line in passing {
            outln!("{line}");
        }
    }
    Ok(session.failure())
}

/// What becomes of a lock by itself, as `status` says it too. `None` while somebody may hold it.
fn what_becomes(cloud: CloudName, standing: &Standing, now: Timestamp) -> Option<String> {
    let Standing::Held { holder, until, .. } = standing else {
        return None;
    };
    let words = passing(machine::Here.known(holder), *until < now);
    let words = words.strip_prefix("; ")?;
    Some(format!("{cloud}: {words}"))
}

/// What becomes of a lock by itself, from what is known here of its holder.
pub(super) fn passing(holder: Known, ran_out: bool) -> &'static str {
    match (holder, ran_out) {
        (Known::Gone, _) => "; its process is gone: the next command takes it over",
        (_, true) => "; it was not renewed: the next command takes it over",
        (Known::Alive | Known::Nothing, false) => "",
    }
}

fn row(cloud: CloudName, standing: &Standing, now: Timestamp) -> Vec<String> {
    let cloud = cloud.to_string();
    match standing {
        Standing::Free => vec![cloud, "free".into()],
        Standing::Held { holder, until, .. } => vec![
            cloud,
            // The next run takes it over; until then it stands as it is.
            if *until < now { "ran out" } else { "held" }.into(),
            holder.run.clone(),
            moment(holder.since),
            moment(*until),
            format!(
                "{}@{} (process {}{})",
                holder.user,
                holder.host,
                holder.process,
                match machine::Here.known(holder) {
                    Known::Alive => ", alive",
                    Known::Gone => ", gone",
                    Known::Nothing => "",
                }
            ),
        ],
    }
}

/// The time of day for people, of whom none waits for a lock longer than that; else in full.
fn moment(at: Timestamp) -> String {
    match view::is_read_by_people() {
        true => at.strftime("%H:%M:%S UTC").to_string(),
        false => format!("{at:.0}"),
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
                // Null where nobody here can know.
                "alive": match machine::Here.known(holder) {
                    Known::Alive => Some(true),
                    Known::Gone => Some(false),
                    Known::Nothing => None,
                },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_a_process_that_was_killed_is_told_as_that() {
        let now = Timestamp::UNIX_EPOCH;
        let of = |gone: bool, until: i64| {
            let mut holder = machine::holder("apply", now);
            // A process of that number that started at another time is another one.
            holder.origin.started -= u64::from(gone);
            let standing = Standing::Held {
                holder: Box::new(holder),
                renewed: now,
                until: Timestamp::from_second(until).unwrap(),
            };
            what_becomes(CloudName::Aws, &standing, now)
        };
        let gone = "aws: its process is gone: the next command takes it over";
        assert_eq!(of(true, 90).as_deref(), Some(gone));
        assert_eq!(of(false, 90), None);
        assert!(of(false, -1).is_some_and(|it| it.contains("not renewed")));
        assert_eq!(what_becomes(CloudName::Aws, &Standing::Free, now), None);
    }

    #[test]
    fn a_lock_whose_holder_is_gone_is_told_as_that_before_it_runs_out() {
        assert!(passing(Known::Gone, false).contains("its process is gone"));
        assert!(passing(Known::Nothing, true).contains("not renewed"));
        assert_eq!(passing(Known::Alive, false), "");
        assert_eq!(passing(Known::Nothing, false), "");
    }
}
