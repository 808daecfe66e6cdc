//! Secrets and key pairs, as they are written. Never a value.

use deployer_core::spec::{Inject, OnRollback};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::described;
use crate::secret_from::From;

/// `[secrets.NAME]`: a secret by name, never its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secret {
    /// Where its value comes from. Not for the secrets of databases and caches: those are made from
    /// these.
    pub from: From,
    /// What a rollback does with it; `restore` when absent, `follow` for the secrets of databases
    /// and caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "described::on_rollback")]
    pub on_rollback: Option<OnRollback>,
    /// How it reaches the app.
    #[schemars(schema_with = "described::inject")]
    pub inject: Inject,
    /// Its name in every cloud, instead of the one made from app, environment and key. With `from =
    /// "cloud"` also the full name of a secret that somebody else made: an ARN,
    /// `projects/P/secrets/S`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The member to take of a secret that holds a JSON object: `"password"`. With `from = "cloud"`
    /// only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key under which it was first applied, where it is called otherwise now: its name in the
    /// clouds is made from that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

/// `[keys.NAME]`: a key pair whose halves are two secrets, equal on every target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// What kind of key.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The secret with the private half.
    pub private: String,
    /// The secret with the public half.
    pub public: String,
}

/// The kind of a key pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// RSA, 2048 bits.
    #[default]
    #[serde(rename = "rsa:2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa:3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa:4096")]
    Rsa4096,
}

impl Algorithm {
    /// The key's length in bits.
    pub fn bits(self) -> u16 {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}
