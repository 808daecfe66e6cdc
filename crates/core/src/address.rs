//! Names the things that a plan is made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which cloud: the first word of every address, and the value of `--cloud`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudName {
    /// Amazon Web Services.
    Aws,
    /// Google Cloud.
    Gcp,
}

impl CloudName {
    /// Every cloud, in the order in which plans print them.
    pub const ALL: [Self; 2] = [Self::Aws, Self::Gcp];

    /// The word used in addresses, manifests and arguments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
        }
    }
}

impl fmt::Display for CloudName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CloudName {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|cloud| cloud.as_str() == text)
            .ok_or_else(|| BadAddress(text.to_owned()))
    }
}

/// One cloud, one account or project, one region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The cloud.
    pub cloud: CloudName,
    /// The AWS account id or the Google Cloud project id.
    pub account: String,
    /// The region.
    pub region: String,
    /// Whether every call goes to loopback; headers then say SANDBOX.
    pub sandbox: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.cloud, self.account, self.region)?;
        if self.sandbox {
            f.write_str(" SANDBOX")
        } else {
            Ok(())
        }
    }
}

/// A node's name within one environment: `aws/us-east-1/ecs.service/agentidp-staging`.
///
/// The parts never contain an empty string; the name may contain slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The cloud.
    pub cloud: CloudName,
    /// The region.
    pub region: String,
    /// The kind, in the vendor's words: `ecs.service`, `run.job`.
    pub kind: String,
    /// The name that the cloud knows it by.
    pub name: String,
}

impl Address {
    /// An address in `target`.
    pub fn new(target: &Target, kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            cloud: target.cloud,
            region: target.region.clone(),
            kind: kind.into(),
            name: name.into(),
        }
    }

    /// The address of a step of this node's: of another kind, by the same name.
    pub fn step(&self, kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.cloud, self.region, self.kind, self.name
        )
    }
}

/// A text that is no address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{0}` is not an address (cloud/region/kind/name)")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadAddress(text.to_owned());
        let mut parts = text.splitn(4, '/').map(str::to_owned);
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(bad);
        Ok(Self {
            cloud: part()?.parse().map_err(|_| bad())?,
            region: part()?,
            kind: part()?,
            name: part()?,
        })
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_being_printed_and_read() {
        let text = "aws/us-east-1/secretsmanager.secret//agentidp/staging/database-url";
        let address: Address = text.parse().unwrap();
        assert_eq!(address.name, "/agentidp/staging/database-url");
        assert_eq!(address.to_string(), text);
        assert!("aws/us-east-1/ecs.service".parse::<Address>().is_err());
        assert!("azure/x/y/z".parse::<Address>().is_err());
    }
}
