//! What the caller must be allowed on AWS: one row for each kind and step, and the policies that
//! are made of the rows.
//!
//! Source of every action, of the resources that it can be narrowed to and of what a call needs
//! besides its own action: the Service Authorization Reference
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/>), its tables "Actions"
//! and "API operations", as of August 2026.

mod calls;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::permissions::Feature;
use serde_json::{Value, json};

pub use crate::access::{Access, Condition, Grant};
pub use calls::actions_of;
pub use table::{NEEDS, ONLY};

/// How many characters a managed policy may have, white space not counted ("IAM and AWS STS
/// quotas", IAM User Guide).
pub const LONGEST_POLICY: usize = 6144;

/// What one kind or step needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The kind as addresses have it; of what has no address, a name.
    pub kind: &'static str,
    /// What it is, for people.
    pub noun: &'static str,
    /// What it takes.
    pub access: Access,
}

impl Need {
    fn grants(&self) -> impl Iterator<Item = &'static Grant> {
        self.access.read.iter().chain(self.access.change)
    }

    /// The actions that reading takes, and those that changing takes.
    pub fn actions(&self) -> [BTreeSet<&'static str>; 2] {
        let of = |grants: &'static [Grant]| grants.iter().flat_map(|grant| grant.actions);
        [self.access.read, self.access.change].map(|grants| of(grants).copied().collect())
    }
}

/// A statement's resources and conditions.
type Bounds = (&'static [Condition], &'static [&'static str]);

/// The least that a manifest with these features needs: as many policies as IAM's limit of length
/// makes necessary.
pub fn policies(features: &[Feature]) -> Vec<Value> {
    let needs = NEEDS
        .iter()
        .filter(|need| features.contains(&need.access.feature));
    documents(needs.flat_map(Need::grants), |_| true)
}

/// The least that `apply --only` needs.
pub fn only() -> Vec<Value> {
    documents(NEEDS.iter().flat_map(Need::grants), |action| {
        ONLY.contains(&action)
    })
}

/// Policies of those actions of the grants that are `wanted`.
fn documents(
    grants: impl Iterator<Item = &'static Grant>,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Value> {
    let mut statements: BTreeMap<Bounds, BTreeSet<&'static str>> = BTreeMap::new();
    for grant in grants {
        let actions = grant.actions.iter().copied();
        let mut actions = actions.filter(|action| wanted(action)).peekable();
        if actions.peek().is_some() {
            let place = (grant.when, grant.on);
            statements.entry(place).or_default().extend(actions);
        }
    }
    let mut statements: Vec<_> = statements.into_iter().collect();
    // Those of one service stand together.
    statements.sort_by_key(|(_, actions)| actions.first().copied());
    let mut documents: Vec<Vec<Value>> = Vec::new();
    for ((when, on), actions) in statements {
        let statement = statement(when, on, &actions);
        match documents.last_mut() {
            Some(last) if fits(last, &statement) => last.push(statement),
            _ => documents.push(vec![statement]),
        }
    }
    documents.iter().map(|it| document(it)).collect()
}

fn statement(when: &[Condition], on: &[&'static str], actions: &BTreeSet<&'static str>) -> Value {
    let mut statement = json!({
        "Effect": "Allow",
        "Action": one_or_more(actions.iter().copied()),
        "Resource": one_or_more(on.iter().copied()),
    });
    for Condition {
        operator,
        key,
        value,
    } in when
    {
        statement["Condition"][operator][key] = json!(value);
    }
    statement
}

fn one_or_more(texts: impl Iterator<Item = &'static str>) -> Value {
    let texts: Vec<&str> = texts.collect();
    match texts.as_slice() {
        [one] => json!(one),
        _ => json!(texts),
    }
}

fn document(statements: &[Value]) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn fits(statements: &[Value], more: &Value) -> bool {
    let all: Vec<Value> = statements.iter().chain([more]).cloned().collect();
    length(&document(&all)) <= LONGEST_POLICY
}

/// The characters of a policy that count.
pub fn length(policy: &Value) -> usize {
    let text = policy.to_string();
    text.chars().filter(|c| !c.is_whitespace()).count()
}

#[cfg(test)]
mod tests;
