//! The binding that lets the account of the services read one secret.
//!
//! It stands on the secret's own policy. A policy is shared ground: only our member is added, and
//! only that is taken away.

mod account;
mod calls;
mod kind;
mod policy;

pub(crate) use account::{RunsAs, Whose};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::SecretVersion;
use deployer_core::error::Result;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};

use crate::error::Found;
use crate::ground::ServiceAccount;
use crate::project::Project;
use account::Account;
use calls::{Calls, Granted};
use policy::ROLE;

/// The kind in addresses.
pub(crate) const KIND: &str = <Access as deployer_core::kind::Kind>::KIND;

/// The access of those accounts to one secret of the manifest: one where the manifest names it,
/// else of whatever its services and their jobs run as.
pub(crate) struct Access {
    project: Arc<Project>,
    secret: String,
    whose: Whose,
    address: Address,
    /// Whether the secret may be somebody else's.
    anothers: bool,
    /// The accounts as they were last read.
    accounts: Mutex<Vec<Account>>,
    /// Those that this run let read it.
    made: Mutex<Vec<Account>>,
    /// The account that the manifest names, and the secret, are made first; nothing else is taken
    /// from them.
    _takes: Takes,
}

type Takes = (Option<Value<ServiceAccount>>, Value<SecretVersion>);

/// How the accounts may read the secret.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    /// What people should know of it.
    notes: Vec<String>,
}

impl Access {
    /// The access to the secret of that name.
    pub(crate) fn new(
        project: &Arc<Project>,
        secret: &str,
        whose: Whose,
        anothers: bool,
        takes: Takes,
    ) -> Self {
        Self {
            project: Arc::clone(project),
            secret: secret.to_owned(),
            address: address(project, secret, &whose),
            whose,
            anothers,
            accounts: Mutex::default(),
            made: Mutex::default(),
            _takes: takes,
        }
    }

    /// Looks which accounts it is about.
    async fn look_up(&self) -> Result<Vec<Calls>> {
        let accounts = self.whose.accounts().await?;
        let calls = accounts.iter();
        let calls = calls.map(|it| Calls::new(&self.project, &self.secret, it.clone()));
        let calls = calls.collect();
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
        Ok(calls)
    }

    fn made(&self) -> MutexGuard<'_, Vec<Account>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn described(&self) -> Fields {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        match accounts.as_slice() {
            [] => described(&[Account::from_word(self.whose.word())]),
            accounts => described(accounts),
        }
    }
}

/// Where an access stands: the secret's name and the account.
pub(crate) fn address(project: &Project, secret: &str, whose: &Whose) -> Address {
    Address::new(&project.target, KIND, format!("{secret}/{}", whose.word()))
}

fn described(accounts: &[Account]) -> Fields {
    let words: Vec<&str> = accounts.iter().map(Account::word).collect();
    let mut fields = Fields::new();
    fields.set("account", words.join(BETWEEN));
    fields.set("role", ROLE);
    fields
}

/// Between accounts of a field.
const BETWEEN: &str = ", ";

#[async_trait]
impl Resource for Access {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let mut notes = Vec::new();
        for calls in self.look_up().await? {
            let found = calls.look(self.anothers).await?;
            calls.note_unseen(matches!(found, Found::Here(Some(Granted::Unseen))));
            match found {
                Found::Here(Some(Granted::Here | Granted::ByProject)) => {}
                Found::Here(Some(Granted::Unseen)) => notes.push(calls.unseen().await?),
                Found::Here(None) | Found::Absent => return Ok(Reading::Absent),
                Found::Denied(why) => return Ok(Reading::Denied(why)),
            }
        }
        Ok(Reading::Present(Actual { notes }))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        self.described()
    }

    fn observed(&self, _actual: &Actual) -> Fields {
        self.described()
    }

    fn notes(&self, actual: &Actual) -> Vec<String> {
        actual.notes.clone()
    }

    fn publish(&self, _actual: &Actual) {}

    /// Who else granted it is not told: it is ours when a run of ours made it.
    fn bears_mark(&self, _actual: &Actual) -> bool {
        false
    }

    fn is_unmarked(&self) -> bool {
        true
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        for calls in self.look_up().await? {
            let found = calls.look(self.anothers).await?;
            let is_unseen = matches!(found, Found::Here(Some(Granted::Unseen)));
            calls.note_unseen(is_unseen);
            if is_unseen {
                watch.note(&calls.unseen().await?);
            }
            if let Found::Here(Some(_)) = found {
                continue;
            }
            self.made().push(calls.account.clone());
            calls.make(true).await?;
        }
        Ok(Actual { notes: Vec::new() })
    }

    async fn update(
        &self,
        actual: &Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Actual> {
        Ok(actual.clone())
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("who may read it was added to, and nobody taken away")
    }

    /// What was granted before this run stays: it is only undone.
    async fn delete(&self, _actual: &Actual, _token: &Token) -> Result<()> {
        let made = self.made().clone();
        for account in made {
            let calls = Calls::new(&self.project, &self.secret, account);
            calls.make(false).await?;
        }
        Ok(())
    }
}
