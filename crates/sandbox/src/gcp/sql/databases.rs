//! Databases of an instance, which really are in its server.

use serde_json::{Value, json};

use super::operations::{Failure, SMALL};
use super::settings::LONGEST_NAME;
use super::{invalid, server, settings};
use crate::backing::{BackingError, Postgres};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// The message `Database`, without links.
pub(super) fn message(name: &str, instance: &str) -> Object {
    let message = json!({
        "kind": "sql#database", "name": name, "instance": instance,
        "charset": "UTF8", "collation": "en_US.UTF8", "etag": settings::etag(),
    });
    message.as_object().cloned().unwrap_or_default()
}

/// A change under way that Cloud SQL makes at once.
pub(super) struct Begun {
    operation: String,
    /// Absent where PostgreSQL is not installed.
    pub(super) server: Option<Postgres>,
}

impl Gcp {
    pub(super) async fn insert_database(&self, call: &Call) -> Outcome {
        let (instance, body) = (call.var(1), &call.body);
        let name = settings::word(body, &["name"]).to_owned();
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(invalid(format!("database name ({name})")));
        }
        check_locale(body)?;
        let begun = self.begin_small(call, "CREATE_DATABASE", |state| {
            if state.databases.contains_key(&name) {
                let what = format!(
                    "create database {name}. Detail: pq: database \"{name}\" already exists"
                );
                return Err(invalid(format!("failed to {what}")));
            }
            Ok(())
        })?;
        let made = match &begun.server {
            Some(server) => server.create_database(&name, "cloudsqlsuperuser").await,
            None => Ok(()),
        };
        let what = format!("create database {name}");
        self.end_small(call, begun, &what, made, |state| {
            let database = message(&name, instance);
            state.databases.insert(name.clone(), database);
        })
    }

    pub(super) async fn delete_database(&self, call: &Call) -> Outcome {
        let name = call.var(2).to_owned();
        let begun = self.begin_small(call, "DELETE_DATABASE", |state| {
            if !state.databases.contains_key(&name) {
                return Err(absent(&name));
            }
            if name == "postgres" {
                return Err(invalid("failed to delete database \"postgres\". Detail: pq: must be owner of database postgres"));
            }
            Ok(())
        })?;
        // Not by force: Cloud SQL refuses while a client is connected.
        let statement = format!("DROP DATABASE \"{}\"", name.replace('"', "\"\""));
        let dropped = match &begun.server {
            Some(server) => server.query("postgres", &statement).await.map(drop),
            None => Ok(()),
        };
        let what = format!("delete database \"{name}\"");
        self.end_small(call, begun, &what, dropped, |state| {
            state.databases.remove(&name);
        })
    }

    pub(super) fn read_databases(&self, call: &Call) -> Outcome {
        let (all, link) = {
            let mut state = self.inner.sql.lock();
            let link = self.sql_link(call, &format!("instances/{}/databases", call.var(1)));
            (state.running(call.var(1))?.databases.clone(), link)
        };
        let view = |name: &str, message: &Object| {
            let mut out = message.clone();
            out.insert("project".into(), self.host().project.clone().into());
            out.insert("selfLink".into(), format!("{link}/{name}").into());
            Value::Object(out)
        };
        if call.method.id == "sql.databases.get" {
            let name = call.var(2);
            let message = all.get(name).ok_or_else(|| absent(name))?;
            return Ok(view(name, message));
        }
        let items: Vec<Value> = all.iter().map(|(name, it)| view(name, it)).collect();
        Ok(json!({ "kind": "sql#databasesList", "items": items }))
    }

    /// Begins a change that Cloud SQL makes at once, when `allowed` has nothing against it.
    pub(super) fn begin_small(
        &self,
        call: &Call,
        kind: &str,
        allowed: impl FnOnce(&super::Instance) -> Outcome<()>,
    ) -> Outcome<Begun> {
        let name = call.var(1);
        let mut state = self.inner.sql.lock();
        state.running(name)?;
        let instance = state.idle(name)?;
        allowed(instance)?;
        let server = instance.server.clone();
        Ok(Begun {
            operation: state.begin(self, call, name, kind),
            server,
        })
    }

    /// Ends it. What the server refused is the call's refusal, not the operation's.
    pub(super) fn end_small(
        &self,
        call: &Call,
        begun: Begun,
        what: &str,
        result: Result<(), BackingError>,
        done: impl FnOnce(&mut super::Instance),
    ) -> Outcome {
        let operation = begun.operation;
        if let Err(error) = result {
            let refusal = server::refused(what, &error);
            let message = refusal.message.clone();
            let code = "ERROR_RDBMS";
            self.finish_sql(&operation, Err(Failure { code, message }));
            return Err(refusal);
        }
        if let Ok(instance) = self.inner.sql.lock().instance(call.var(1)) {
            done(instance);
        }
        let (gcp, begun) = (self.clone(), operation.clone());
        self.host().background.spawn(async move {
            gcp.take_sql(&begun, SMALL).await;
            gcp.finish_sql(&begun, Ok(()));
        });
        self.sql_operation(call, &operation)
    }
}

fn check_locale(body: &Object) -> Outcome<()> {
    let charset = settings::word(body, &["charset"]);
    let collation = settings::word(body, &["collation"]);
    if !matches!(charset, "" | "UTF8") || !matches!(collation, "" | "en_US.UTF8") {
        return Err(super::unimplemented("other character sets and collations"));
    }
    Ok(())
}

fn absent(name: &str) -> ApiError {
    ApiError::legacy(
        404,
        "databaseDoesNotExist",
        format!("Not Found: the database \"{name}\" does not exist."),
    )
}
