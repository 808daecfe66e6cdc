//! Checks secrets and key pairs.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::spec::Inject;

use crate::layers::nearest;
use crate::model::{EnvValue, From, Manifest, Secret};
use crate::names;
use crate::problem::{Part, Report};
use crate::source::KeyPath;

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    let used = used(manifest);
    let made = manifest.data_secrets();
    for (key, secret) in &manifest.secrets {
        let path = KeyPath::new(["secrets", key]);
        if !names::SECRET_KEY.accepts(key) {
            report.key_error(
                &path,
                format!("`{key}` cannot name a secret"),
                names::SECRET_KEY.says,
            );
        }
        source(&secret.from, &path.join("from"), report);
        if let Some(member) = &secret.key {
            let is_made = made.iter().any(|(made, _)| made == key);
            self::member(member, (secret, is_made), &path, report);
        }
        if made.iter().any(|(made, _)| made == key) {
            // What comes of it is checked where it is declared.
            continue;
        }
        if !used.contains(key) {
            let help = "use it as { secret = \"...\" } in a service's `env`, or remove it";
            report.warning(
                &path,
                Part::Key,
                format!("no service uses the secret `{key}`"),
                help,
            );
        }
    }
    pairs(manifest, report);
}

/// Refuses a secret that is not declared where it is used.
pub(super) fn declared(secret: &str, path: &KeyPath, manifest: &Manifest, report: &mut Report<'_>) {
    let known = manifest.secret_keys();
    let table = KeyPath::new(["secrets", secret]);
    let unclear = report.distrusts(&table) || report.distrusts(&KeyPath::new(["keys"]));
    if known.iter().any(|known| known == secret) || unclear {
        return;
    }
    let nearest = nearest(secret, known.iter().map(String::as_str));
    let help = match (manifest.called_now("secret", secret), nearest) {
        (Some(now), _) => now.hint(),
        (None, Some(word)) => {
            format!("did you mean `{word}`? else declare `[secrets.{secret}]`")
        }
        (None, None) => format!("declare `[{table}]`"),
    };
    report.error(path, format!("the secret `{secret}` is not declared"), help);
}

/// The secrets that services use, and those that they use by a misspelt name.
pub(super) fn used(manifest: &Manifest) -> BTreeSet<String> {
    let services = manifest.services.values();
    let in_env = services.clone().flat_map(|service| service.env.values());
    let in_env = in_env.filter_map(|value| match value {
        EnvValue::Secret(secret) => Some(secret.secret.as_str()),
        EnvValue::Plain(_) => None,
    });
    let databases = services.filter_map(|service| service.migrate.as_ref()?.database.as_deref());
    let tokens = manifest
        .services
        .values()
        .filter_map(|service| service.verify.token.as_ref());
    let clients = tokens.flat_map(|token| [token.client_id.as_str(), token.client_secret.as_str()]);
    let known = manifest.secret_keys();
    let meant = |name: &str| match known.iter().find(|known| *known == name) {
        Some(known) => Some(known.clone()),
        None => nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
    };
    let mentioned = in_env.chain(databases).chain(clients);
    mentioned.filter_map(meant).collect()
}

fn is_variable(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn source(from: &From, path: &KeyPath, report: &mut Report<'_>) {
    match from {
        From::Env(name) if !is_variable(name) => {
            let help = "write the name of a variable of the machine that runs `deployer`";
            report.hidden_error(
                &path.join("env"),
                "this is not the name of a variable",
                help,
            );
        }
        From::File(file) if file.trim().is_empty() => {
            let help = "write a path, relative to the manifest";
            report.hidden_error(&path.join("file"), "the path is empty", help);
        }
        From::Env(_) | From::File(_) | From::Cloud | From::Generate(_) => {}
    }
}

/// A member is taken of what the cloud holds, and stands between colons on ECS.
fn member(key: &str, (secret, is_made): (&Secret, bool), path: &KeyPath, report: &mut Report<'_>) {
    let at = path.join("key");
    if key.is_empty() || key.contains(':') || key.chars().any(char::is_control) {
        let help = "write the key of a member of the JSON object, without colons";
        report.error(&at, format!("`{key}` cannot name a member"), help);
    } else if is_made {
        let help = "remove `key`: this secret holds one value, which deployer makes";
        report.key_error(&at, "this secret has no members", help);
    } else if secret.inject == Inject::Reference {
        let help = "remove `key`: an app that fetches the secret itself gets the whole of it";
        report.key_error(&at, "a reference names a secret, not a member of it", help);
    }
}

fn pairs(manifest: &Manifest, report: &mut Report<'_>) {
    let mut halves: BTreeMap<&str, String> = BTreeMap::new();
    for (pair, keys) in &manifest.keys {
        let path = KeyPath::new(["keys", pair]);
        if !names::SECRET_KEY.accepts(pair) {
            report.key_error(
                &path,
                format!("`{pair}` cannot name a key pair"),
                names::SECRET_KEY.says,
            );
        }
        for (half, secret) in [("private", &keys.private), ("public", &keys.public)] {
            let at = path.join(half);
            if !names::SECRET_KEY.accepts(secret) {
                report.error(
                    &at,
                    format!("`{secret}` cannot name a secret"),
                    names::SECRET_KEY.says,
                );
            }
            if manifest.secrets.contains_key(secret) {
                let help = format!(
                    "remove `[secrets.{secret}]`: the key pair declares it, or choose another name"
                );
                report.error(
                    &at,
                    format!("the secret `{secret}` is declared twice"),
                    help,
                );
            }
            if let Some(first) = halves.insert(secret, at.to_string()) {
                let message = format!("`{secret}` is `{first}` already");
                report.error(
                    &at,
                    message,
                    "each half of each pair has a secret of its own",
                );
            }
        }
    }
}
