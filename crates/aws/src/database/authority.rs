//! The certificates of the authorities that sign the certificates of RDS's servers.
//!
//! No public store has them. AWS publishes a bundle for each region (user guide, "Using SSL/TLS to
//! encrypt a connection to a DB instance"); it is fetched over TLS, or read from a file that the
//! manifest names. None is part of this program: they change.

use std::path::PathBuf;

use deployer_core::error::{Error, ErrorKind, Result};
use secrecy::SecretString;

use crate::client::Clients;

/// What Secrets Manager takes as a value.
const MOST: usize = 65_536;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Where the bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bundle {
    /// A file of this machine.
    File(PathBuf),
    /// This URL.
    Published(String),
}

impl Bundle {
    /// The manifest's own file, else what AWS publishes for the region; a sandbox publishes its own
    /// authority's at its own address.
    pub(super) fn of(clients: &Clients, file: Option<&str>) -> Self {
        if let Some(file) = file {
            return Self::File(PathBuf::from(file));
        }
        let region = &clients.section.region;
        let local = clients.endpoint.as_deref();
        let base = match local.filter(|_| clients.target.sandbox) {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => published(region),
        };
        Self::Published(format!("{base}/{region}/{region}-bundle.pem"))
    }

    /// The certificates, PEM.
    ///
    /// Errors: not found, when there is no such file; unavailable, when nobody answers; input, when
    /// it holds no certificate or more than a secret takes.
    pub(super) async fn read(&self, clients: &Clients) -> Result<SecretString> {
        let (text, whence) = match self {
            Self::File(path) => (read_file(path)?, path.display().to_string()),
            Self::Published(url) => (fetch(clients, url).await?, url.clone()),
        };
        checked(&text, &whence).map(SecretString::from)
    }
}

/// Who publishes the bundles of a region's partition.
fn published(region: &str) -> String {
    match region.split('-').next() {
        Some("cn") => format!("https://rds-truststore.s3.{region}.amazonaws.com.cn"),
        _ if region.starts_with("us-gov-") => {
            format!("https://truststore.pki.{region}.rds.amazonaws.com")
        }
        _ => "https://truststore.pki.rds.amazonaws.com".to_owned(),
    }
}

fn read_file(path: &PathBuf) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the authorities of RDS from {}", path.display());
        Error::new(ErrorKind::NotFound, what)
            .because(error)
            .hint("correct `authority_file` in `[targets.aws.databases.NAME]`; it is relative to the manifest")
    })
}

async fn fetch(clients: &Clients, url: &str) -> Result<String> {
    let failed = |error: reqwest::Error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot fetch the authorities of RDS from {url}"),
        )
        .because(error.without_url())
        .hint("let this machine reach it, or download it once and name it: `authority_file` in `[targets.aws.databases.NAME]`")
    };
    let client = reqwest::Client::builder()
        .timeout(clients.context.call_timeout)
        .build()
        .map_err(failed)?;
    let answer = client.get(url).send().await.map_err(failed)?;
    let answer = answer.error_for_status().map_err(failed)?;
    answer.text().await.map_err(failed)
}

fn checked(text: &str, whence: &str) -> Result<String> {
    let complete = text.contains(BEGIN) && text.matches(BEGIN).count() == text.matches(END).count();
    if !complete {
        let message = format!("{whence} holds no certificates (PEM)");
        return Err(Error::input(message).hint("name the bundle that AWS publishes for the region"));
    }
    if text.len() > MOST {
        let message = format!("{whence} has {} bytes, a secret takes {MOST}", text.len());
        return Err(Error::input(message).hint("take the bundle of the region, not the global one"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_publishes_its_own_bundles() {
        for (region, host) in [
            ("eu-west-1", "https://truststore.pki.rds.amazonaws.com"),
            (
                "us-gov-west-1",
                "https://truststore.pki.us-gov-west-1.rds.amazonaws.com",
            ),
            (
                "cn-north-1",
                "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            assert_eq!(published(region), host);
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused_with_where_it_came_from() {
        let one = format!("{BEGIN}\nMIIB\n{END}\n");
        assert_eq!(checked(&one, "x").unwrap(), one);
        let cut = format!("{BEGIN}\nMIIB\n");
        for wrong in ["", "<html>", &cut, &one.repeat(2000)] {
            let refused = checked(wrong, "bundle.pem").unwrap_err();
            assert!(refused.to_string().starts_with("bundle.pem"), "{refused}");
        }
    }
}
