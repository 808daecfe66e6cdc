//! Who calls, and whether the account is the manifest's.

use deployer_core::capability::Caller;
use deployer_core::error::{Error, ErrorKind, Result};

use crate::client::Clients;
use crate::error::Told;

/// Asks STS: proof of credentials that work, for the right account.
///
/// Errors: credentials, when there are none that AWS takes or they are another account's;
/// unavailable.
pub(crate) async fn caller(clients: &Clients) -> Result<Caller> {
    let asked = clients.sts.get_caller_identity().send().await;
    let answer = asked.told(|| "find out who calls AWS".into())?;
    let account = answer.account().unwrap_or_default().to_owned();
    let wanted = &clients.section.account;
    if account != *wanted {
        return Err(Error::new(
            ErrorKind::Credentials,
            format!("the credentials are for account {account}, the manifest is for {wanted}"),
        )
        .hint(
            "sign in to the manifest's account (AWS_PROFILE), or correct `targets.aws.account`",
        ));
    }
    Ok(Caller {
        account,
        principal: answer.arn().unwrap_or_default().to_owned(),
    })
}
