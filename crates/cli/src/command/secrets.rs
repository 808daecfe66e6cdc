//! `deployer secrets`: lists secrets and sets them; a value comes from standard input or a file,
//! never from an argument.

use std::io::{IsTerminal, Read};
use std::path::Path;

use deployer_core::capability::{SecretContent, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_core::graph::Graph;
use deployer_core::node::{Leftover, Token};
use deployer_core::ours::{Began, Certain, Noted};
use deployer_core::spec::{SecretSource, SecretSpec};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use uuid::Uuid;

use crate::again::Again;
use crate::args::{Global, SecretsCommand};
use crate::exit::Exit;
use crate::run::{Journals, Unwritten};
use crate::secret;
use crate::session::{Place, Session};
use crate::typed;
use crate::view;

/// Lists or sets.
pub async fn run(global: &Global, session: Session, command: &SecretsCommand) -> Result<Exit> {
    match command {
        SecretsCommand::List => list(global, &session).await,
        SecretsCommand::Set { name, file, .. } => set(global, session, name, file.as_deref()).await,
    }
}

async fn list(global: &Global, session: &Session) -> Result<Exit> {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for place in &session.places {
        let states = place.env.secrets.values().map(|secret| async move {
            Ok::<_, Error>((secret, place.cloud.secrets().status(&secret.name).await?))
        });
        for (secret, status) in futures::future::try_join_all(states).await? {
            let version = status.as_ref().and_then(|status| status.version.as_ref());
            rows.push(vec![
                place.name().to_string(),
                secret.key.clone(),
                secret.name.clone(),
                version.map_or_else(|| "absent".into(), |version| version.version.clone()),
                status
                    .as_ref()
                    .and_then(|status| status.changed)
                    .map_or_else(|| "-".into(), |at| format!("{at:.0}")),
                source(secret),
                match used_by(place, secret) {
                    users if users.is_empty() => "-".into(),
                    users => users.join(", "),
                },
            ]);
            documents.push(json!({
                "cloud": place.name(), "secret": secret.key, "name": secret.name, "status": status,
                "source": source(secret), "on_rollback": secret.on_rollback,
                "used_by": used_by(place, secret),
            }));
        }
    }
    if global.json {
        view::json(&documents);
    } else if rows.is_empty() && session.failed.is_empty() {
        noteln!("the manifest has no secrets");
    } else {
        let header = [
            "CLOUD", "SECRET", "NAME", "VERSION", "CHANGED", "SOURCE", "USED BY",
        ];
        out!("{}", view::table::fitting(&header, &rows));
    }
    Ok(session.failure())
}

/// The services that take it, by the manifest's names.
fn used_by(place: &Place, secret: &SecretSpec) -> Vec<String> {
    let services = place.env.services.iter();
    let users = services.filter(|(_, service)| {
        let mut uses = service.secrets.values();
        uses.any(|it| it.secret == secret.key)
    });
    users.map(|(key, _)| key.clone()).collect()
}

fn source(secret: &SecretSpec) -> String {
    match &secret.source {
        SecretSource::Cloud => "set by hand".into(),
        SecretSource::Env(name) => format!("variable {name}"),
        SecretSource::File(path) => format!("file {path}"),
        SecretSource::Generate(_) => "generated".into(),
        SecretSource::Key { pair, .. } => format!("key pair {pair}"),
        SecretSource::DatabaseUrl(database)
        | SecretSource::DatabaseHost(database)
        | SecretSource::DatabaseAuthority(database) => {
            format!("database {database}")
        }
        SecretSource::CacheUrl(cache) | SecretSource::CacheAuthority(cache) => {
            format!("cache {cache}")
        }
    }
}

async fn set(
    global: &Global,
    mut session: Session,
    key: &str,
    file: Option<&Path>,
) -> Result<Exit> {
    let secrets: Vec<_> = session
        .places
        .iter()
        .filter_map(|place| Some((place, place.env.secrets.get(key)?)))
        .collect();
    let Some((_, first)) = secrets.first() else {
        let known: Vec<&str> = session
            .places
            .first()
            .map(|place| place.env.secrets.keys().map(String::as_str).collect())
            .unwrap_or_default();
        return Err(
            Error::input(format!("the manifest declares no secret `{key}`")).hint(
                match session.loaded.manifest.called_now("secret", key) {
                    Some(now) => now.hint(),
                    None if known.is_empty() => format!("add `[secrets.{key}]` to it"),
                    None => format!("it declares: {}", known.join(", ")),
                },
            ),
        );
    };
    settable(first)?;
    let value = read(key, &session.loaded.environment, file).await?;
    for (place, _) in &secrets {
        let place = secret::TargetSecrets {
            cloud: place.cloud.as_ref(),
            env: &place.env,
        };
        secret::fits_data(&place, key, &value)?;
    }
    let stop = session.stop()?;
    let locks = session.lock("secrets set", &stop).await?;
    session.tell_failed(global);
    let result = match session.leave_other_ledgers(global).await {
        Ok(()) => put(global, &session, key, &value).await,
        Err(error) => Err(error),
    };
    locks.finish(result).await
}

/// Sets it on every target; what one refuses keeps nothing from the other, and the run has an end
/// either way.
async fn put(global: &Global, session: &Session, key: &str, value: &SecretString) -> Result<Exit> {
    let journals = Journals::begin(session, "secrets set").await?;
    let mut outcomes = std::collections::BTreeMap::new();
    let mut worst = session.failure();
    let mut is_new = false;
    for place in &session.places {
        let Some(secret) = place.env.secrets.get(key) else {
            continue;
        };
        let outcome = match put_on(place, secret, value, &journals).await {
            Ok(put) => {
                is_new |= put.is_some();
                tell(global, place, key, put);
                "succeeded"
            }
            Err(error) => {
                worst = worst.max(Exit::from(error.kind()));
                view::error::print(&error, global.json);
                "failed"
            }
        };
        outcomes.insert(place.name(), outcome.to_owned());
    }
    let mut unwritten = Unwritten::default();
    journals.end(&outcomes, &mut unwritten).await;
    let worst = worst.max(unwritten.report(global.json));
    if is_new && worst == Exit::Success && !global.json {
        let apply = Again::new(global, "apply");
        noteln!("the services that use it take it at the next `{apply}`");
    }
    Ok(worst)
}

/// The new version; `None` where it has that value already.
async fn put_on(
    place: &Place,
    secret: &SecretSpec,
    value: &SecretString,
    journals: &Journals,
) -> Result<Option<SecretVersion>> {
    let token = Token(Uuid::new_v4().to_string());
    remember(journals, place, secret).await?;
    let store = place.cloud.secrets();
    let current = store.value(&secret.name).await?;
    if current.is_some_and(|current| current.expose_secret() == value.expose_secret()) {
        return Ok(None);
    }
    let put = store.put_version(&place.env, secret, value, &token);
    put.await.map(Some)
}

fn tell(global: &Global, place: &Place, key: &str, put: Option<SecretVersion>) {
    let cloud = place.name();
    match put {
        None if global.json => {}
        None => outln!("{cloud}: `{key}` has that value already"),
        Some(version) if global.json => {
            view::json_line(&json!({
                "event": "secret_set", "cloud": cloud, "secret": key, "version": version,
            }));
        }
        Some(version) => outln!("{cloud}: `{key}` is version {} now", version.version),
    }
}

/// Notes that the secret is ours from now on, so that `destroy` finds it, and that nothing else has
/// its value. One that was there without a mark is adopted; one that is somebody else's, which is
/// about to be refused, is not noted.
async fn remember(journals: &Journals, place: &Place, secret: &SecretSpec) -> Result<()> {
    let mut graph = Graph::new();
    let provider = place.cloud.provider(&place.env);
    provider.secret(&mut graph, secret, SecretContent::Keep);
    drop(provider);
    let Some((_, entry)) = graph.iter().next() else {
        return Ok(());
    };
    let node = &entry.node;
    // What cannot be read, or is not there, was not found; whose it is is looked at before it is
    // written.
    let seen = node.observe().await.is_ok();
    let foreign = matches!(node.leftover(), Ok(Leftover::Foreign(_)));
    if seen && (foreign || !node.bears_mark()) {
        return Ok(());
    }
    let noted = Noted {
        began: match seen {
            true if secret.adopt => Began::Found,
            true => node.noted().began,
            false => Began::Before,
        },
        data: Some(true),
        certain: Certain::InPart,
        ..Noted::default()
    };
    journals
        .remember(place.name(), node.address(), &noted)
        .await
}

/// A value that the next apply would put back is not to be set here.
fn settable(secret: &SecretSpec) -> Result<()> {
    let (whence, hint) = match &secret.source {
        SecretSource::Cloud | SecretSource::Generate(_) => return Ok(()),
        SecretSource::Env(name) => {
            (format!("variable {name}"), format!("set {name} and apply, or declare `from = \"cloud\"`"))
        }
        SecretSource::File(path) => {
            (format!("file {path}"), format!("change {path} and apply, or declare `from = \"cloud\"`"))
        }
        SecretSource::Key { pair, .. } => (
            format!("key pair `{pair}`"),
            "both halves must change together on every target: delete both secrets everywhere, then apply makes a new pair".into(),
        ),
        SecretSource::DatabaseUrl(database) => (
            format!("database `{database}`"),
            format!("set the secret with the password of `{database}` instead, then apply"),
        ),
        SecretSource::DatabaseHost(database) | SecretSource::DatabaseAuthority(database) => (
            format!("database `{database}`"),
            "it is read anew from the database at each apply".into(),
        ),
        SecretSource::CacheUrl(cache) | SecretSource::CacheAuthority(cache) => (
            format!("cache `{cache}`"),
            "it is made anew from the cache at each apply".into(),
        ),
    };
    Err(Error::input(format!(
        "the value of secret `{}` comes from {whence}: the next apply would put that back",
        secret.key
    ))
    .hint(hint))
}

async fn read(key: &str, environment: &str, file: Option<&Path>) -> Result<SecretString> {
    if let Some(path) = file {
        return secret::read_file(key, path);
    }
    let text = if std::io::stdin().is_terminal() {
        typed::hidden(&format!("value of {key} for {environment} (hidden):")).await?
    } else {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Error::input("standard input is no UTF-8 text").because(error))?;
        text
    };
    let value = secret::trimmed(text);
    secret::fit(
        key,
        "standard input",
        value,
        "pipe the value in, or name a file: `--file`",
    )
}
