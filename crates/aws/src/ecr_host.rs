//! Logs in to ECR registries of any account and region, by what their host names say.

use std::sync::Arc;

use deployer_core::capability::RegistryLogin;

use crate::client;
use crate::credentials::Credentials;
use crate::registry::EcrLogin;

/// The region of a private ECR registry's host; `None` for any other host.
///
/// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, with `-fips`, in other partitions, and the names that have IPv6 addresses
/// (`ACCOUNT.dkr-ecr.REGION.on.aws`): as the pattern of amazon-ecr-credential-helper, `ecr-login/api/client.go`.
pub fn ecr_region(host: &str) -> Option<&str> {
    const DOMAINS: [&str; 9] = [
        "amazonaws.com",
        "amazonaws.com.cn",
        "amazonaws.eu",
        "on.aws",
        "on.amazonwebservices.com.cn",
        "sc2s.sgov.gov",
        "c2s.ic.gov",
        "cloud.adc-e.uk",
        "csp.hci.ic.gov",
    ];
    let (account, rest) = host.split_once('.')?;
    if account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let rest = rest
        .strip_prefix("dkr.ecr")
        .or_else(|| rest.strip_prefix("dkr-ecr"))?;
    let rest = rest
        .strip_prefix("-fips")
        .unwrap_or(rest)
        .strip_prefix('.')?;
    let (region, domain) = rest.split_once('.')?;
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_region = !region.is_empty() && region.chars().all(word);
    (is_region && DOMAINS.contains(&domain)).then_some(region)
}

/// Logs in to the private ECR registries of one region with the caller's credentials. Nothing is asked yet.
pub async fn ecr_login(region: &str, credentials: &Credentials) -> Arc<dyn RegistryLogin> {
    let config = client::plain(region, credentials).await;
    Arc::new(EcrLogin::unasked(aws_sdk_ecr::Client::new(&config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_private_registry_says_its_region() {
        let check = |host, region| assert_eq!(ecr_region(host), region, "{host}");
        check(
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            Some("eu-west-1"),
        );
        check(
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",
            Some("cn-north-1"),
        );
        check(
            "111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            Some("us-gov-west-1"),
        );
        check("111122223333.dkr-ecr.us-east-1.on.aws", Some("us-east-1"));
        check("public.ecr.aws", None);
        check("docker.io", None);
        check(
            "111122223333.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            None,
        );
        check("evil.example.dkr.ecr.us-east-1.amazonaws.com", None);
        check("111122223333.dkr.ecr.us-east-1.evil.example", None);
        check("111122223333.dkr.ecrx.us-east-1.amazonaws.com", None);
    }
}
