//! Which parts of a manifest, and which commands beside it, need permissions of their own. What
//! they need is said by each cloud's crate, in its table.

/// A part of a manifest, or a command, that a caller may be allowed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// A service, its image, its log and the ledger.
    Always,
    /// Secrets that `deployer` keeps.
    Secrets,
    /// Secrets that somebody else keeps and the service reads.
    SharedSecrets,
    /// A migration before the roll-out.
    Migrations,
    /// Commands that people run once, beside a service.
    OneOffs,
    /// Commands in containers that run.
    Commands,
    /// Managed databases.
    Databases,
    /// Managed caches.
    Caches,
    /// A range of instances, where the runtime does not scale by itself.
    Scaling,
    /// A load balancer that is there already.
    LoadBalancers,
    /// Records in the DNS.
    Dns,
    /// Services that App Runner runs.
    AppRunner,
    /// Domains that a service of App Runner's answers for.
    Domains,
    /// APIs that `apply` switches on itself.
    Apis,
}

impl Feature {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 14] = [
        Self::Always,
        Self::Secrets,
        Self::SharedSecrets,
        Self::Migrations,
        Self::OneOffs,
        Self::Commands,
        Self::Databases,
        Self::Caches,
        Self::Scaling,
        Self::LoadBalancers,
        Self::Dns,
        Self::AppRunner,
        Self::Domains,
        Self::Apis,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Secrets => "secrets",
            Self::SharedSecrets => "shared-secrets",
            Self::Migrations => "migrations",
            Self::OneOffs => "one-offs",
            Self::Commands => "commands",
            Self::Databases => "databases",
            Self::Caches => "caches",
            Self::Scaling => "scaling",
            Self::LoadBalancers => "load-balancers",
            Self::Dns => "dns",
            Self::AppRunner => "app-runner",
            Self::Domains => "domains",
            Self::Apis => "apis",
        }
    }

    /// What in a manifest needs it, in Markdown.
    pub fn needed_by(self) -> &'static str {
        match self {
            Self::Always => "every manifest",
            Self::Secrets => "`[secrets]`, `[keys]`, `[databases]`, `[caches]`",
            Self::SharedSecrets => "`[secrets]` of another owner",
            Self::Migrations => "`[services.NAME.migrate]`",
            Self::OneOffs => "`deployer run`",
            Self::Commands => "`mode = \"exec\"` of a migration, `deployer exec`",
            Self::Databases => "`[databases]`",
            Self::Caches => "`[caches]`",
            Self::Scaling => "`replicas = { min = ..., max = ... }`",
            Self::LoadBalancers => "`target_group`",
            Self::Dns => "`[targets.CLOUD.services.NAME.dns]`",
            Self::AppRunner => "`runtime = \"app-runner\"`",
            Self::Domains => "`domains`, beside what their records need (`dns`)",
            Self::Apis => "`enable_apis = true`",
        }
    }
}
