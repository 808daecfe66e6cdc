//! What service and job have in common: the container, its variables, its resources, its way into
//! the VPC; pure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::spec::Egress;
use deployer_core::capability::{ImageRef, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::{Inputs, Value};
use deployer_core::spec::{EnvironmentSpec, Inject, MebiBytes, MilliCpu, ServiceSpec};
use google_cloud_api::model::LaunchStage;
use google_cloud_run_v2::model::env_var::Values;
use google_cloud_run_v2::model::vpc_access::{NetworkInterface, VpcEgress};
use google_cloud_run_v2::model::{Container, EnvVar, EnvVarSource, SecretKeySelector, VpcAccess};

use crate::ground::{ConnectorName, Network, ServiceAccount};
use crate::labels::show_version;
use crate::paths::Names;
use crate::runtime::quantity::{cpu_text, memory_text, read_cpu, read_memory};

/// The annotation that makes a new revision of an equal template. No field: it says nothing about
/// what runs.
pub(crate) const RUN_ANNOTATION: &str = "deployer/run";

/// The variables of a container, from the manifest.
pub(crate) struct Variables {
    /// Plain ones, and secrets by reference: their resource names.
    plain: BTreeMap<String, String>,
    /// Variables that hold a secret's value, and where the version comes from.
    pins: Pins,
    names: Names,
}

/// Where the versions of secret variables come from.
enum Pins {
    /// The secrets' own nodes.
    Nodes(BTreeMap<String, Value<SecretVersion>>),
    /// Whatever runs now (`apply --only`): filled by a read.
    Running {
        variables: Vec<String>,
        found: Mutex<BTreeMap<String, SecretVersion>>,
    },
}

impl Variables {
    /// Takes the versions from the secrets' nodes.
    pub(crate) fn from_nodes(
        names: &Names,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        secrets: &BTreeMap<String, Value<SecretVersion>>,
        inputs: &mut Inputs,
    ) -> Self {
        let pins = by_value(service)
            .filter_map(|(variable, key)| Some((variable.clone(), inputs.pass(secrets.get(key)?))))
            .collect();
        Self {
            plain: plain(names, env, service),
            pins: Pins::Nodes(pins),
            names: names.clone(),
        }
    }

    /// Keeps the versions that run.
    pub(crate) fn as_they_run(names: &Names, env: &EnvironmentSpec, service: &ServiceSpec) -> Self {
        Self {
            plain: plain(names, env, service),
            pins: Pins::Running {
                variables: by_value(service)
                    .map(|(variable, _)| variable.clone())
                    .collect(),
                found: Mutex::default(),
            },
            names: names.clone(),
        }
    }

    /// Notes what a container that runs pins; of use only to variables that keep it.
    ///
    /// Errors: input, when it does not have a secret that the manifest wants.
    pub(crate) fn note_running(&self, container: Option<&Container>) -> Result<()> {
        let Pins::Running { variables, found } = &self.pins else {
            return Ok(());
        };
        let there = container
            .map(|container| pinned(&self.names, container))
            .unwrap_or_default();
        if let Some(variable) = variables.iter().find(|name| !there.contains_key(*name)) {
            return Err(Error::input(format!(
                "what runs has no secret in variable `{variable}` yet"
            ))
            .hint("run `deployer apply` without `--only` once"));
        }
        *found.lock().unwrap_or_else(PoisonError::into_inner) = there;
        Ok(())
    }

    /// The pinned version of a variable. `None` while it is unknown, or when the variable is none
    /// of ours.
    pub(crate) fn pin(&self, variable: &str) -> Option<SecretVersion> {
        match &self.pins {
            Pins::Nodes(values) => values.get(variable)?.known(),
            Pins::Running { found, .. } => found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(variable)
                .cloned(),
        }
    }

    /// Fails while a version is unknown: called before anything is written.
    pub(crate) fn settled(&self) -> Result<()> {
        match &self.pins {
            Pins::Nodes(values) => values
                .values()
                .try_for_each(|value| value.settled().map(|_| ())),
            Pins::Running { .. } => Ok(()),
        }
    }

    /// The variables as Cloud Run takes them, by name; those whose version is unknown are left out.
    fn env(&self) -> Vec<EnvVar> {
        let mut env: BTreeMap<&str, EnvVar> = self
            .plain
            .iter()
            .map(|(name, value)| (name.as_str(), EnvVar::new().set_name(name).set_value(value)))
            .collect();
        let secret_variables: Vec<&String> = match &self.pins {
            Pins::Nodes(values) => values.keys().collect(),
            Pins::Running { variables, .. } => variables.iter().collect(),
        };
        for name in secret_variables {
            if let Some(version) = self.pin(name) {
                env.insert(name, secret_variable(&self.names, name, &version));
            }
        }
        env.into_values().collect()
    }

    /// Shows the versions that are known only after another node is applied.
    pub(crate) fn show_unknown(&self, fields: &mut Fields) {
        let Pins::Nodes(values) = &self.pins else {
            return;
        };
        for (name, value) in values.iter().filter(|(_, value)| value.known().is_none()) {
            fields.set_value(format!("secret.{name}"), value.field(show_version));
        }
    }
}

fn by_value(service: &ServiceSpec) -> impl Iterator<Item = (&String, &String)> {
    service
        .secrets
        .iter()
        .filter(|(_, used)| used.inject == Inject::Value)
        .map(|(variable, used)| (variable, &used.secret))
}

fn plain(names: &Names, env: &EnvironmentSpec, service: &ServiceSpec) -> BTreeMap<String, String> {
    let references = service
        .secrets
        .iter()
        .filter(|(_, used)| used.inject == Inject::Reference)
        .filter_map(|(variable, used)| {
            let secret = env.secrets.get(&used.secret)?;
            Some((variable.clone(), names.secret_in_full(&secret.name)))
        });
    service.env.clone().into_iter().chain(references).collect()
}

/// A variable that holds a pinned version's value.
pub(crate) fn secret_variable(names: &Names, name: &str, version: &SecretVersion) -> EnvVar {
    let reference = SecretKeySelector::new()
        .set_secret(names.secret_in_short(&version.secret))
        .set_version(&version.version);
    EnvVar::new()
        .set_name(name)
        .set_value_source(EnvVarSource::new().set_secret_key_ref(reference))
}

/// The versions that a container pins, by variable.
pub(crate) fn pinned(names: &Names, container: &Container) -> BTreeMap<String, SecretVersion> {
    container
        .env
        .iter()
        .filter_map(|variable| {
            let Some(Values::ValueSource(source)) = &variable.values else {
                return None;
            };
            let reference = source.secret_key_ref.as_ref()?;
            Some((
                variable.name.clone(),
                SecretVersion {
                    secret: names.secret_in_full(&reference.secret),
                    version: reference.version.clone(),
                },
            ))
        })
        .collect()
}

/// The container that takes the requests: the first with a port, or the first.
pub(crate) fn main_container(containers: &[Container]) -> Option<&Container> {
    containers
        .iter()
        .find(|container| !container.ports.is_empty())
        .or_else(|| containers.first())
}

/// All containers, with `main` in the place of the one that takes the requests; the others stay as
/// they are.
pub(crate) fn with_main(there: &[Container], main: Container) -> Vec<Container> {
    let known = main_container(there);
    let mut containers = there.to_vec();
    match there.iter().position(|it| Some(it) == known) {
        Some(at) => containers[at] = main,
        None => containers.push(main),
    }
    containers
}

/// The service account that is asked for; silence leaves the one that is there.
pub(crate) fn account(asked: Option<&Value<ServiceAccount>>, there: &str) -> String {
    let asked = asked.and_then(Value::known);
    asked.map_or_else(|| there.to_owned(), |it| it.0)
}

/// The launch stage: what uses preview features keeps its own, since Cloud Run refuses those below
/// it.
pub(crate) fn launch_stage(there: &LaunchStage) -> LaunchStage {
    match there {
        LaunchStage::Unspecified => LaunchStage::Ga,
        stage => stage.clone(),
    }
}

/// What both kinds set on their container.
pub(crate) struct Frame<'a> {
    /// Its image, when it is known.
    pub(crate) image: Option<ImageRef>,
    pub(crate) entrypoint: &'a [String],
    pub(crate) command: &'a [String],
    pub(crate) variables: &'a Variables,
    pub(crate) cpu: MilliCpu,
    pub(crate) memory: MebiBytes,
}

impl Frame<'_> {
    /// `base` (what is there, or nothing) with everything that the manifest says.
    pub(crate) fn fill(&self, base: Option<Container>) -> Container {
        let base = base.unwrap_or_default();
        let resources = base.resources.clone().unwrap_or_default();
        // What else is limited (a GPU) is not ours to say.
        let mut limits = resources.limits.clone();
        limits.insert("cpu".to_owned(), cpu_text(self.cpu));
        limits.insert("memory".to_owned(), memory_text(self.memory));
        base.set_image(self.image.clone().unwrap_or(ImageRef(String::new())).0)
            // Where Cloud Run puts newer base images under an image that it built, ours is none of
            // those.
            .set_base_image_uri("")
            .set_command(self.entrypoint.to_vec())
            .set_args(self.command.to_vec())
            .set_env(self.variables.env())
            .set_resources(resources.set_limits(limits))
    }
}

/// Whether `there` was somebody's, and the manifest does not say this of it: it stays.
pub(crate) fn keeps(spec: &ServiceSpec, key: &str, there: Option<&Container>) -> bool {
    there.is_some() && spec.adopt && spec.unsaid.contains(key)
}

/// What the manifest is silent about is as it was in the container that `made` is made of.
pub(crate) fn keep_unsaid(
    spec: &ServiceSpec,
    made: Container,
    there: Option<&Container>,
) -> Container {
    let mut made = keep_sizes(spec, made, there);
    let Some(there) = there else {
        return made;
    };
    if keeps(spec, "entrypoint", Some(there)) {
        made.command.clone_from(&there.command);
    }
    if keeps(spec, "command", Some(there)) {
        made.args.clone_from(&there.args);
    }
    made
}

/// The same of CPU and memory alone.
pub(crate) fn keep_sizes(
    spec: &ServiceSpec,
    made: Container,
    there: Option<&Container>,
) -> Container {
    let mut resources = made.resources.clone().unwrap_or_default();
    let limits = there.and_then(|there| there.resources.as_ref());
    for key in ["cpu", "memory"] {
        if !keeps(spec, key, there) {
            continue;
        }
        match limits.and_then(|resources| resources.limits.get(key)) {
            Some(limit) => resources.limits.insert(key.to_owned(), limit.clone()),
            None => resources.limits.remove(key),
        };
    }
    made.set_resources(resources)
}

/// Describes what both kinds set on their container.
pub(crate) fn describe(fields: &mut Fields, names: &Names, container: &Container) {
    fields.set("image", &container.image);
    let base = Some(&container.base_image_uri).filter(|base| !base.is_empty());
    fields.set_some("base image", base);
    for (field, words) in [
        ("entrypoint", &container.command),
        ("command", &container.args),
    ] {
        if !words.is_empty() {
            fields.set(field, shell_words(words));
        }
    }
    for variable in &container.env {
        match &variable.values {
            Some(Values::ValueSource(_)) => {}
            Some(Values::Value(value)) => fields.set(format!("env.{}", variable.name), value),
            // An empty value is not sent at all.
            _ => fields.set(format!("env.{}", variable.name), ""),
        }
    }
    for (name, version) in pinned(names, container) {
        fields.set(format!("secret.{name}"), show_version(&version));
    }
    let limits = container
        .resources
        .as_ref()
        .map(|resources| &resources.limits);
    let limit = |key: &str| {
        limits
            .and_then(|limits| limits.get(key))
            .map(String::as_str)
    };
    // Cloud Run gives a container one CPU and 512 MiB unless told otherwise.
    let cpu = limit("cpu").map_or_else(|| MilliCpu(1000).to_string(), read_cpu);
    fields.set("cpu", cpu);
    let memory = limit("memory").map_or_else(|| MebiBytes(512).to_string(), read_memory);
    fields.set("memory", memory);
    let others = limits.into_iter().flatten();
    for (what, limit) in others.filter(|(what, _)| !matches!(what.as_str(), "cpu" | "memory")) {
        fields.set(format!("limit.{what}"), limit);
    }
    for mount in &container.volume_mounts {
        fields.set(format!("mount.{}", mount.mount_path), &mount.name);
    }
}

/// Describes the containers beside the main one.
pub(crate) fn describe_others(fields: &mut Fields, containers: &[Container]) {
    let main = main_container(containers);
    let others = containers.iter().filter(|other| Some(*other) != main);
    for (index, other) in others.enumerate() {
        let name = match other.name.is_empty() {
            true => index.to_string(),
            false => other.name.clone(),
        };
        fields.set(format!("sidecar.{name}"), &other.image);
    }
}

fn shell_words(words: &[String]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            if word.is_empty() || word.contains(char::is_whitespace) {
                format!("{word:?}")
            } else {
                word.clone()
            }
        })
        .collect();
    quoted.join(" ")
}

/// The way into the VPC that is asked for.
#[derive(Clone)]
pub(crate) struct Way {
    through: Network,
    egress: VpcEgress,
    names: Names,
}

impl Way {
    /// Through this, for that traffic.
    pub(crate) fn new(names: &Names, through: Network, egress: Egress) -> Self {
        Self {
            through,
            egress: match egress {
                Egress::PrivateRanges => VpcEgress::PrivateRangesOnly,
                Egress::All => VpcEgress::AllTraffic,
            },
            names: names.clone(),
        }
    }

    /// What is there, as far as another way is asked for. Where none is, what is there stays. Of
    /// network and subnetwork Cloud Run fills in the one that is not named: what fits the other one
    /// stays.
    pub(crate) fn over(&self, there: Option<VpcAccess>) -> Option<VpcAccess> {
        let names = &self.names;
        if let Some(ConnectorName(connector)) = known(&self.through.connector) {
            let connector = names.connector(&connector);
            let access = there.unwrap_or_default().set_connector(connector);
            let access = access.set_egress(self.egress.clone());
            return Some(access.set_network_interfaces(Vec::<NetworkInterface>::new()));
        }
        let network = known(&self.through.network).map(|it| it.0);
        let subnetwork = known(&self.through.subnetwork).map(|it| it.0);
        if network.is_none() && subnetwork.is_none() {
            return there;
        }
        let access = there.unwrap_or_default();
        let known = access.network_interfaces.first().cloned();
        let known = known.unwrap_or_default();
        let in_network = |asked: &String| names.network(asked) == names.network(&known.network);
        let in_subnetwork =
            |asked: &String| names.subnetwork(asked) == names.subnetwork(&known.subnetwork);
        let fits = network.as_ref().is_none_or(in_network)
            && subnetwork.as_ref().is_none_or(in_subnetwork);
        let interface = match fits {
            true => known,
            false => known
                .set_network(network.unwrap_or_default())
                .set_subnetwork(subnetwork.unwrap_or_default()),
        };
        Some(
            access
                .set_connector("")
                .set_network_interfaces([interface])
                .set_egress(self.egress.clone()),
        )
    }
}

/// What is asked for, where something is.
fn known<T: Clone>(asked: &Option<Value<T>>) -> Option<T> {
    asked.as_ref().and_then(Value::known)
}

/// Describes the way into the VPC.
pub(crate) fn describe_vpc(fields: &mut Fields, names: &Names, access: Option<&VpcAccess>) {
    let Some(access) = access else { return };
    let mut any = false;
    if !access.connector.is_empty() {
        let connector = names.connector(&access.connector);
        fields.set("vpc.connector", names.nearby(connector));
        any = true;
    }
    if let Some(interface) = access.network_interfaces.first() {
        let named = |name: &str, full: String| (!name.is_empty()).then(|| names.nearby(full));
        let network = names.network(&interface.network);
        fields.set_some("vpc.network", named(&interface.network, network));
        let subnetwork = names.subnetwork(&interface.subnetwork);
        fields.set_some("vpc.subnetwork", named(&interface.subnetwork, subnetwork));
        any = true;
    }
    if any {
        let all = access.egress == VpcEgress::AllTraffic;
        fields.set("vpc.egress", if all { "all" } else { "private-ranges" });
    }
}

/// Describes the service account; the project's default one is what an unset one means.
pub(crate) fn describe_account(fields: &mut Fields, account: &str) {
    let default = account.is_empty() || account.ends_with("-compute@developer.gserviceaccount.com");
    if !default {
        fields.set("service account", account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::test_names;

    #[test]
    fn a_secret_is_one_pin_however_google_spells_its_name() {
        let names = test_names();
        let version = SecretVersion {
            secret: names.secret("db-url"),
            version: "3".into(),
        };
        let ours = Container::new().set_env([secret_variable(&names, "DATABASE_URL", &version)]);
        let numbered = Container::new().set_env([secret_variable(
            &names,
            "DATABASE_URL",
            &SecretVersion {
                secret: "projects/123456/secrets/db-url".into(),
                version: "3".into(),
            },
        )]);
        assert_eq!(pinned(&names, &ours), pinned(&names, &numbered));
        let mut fields = Fields::new();
        describe(&mut fields, &names, &ours);
        assert_eq!(
            fields.get("secret.DATABASE_URL").unwrap().to_string(),
            "db-url version 3"
        );
    }

    #[test]
    fn direct_egress_is_the_same_by_name_and_in_full() {
        let names = test_names();
        let spelt = |network: &str| {
            let mut fields = Fields::new();
            let interface = NetworkInterface::new().set_network(network);
            let access = VpcAccess::new().set_network_interfaces([interface]);
            describe_vpc(&mut fields, &names, Some(&access));
            fields
        };
        assert_eq!(
            spelt("main"),
            spelt("projects/demo-project/global/networks/main")
        );
    }

    #[test]
    fn the_projects_default_account_is_what_an_unset_one_means() {
        let mut fields = Fields::new();
        describe_account(&mut fields, "123-compute@developer.gserviceaccount.com");
        assert_eq!(fields, Fields::new());
        describe_account(&mut fields, "app@demo-project.iam.gserviceaccount.com");
        assert!(fields.get("service account").is_some());
    }
}
