//! Secrets: how the plan declares them, and what they are to hold.

use secrecy::SecretString;

use crate::graph::{Graph, Output, Value};
use crate::pins::SecretVersion;
use crate::spec::{Member, SecretSpec};

/// Declares secrets.
pub trait SecretStore {
    /// Declares a secret. With [`SecretContent::Exactly`] its `read` also reads the current value,
    /// compares it in memory and forgets it, so that a changed value is a visible change and
    /// nothing derived from it is kept.
    fn secret(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        content: SecretContent,
    ) -> Output<SecretVersion>;

    /// Declares a member of a secret that is a JSON object and that is declared already. Where the
    /// cloud's services take whole secrets only, that is another secret, of ours.
    fn member(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        member: &Member,
    ) -> Output<SecretVersion>;
}

/// What a secret is to hold, as found out before planning.
#[derive(Clone)]
pub enum SecretContent {
    /// Whatever the cloud holds stays; it must exist.
    Keep,
    /// This value.
    Exactly(SecretString),
    /// What the cloud holds stays; where there is nothing, this value (generated, in memory only).
    AtFirst(SecretString),
    /// What another node makes: unknown until that one is there. Compared with what the cloud holds
    /// in memory.
    From(Value<SecretString>),
}

impl SecretContent {
    /// Whether people put it into the cloud themselves: nothing else has it.
    pub fn is_by_hand(&self) -> bool {
        match self {
            Self::Keep => true,
            Self::Exactly(_) | Self::AtFirst(_) | Self::From(_) => false,
        }
    }
}

impl std::fmt::Debug for SecretContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::Exactly(_) => "Exactly([redacted])",
            Self::AtFirst(_) => "AtFirst([redacted])",
            Self::From(_) => "From([redacted])",
        })
    }
}
