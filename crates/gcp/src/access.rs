//! What a kind says of the permissions that it takes: the words that each kind's file says it with.
//! `permissions/` makes roles of them.

use deployer_core::permissions::Feature;

/// What reading and changing something takes.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// What in a manifest brings it.
    pub feature: Feature,
    /// What reading it takes: `plan`, `status`.
    pub read: &'static [&'static str],
    /// What making, changing and removing it takes.
    pub change: &'static [&'static str],
    /// The least predefined roles that hold all of it.
    pub roles: &'static [&'static str],
    /// On what the roles are granted.
    pub on: On,
}

/// What a role is granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// The project.
    Project,
    /// The service account that the app runs as.
    RuntimeAccount,
    /// The ledger's bucket.
    Bucket,
    /// The project of a secret of another owner.
    SecretsProject,
}

impl On {
    /// The command that grants a role on it, PROJECT, MEMBER and so on being names that are left
    /// open.
    pub fn grant(self, role: &str) -> String {
        match self {
            Self::Project => format!(
                "gcloud projects add-iam-policy-binding PROJECT --member=MEMBER --role={role}"
            ),
            Self::RuntimeAccount => format!(
                "gcloud iam service-accounts add-iam-policy-binding RUNTIME_ACCOUNT --member=MEMBER --role={role}"
            ),
            Self::Bucket => format!(
                "gcloud storage buckets add-iam-policy-binding gs://deployer-PROJECT-REGION --member=MEMBER --role={role}"
            ),
            Self::SecretsProject => format!(
                "gcloud projects add-iam-policy-binding SECRETS_PROJECT --member=MEMBER --role={role}"
            ),
        }
    }
}
