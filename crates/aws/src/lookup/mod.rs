//! Reads that several nodes ask for at the same time, made in as few calls as each API takes.

pub(crate) mod app_runner;
pub(crate) mod log_groups;
pub(crate) mod secret_values;
pub(crate) mod services;

pub(crate) use app_runner::AppRunnerServices;
pub(crate) use log_groups::LogGroups;
pub(crate) use secret_values::SecretValues;
pub(crate) use services::Services;

/// What the nodes of one target look up together.
pub(crate) struct Lookups {
    pub(crate) app_runner: AppRunnerServices,
    pub(crate) services: Services,
    pub(crate) secret_values: SecretValues,
    pub(crate) log_groups: LogGroups,
}
