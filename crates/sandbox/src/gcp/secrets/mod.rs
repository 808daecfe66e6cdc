//! Secret Manager: secrets; their versions are next door.

mod versions;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use super::error::{ApiError, Code, Outcome};
use super::iam::Policy;
use super::names::{check_labels, fresh_etag, project_number};
use super::schema::{Object, camel};
use super::wire::Call;
use super::{Gcp, seconds, timestamp};
use versions::Version;

/// Every secret by its id, and by `PROJECT/ID` where another project has it. Values live in memory
/// only.
#[derive(Default)]
pub struct Secrets(Mutex<BTreeMap<String, Secret>>);

#[derive(Serialize)]
struct Secret {
    /// The message `Secret`, without its name and etag.
    fields: Object,
    etag: String,
    versions: Vec<Version>,
    policy: Policy,
}

/// What `updateMask` may name; Google keeps the rest as created.
const MUTABLE: [&str; 9] = [
    "labels",
    "annotations",
    "topics",
    "rotation",
    "expireTime",
    "ttl",
    "versionAliases",
    "versionDestroyTtl",
    "etag",
];

impl Secrets {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }
}

impl Gcp {
    /// The full name of a secret, by the number of its project, as Google answers it whatever it
    /// was asked by (hashicorp/terraform-provider-google#11343).
    fn secret_name(&self, key: &str) -> String {
        let (project, id) = self.secret_home(key);
        format!("projects/{}/secrets/{id}", project_number(project))
    }

    /// The project of a secret and its id.
    fn secret_home<'a>(&'a self, key: &'a str) -> (&'a str, &'a str) {
        key.split_once('/').unwrap_or((&self.host().project, key))
    }

    /// Under which key a secret is kept; its project is named by id or number. Another project is
    /// there as soon as somebody makes a secret in it, and the caller may do everything there.
    ///
    /// Errors: permission denied, for a project that has none.
    fn secret_key(&self, project: &str, id: &str) -> Outcome<String> {
        let Err(refused) = self.check_project(project) else {
            return Ok(id.to_owned());
        };
        let all = self.inner.secrets.lock();
        let mut others = all.keys().filter_map(|key| key.split_once('/'));
        let other = others.find(|(own, _)| *own == project || project_number(own) == project);
        other.map(|(own, _)| format!("{own}/{id}")).ok_or(refused)
    }

    fn with_secret<T>(&self, id: &str, act: impl FnOnce(&mut Secret) -> Outcome<T>) -> Outcome<T> {
        let mut all = self.inner.secrets.lock();
        let secret = all.get_mut(id).ok_or_else(|| {
            ApiError::not_found(format!("Secret [{}] not found.", self.secret_name(id)))
        })?;
        act(secret)
    }

    fn secret_message(&self, id: &str, secret: &Secret) -> Value {
        let mut out = secret.fields.clone();
        out.insert("name".into(), self.secret_name(id).into());
        out.insert("etag".into(), secret.etag.clone().into());
        Value::Object(out)
    }

    /// Methods of Secret Manager.
    pub(super) fn secret_manager(&self, call: &Call) -> Outcome {
        let method = call
            .method
            .id
            .strip_prefix("secretmanager.projects.secrets.")
            .unwrap_or_default();
        if method == "create" {
            return self.create_secret(call);
        }
        let key = self.secret_key(call.var(0), call.var(1))?;
        let id = key.as_str();
        match method {
            "list" => self.list_secrets(call, id),
            "get" => self.with_secret(id, |secret| Ok(self.secret_message(id, secret))),
            "delete" => {
                self.with_secret(id, |secret| check_etag(&secret.etag, call.query("etag")))?;
                self.inner.secrets.lock().remove(id);
                Ok(json!({}))
            }
            "getIamPolicy" => self.with_secret(id, |secret| Ok(secret.policy.get())),
            "setIamPolicy" => {
                self.check_accounts(&call.body["policy"])?;
                let now = self.host().clock.now();
                self.with_secret(id, |secret| secret.policy.set_at(&call.body, now))
            }
            "testIamPermissions" => self.with_secret(id, |_| Ok(self.test_permissions(&call.body))),
            "patch" => self.patch_secret(call, id),
            "addVersion" => self.add_secret_version(call, id),
            _ => self.secret_versions(call, id, method),
        }
    }

    fn create_secret(&self, call: &Call) -> Outcome {
        let id = call.query("secretId");
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if id.is_empty() || id.len() > 255 || !id.bytes().all(allowed) {
            return Err(ApiError::invalid(format!(
                "The provided Secret ID [{id}] does not match the expected format [[a-zA-Z_0-9]+]"
            )));
        }
        let mut fields = call.body.clone();
        if fields
            .get("replication")
            .and_then(Value::as_object)
            .is_none_or(Object::is_empty)
        {
            return Err(ApiError::field(
                "secret.replication",
                "a replication policy must be provided",
            ));
        }
        self.check_locations(&fields["replication"])?;
        self.check_secret(&mut fields)?;
        fields.insert("createTime".into(), self.now().into());
        fields.remove("name");
        fields.remove("etag");
        let key = match self.check_project(call.var(0)) {
            Ok(()) => id.to_owned(),
            Err(_) => format!("{}/{id}", call.var(0)),
        };
        let id = key.as_str();
        let mut all = self.inner.secrets.lock();
        if all.contains_key(id) {
            let message = format!("Secret [{}] already exists.", self.secret_name(id));
            return Err(ApiError::new(Code::AlreadyExists, message));
        }
        let secret = Secret {
            fields,
            etag: fresh_etag(),
            versions: Vec::new(),
            policy: Policy::default(),
        };
        let message = self.secret_message(id, &secret);
        all.insert(id.to_owned(), secret);
        Ok(message)
    }

    /// An organisation's policy on locations counts a secret that is replicated automatically as
    /// one in `global` (<https://github.com/firebase/firebase-tools/issues/6454>).
    fn check_locations(&self, replication: &Value) -> Outcome<()> {
        let locations = match replication.get("userManaged") {
            None => vec!["global"],
            Some(managed) => {
                let replicas = managed["replicas"]
                    .as_array()
                    .map_or(&[][..], Vec::as_slice);
                if replicas.is_empty() {
                    let field = "secret.replication.user_managed.replicas";
                    return Err(ApiError::field(
                        field,
                        "at least one replica must be provided",
                    ));
                }
                let locations = replicas.iter().filter_map(|it| it["location"].as_str());
                locations.collect()
            }
        };
        let allowed = &self.host().locations;
        match locations.into_iter().find(|it| !allowed.allow(it)) {
            None => Ok(()),
            Some(location) => Err(ApiError::precondition(format!(
                "Constraint constraints/gcp.resourceLocations violated for [orgpolicy:projects/{}] attempting to create a \
                 secret in [{location}]. For more information, see \
                 https://cloud.google.com/resource-manager/docs/organization-policy/defining-locations.",
                project_number(&self.host().project)
            ))),
        }
    }

    /// Checks what a client may set, and turns a time to live into a time.
    fn check_secret(&self, fields: &mut Object) -> Outcome<()> {
        check_labels("secret.labels", fields.get("labels"))?;
        if let Some(ttl) = fields
            .remove("ttl")
            .as_ref()
            .and_then(Value::as_str)
            .and_then(seconds)
        {
            let at = self
                .host()
                .clock
                .now()
                .checked_add(ttl)
                .map_err(|_| ApiError::field("secret.ttl", "is too long"))?;
            fields.insert("expireTime".into(), timestamp(at).into());
        }
        if fields.contains_key("rotation") && !fields.contains_key("topics") {
            return Err(ApiError::field(
                "secret.topics",
                "topics must be set when rotation is",
            ));
        }
        Ok(())
    }

    fn patch_secret(&self, call: &Call, id: &str) -> Outcome {
        let mask: Vec<String> = call
            .query("updateMask")
            .split(',')
            .filter(|p| !p.is_empty())
            .map(camel)
            .collect();
        if mask.is_empty() {
            return Err(ApiError::field(
                "update_mask",
                "an update mask must be provided",
            ));
        }
        for path in &mask {
            let root = path.split('.').next().unwrap_or_default();
            if !MUTABLE.contains(&root) {
                return Err(ApiError::field(
                    "update_mask",
                    format!("the field '{path}' is unknown or cannot be changed"),
                ));
            }
        }
        let mut sent = call.body.clone();
        self.check_secret(&mut sent)?;
        self.with_secret(id, |secret| {
            check_etag(
                &secret.etag,
                sent.get("etag").and_then(Value::as_str).unwrap_or_default(),
            )?;
            if let Some(aliases) = sent.get("versionAliases").and_then(Value::as_object) {
                versions::check_aliases(&secret.versions, aliases)?;
            }
            for path in &mask {
                let root = match path.split('.').next().unwrap_or_default() {
                    "ttl" => "expireTime",
                    root => root,
                };
                match sent.get(root) {
                    _ if root == "etag" => {}
                    Some(value) => {
                        secret.fields.insert(root.to_owned(), value.clone());
                    }
                    None => {
                        secret.fields.remove(root);
                    }
                }
            }
            secret.etag = fresh_etag();
            Ok(self.secret_message(id, secret))
        })
    }

    /// Those of the project of this key.
    fn list_secrets(&self, call: &Call, of: &str) -> Outcome {
        let filter = call.query("filter");
        let all = self.inner.secrets.lock();
        let (project, _) = self.secret_home(of);
        let mut found = Vec::new();
        for (key, secret) in all.iter() {
            let (own, id) = self.secret_home(key);
            if own == project && matches(filter, id, secret)? {
                found.push(self.secret_message(key, secret));
            }
        }
        let total = found.len();
        let (secrets, next) = call.page(found, 25_000)?;
        Ok(json!({ "secrets": secrets, "nextPageToken": next, "totalSize": total }))
    }
}

/// A part of Google's filter language: `name:x`, `name=x`, `labels.k=v`, `labels.k:*`, a bare word;
/// joined by `OR`, and those by `AND`: the former binds closer. `:` looks for a part, whatever its
/// case.
fn matches(filter: &str, id: &str, secret: &Secret) -> Outcome<bool> {
    let mut all = true;
    for conditions in filter.split(" AND ").filter(|it| !it.trim().is_empty()) {
        let mut any = false;
        for term in conditions.split(" OR ") {
            any |= fits(term.trim(), id, secret)?;
        }
        all &= any;
    }
    Ok(all)
}

fn fits(term: &str, id: &str, secret: &Secret) -> Outcome<bool> {
    let unquote = |text: &str| text.trim().trim_matches('"').to_owned();
    let has = |part: &str| {
        let part = unquote(part).to_ascii_lowercase();
        id.to_ascii_lowercase().contains(&part)
    };
    Ok(match term.split_once(['=', ':']) {
        None => has(term),
        Some(("name", value)) if term.contains(':') => has(value),
        Some(("name", value)) => id == unquote(value).rsplit('/').next().unwrap_or_default(),
        Some((key, value)) => {
            let Some(key) = key.trim().strip_prefix("labels.") else {
                return Err(ApiError::invalid(format!(
                    "Invalid filter: the sandbox does not know '{key}'"
                )));
            };
            let label = secret
                .fields
                .get("labels")
                .and_then(|l| l.get(key))
                .and_then(Value::as_str);
            match unquote(value).as_str() {
                "*" => label.is_some(),
                value => label == Some(value),
            }
        }
    })
}

fn check_etag(current: &str, given: &str) -> Outcome<()> {
    if given.is_empty() || given == current {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Aborted,
        "The etag provided does not match the current etag of the resource.",
    ))
}
