//! PostgreSQL on Cloud SQL: the instance, the database within it, and the user, whose node makes
//! the URL.
//!
//! The instance carries the labels, also the one that says which version of the password the user
//! has. Database and user go with their instance: they are never deleted alone, as what they hold
//! would be missing from its last backup.

mod calls;
mod extras;
pub(crate) mod instance;
mod shape;
#[cfg(test)]
mod shape_tests;
mod status;
pub(crate) mod user;
pub(crate) mod within;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::batch::Batches;
use deployer_core::capability::{
    Birth, Database, DatabaseOutputs, Databases, SecretVersion, StoreStatus,
};
use deployer_core::error::{Error, Result};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::names::OWNER_TAG;
use deployer_core::node::Watch;
use deployer_core::spec::DatabaseSpec;
use futures::{FutureExt, TryFutureExt};
use google_cloud_sql_v1::model::DatabaseInstance;
use secrecy::SecretString;

use crate::Gcp;
use crate::composition::Composition;
use crate::error::Found;
use crate::labels;
use crate::paths::Names;
use crate::secret_store::Store;
use calls::Calls;
use shape::Shape;

impl Database for Composition<'_> {
    fn database(
        &self,
        graph: &mut Graph,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs {
        let env = self.env;
        let seen = Sight::of(&Calls::new(&self.project, &database.name));
        let (home, ready) = self.instance(graph, database, password, &seen);
        let within = self.within(graph, database, &seen, &home);
        let name = format!("{}/{}", database.name, database.user);
        let address = Address::new(&self.project.target, user::KIND, name);
        let url = Output::of(&address);
        let secret = env.secrets.get(&database.password);
        graph.resource(|inputs| user::User {
            calls: Calls::new(&self.project, &database.name),
            address,
            user: database.user.clone(),
            unnamed: Unnamed::of(database, "user"),
            database: database.database.clone(),
            secret: secret.map(|secret| Store::new(&self.project, &secret.name)),
            password: inputs.pass(password),
            home: inputs.take(&home),
            within: inputs.take(&within),
            seen,
            url: url.clone(),
            given: Mutex::default(),
        });
        DatabaseOutputs {
            url,
            host: ready.host,
            birth: ready.birth,
            authority: ready.authority,
        }
    }
}

#[async_trait]
impl Databases for Gcp {
    async fn birth(&self, database: &DatabaseSpec) -> Result<Option<Birth>> {
        let calls = Calls::new(&self.project, &database.name);
        let instance = calls.find().await?.seen(&calls.cannot("read"))?;
        Ok(instance.as_ref().and_then(birth))
    }

    async fn status(&self, database: &DatabaseSpec) -> Result<Option<StoreStatus>> {
        let calls = Calls::new(&self.project, &database.name);
        let instance = calls.find().await?.seen(&calls.cannot("read"))?;
        Ok(instance.map(|instance| status::of(&instance)))
    }
}

impl Composition<'_> {
    fn instance(
        &self,
        graph: &mut Graph,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
        seen: &Sight,
    ) -> (Output<Home>, Ready) {
        let (env, section) = (self.env, &self.project.section);
        let own = section.databases.get(&database.key);
        let place = self.ground.of_database(&database.key);
        let names = self.project.names.clone();
        let address = Address::new(&self.project.target, instance::KIND, &database.name);
        let ownership = labels::ownership(env, database.adopt, &graph.past(&address));
        let home = Output::of(&address);
        let ready = Ready {
            host: Output::of(&address),
            birth: Output::of(&address),
            authority: database.authority.as_ref().map(|_| Output::of(&address)),
        };
        graph.resource(|inputs| instance::Instance {
            calls: Calls::new(&self.project, &database.name),
            address,
            password: inputs.pass(password),
            shape: Shape {
                spec: database.clone(),
                has_own_network: place.is_own,
                network: place.network.map(|network| inputs.pass(network)),
                flags: own.map(|own| own.flags.clone()).unwrap_or_default(),
                maintenance: own.and_then(|own| own.maintenance),
                ownership,
                names,
            },
            seen: seen.clone(),
            home: home.clone(),
            host: ready.host.clone(),
            birth: ready.birth.clone(),
            authority: ready.authority.clone(),
        });
        (home, ready)
    }

    fn within(
        &self,
        graph: &mut Graph,
        database: &DatabaseSpec,
        seen: &Sight,
        home: &Output<Home>,
    ) -> Output<()> {
        let name = format!("{}/{}", database.name, database.database);
        let address = Address::new(&self.project.target, within::KIND, name);
        let output = Output::of(&address);
        graph.resource(|inputs| within::Within {
            calls: Calls::new(&self.project, &database.name),
            address,
            database: database.database.clone(),
            unnamed: Unnamed::of(database, "database"),
            home: inputs.take(home),
            seen: seen.clone(),
            output: output.clone(),
        });
        output
    }
}

/// Where an instance is reached, and which one of its name it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    host: String,
    /// How far a client verifies whom it talks to, in PostgreSQL's word.
    sslmode: &'static str,
    made: String,
}

/// What an instance makes for others than its own database and user.
struct Ready {
    host: Output<SecretString>,
    birth: Output<Birth>,
    authority: Option<Output<SecretString>>,
}

/// The instance as it is seen while a plan reads: its own node, its database and its user ask at
/// the same time, and one call answers all of them. Nothing is asked of what is within an instance
/// that is not there.
#[derive(Clone)]
struct Sight {
    looks: Arc<Batches<Seen, Error>>,
    /// As the instance's own node last read it: what database and user compare themselves with.
    last: Arc<Mutex<Option<DatabaseInstance>>>,
}

/// What a look at an instance that is not absent found.
#[derive(Clone)]
enum Seen {
    Here(Box<DatabaseInstance>),
    Denied(String),
}

impl Sight {
    fn of(calls: &Calls) -> Self {
        let calls = calls.clone();
        let looks = Batches::new(1, move |_| {
            let calls = calls.clone();
            async move {
                let seen = match calls.find().await? {
                    Found::Here(instance) => Some(Seen::Here(Box::new(instance))),
                    Found::Denied(why) => Some(Seen::Denied(why)),
                    Found::Absent => None,
                };
                let name = calls.instance;
                Ok(seen.map(|seen| (name, seen)).into_iter().collect())
            }
            .map_err(Arc::new)
            .boxed()
        });
        Self {
            looks: Arc::new(looks),
            last: Arc::default(),
        }
    }

    /// The instance, asked for together with whoever asks now.
    async fn look(&self, calls: &Calls) -> Result<Found<DatabaseInstance>> {
        match self.looks.ask(&calls.instance).await {
            Ok(None) => Ok(Found::Absent),
            Ok(Some(Seen::Here(instance))) => Ok(Found::Here(*instance)),
            Ok(Some(Seen::Denied(why))) => Ok(Found::Denied(why)),
            // The error is everybody's who asked: each asks again for one of its own.
            Err(_) => calls.find().await,
        }
    }

    /// Whether there is no instance; of one that is there, what is `unnamed` has to be known.
    async fn look_is_absent(&self, calls: &Calls, unnamed: Option<&Unnamed>) -> Result<bool> {
        let found = self.look(calls).await?;
        match (&found, unnamed) {
            (Found::Here(instance), Some(unnamed)) => {
                unnamed.check(instance, &calls.project.names)?;
            }
            (Found::Here(_) | Found::Absent | Found::Denied(_), _) => {}
        }
        Ok(matches!(found, Found::Absent))
    }

    fn remember(&self, instance: Option<&DatabaseInstance>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = instance.cloned();
    }

    /// What was last read; nothing where nothing was.
    fn last(&self) -> DatabaseInstance {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().unwrap_or_default()
    }

    /// When the instance was made that was seen; a word of its own when none was.
    fn made(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map_or_else(|| "never".to_owned(), made)
    }

    fn label(&self, key: &str) -> Option<String> {
        let settings = self.last().settings?;
        settings.user_labels.get(key).cloned()
    }
}

/// Which of the instances that had this name, one after the other. The time of creation is the
/// instance's own and stays through every change
/// (<https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances#DatabaseInstance>,
/// `createTime`).
fn birth(instance: &DatabaseInstance) -> Option<Birth> {
    let at = crate::secret_store::moment(instance.create_time.as_ref())?;
    Some(Birth {
        id: format!("{} {at}", instance.name),
        at: Some(at),
    })
}

/// What of an instance of somebody the manifest does not name: an instance has several databases
/// and users, and nothing tells which one is the app's. A name that is made up here would be
/// another database, or another one's password.
pub(super) struct Unnamed {
    /// The manifest's key of the database.
    key: String,
    /// What is missing there: `database` or `user`.
    what: &'static str,
}

impl Unnamed {
    /// `None` where the manifest names it, or made the instance.
    fn of(spec: &DatabaseSpec, what: &'static str) -> Option<Self> {
        (spec.adopt && spec.unsaid.contains(what)).then(|| Self {
            key: spec.key.clone(),
            what,
        })
    }

    /// Lets an instance pass that bears an owner's mark: its database and user are those of an
    /// earlier run.
    ///
    /// Errors: input, where it bears none.
    pub(super) fn check(&self, instance: &DatabaseInstance, names: &Names) -> Result<()> {
        let settings = instance.settings.as_ref();
        if settings.is_some_and(|settings| settings.user_labels.contains_key(OWNER_TAG)) {
            return Ok(());
        }
        let Self { key, what } = self;
        let (name, project) = (&instance.name, &names.project);
        Err(Error::input(format!(
            "database instance `{name}` is adopted, and the manifest does not say which of its {what}s is the app's"
        ))
        .hint(format!(
            "write `{what} = \"...\"` in [databases.{key}]: one of `gcloud sql {what}s list --instance {name} --project \
             {project}`, or a new one"
        )))
    }
}

/// When an instance was made: tells it from an earlier one of its name.
fn made(instance: &DatabaseInstance) -> String {
    crate::secret_store::moment(instance.create_time.as_ref())
        .map_or_else(|| "once".to_owned(), |time| time.to_string())
}

/// Hears nothing: where the engine gives nobody to tell.
struct Nobody;

impl Watch for Nobody {
    fn note(&self, _line: &str) {}
}
