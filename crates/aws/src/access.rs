//! What a kind says of the permissions that it takes: the words that each kind's file says it with.
//! `permissions/` makes policies of them.

pub(crate) mod places;

use deployer_core::permissions::Feature;

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
        $crate::access::Grant {
            actions: &["iam:CreateServiceLinkedRole"],
            on: &[concat!(
                "arn:aws:iam::ACCOUNT:role/aws-service-role/",
                $service,
                "/",
                $role
            )],
            when: &[$crate::access::Condition {
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
