//! PostgreSQL on Cloud SQL: the instance, the database within it, and the user, whose node makes the URL.
//!
//! The instance carries the labels, also the one that says which version of the password the user has. Database and user go
//! with their instance: they are never deleted alone, as what they hold would be missing from its last backup.

mod calls;
pub(crate) mod instance;
mod shape;
#[cfg(test)]
mod shape_tests;
mod status;
pub(crate) mod user;
pub(crate) mod within;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, Database, DatabaseOutputs, SecretVersion, StoreStatus};
use deployer_core::error::Result;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::node::Watch;
use deployer_core::spec::{DatabaseSpec, EnvironmentSpec};
use google_cloud_sql_v1::model::DatabaseInstance;

use crate::labels::{self, Owner};
use crate::project::Project;
use crate::secret_calls::Store;
use calls::Calls;
use shape::Shape;

/// Cloud SQL behind [`Database`].
pub(crate) struct CloudSql {
    pub(crate) project: Arc<Project>,
}

#[async_trait]
impl Database for CloudSql {
    fn database(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs {
        let seen = LastSeen::default();
        let (home, birth) = self.instance(graph, env, database, password, &seen);
        let within = self.within(graph, database, &seen, &home);
        let name = format!("{}/{}", database.name, database.user);
        let address = Address::new(&self.project.target, user::KIND, name);
        let url = Output::of(&address);
        let secret = env.secrets.get(&database.password);
        graph.resource(|inputs| user::User {
            calls: Calls::new(&self.project, &database.name),
            address,
            user: database.user.clone(),
            database: database.database.clone(),
            secret: secret.map(|secret| Store::new(&self.project, &secret.name)),
            password: inputs.pass(password),
            home: inputs.take(&home),
            within: inputs.take(&within),
            seen,
            url: url.clone(),
            given: Mutex::default(),
        });
        DatabaseOutputs { url, birth }
    }

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

impl CloudSql {
    fn instance(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
        seen: &LastSeen,
    ) -> (Output<Home>, Output<Birth>) {
        let section = &self.project.section;
        let own = section.databases.get(&database.key);
        let network = own.and_then(|own| own.network.as_ref());
        let names = self.project.names.clone();
        let labels = labels::of(env);
        let address = Address::new(&self.project.target, instance::KIND, &database.name);
        let (home, birth) = (Output::of(&address), Output::of(&address));
        graph.resource(|inputs| instance::Instance {
            calls: Calls::new(&self.project, &database.name),
            address,
            password: inputs.pass(password),
            owner: Owner::wanted(&labels, database.adopt),
            shape: Shape {
                spec: database.clone(),
                network: network
                    .or(section.network.as_ref())
                    .map(|network| names.network(network)),
                labels,
                names,
            },
            seen: seen.clone(),
            home: home.clone(),
            birth: birth.clone(),
        });
        (home, birth)
    }

    fn within(
        &self,
        graph: &mut Graph,
        database: &DatabaseSpec,
        seen: &LastSeen,
        home: &Output<Home>,
    ) -> Output<()> {
        let name = format!("{}/{}", database.name, database.database);
        let address = Address::new(&self.project.target, within::KIND, name);
        let output = Output::of(&address);
        graph.resource(|inputs| within::Within {
            calls: Calls::new(&self.project, &database.name),
            address,
            database: database.database.clone(),
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
    made: String,
}

/// The instance as its own node last read it: what database and user compare themselves with, without reading it again.
#[derive(Clone, Default)]
struct LastSeen(Arc<Mutex<Option<Seen>>>);

#[derive(Clone)]
struct Seen {
    made: String,
    labels: HashMap<String, String>,
}

impl LastSeen {
    fn set(&self, instance: Option<&DatabaseInstance>) {
        let seen = instance.map(|instance| Seen {
            made: made(instance),
            labels: instance
                .settings
                .as_ref()
                .map(|settings| settings.user_labels.clone())
                .unwrap_or_default(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// When the instance was made that was seen; a word of its own when none was.
    fn made(&self) -> String {
        self.look(|seen| seen.made.clone())
            .unwrap_or_else(|| "never".to_owned())
    }

    fn label(&self, key: &str) -> Option<String> {
        self.look(|seen| seen.labels.get(key).cloned()).flatten()
    }

    fn look<T>(&self, what: impl FnOnce(&Seen) -> T) -> Option<T> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(what)
    }
}

/// When an instance was made: tells it from an earlier one of its name.
/// Which of the instances that had this name, one after the other. The time of creation is the instance's own and stays through every
/// change (<https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances#DatabaseInstance>, `createTime`).
fn birth(instance: &DatabaseInstance) -> Option<Birth> {
    let at = crate::secret_store::moment(instance.create_time.as_ref())?;
    Some(Birth {
        id: format!("{} {at}", instance.name),
        at: Some(at),
    })
}

fn made(instance: &DatabaseInstance) -> String {
    crate::secret_store::moment(instance.create_time.as_ref())
        .map_or_else(|| "once".to_owned(), |time| time.to_string())
}

/// Hears nothing: where the engine gives nobody to tell.
struct Nobody;

impl Watch for Nobody {
    fn note(&self, _line: &str) {}
}
