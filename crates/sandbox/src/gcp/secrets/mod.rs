//! Secret Manager: secrets; their versions are next door.

mod versions;

use serde::Serialize;
use serde_json::Value;

use super::error::{ApiError, Code, Outcome};
use super::names::{check_labels, fresh_etag, project_number};
use super::schema::{Object, text};
use super::shelf::{Changes, Ends, Key, Kind, Makes, Thing, nothing, told};
use super::wire::Call;
use super::{Gcp, seconds, timestamp};
use versions::Version;

/// What is kept of a secret beside its message. Values live in memory only.
#[derive(Default, Serialize)]
pub struct Versions {
    versions: Vec<Version>,
}

type Secret = Thing<Versions>;

/// In the project, or in another one, which is their home then. A mask may name what Google does
/// not keep as created.
const SECRETS: Kind<Versions> = Kind {
    methods: "secretmanager.projects.secrets.",
    id: 1,
    on: |gcp| &gcp.inner.secrets,
    home: |gcp, call| match gcp.secret_home(call.var(0)) {
        Err(_) if call.method.id.ends_with(".create") => Ok(call.var(0).to_owned()),
        home => home,
    },
    makes: Some(Makes {
        named: |call| {
            let id = call.query("secretId");
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            match (1..=255).contains(&id.len()) && id.bytes().all(allowed) {
                true => Ok(id.to_owned()),
                false => Err(ApiError::invalid(format!(
                    "The provided Secret ID [{id}] does not match the expected format [[a-zA-Z_0-9]+]"
                ))),
            }
        },
        made: |gcp, call, key| Ok((gcp.new_secret(call, key)?, Versions::default())),
        taken: |gcp, key| {
            let message = format!("Secret [{}] already exists.", gcp.secret_name(key));
            ApiError::new(Code::AlreadyExists, message)
        },
        answer: told,
    }),
    changes: Some(Changes {
        members: &[
            "labels",
            "annotations",
            "topics",
            "rotation",
            "expireTime",
            "ttl",
            "versionAliases",
            "versionDestroyTtl",
            "etag",
        ],
        by_mask: true,
        refused: "is unknown or cannot be changed",
        checked: Gcp::check_secret,
        noted: |_, secret, sent| {
            check_etag(text(&secret.message, "etag"), text(sent, "etag"))?;
            if let Some(aliases) = sent.get("versionAliases").and_then(Value::as_object) {
                versions::check_aliases(&secret.kept.versions, aliases)?;
            }
            secret.message.insert("etag".into(), fresh_etag().into());
            Ok(())
        },
    }),
    ends: Some(Ends {
        free: |call, secret| check_etag(text(&secret.message, "etag"), call.query("etag")),
        answer: nothing,
    }),
    absent: |gcp, key| ApiError::not_found(format!("Secret [{}] not found.", gcp.secret_name(key))),
    fits: |call, id, secret| matches(call.query("filter"), id, secret),
    page: 25_000,
};

impl Gcp {
    /// The full name of a secret, by the number of its project, as Google answers it whatever it
    /// was asked by (hashicorp/terraform-provider-google#11343).
    fn secret_name(&self, (home, id): &Key) -> String {
        let project = match home.as_str() {
            "" => &self.host().project,
            other => other,
        };
        format!("projects/{}/secrets/{id}", project_number(project))
    }

    /// Where the secrets of a project are, which is named by id or number. Another project is there
    /// as soon as somebody makes a secret in it, and the caller may do everything there.
    ///
    /// Errors: permission denied, for a project that has none.
    fn secret_home(&self, project: &str) -> Outcome<String> {
        let Err(refused) = self.check_project(project) else {
            return Ok(String::new());
        };
        let all = self.inner.secrets.lock();
        let mut homes = all.keys().map(|(home, _)| home);
        let home = homes.find(|it| *it == project || project_number(it) == project);
        home.cloned().ok_or(refused)
    }

    /// Methods of Secret Manager.
    pub(super) fn secret_manager(&self, call: &Call) -> Outcome {
        let method = call.method.id.strip_prefix(SECRETS.methods);
        if let (Some("setIamPolicy"), Some(policy)) = (method, call.body.get("policy")) {
            self.check_accounts(policy)?;
        }
        if let Some(answer) = SECRETS.call(self, call) {
            return answer;
        }
        let key = SECRETS.key(self, call)?;
        match method.unwrap_or_default() {
            "addVersion" => self.add_secret_version(call, &key),
            other => self.secret_versions(call, &key, other),
        }
    }

    fn new_secret(&self, call: &Call, key: &Key) -> Outcome<Object> {
        let mut message = call.body.clone();
        let replication = message.get("replication").and_then(Value::as_object);
        if replication.is_none_or(Object::is_empty) {
            return Err(ApiError::field(
                "secret.replication",
                "a replication policy must be provided",
            ));
        }
        self.check_locations(&message["replication"])?;
        self.check_secret(&mut message)?;
        message.insert("createTime".into(), self.now().into());
        message.insert("name".into(), self.secret_name(key).into());
        message.insert("etag".into(), fresh_etag().into());
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
                .message
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
