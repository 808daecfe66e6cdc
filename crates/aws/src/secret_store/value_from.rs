//! `valueFrom`: how ECS is told which version of a secret a container is given,
//! `ARN:JSON-KEY:VERSION-STAGE:VERSION-ID` ("Pass Secrets Manager secrets through Amazon ECS
//! environment variables", Amazon ECS Developer Guide).

use deployer_core::capability::SecretVersion;

use super::CURRENT;

/// The form in which ECS injects exactly one version of a secret, or of one member of the JSON
/// object that it is; of a secret that somebody else rotates, what is current when a task starts.
pub(crate) fn pin(member: Option<&str>, version: &SecretVersion) -> String {
    let key = member.unwrap_or_default();
    let SecretVersion { secret, version } = version;
    match version.as_str() {
        CURRENT => format!("{secret}:{key}:{CURRENT}:"),
        version => format!("{secret}:{key}::{version}"),
    }
}

/// The secret's version that a `valueFrom` pins, or names as the current one. `None` when it does
/// neither.
pub(crate) fn pinned(value_from: &str) -> Option<SecretVersion> {
    let parts: Vec<&str> = value_from.split(':').collect();
    let [arn @ .., _key, stage, version] = parts.as_slice() else {
        return None;
    };
    let version = match (*stage, *version) {
        (CURRENT, "") => CURRENT,
        (_, version) => version,
    };
    (arn.len() == 7 && !version.is_empty()).then(|| SecretVersion {
        secret: arn.join(":"),
        version: version.to_owned(),
    })
}

/// Replaces the version that a `valueFrom` pins, keeping its JSON key.
pub(crate) fn repin(value_from: &str, version: &SecretVersion) -> String {
    pin(value_from.split(':').nth(7), version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:idp/db-AbCdEf";

    fn version(version: &str) -> SecretVersion {
        SecretVersion {
            secret: ARN.into(),
            version: version.into(),
        }
    }

    #[test]
    fn a_pin_names_one_version_and_keeps_a_json_key() {
        assert_eq!(pinned(&pin(None, &version("v1"))), Some(version("v1")));
        let member = pin(Some("password"), &version("v1"));
        assert_eq!(member, format!("{ARN}:password::v1"));
        assert_eq!(pinned(&member), Some(version("v1")));
        assert_eq!(pinned(ARN), None);
        assert_eq!(
            repin(&format!("{ARN}:url::v1"), &version("v2")),
            format!("{ARN}:url::v2")
        );
        assert_eq!(repin(ARN, &version("v2")), pin(None, &version("v2")));
    }

    #[test]
    fn of_a_secret_that_is_rotated_the_current_version_is_named_and_none_is_pinned() {
        let moving = pin(Some("password"), &version("AWSCURRENT"));
        assert_eq!(moving, format!("{ARN}:password:AWSCURRENT:"));
        assert_eq!(pinned(&moving), Some(version("AWSCURRENT")));
        assert_eq!(
            repin(&moving, &version("v2")),
            format!("{ARN}:password::v2")
        );
        assert_eq!(
            repin(&format!("{ARN}:password::v2"), &version("AWSCURRENT")),
            moving
        );
        // Another stage is somebody's own affair.
        assert_eq!(pinned(&format!("{ARN}::AWSPREVIOUS:")), None);
    }
}
