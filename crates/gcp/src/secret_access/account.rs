//! The accounts that services and jobs run as.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::error::Result;
use deployer_core::graph::Value;

use crate::ground::ServiceAccount;
use crate::project::Project;

/// The account that services without one of their own run as, in addresses.
const DEFAULT: &str = "default-compute";
/// How its address ends, whose beginning is the project's number.
const COMPUTE: &str = "-compute@developer.gserviceaccount.com";

/// The account that a service runs as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// The one of this address.
    Named(String),
    /// The project's default compute account, which is named by the project's number.
    Compute,
}

impl Account {
    /// The account of a template as Cloud Run answers it: the default one in full where none was
    /// asked for. `number` is the project's own, once it is known.
    fn as_read(email: &str, number: Option<&String>) -> Self {
        match email.strip_suffix(COMPUTE) {
            Some(whose) if number.is_none_or(|own| own == whose) => Self::Compute,
            None if email.is_empty() => Self::Compute,
            Some(_) | None => Self::Named(email.to_owned()),
        }
    }

    pub(super) fn word(&self) -> &str {
        match self {
            Self::Named(email) => email,
            Self::Compute => DEFAULT,
        }
    }

    pub(super) fn from_word(word: &str) -> Self {
        match word {
            DEFAULT => Self::Compute,
            email => Self::Named(email.to_owned()),
        }
    }

    /// The address of the default account of the project of that number.
    pub(super) fn compute(number: &str) -> String {
        format!("{number}{COMPUTE}")
    }
}

/// What runs as an account that the manifest does not name: what is there goes on as it is.
#[async_trait]
pub(crate) trait RunsAs: Send + Sync {
    /// The project that it is in.
    fn project(&self) -> &Project;

    /// Its name in Cloud Run, in full.
    fn path(&self) -> String;

    /// The account that it runs as, in Cloud Run's words. Empty where it names none, is not there
    /// or cannot be seen.
    async fn account(&self) -> Result<String>;
}

/// The account that a user runs as. One that is not there yet, or cannot be seen, is made as the
/// default one. Asked once: where the manifest is silent no run changes it.
async fn account_of(user: &dyn RunsAs) -> Result<Account> {
    let project = user.project();
    let account = project.run_as.of(&user.path(), || user.account()).await?;
    Ok(Account::as_read(&account, project.number.get()))
}

/// Whose access to a secret is meant.
#[derive(Clone)]
pub(crate) enum Whose {
    /// That of the account that the manifest names.
    Named(Account),
    /// That of whatever these run as.
    Of(Vec<Arc<dyn RunsAs>>),
}

impl Whose {
    /// That of an account that is named.
    pub(crate) fn named(account: &Value<ServiceAccount>) -> Self {
        let account = account.known();
        let ServiceAccount(email) =
            account.expect("an account's address is published when its node is declared");
        Self::Named(Account::Named(email))
    }

    /// The account in addresses.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Named(account) => account.word(),
            Self::Of(_) => DEFAULT,
        }
    }

    /// The accounts as they are now, each once.
    pub(super) async fn accounts(&self) -> Result<Vec<Account>> {
        let users = match self {
            Self::Named(account) => return Ok(vec![account.clone()]),
            Self::Of(users) => users,
        };
        let mut accounts = Vec::new();
        for user in users {
            accounts.push(account_of(user.as_ref()).await?);
        }
        accounts.sort();
        accounts.dedup();
        Ok(accounts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_known_again_by_its_address() {
        for account in [
            Account::Compute,
            Account::Named("a@p.iam.gserviceaccount.com".into()),
        ] {
            assert_eq!(Account::from_word(account.word()), account);
        }
    }

    #[test]
    fn the_default_account_is_known_by_the_projects_own_number() {
        let (own, theirs) = (Account::compute("41"), Account::compute("42"));
        let number = "41".to_owned();
        for email in ["", own.as_str()] {
            assert_eq!(Account::as_read(email, Some(&number)), Account::Compute);
        }
        let read = Account::as_read(&theirs, Some(&number));
        assert_eq!(read, Account::Named(theirs));
    }
}
