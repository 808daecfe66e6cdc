//! RDS for PostgreSQL: subnet group, parameter group and instance.

mod authority;
pub(crate) mod calls;
pub(crate) mod instance;
mod judgement;
mod modify;
pub(crate) mod parameter_group;
pub(crate) mod password;
mod pending;
mod shape;
mod status;
pub(crate) mod subnet_group;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::capability::{
    Birth, Database, DatabaseOutputs, Databases, PasswordRule, SecretVersion, StoreStatus,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::{Declared, Kind, named, seen};
use deployer_core::ours::Past;
use deployer_core::spec::{DatabaseSpec, SslMode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::Aws;
use crate::composition::Composition;
use crate::tags;

use authority::Bundle;
pub(crate) use calls::final_part;
use instance::{INSTANCE, Instance, LookedUp};
use parameter_group::ParameterGroup;
use shape::Endpoint;
use subnet_group::SubnetGroup;

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `MasterUserPassword` of CreateDBInstance for PostgreSQL, in the RDS API reference; of the space
/// it says so when refusing: "Only printable ASCII characters besides '/', '@', '\"', ' ' may be
/// used".
static PASSWORD: PasswordRule = PasswordRule {
    shortest: 8,
    longest: 128,
    takes: |c| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '"'),
    says: "RDS takes 8 to 128 printable ASCII characters, without `/`, `@`, `\"` and spaces",
};

impl Database for Composition<'_> {
    fn database(
        &self,
        graph: &mut Graph,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs {
        let (clients, env) = (&self.clients, self.env);
        let settings = clients.section.databases.get(&database.key);
        let own = settings.map(|own| (&own.subnets, &own.security_groups));
        let network = self.ground.network.of_store(own, database.adopt);
        let address = clients.address(INSTANCE, &database.name);
        let makes_groups = makes_groups(database.adopt, &graph.past(&address));
        let group = |name, adopt| Declared {
            site: clients,
            name,
            env,
            adopt,
        };
        let subnet_group = makes_groups.then(|| {
            let group = group(&database.name, database.adopt);
            graph.declare(group, |inputs| SubnetGroup {
                subnets: inputs.pass(&network.subnets),
            })
        });

        let wish = ParameterGroup::of(database.version);
        let name = named(&database.name, &wish);
        let group_address = clients.address(ParameterGroup::KIND, &name);
        // An adopted instance needs one for a major upgrade only, and keeps it.
        let may_upgrade = !database.unsaid.contains("version");
        let needs_group = makes_groups || may_upgrade || graph.past(&group_address).known;
        let parameter_group = needs_group.then(|| {
            // Somebody's own may be that of other instances too: it is never taken over with an
            // instance.
            let group = group(&database.name, database.adopt && makes_groups);
            graph.declare(group, |_| wish)
        });

        let ours = tags::ownership(env, database.adopt, &graph.past(&address));
        let (url, authority) = (Output::of(&address), Output::of(&address));
        let host = Output::of(&address);
        let birth = Output::of(&address);
        let secret = env.secrets.get(&database.password);
        let wanted = database.authority.as_ref();
        let file = settings.and_then(|own| own.authority_file.as_deref());
        graph.resource(|inputs| Instance {
            clients: Arc::clone(clients),
            address,
            ownership: ours,
            spec: database.clone(),
            security_groups: inputs.pass(&network.security_groups),
            subnet_group: match &subnet_group {
                Some(made) => inputs.take(made),
                None => Value::Given(String::new()),
            },
            parameter_group: match &parameter_group {
                Some(made) => inputs.take(made),
                None => Value::Given(String::new()),
            },
            lifecycle: settings.and_then(|own| own.extended_support).map(lifecycle),
            is_to_be_there: !makes_groups,
            password: inputs.pass(password),
            secret: secret.map_or_else(String::new, |secret| secret.name.clone()),
            maintenance: settings.map(|own| own.maintenance).unwrap_or_default(),
            bundle: wanted.map(|_| Bundle::of(clients, file)),
            url: url.clone(),
            host: host.clone(),
            birth: birth.clone(),
            given: Mutex::default(),
            authority: authority.clone(),
            left: Mutex::default(),
            looked_up: LookedUp::default(),
        });
        DatabaseOutputs {
            url,
            host,
            birth,
            authority: wanted.map(|_| authority),
        }
    }
}

#[async_trait]
impl Databases for Aws {
    async fn birth(&self, database: &DatabaseSpec) -> Result<Option<Birth>> {
        let name = &database.name;
        let reading = calls::describe(&self.clients, name).await?;
        let instance = seen(reading, &calls::called(name))?;
        Ok(instance.as_ref().and_then(shape::birth))
    }

    fn password_rule(&self) -> Option<&'static PasswordRule> {
        Some(&PASSWORD)
    }

    async fn status(&self, database: &DatabaseSpec) -> Result<Option<StoreStatus>> {
        let name = &database.name;
        let reading = calls::describe(&self.clients, name).await?;
        let instance = seen(reading, &calls::called(name))?;
        Ok(instance.map(|instance| status::of(&instance)))
    }
}

/// `EngineLifecycleSupport` of CreateDBInstance, in the RDS API reference; it cannot be changed
/// later.
fn lifecycle(extended_support: bool) -> &'static str {
    match extended_support {
        true => "open-source-rds-extended-support",
        false => "open-source-rds-extended-support-disabled",
    }
}

/// Whether the groups that a database or cache stands in are ours to make. What was somebody's
/// keeps its own, which commonly have its very name (cloudposse/terraform-aws-rds,
/// cloudposse/terraform-aws-elasticache-redis) and may be those of others too; what we made
/// ourselves stands in ours, also where the manifest says `adopt` of it later.
pub(crate) fn makes_groups(adopt: bool, past: &Past) -> bool {
    !adopt || past.known && !past.adopted
}

/// The error for something that is to be adopted and is not there: a name mistyped would make an
/// empty one.
pub(crate) fn nothing_to_adopt(what: &str, section: &str) -> Error {
    let message = format!("there is no {what} that could be adopted");
    Error::new(ErrorKind::NotFound, message).hint(format!(
        "correct `name` in `[{section}]`, or take `adopt = true` out: then it is made"
    ))
}

/// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`, its parts percent-encoded where
/// they must be.
fn url(
    spec: &DatabaseSpec,
    password: &SecretString,
    at: &Endpoint,
    sslmode: SslMode,
) -> SecretString {
    let sslmode = match sslmode {
        SslMode::Require => "require",
        SslMode::VerifyFull => "verify-full",
    };
    SecretString::from(format!(
        "postgresql://{}:{}@{}:{}/{}?sslmode={sslmode}",
        encoded(&spec.user),
        encoded(password.expose_secret()),
        at.host,
        at.port,
        encoded(&spec.database),
    ))
}

/// A part of a URL in which no character means anything.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A specification that tests change.
#[cfg(test)]
fn spec() -> DatabaseSpec {
    DatabaseSpec {
        key: "main".into(),
        name: "idp-staging-main".into(),
        version: 16,
        class: "db.t4g.medium".into(),
        storage_gib: 20,
        high_availability: false,
        backup_days: 7,
        deletion_protection: true,
        database: "idp".into(),
        user: "idp".into(),
        password: "main-password".into(),
        url: "main-url".into(),
        host: None,
        sslmode: SslMode::Require,
        authority: None,
        adopt: false,
        unsaid: std::collections::BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_judged_as_rds_judges_it() {
        assert!(PASSWORD.accepts("correct-horse~!#"));
        for refused in [
            "p@ssw0rd",
            "pass/word",
            "pass\"word",
            "pass word",
            "short",
            "pässwörter",
        ] {
            assert!(!PASSWORD.accepts(refused), "{refused}");
        }
        assert!(PASSWORD.accepts(&"x".repeat(128)) && !PASSWORD.accepts(&"x".repeat(129)));
    }

    #[test]
    fn a_password_cannot_break_the_url() {
        let mut spec = spec();
        spec.user = "idp@host".into();
        let at = Endpoint {
            host: "db.example.com".into(),
            port: 5432,
        };
        let password = "a/b:c@d?e#f%41".into();
        let shown = url(&spec, &password, &at, SslMode::Require);
        assert_eq!(
            shown.expose_secret(),
            "postgresql://idp%40host:a%2Fb%3Ac%40d%3Fe%23f%2541@db.example.com:5432/idp?sslmode=require"
        );
        let verified = url(&spec, &password, &at, SslMode::VerifyFull);
        assert!(verified.expose_secret().ends_with("?sslmode=verify-full"));
    }
}
