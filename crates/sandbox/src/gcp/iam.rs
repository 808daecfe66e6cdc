//! IAM policies of resources: kept, with optimistic concurrency. They decide which secrets a
//! service's account reads, once they have got about; who calls the sandbox's own APIs may do
//! everything that no fault denies.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Code, Outcome};
use super::faults::permission;
use super::schema::{Object, method_ids};
use crate::call::ApiCall;

/// The policy of one resource.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Policy {
    bindings: Vec<Value>,
    version: i64,
    generation: u64,
    /// What was set, and when: the latest is last. A policy gets about only after a while.
    history: Vec<(Timestamp, Vec<Value>)>,
}

/// The roles that hold `secretmanager.versions.access`; Editor and Viewer do not
/// (<https://cloud.google.com/secret-manager/docs/access-control>).
const READ_SECRETS: [&str; 3] = [
    "roles/secretmanager.secretAccessor",
    "roles/secretmanager.admin",
    "roles/owner",
];

/// Who may be named in a binding.
const MEMBER_PREFIXES: [&str; 12] = [
    "user:",
    "serviceAccount:",
    "group:",
    "domain:",
    "principal://",
    "principalSet://",
    "projectOwner:",
    "projectEditor:",
    "projectViewer:",
    "deleted:user:",
    "deleted:serviceAccount:",
    "deleted:group:",
];

impl Policy {
    fn etag(&self) -> String {
        use base64::Engine;
        if self.generation == 0 {
            // What Google answers for a policy that was never set.
            return "ACAB".into();
        }
        let mut bytes = b"BwZ".to_vec();
        bytes.extend(self.generation.to_be_bytes());
        base64::engine::general_purpose::STANDARD.encode(&bytes[..11])
    }

    /// A policy that grants this from the beginning of time.
    pub fn of(role: &str, member: &str) -> Self {
        let bindings = vec![json!({ "role": role, "members": [member] })];
        Self {
            history: vec![(Timestamp::MIN, bindings.clone())],
            bindings,
            version: 1,
            generation: 1,
        }
    }

    /// The policy as answered.
    pub fn get(&self) -> Value {
        json!({ "bindings": self.bindings, "etag": self.etag(), "version": self.version })
    }

    /// Whether a service account may read secrets by this policy, as it has got about. What was set
    /// counts once `has_got_about`; conditions are taken for unmet.
    fn reads_secrets(&self, account: &str, has_got_about: impl Fn(Timestamp) -> bool) -> bool {
        let mut known = self.history.iter().rev();
        let Some((_, bindings)) = known.find(|(at, _)| has_got_about(*at)) else {
            return false;
        };
        let member = format!("serviceAccount:{account}");
        bindings.iter().any(|binding| {
            binding.get("condition").is_none()
                && READ_SECRETS.iter().any(|role| binding["role"] == *role)
                && binding["members"]
                    .as_array()
                    .is_some_and(|members| members.iter().any(|it| *it == *member))
        })
    }

    /// Replaces the policy by a request's `policy`, if its etag, when given, is the current one.
    pub fn set_at(&mut self, body: &Object, now: Timestamp) -> Outcome {
        let policy = body
            .get("policy")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if let Some(etag) = policy.get("etag").and_then(Value::as_str)
            && etag != self.etag()
        {
            return Err(ApiError::new(
                Code::Aborted,
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
            ));
        }
        let version = policy.get("version").and_then(Value::as_i64);
        let mut merged: Vec<Value> = Vec::new();
        for binding in policy
            .get("bindings")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            check_binding(binding)?;
            // "Any operation that affects conditional role bindings must specify version 3"
            // (google.iam.v1.Policy).
            if binding.get("condition").is_some() && version != Some(3) {
                return Err(ApiError::invalid(
                    "Invalid policy version: conditional role bindings need version 3.",
                ));
            }
            let same = |b: &&mut Value| {
                b["role"] == binding["role"] && b.get("condition") == binding.get("condition")
            };
            let members = binding["members"].as_array().cloned().unwrap_or_default();
            match merged
                .iter_mut()
                .find(same)
                .and_then(|b| b["members"].as_array_mut())
            {
                Some(known) => known.extend(members),
                None if members.is_empty() => {}
                None => merged.push(binding.clone()),
            }
        }
        for binding in &mut merged {
            if let Some(members) = binding["members"].as_array_mut() {
                members.sort_by_key(ToString::to_string);
                members.dedup();
            }
        }
        self.history.push((now, merged.clone()));
        self.bindings = merged;
        self.version = version.unwrap_or(1);
        self.generation += 1;
        Ok(self.get())
    }

    /// Whether everyone has `role`.
    pub fn grants_all_users(&self, role: &str) -> bool {
        self.bindings.iter().any(|binding| {
            binding["role"] == role
                && binding.get("condition").is_none()
                && binding["members"]
                    .as_array()
                    .is_some_and(|m| m.iter().any(|m| m == "allUsers"))
        })
    }
}

impl Gcp {
    /// Whether a service account may read the secret that has this policy, by that or, where it is
    /// this project's, by the project's.
    ///
    /// "It typically takes 2 minutes for a change to take effect, potentially 7 minutes or longer"
    /// (<https://cloud.google.com/iam/docs/access-change-propagation>): how long is
    /// [`Host::iam_delay`](crate::Host).
    pub(super) fn may_read_secret(&self, policy: &Policy, account: &str, is_ours: bool) -> bool {
        let clock = &self.host().clock;
        let delay = clock.in_cloud_time(self.host().iam_delay.get());
        let has_got_about = |at: Timestamp| at == Timestamp::MIN || clock.since(at) >= delay;
        policy.reads_secrets(account, has_got_about)
            || is_ours && self.with_project_policy(|it| it.reads_secrets(account, has_got_about))
            || is_ours && self.inherits(|it| it.reads_secrets(account, has_got_about))
    }

    /// The permissions asked for that the caller has: all but those whose method is denied by a
    /// fault in force.
    pub(super) fn test_permissions(&self, body: &Object) -> Value {
        let asked = body.get("permissions").and_then(Value::as_array);
        let denied = |wanted: &Value| {
            let mut methods = method_ids().filter(|method| *wanted == permission(method));
            methods.any(|method| self.host().interceptor.denies(&ApiCall::google(method)))
        };
        let held = asked.into_iter().flatten().filter(|it| !denied(it));
        json!({ "permissions": held.collect::<Vec<_>>() })
    }
}

fn check_binding(binding: &Value) -> Outcome<()> {
    let role = binding["role"].as_str().unwrap_or_default();
    let custom = role.starts_with("projects/") || role.starts_with("organizations/");
    let fits = match role.strip_prefix("roles/") {
        Some(name) => !name.is_empty(),
        None => custom && role.contains("/roles/"),
    };
    if !fits {
        return Err(ApiError::invalid(format!(
            "Role {role} is not supported for this resource."
        )));
    }
    for member in binding["members"].as_array().into_iter().flatten() {
        let member = member.as_str().unwrap_or_default();
        let named = MEMBER_PREFIXES
            .iter()
            .any(|p| member.strip_prefix(p).is_some_and(|rest| !rest.is_empty()));
        if !named && member != "allUsers" && member != "allAuthenticatedUsers" {
            return Err(ApiError::invalid(format!(
                "The member {member} is of an unknown type. Please set a valid type prefix for the member."
            )));
        }
    }
    Ok(())
}
