//! Users of an instance, who really can log in. Passwords go in and never come out.

use serde_json::{Value, json};

use super::settings::LONGEST_NAME;
use super::{invalid, settings};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// The message `User`.
pub(super) fn message(name: &str, instance: &str) -> Object {
    let message = json!({
        "kind": "sql#user", "name": name, "instance": instance, "etag": settings::etag(),
    });
    message.as_object().cloned().unwrap_or_default()
}

impl Gcp {
    /// An existing user gets the password: that is how `postgres` is given one.
    pub(super) async fn insert_user(&self, call: &Call) -> Outcome {
        let name = settings::word(&call.body, &["name"]).to_owned();
        check_user(&call.body)?;
        check_name(&name)?;
        let password = settings::word(&call.body, &["password"]).to_owned();
        let mut known = false;
        let begun = self.begin_small(call, "CREATE_USER", |instance| {
            known = instance.users.contains_key(&name);
            Ok(())
        })?;
        let made = match (&begun.server, known, password.as_str()) {
            (None, _, _) | (Some(_), true, "") => Ok(()),
            (Some(server), true, password) => server.set_password(&name, password).await,
            // Without a password nobody can log in as that user.
            (Some(server), false, "") => {
                let random = uuid::Uuid::new_v4().to_string();
                server.create_user(&name, &random, true).await
            }
            (Some(server), false, password) => server.create_user(&name, password, true).await,
        };
        let what = format!("create user {name}");
        self.end_small(call, begun, &what, made, |instance| {
            let user = message(&name, call.var(1));
            instance.users.insert(name.clone(), user);
        })
    }

    pub(super) async fn update_user(&self, call: &Call) -> Outcome {
        let name = match call.query("name") {
            "" => settings::word(&call.body, &["name"]),
            name => name,
        };
        let name = name.to_owned();
        check_user(&call.body)?;
        check_name(&name)?;
        let password = settings::word(&call.body, &["password"]).to_owned();
        let begun = self.begin_small(call, "UPDATE_USER", |instance| known(instance, &name))?;
        let changed = match (&begun.server, password.as_str()) {
            (None, _) | (Some(_), "") => Ok(()),
            (Some(server), password) => server.set_password(&name, password).await,
        };
        let what = format!("update user {name}");
        self.end_small(call, begun, &what, changed, |instance| {
            if let Some(user) = instance.users.get_mut(&name) {
                user.insert("etag".into(), settings::etag().into());
            }
        })
    }

    pub(super) async fn delete_user(&self, call: &Call) -> Outcome {
        let name = call.query("name").to_owned();
        check_name(&name)?;
        let begun = self.begin_small(call, "DELETE_USER", |instance| known(instance, &name))?;
        let dropped = match &begun.server {
            Some(server) => server.drop_user(&name).await,
            None => Ok(()),
        };
        let what = format!("delete user {name}");
        self.end_small(call, begun, &what, dropped, |instance| {
            instance.users.remove(&name);
        })
    }

    pub(super) fn read_users(&self, call: &Call) -> Outcome {
        let all = {
            let mut state = self.inner.sql.lock();
            state.running(call.var(1))?.users.clone()
        };
        let view = |message: &Object| {
            let mut out = message.clone();
            out.insert("project".into(), self.host().project.clone().into());
            Value::Object(out)
        };
        let items: Vec<Value> = all.values().map(view).collect();
        Ok(json!({ "kind": "sql#usersList", "items": items }))
    }
}

fn known(instance: &super::Instance, name: &str) -> Outcome<()> {
    match instance.users.contains_key(name) {
        true => Ok(()),
        false => Err(absent(name)),
    }
}

fn absent(name: &str) -> ApiError {
    ApiError::legacy(
        404,
        "userDoesNotExist",
        format!("The user \"{name}\" does not exist."),
    )
}

fn check_name(name: &str) -> Outcome<()> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with("pg_") {
        return Err(invalid(format!("user name ({name})")));
    }
    if name.starts_with("cloudsql") {
        return Err(invalid(format!("The user name {name} is reserved")));
    }
    Ok(())
}

/// PostgreSQL's users have no hosts, and only those with a password are offered.
fn check_user(body: &Object) -> Outcome<()> {
    if !settings::word(body, &["host"]).is_empty() {
        return Err(invalid("Host is not supported for PostgreSQL users"));
    }
    for other in ["type", "passwordPolicy", "databaseRoles", "serverRoles"] {
        if body.contains_key(other) {
            return Err(super::unimplemented(&format!("a user's `{other}`")));
        }
    }
    Ok(())
}
