//! The value of a secret's version that was written a moment ago.

use std::time::Duration;

use deployer_core::capability::SecretVersion;
use deployer_core::error::{ErrorKind, Result};
use deployer_core::wait::{Look, Pace, poll};
use secrecy::SecretString;

use crate::client::Clients;
use crate::secret_store::value_of;

/// Secrets Manager answers from what it knew before for some seconds
/// (hashicorp/terraform-provider-aws#18406).
const CONSISTENT: Pace = Pace::until(Duration::from_secs(30));

/// What a version holds, waiting while Secrets Manager does not know it yet. `None` when it never
/// does.
///
/// Errors: denied, when the caller may not read it.
pub(crate) async fn just_written(
    clients: &Clients,
    version: &SecretVersion,
) -> Result<Option<SecretString>> {
    let SecretVersion { secret, version } = version;
    let what = format!("version `{version}` of secret `{secret}`");
    let found = poll(clients.clock(), CONSISTENT, &what, || async {
        Ok(match value_of(clients, secret, version).await? {
            Some(value) => Look::Found(value),
            None => Look::NotYet("Secrets Manager does not know it yet".into()),
        })
    })
    .await;
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error),
    }
}
