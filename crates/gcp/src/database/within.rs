//! The database within a Cloud SQL instance: made once, gone with the instance.

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use google_cloud_sql_v1::model;

use super::calls::Calls;
use super::{Home, Sight, Unnamed};
use crate::error::{self, Found};

/// The kind in addresses.
pub(crate) const KIND: &str = "sql.database";

/// One database of the manifest.
pub(crate) struct Within {
    pub(super) calls: Calls,
    pub(super) address: Address,
    pub(super) database: String,
    pub(super) unnamed: Option<Unnamed>,
    pub(super) home: Value<Home>,
    pub(super) seen: Sight,
    pub(super) output: Output<()>,
}

impl Within {
    fn cannot(&self, what: &str) -> String {
        format!(
            "cannot {what} database `{}` in instance `{}`",
            self.database, self.calls.instance
        )
    }

    async fn make(&self, watch: &dyn Watch) -> Result<()> {
        let action = self.cannot("create");
        let names = &self.calls.project.names;
        let body = model::Database::new()
            .set_name(&self.database)
            .set_instance(&self.calls.instance)
            .set_project(&names.project);
        let outcome = self
            .calls
            .start(watch, || async {
                self.calls
                    .project
                    .clients
                    .sql_databases
                    .changing()
                    .await
                    .insert()
                    .set_project(&names.project)
                    .set_instance(&self.calls.instance)
                    .set_body(body.clone())
                    .send()
                    .await
            })
            .await?;
        match outcome {
            Ok(operation) => self.calls.settle(operation, &action).await,
            // Our own create, whose reply was lost, or somebody's in an instance of ours: the same
            // thing either way.
            Err(_) if self.is_there().await? => Ok(()),
            Err(error) => Err(error::failed(error, &action)),
        }
    }

    async fn is_there(&self) -> Result<bool> {
        match self.find().await? {
            Found::Here(_) => Ok(true),
            Found::Absent => Ok(false),
            Found::Denied(why) => {
                Err(Error::new(ErrorKind::Denied, self.cannot("read")).because(why))
            }
        }
    }

    async fn find(&self) -> Result<Found<model::Database>> {
        let outcome = self
            .calls
            .project
            .clients
            .sql_databases
            .reading()
            .await
            .get()
            .set_project(&self.calls.project.names.project)
            .set_instance(&self.calls.instance)
            .set_database(&self.database)
            .send()
            .await;
        let action = self.cannot("read");
        self.calls.found_within(outcome, &action).await
    }
}

#[async_trait]
impl Resource for Within {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        let unnamed = self.unnamed.as_ref();
        if self.seen.look_is_absent(&self.calls, unnamed).await? {
            return Ok(Reading::Absent);
        }
        Ok(match self.find().await? {
            Found::Here(_) => Reading::Present(()),
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        let made = self.home.field(|home| home.made.clone());
        fields.set_value("in the instance of", made);
        fields
    }

    fn observed(&self, (): &()) -> Fields {
        let mut fields = Fields::new();
        fields.set("in the instance of", self.seen.made());
        fields
    }

    fn publish(&self, (): &()) {
        self.output.publish(());
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.output.withdraw();
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<()> {
        self.make(watch).await
    }

    async fn update(
        &self,
        (): &(),
        _changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<()> {
        // The instance is another one than was seen: the database is not in it yet.
        self.make(watch).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("it is in another instance than before")
    }

    /// Succeeds without a call: it goes with its instance, and no change asks for more.
    async fn delete(&self, (): &(), _token: &Token) -> Result<()> {
        Ok(())
    }

    fn holds_data(&self) -> bool {
        true
    }
}
