//! One call of a cloud's API as those see it who watch, disturb or count calls.

use std::fmt;

/// Whose API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cloud {
    /// AWS.
    Aws,
    /// Google Cloud.
    Google,
}

/// What a call does to the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing that a later call could see.
    Read,
    /// It may change something.
    Write,
}

/// One call of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiCall {
    /// Whose.
    pub cloud: Cloud,
    /// AWS: `ecs:UpdateService`, as in a policy. Google: the method's id,
    /// `run.projects.locations.services.patch`. Either's container registry: `registry PUT
    /// manifest`. Google's token endpoint: `oauth2.token`.
    pub name: String,
    /// Whether it reads or writes.
    pub effect: Effect,
}

/// How the names of AWS operations begin that change nothing.
const AWS_READS: [&str; 13] = [
    "Get",
    "List",
    "Describe",
    "BatchGet",
    "BatchCheck",
    "Head",
    "Filter",
    "Lookup",
    "Query",
    "Scan",
    "Search",
    "Select",
    "Simulate",
];

/// The last part of the ids of Google methods that change nothing, although some are posted.
const GOOGLE_READS: [&str; 12] = [
    "get",
    "list",
    "getIamPolicy",
    "testIamPermissions",
    "access",
    "wait",
    "batchGet",
    "aggregatedList",
    "search",
    "query",
    "getAuthString",
    "token",
];

impl ApiCall {
    /// A call of AWS, `service:Operation`.
    pub(crate) fn aws(name: String) -> Self {
        let operation = name.split_once(':').map_or("", |(_, operation)| operation);
        let read = AWS_READS.iter().any(|begin| operation.starts_with(begin));
        Self::new(Cloud::Aws, name, read)
    }

    /// A call of a Google method.
    pub(crate) fn google(id: &str) -> Self {
        let last = id.rsplit('.').next().unwrap_or(id);
        let read = GOOGLE_READS.contains(&last);
        Self::new(Cloud::Google, id.to_owned(), read)
    }

    /// A request to a container registry; `kind` is what its path names.
    pub(crate) fn registry(cloud: Cloud, method: &str, kind: &str) -> Self {
        let read = matches!(method, "GET" | "HEAD");
        Self::new(cloud, format!("registry {method} {kind}"), read)
    }

    fn new(cloud: Cloud, name: String, read: bool) -> Self {
        let effect = match read {
            true => Effect::Read,
            false => Effect::Write,
        };
        Self {
            cloud,
            name,
            effect,
        }
    }

    /// Which API: `ecs`, `run`, `registry`.
    pub fn api(&self) -> &str {
        let end = self.name.find([':', '.', ' ']);
        &self.name[..end.unwrap_or(self.name.len())]
    }
}

impl fmt::Display for ApiCall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(call: ApiCall, api: &str, effect: Effect) {
        assert_eq!((call.api(), call.effect), (api, effect), "{call}");
    }

    #[test]
    fn a_call_knows_its_api_and_whether_it_writes() {
        check(
            ApiCall::aws("ecs:DescribeServices".into()),
            "ecs",
            Effect::Read,
        );
        check(
            ApiCall::aws("ecs:UpdateService".into()),
            "ecs",
            Effect::Write,
        );
        check(ApiCall::aws("s3:PutObject".into()), "s3", Effect::Write);
        check(
            ApiCall::google("run.projects.locations.operations.wait"),
            "run",
            Effect::Read,
        );
        check(
            ApiCall::google("logging.entries.list"),
            "logging",
            Effect::Read,
        );
        check(
            ApiCall::google("sql.instances.insert"),
            "sql",
            Effect::Write,
        );
        check(
            ApiCall::registry(Cloud::Aws, "HEAD", "blob"),
            "registry",
            Effect::Read,
        );
        check(
            ApiCall::registry(Cloud::Google, "PATCH", "upload"),
            "registry",
            Effect::Write,
        );
    }
}
