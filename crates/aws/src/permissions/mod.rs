//! What the caller must be allowed on AWS: one row for each kind and step, and the policies that
//! are made of the rows.
//!
//! Source of every action, of the resources that it can be narrowed to and of what a call needs
//! besides its own action: the Service Authorization Reference
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/>), its tables "Actions"
//! and "API operations", as of August 2026.

mod calls;
pub(crate) mod places;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::permissions::Feature;
use serde_json::{Value, json};

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

/// What reading and changing something takes.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// What in a manifest brings it.
    pub feature: Feature,
    /// What reading it takes: `plan`, `status`.
    pub read: &'static [Grant],
    /// What making, changing and removing it takes.
    pub change: &'static [Grant],
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

/// Actions on the same things, under the same conditions.
#[derive(Debug)]
pub struct Grant {
    /// The IAM actions.
    pub actions: &'static [&'static str],
    /// ARNs, in which REGION, ACCOUNT, CLUSTER, APP, ENV and so on stand for names; `*` where IAM
    /// takes nothing else.
    pub on: &'static [&'static str],
    /// What a request must say besides.
    pub when: &'static [Condition],
}

/// One condition of a statement.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// `StringEquals`.
    pub operator: &'static str,
    /// The condition key.
    pub key: &'static str,
    /// What it must be.
    pub value: &'static str,
}

/// These actions on these things.
pub(crate) const fn grant(actions: &'static [&'static str], on: &'static [&'static str]) -> Grant {
    given(actions, on, places::NONE)
}

/// The same under conditions.
pub(crate) const fn given(
    actions: &'static [&'static str],
    on: &'static [&'static str],
    when: &'static [Condition],
) -> Grant {
    Grant { actions, on, when }
}

/// A service makes its role in an account when it is first used; who calls it then must be allowed
/// to.
macro_rules! service_linked_role {
    ($service:literal, $role:literal) => {
        $crate::permissions::Grant {
            actions: &["iam:CreateServiceLinkedRole"],
            on: &[concat!(
                "arn:aws:iam::ACCOUNT:role/aws-service-role/",
                $service,
                "/",
                $role
            )],
            when: &[$crate::permissions::Condition {
                operator: "StringEquals",
                key: "iam:AWSServiceName",
                value: $service,
            }],
        }
    };
}

pub(crate) use service_linked_role;

/// Roles that tasks run with.
pub(crate) const PASS_ROLES: Grant = given(&["iam:PassRole"], places::ROLES, places::TO_TASKS);

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
