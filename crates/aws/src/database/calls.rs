//! Calls about an instance that need nothing but its name: the read and the delete.

use std::time::Duration;

use aws_sdk_rds::types::DbInstance;
use deployer_core::error::Result;
use deployer_core::kind::still_there;
use deployer_core::node::{Reading, Token};
use deployer_core::wait::{Look, Pace, poll};

use super::shape::InstanceActual;
use crate::client::Clients;
use crate::error::{Told, code, unseen, words};

/// The code for an instance that is being made or changed: it takes no call.
pub(super) const BUSY: &str = "InvalidDBInstanceState";

/// What RDS says of a delete while the protection is on: `InvalidParameterCombination` "Cannot
/// delete protected DB Instance, please disable deletion protection and try again."
const PROTECTED: &str = "Cannot delete protected DB Instance";

/// The final snapshot of a large disk takes its time.
pub(super) const GONE: Pace = Pace::until(Duration::from_secs(40 * 60));

pub(super) fn called(name: &str) -> String {
    format!("database `{name}`")
}

pub(super) async fn describe(clients: &Clients, name: &str) -> Result<Reading<DbInstance>> {
    let answer = clients
        .rds
        .describe_db_instances()
        .db_instance_identifier(name)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(match answer.db_instances.unwrap_or_default().pop() {
            Some(instance) => Reading::Present(instance),
            None => Reading::Absent,
        }),
        Err(error) => unseen(&error, "DBInstanceNotFound", &called(name)),
    }
}

/// Reads an instance, not its password.
pub(crate) async fn read_instance(
    clients: &Clients,
    name: &str,
) -> Result<Reading<InstanceActual>> {
    let reading = describe(clients, name).await?;
    Ok(
        match reading.map(|instance| InstanceActual::of(&instance)) {
            Reading::Present(actual) if actual.is_leaving() => {
                Reading::Tombstoned("it is being deleted".into())
            }
            other => other,
        },
    )
}

/// The versions that an instance of this one can become.
///
/// Errors: denied, when the caller may not see them.
pub(super) async fn upgrades(clients: &Clients, version: &str) -> Result<Vec<String>> {
    let answer = clients
        .rds
        .describe_db_engine_versions()
        .engine(super::shape::ENGINE)
        .engine_version(version)
        // An old version that runs still is not offered any more.
        .include_all(true)
        .send()
        .await
        .told(|| format!("look up what PostgreSQL {version} can become"))?;
    let targets = answer
        .db_engine_versions()
        .iter()
        .flat_map(|version| version.valid_upgrade_target());
    Ok(targets
        .filter_map(|target| target.engine_version().map(str::to_owned))
        .collect())
}

/// Deletes an instance, keeping a final snapshot where RDS can, and waits until it is gone: its
/// groups cannot be deleted earlier. Takes the protection off; that this instance may go was said
/// before.
pub(crate) async fn delete_instance(clients: &Clients, name: &str, token: &Token) -> Result<()> {
    let what = called(name);
    poll(clients.clock(), GONE, &what, || async {
        match read_instance(clients, name).await? {
            Reading::Absent => Ok(Look::Found(())),
            Reading::Tombstoned(how) => Ok(Look::NotYet(how)),
            Reading::Present(actual) => {
                if actual.protected && !unprotect(clients, name).await? {
                    return Ok(busy(&actual));
                }
                start_delete(clients, name, &actual, token).await
            }
            other => still_there(other, &what).map(|_| Look::NotYet(String::new())),
        }
    })
    .await
}

fn busy(actual: &InstanceActual) -> Look<()> {
    Look::NotYet(format!("RDS says `{}`", actual.status))
}

/// Takes the protection off. `false` when the instance is busy, and takes no call.
async fn unprotect(clients: &Clients, name: &str) -> Result<bool> {
    let modified = clients
        .rds
        .modify_db_instance()
        .db_instance_identifier(name)
        .deletion_protection(false)
        // It is off at once in any case; told so, RDS would also make whatever waits for the
        // window.
        .apply_immediately(false)
        .send()
        .await;
    match modified {
        Err(error) if code(&error) == Some(BUSY) => Ok(false),
        other => other
            .map(|_| true)
            .told(|| format!("take the deletion protection off {}", called(name))),
    }
}

async fn start_delete(
    clients: &Clients,
    name: &str,
    actual: &InstanceActual,
    token: &Token,
) -> Result<Look<()>> {
    let snapshot = actual.can_be_kept().then(|| final_snapshot(name, token));
    let deleted = clients
        .rds
        .delete_db_instance()
        .db_instance_identifier(name)
        .skip_final_snapshot(snapshot.is_none())
        .set_final_db_snapshot_identifier(snapshot)
        .send()
        .await;
    match deleted {
        Err(error) if code(&error) == Some("DBInstanceNotFound") => Ok(Look::Found(())),
        Err(error) if code(&error) == Some(BUSY) => Ok(busy(actual)),
        // The protection was taken off a moment ago.
        Err(error) if words(&error).contains(PROTECTED) => {
            Ok(Look::NotYet("RDS still calls it protected".into()))
        }
        other => {
            other.told(|| format!("delete {}", called(name)))?;
            Ok(Look::NotYet("it is being deleted".into()))
        }
    }
}

/// The same for every try of one run, another one for the next instance of that name.
fn final_snapshot(name: &str, token: &Token) -> String {
    format!("{name}-final-{}", final_part(&token.0))
}

/// What stands of a token in the name of a final snapshot.
pub(crate) fn final_part(token: &str) -> String {
    token.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_snapshot_is_the_same_for_every_try_of_a_run() {
        let token = |text: &str| Token(text.into());
        let first = final_snapshot("idp", &token("0a1b2c3d-0000-5000-8000-000000000000"));
        assert_eq!(first, "idp-final-0a1b2c3d");
        let next_run = final_snapshot("idp", &token("9a1b2c3d-0000-5000-8000-000000000000"));
        assert_ne!(first, next_run);
        let left = (crate::CATALOGUE.kinds.left)(
            "rds.instance",
            "idp",
            "0a1b2c3d-0000-5000-8000-000000000000",
        );
        assert!(left.unwrap().contains(&format!("`{first}`")));
        // As people are told.
        let told = crate::CATALOGUE.kinds.leaves("rds.instance").unwrap();
        let (begins, _) = first.split_once("0a1b2c3d").unwrap();
        assert!(
            told.replace("NAME", "idp")
                .contains(&format!("`{begins}…`")),
            "{told}"
        );
    }
}
