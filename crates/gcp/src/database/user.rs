//! The user of a Cloud SQL database, its password, and the URL that they make together with the
//! instance's address.
//!
//! Cloud SQL tells nothing of a password: which version of the secret the user has stands in a
//! label of the instance, written after the password was.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::SecretVersion;
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use google_cloud_sql_v1::model;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::calls::{Calls, Rewrite};
use super::shape::{PASSWORD_LABEL, with_password_label};
use super::status::PORT;
use super::{Home, Sight, Unnamed};
use crate::error::{self, CloudError, Found};
use crate::labels::show_version;
use crate::secret_store::Store;

/// The kind in addresses.
pub(crate) const KIND: &str = "sql.user";

/// RFC 3986, section 2.3: everything but the unreserved characters is written as its number.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A user as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    /// The password's current version and value; `None` where the secret has none yet.
    password: Option<(SecretVersion, SecretString)>,
    /// The version that this run gave the user.
    given: Option<String>,
}

/// The user of one database of the manifest.
pub(crate) struct User {
    pub(super) calls: Calls,
    pub(super) address: Address,
    pub(super) user: String,
    pub(super) unnamed: Option<Unnamed>,
    pub(super) database: String,
    /// The secret with the password.
    pub(super) secret: Option<Store>,
    pub(super) password: Value<SecretVersion>,
    pub(super) home: Value<Home>,
    /// The database is made first: the URL is of use only then.
    pub(super) within: Value<()>,
    pub(super) seen: Sight,
    pub(super) url: Output<SecretString>,
    /// The version whose value this run gave the user, or tried to: Cloud SQL tells nothing of a
    /// password.
    pub(super) given: Mutex<Option<String>>,
}

impl User {
    fn cannot(&self, what: &str) -> String {
        format!(
            "cannot {what} user `{}` of database instance `{}`",
            self.user, self.calls.instance
        )
    }

    async fn find(&self) -> Result<Found<()>> {
        let outcome = self
            .calls
            .project
            .clients
            .sql_users
            .reading()
            .await
            .list()
            .set_project(&self.calls.project.names.project)
            .set_instance(&self.calls.instance)
            .send()
            .await;
        let action = self.cannot("read");
        Ok(match self.calls.found_within(outcome, &action).await? {
            Found::Here(users) if users.items.iter().any(|user| user.name == self.user) => {
                Found::Here(())
            }
            Found::Here(_) | Found::Absent => Found::Absent,
            Found::Denied(why) => Found::Denied(why),
        })
    }

    /// The value of the version that the user is to have.
    async fn wanted(&self) -> Result<(SecretVersion, SecretString)> {
        let version = self.password.settled()?;
        let store = Store::of(&self.calls.project, &version);
        let value = store.read_value(&version.version).await?;
        Ok((version, value))
    }

    fn body(&self, password: &SecretString) -> model::User {
        model::User::new()
            .set_name(&self.user)
            .set_instance(&self.calls.instance)
            .set_project(&self.calls.project.names.project)
            .set_password(password.expose_secret())
    }

    /// Makes the user, or gives it this password when it is there.
    async fn ensure(&self, password: &SecretString, watch: &dyn Watch) -> Result<()> {
        let action = self.cannot("set the password of");
        let outcome = match self.find().await? {
            Found::Here(()) => self.set(password, watch).await?,
            Found::Absent | Found::Denied(_) => self.insert(password, watch).await?,
        };
        let without = |error| error::without(error, password);
        let operation = outcome.map_err(|error| without(error::failed(error, &action)))?;
        let settled = self.calls.settle(operation, &action).await;
        settled.map_err(without)
    }

    async fn insert(
        &self,
        password: &SecretString,
        watch: &dyn Watch,
    ) -> Result<Result<model::Operation, CloudError>> {
        self.calls
            .start(watch, || async {
                self.calls
                    .project
                    .clients
                    .sql_users
                    .changing()
                    .await
                    .insert()
                    .set_project(&self.calls.project.names.project)
                    .set_instance(&self.calls.instance)
                    .set_body(self.body(password))
                    .send()
                    .await
            })
            .await
    }

    async fn set(
        &self,
        password: &SecretString,
        watch: &dyn Watch,
    ) -> Result<Result<model::Operation, CloudError>> {
        self.calls
            .start(watch, || async {
                self.calls
                    .project
                    .clients
                    .sql_users
                    .changing()
                    .await
                    .update()
                    .set_project(&self.calls.project.names.project)
                    .set_instance(&self.calls.instance)
                    .set_name(&self.user)
                    .set_body(self.body(password))
                    .send()
                    .await
            })
            .await
    }

    /// Notes on the instance which version the user has.
    async fn note(&self, version: &SecretVersion, watch: &dyn Watch) -> Result<()> {
        let instance = self.calls.get().await?;
        let settings = instance.settings.as_ref();
        let label = settings.and_then(|settings| settings.user_labels.get(PASSWORD_LABEL));
        if label == Some(&version.version) {
            return Ok(());
        }
        let label = Rewrite {
            make: &|there| with_password_label(there, &version.version),
            check: &|_| Ok(()),
        };
        let operation = self.calls.write(instance, &label, watch).await?;
        self.calls
            .settle(operation, &self.calls.cannot("label"))
            .await
    }

    async fn make(&self, watch: &dyn Watch) -> Result<Actual> {
        let (version, value) = self.wanted().await?;
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.version.clone());
        let set = self.ensure(&value, watch).await;
        // What Cloud SQL refuses has not become the password.
        if matches!(&set, Err(error) if matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Denied))
        {
            *self.given.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        set?;
        self.note(&version, watch).await?;
        Ok(Actual {
            given: Some(version.version.clone()),
            password: Some((version, value)),
        })
    }

    fn field_of(&self, version: &str) -> String {
        let secret = match (&self.secret, self.password.known()) {
            (_, Some(known)) => known.secret,
            (Some(store), None) => store.path(),
            (None, None) => String::new(),
        };
        show_version(&SecretVersion {
            secret,
            version: version.to_owned(),
        })
    }
}

#[async_trait]
impl Resource for User {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let unnamed = self.unnamed.as_ref();
        if self.seen.look_is_absent(&self.calls, unnamed).await? {
            return Ok(Reading::Absent);
        }
        let password = async {
            match &self.secret {
                Some(store) => store.current_value().await.map(usable),
                None => Ok(None),
            }
        };
        let (found, password) = tokio::join!(self.find(), password);
        Ok(match found? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(()) => match password {
                Ok(password) => Reading::Present(Actual {
                    password,
                    given: self
                        .given
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                }),
                Err(error) if error.kind() == ErrorKind::Denied => {
                    Reading::Denied(crate::error::in_words(&error))
                }
                Err(error) => return Err(error),
            },
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set_value("password", self.password.field(show_version));
        let made = self.home.field(|home| home.made.clone());
        fields.set_value("in the instance of", made);
        fields
    }

    fn observed(&self, actual: &Actual) -> Fields {
        let mut fields = Fields::new();
        let given = actual.given.clone();
        let version = given.or_else(|| self.seen.label(PASSWORD_LABEL));
        fields.set_some("password", version.map(|version| self.field_of(&version)));
        fields.set("in the instance of", self.seen.made());
        fields
    }

    fn publish(&self, actual: &Actual) {
        let wanted = self.password.known();
        let (Some(home), Some(()), Some((version, value))) =
            (self.home.known(), self.within.known(), &actual.password)
        else {
            return self.url.withdraw();
        };
        if wanted.as_ref() == Some(version) {
            self.url
                .publish(url(&self.user, value, &home, &self.database));
        } else {
            self.url.withdraw();
        }
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.url.withdraw();
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        self.make(watch).await
    }

    async fn update(
        &self,
        _actual: &Actual,
        _changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.make(watch).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("its password is not the one that the version before was given")
    }

    /// Succeeds without a call: it goes with its instance, and no change asks for more.
    async fn delete(&self, _actual: &Actual, _token: &Token) -> Result<()> {
        Ok(())
    }

    /// It owns what is in the database, and nobody else gets at it.
    fn holds_data(&self) -> bool {
        true
    }
}

/// Encrypted, as the instance takes nothing else.
fn url(user: &str, password: &SecretString, home: &Home, database: &str) -> SecretString {
    let Home { host, sslmode, .. } = home;
    let written = |text| utf8_percent_encode(text, RESERVED);
    SecretString::from(format!(
        "postgresql://{}:{}@{host}:{PORT}/{}?sslmode={sslmode}",
        written(user),
        written(password.expose_secret()),
        written(database),
    ))
}

/// A password that is no text is none.
fn usable(
    found: Option<(SecretVersion, Option<SecretString>)>,
) -> Option<(SecretVersion, SecretString)> {
    let (version, value) = found?;
    Some((version, value?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_survives_any_password() {
        let password = SecretString::from("p@ss/w:rd?#%41".to_owned());
        let home = Home {
            host: "10.1.2.3".into(),
            sslmode: "require",
            made: "once".into(),
        };
        let url = url("app", &password, &home, "idp-db");
        let text = url.expose_secret();
        assert_eq!(
            text,
            "postgresql://app:p%40ss%2Fw%3Ard%3F%23%2541@10.1.2.3:5432/idp-db?sslmode=require"
        );
        assert!(!format!("{url:?}").contains("p%40ss"));
    }

    #[test]
    fn a_user_never_shows_its_password() {
        let actual = Actual {
            password: Some((
                SecretVersion {
                    secret: "projects/p/secrets/s".into(),
                    version: "3".into(),
                },
                SecretString::from("hush".to_owned()),
            )),
            given: None,
        };
        assert!(!format!("{actual:?}").contains("hush"));
    }
}
