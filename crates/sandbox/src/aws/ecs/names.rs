//! ARNs and ids, as ECS makes them.

use crate::aws::json::random_hex;

/// Makes ARNs for one account and region.
#[derive(Clone)]
pub struct Names {
    prefix: String,
    account: String,
}

impl Names {
    /// For this account and region.
    pub fn new(account: &str, region: &str) -> Self {
        Self {
            prefix: format!("arn:aws:ecs:{region}:{account}:"),
            account: account.to_owned(),
        }
    }

    /// The ARN of a resource, for example `cluster/default`.
    pub fn arn(&self, resource: &str) -> String {
        format!("{}{resource}", self.prefix)
    }

    /// The resource part of one of our ARNs.
    pub fn resource<'a>(&self, arn: &'a str) -> Option<&'a str> {
        arn.strip_prefix(&self.prefix)
    }

    /// The ARN of the sandbox's user.
    pub fn user(&self) -> String {
        format!(
            "arn:aws:iam::{}:user/{}",
            self.account,
            crate::aws::credentials::USER
        )
    }

    /// The cluster's name behind a name or an ARN; `default` without either.
    pub fn cluster(given: Option<&str>) -> String {
        last_part(given.unwrap_or("default")).to_owned()
    }
}

/// What follows the last slash; all of it without one.
pub fn last_part(given: &str) -> &str {
    given.rsplit('/').next().unwrap_or(given)
}

/// A task's id.
pub fn task_id() -> String {
    random_hex(32)
}

/// A number of 19 digits, as deployments and service revisions carry.
pub fn long_number() -> String {
    let number =
        uuid::Uuid::new_v4().as_u128() % 9_000_000_000_000_000_000 + 1_000_000_000_000_000_000;
    number.to_string()
}

/// 21 characters, as service deployments carry.
pub fn short_id() -> String {
    random_hex(21)
}
