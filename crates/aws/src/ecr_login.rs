//! Logs in to ECR: to the target's own registry, and to those of any account and region, by what
//! their host names say.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use deployer_core::capability::RegistryLogin;
use deployer_core::error::{Error, ErrorKind, Result};
use secrecy::SecretString;

use crate::client;
use crate::credentials::Credentials;
use crate::error::Told;

/// The region of a private ECR registry's host; `None` for any other host.
///
/// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, with `-fips`, in other partitions, and the names that
/// have IPv6 addresses (`ACCOUNT.dkr-ecr.REGION.on.aws`): as the pattern of
/// amazon-ecr-credential-helper, `ecr-login/api/client.go`.
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

/// Logs in to the private ECR registries of one region with the caller's credentials. Nothing is
/// asked yet.
pub async fn ecr_login(region: &str, credentials: &Credentials) -> Arc<dyn RegistryLogin> {
    let config = client::plain(region, credentials).await;
    Arc::new(EcrLogin::unasked(aws_sdk_ecr::Client::new(&config)))
}

/// What ECR gives for a while to whoever may pull or push.
pub(crate) struct Authorization {
    pub(crate) user: String,
    pub(crate) password: SecretString,
    pub(crate) endpoint: String,
}

/// The token is good for every registry that the caller may use, in the client's region; which ones
/// are named is ignored (`registryIds` is deprecated: botocore's model of ECR,
/// `GetAuthorizationTokenRequest`).
pub(crate) async fn authorization(ecr: &aws_sdk_ecr::Client) -> Result<Authorization> {
    let answer = ecr.get_authorization_token().send().await;
    let answer = answer.told(|| "get a password for the image registry".into())?;
    let data = answer.authorization_data().first();
    let token = data.and_then(|data| data.authorization_token());
    let (user, password) = basic(token.unwrap_or_default())
        .ok_or_else(|| Error::new(ErrorKind::Rejected, "ECR answered no usable password"))?;
    let endpoint = data.and_then(|data| data.proxy_endpoint());
    Ok(Authorization {
        user,
        password,
        endpoint: endpoint.unwrap_or_default().to_owned(),
    })
}

/// ECR's password, which lasts twelve hours: the one that is there first, from then on a new one
/// each time.
pub(crate) struct EcrLogin {
    ecr: aws_sdk_ecr::Client,
    first: Mutex<Option<(String, SecretString)>>,
}

impl EcrLogin {
    pub(crate) fn new(ecr: aws_sdk_ecr::Client, first: (String, SecretString)) -> Self {
        Self {
            ecr,
            first: Mutex::new(Some(first)),
        }
    }

    /// For a client that was not asked yet.
    fn unasked(ecr: aws_sdk_ecr::Client) -> Self {
        Self {
            ecr,
            first: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for EcrLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EcrLogin([redacted])")
    }
}

#[async_trait]
impl RegistryLogin for EcrLogin {
    async fn login(&self) -> Result<(String, SecretString)> {
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        if let Some(first) = first {
            return Ok(first);
        }
        let given = authorization(&self.ecr).await?;
        Ok((given.user, given.password))
    }
}

/// User and password of ECR's token, which is basic authentication's.
fn basic(token: &str) -> Option<(String, SecretString)> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(token)
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned().into()))
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

    #[test]
    fn a_password_that_is_not_basic_authentication_is_refused() {
        assert!(basic("QVdTOnNlY3JldA==").is_some_and(|(user, _)| user == "AWS"));
        assert!(basic("!").is_none());
        assert!(basic("QVdT").is_none());
    }
}
