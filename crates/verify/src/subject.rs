//! What is examined: one service on one target.

use deployer_core::capability::Serving;
use deployer_core::spec::VerifySpec;
use secrecy::SecretString;
use url::Url;

/// One service on one target, with everything that the checks need.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the target is called in reports: `aws`.
    pub target: String,
    /// Where people reach the service, without the path; or why nobody knows.
    pub address: Result<Url, String>,
    /// The path that answers 200 when the service is healthy.
    pub health: String,
    /// What the manifest asks for.
    pub spec: VerifySpec,
    /// What every request carries where the cloud itself checks who calls.
    pub pass: Option<Pass>,
    /// The client that asks for a token.
    pub credentials: Credentials,
    /// The cloud's own word.
    pub serving: Word,
}

/// A header that lets requests through. Never shown: `Debug` of the value is redacted.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Its name.
    pub header: &'static str,
    /// Its value.
    pub value: SecretString,
}

/// The cloud's own word on a service.
#[derive(Clone, Debug)]
pub enum Word {
    /// It answered; `None` when it has no such service.
    Said(Option<Serving>),
    /// It could not be asked; says why.
    Unheard(String),
    /// The caller may not ask; says why. The check is skipped.
    Withheld(String),
}

/// A client's id and secret. Never shown: `Debug` of the values is redacted.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// No token is asked for.
    NotNeeded,
    /// Both are known.
    Given {
        /// The client's id.
        id: SecretString,
        /// The client's secret.
        secret: SecretString,
    },
    /// One is not there: the check fails; says which.
    Missing(String),
    /// The caller may not read one: the check is skipped; says which.
    Withheld(String),
}
