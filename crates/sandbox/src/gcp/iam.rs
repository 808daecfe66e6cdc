//! IAM policies of resources: kept, with optimistic concurrency; who may call is not decided by them.

use serde_json::{Value, json};

use super::error::{ApiError, Code, Outcome};
use super::schema::Object;

/// The policy of one resource.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    bindings: Vec<Value>,
    version: i64,
    generation: u64,
}

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

    /// The policy as answered.
    pub fn get(&self) -> Value {
        json!({ "bindings": self.bindings, "etag": self.etag(), "version": self.version })
    }

    /// Replaces the policy by a request's `policy`, if its etag, when given, is the current one.
    pub fn set(&mut self, body: &Object) -> Outcome {
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
        let mut merged: Vec<Value> = Vec::new();
        for binding in policy
            .get("bindings")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            check_binding(binding)?;
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
        self.bindings = merged;
        self.version = policy.get("version").and_then(Value::as_i64).unwrap_or(1);
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

/// The caller has every permission asked for.
pub fn test(body: &Object) -> Value {
    json!({ "permissions": body.get("permissions").cloned().unwrap_or_else(|| json!([])) })
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
