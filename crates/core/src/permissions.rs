//! Which parts of a manifest, and which commands beside it, need permissions of their own. What
//! they need is said by each cloud's crate, in its table.

/// Makes the enumeration, its list and its words of one row each.
macro_rules! features {
    ($($(#[$doc:meta])* $feature:ident: $name:literal, $needed_by:literal;)+) => {
        /// A part of a manifest, or a command, that a caller may be allowed by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature {
            $($(#[$doc])* $feature,)+
        }

        impl Feature {
            /// All of them, in the order in which they are told.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$feature),+];

            /// Its name in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$feature => $name,)+
                }
            }

            /// What in a manifest needs it, in Markdown.
            pub fn needed_by(self) -> &'static str {
                match self {
                    $(Self::$feature => $needed_by,)+
                }
            }
        }
    };
}

features! {
    /// A service, its image, its log and the ledger.
    Always: "always", "every manifest";
    /// Secrets that `deployer` keeps.
    Secrets: "secrets", "`[secrets]`, `[keys]`, `[databases]`, `[caches]`";
    /// Secrets that somebody else keeps and the service reads.
    SharedSecrets: "shared-secrets", "`[secrets]` of another owner";
    /// A migration before the roll-out.
    Migrations: "migrations", "`[services.NAME.migrate]`";
    /// Commands that people run once, beside a service.
    OneOffs: "one-offs", "`deployer run`";
    /// Commands in containers that run.
    Commands: "commands", "`mode = \"exec\"` of a migration, `deployer exec`";
    /// Managed databases.
    Databases: "databases", "`[databases]`";
    /// Managed caches.
    Caches: "caches", "`[caches]`";
    /// A range of instances, where the runtime does not scale by itself.
    Scaling: "scaling", "`replicas = { min = ..., max = ... }`";
    /// A load balancer that is there already.
    LoadBalancers: "load-balancers", "`target_group`";
    /// Records in the DNS.
    Dns: "dns", "`[targets.CLOUD.services.NAME.dns]`";
    /// Services that App Runner runs.
    AppRunner: "app-runner", "`runtime = \"app-runner\"`";
    /// Domains that a service of App Runner's answers for.
    Domains: "domains", "`domains`, beside what their records need (`dns`)";
    /// APIs that `apply` switches on itself.
    Apis: "apis", "`enable_apis = true`";
}
