//! The accounts that services and jobs run as.

use std::sync::Arc;

use deployer_core::error::Result;
use deployer_core::graph::Value;

use crate::error::Found;
use crate::ground::ServiceAccount;
use crate::project::Project;
use crate::runtime::{job, service};

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
#[derive(Clone)]
pub(crate) enum User {
    /// A service.
    Service(service::Calls),
    /// A job.
    Job(job::Calls),
}

impl User {
    /// The account that it runs as. One that is not there yet, or cannot be seen, is made as the
    /// default one. Asked once: where the manifest is silent no run changes it.
    async fn account(&self) -> Result<Account> {
        let (project, path) = match self {
            Self::Service(calls) => (&calls.project, calls.path()),
            Self::Job(calls) => (&calls.project, calls.path()),
        };
        let email = project.run_as.of(&path, || self.email()).await?;
        Ok(Account::as_read(&email, project.number.get()))
    }

    async fn email(&self) -> Result<String> {
        Ok(match self {
            Self::Service(calls) => match calls.find().await? {
                Found::Here(service) => service.template.unwrap_or_default().service_account,
                Found::Absent | Found::Denied(_) => String::new(),
            },
            Self::Job(calls) => match calls.find().await? {
                Found::Here(job) => {
                    let task = job.template.and_then(|execution| execution.template);
                    task.unwrap_or_default().service_account
                }
                Found::Absent | Found::Denied(_) => String::new(),
            },
        })
    }
}

/// Whose access to a secret is meant.
#[derive(Clone)]
pub(crate) enum Whose {
    /// That of the account that the manifest names.
    Named(Account),
    /// That of whatever these run as.
    Of(Vec<User>),
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
            accounts.push(user.account().await?);
        }
        accounts.sort();
        accounts.dedup();
        Ok(accounts)
    }
}

/// The services and jobs that take a secret, for an account that the manifest does not name.
pub(crate) fn users<'a>(
    project: &Arc<Project>,
    services: impl Iterator<Item = &'a str>,
    jobs: impl Iterator<Item = &'a str>,
) -> Vec<User> {
    let services = services.map(|name| User::Service(service::Calls::new(project, name)));
    let jobs = jobs.map(|name| User::Job(job::Calls::new(project, name)));
    services.chain(jobs).collect()
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
