//! Merges the layers, decides the environment, checks the result and explains each value.

use std::path::{Path, PathBuf};

use deployer_core::address::CloudName;
use deployer_core::error::Result as CoreResult;
use deployer_core::spec::EnvironmentSpec;
use figment::Figment;
use figment::value::{Dict, Value};
use serde::Serialize;

use crate::check::check;
use crate::extract::extract;
use crate::layers::{self, Layer, nearest};
use crate::model::{Manifest, PATIENCE_KEY, SERVICE_KEYS};
use crate::problem::{Problem, Problems, Report};
use crate::resolve::{Fault, fill_section};
use crate::source::{KeyPath, Origin, Origins};

/// The environment when no flag, variable or manifest names one: a slip then meets nobody's
/// customers.
pub const DEFAULT_ENVIRONMENT: &str = "staging";

/// Everything that decides what the manifest says. Nothing else is read but files beside it.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The manifest; overlays and relative paths start in its directory.
    pub manifest: PathBuf,
    /// `--env`.
    pub environment: Option<String>,
    /// The environment variables of the process.
    pub vars: Vec<(String, String)>,
    /// `--set KEY.PATH=VALUE`, in order.
    pub set: Vec<String>,
}

/// A manifest without faults, for one environment.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The merged manifest; templates are filled in in `targets` only.
    pub manifest: Manifest,
    /// The environment.
    pub environment: String,
    /// Where relative paths start.
    pub base_dir: PathBuf,
    /// What is probably not meant, though usable.
    pub warnings: Vec<Problem>,
    /// The faults of services that were let pass, as warnings.
    pub passed: Vec<Problem>,
    /// The environments that the files tell of: the one that the manifest names, then those with an
    /// overlay.
    pub known: Vec<KnownEnvironment>,
    origins: Origins,
}

/// An environment that a file tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownEnvironment {
    /// Its name.
    pub name: String,
    /// The file: the manifest for its own environment, else the overlay.
    pub file: PathBuf,
}

/// A value of the merged manifest and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaf {
    /// The key: `services.idp.port`.
    pub path: String,
    /// The value, as it would be written in JSON.
    pub value: serde_json::Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads and checks the manifest: defaults, `deployer.toml`, `deployer.ENV.toml`, variables, flags.
///
/// The environment is `--env`, else `DEPLOYER_ENV`, else the key `environment`, else
/// [`DEFAULT_ENVIRONMENT`]. The overlay need not exist.
///
/// # Errors
///
/// All faults that can be told apart, at once.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    read(inputs, Faults::Refused)
}

/// The same for who reads or mends, and makes nothing of the manifest: a fault of a single service
/// that leaves its names and variables alone is a warning. What cannot be read whole, and what is
/// wrong with anything else, is refused as ever.
///
/// # Errors
///
/// As of [`load`], with those faults among them where others are left.
pub fn load_to_read(inputs: &Inputs) -> Result<Loaded, Problems> {
    read(inputs, Faults::OfServicesPass)
}

/// What becomes of a fault of a single service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    Refused,
    OfServicesPass,
}

fn read(inputs: &Inputs, faults: Faults) -> Result<Loaded, Problems> {
    let (base, path) = read_base(inputs)?;
    let mut given = vec![];
    let (flags, problems) = layers::from_flags(&inputs.set);
    given.extend(problems);
    let environment = environment(inputs, &base, &flags)?;
    let overlay_path = overlay(&path, &environment);
    let known = known(&path, &base);
    let mut files = vec![base];
    if overlay_path.exists() {
        files.push(layers::from_file(&overlay_path, shown(&overlay_path)).map_err(Problems::new)?);
    }
    let mut figment = Figment::new();
    for layer in &files {
        figment = figment.merge(layer);
    }
    let (variables, problems) = layers::from_variables(&inputs.vars, &merged(&figment));
    given.extend(problems);
    figment = figment.merge(&variables).merge(&flags);
    let value = merged(&figment);

    let mut origins = Origins::default();
    let environment_in_overlay = files
        .get(1)
        .is_some_and(|overlay| overlay.values.contains_key("environment"));
    for layer in files.into_iter().chain([variables, flags]) {
        origins.push(layer.places);
    }
    origins.retain(|path| is_there(&value, path));
    let mut report = Report::new(&origins);
    given.into_iter().for_each(|problem| report.push(problem));
    if environment_in_overlay {
        let message = "an overlay cannot choose the environment: it was chosen by then";
        report.key_error(
            &KeyPath::new(["environment"]),
            message,
            "move `environment` to the manifest",
        );
    }
    let extracted = extract(Value::from(value), &origins, &mut report);
    let Some(mut manifest) = extracted else {
        let (errors, warnings) = report.finish();
        return Err(Problems::new(errors.into_iter().chain(warnings).collect()));
    };
    for (key, database) in &mut manifest.databases {
        let at = KeyPath::new(["databases", key]);
        let keys = ["version", "cpu", "memory", "storage", "high_availability"];
        let keys =
            keys.into_iter()
                .chain(["backup_days", "deletion_protection", "user", "database"]);
        let said = keys.filter(|name| report.has_place(&at.join(*name)));
        database.said = said.map(str::to_owned).collect();
    }
    for (key, service) in &mut manifest.services {
        let at = KeyPath::new(["services", key]);
        let place = |key: &str| key.split('.').fold(at.clone(), |at, part| at.join(part));
        let said = SERVICE_KEYS.into_iter().chain([PATIENCE_KEY]);
        // `health = "/path"` says the path as well.
        let health = place("health");
        let parts = [
            "path",
            "command",
            "interval",
            "timeout",
            "retries",
            "start_period",
        ];
        let is_path = report.has_place(&health)
            && !parts.iter().any(|it| report.has_place(&health.join(*it)));
        let said =
            said.filter(|key| report.has_place(&place(key)) || (*key == "health.path" && is_path));
        service.said = said.map(str::to_owned).collect();
    }
    for (key, cache) in &mut manifest.caches {
        let at = KeyPath::new(["caches", key]);
        let keys = ["version", "memory", "high_availability"].into_iter();
        let said = keys.filter(|name| report.has_place(&at.join(*name)));
        cache.said = said.map(str::to_owned).collect();
    }
    for fault in fill_targets(&mut manifest, &environment) {
        report.error(&fault.path, fault.message, fault.help);
        report.distrust(fault.path);
    }
    let is_whole = !report.has_errors();
    check(&manifest, &environment, &mut report);
    let (errors, warnings) = report.finish();
    let passes = |it: &Problem| faults == Faults::OfServicesPass && is_whole && is_of_a_service(it);
    if !errors.iter().all(passes) {
        return Err(Problems::new(errors.into_iter().chain(warnings).collect()));
    }
    let passed = errors.into_iter().map(Problem::into_warning);
    Ok(Loaded {
        manifest,
        environment,
        base_dir: directory(&path),
        warnings,
        passed: passed.collect(),
        known,
        origins,
    })
}

/// Whether a fault says nothing of what a service is called in a cloud, nor of what it is given:
/// whoever looks at it, or goes back to what served, finds it all the same.
fn is_of_a_service(problem: &Problem) -> bool {
    const CALLED: [&str; 9] = [
        "was",
        "name",
        "family",
        "container",
        "repository",
        "log_group",
        "job",
        "cluster",
        "load_balancer",
    ];
    let Some(path) = KeyPath::parse(&problem.path) else {
        return false;
    };
    let of_service = match path.parts() {
        [services, _, rest @ ..] if services == "services" => rest,
        [targets, _, services, _, rest @ ..] if targets == "targets" && services == "services" => {
            rest
        }
        _ => return false,
    };
    let says = |word: &str| of_service.iter().any(|part| part == word);
    !of_service.is_empty() && !says("env") && !CALLED.into_iter().any(says)
}

fn read_base(inputs: &Inputs) -> Result<(Layer, PathBuf), Problems> {
    let path = inputs.manifest.clone();
    let layer = layers::from_file(&path, shown(&path)).map_err(Problems::new)?;
    Ok((layer, path))
}

/// Files are named as the user named them, without a leading `./`.
fn shown(path: &Path) -> PathBuf {
    path.strip_prefix(".").unwrap_or(path).to_path_buf()
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// `deployer.toml` and `staging` make `deployer.staging.toml`.
fn overlay(manifest: &Path, environment: &str) -> PathBuf {
    let stem = manifest.file_stem().unwrap_or_default().to_string_lossy();
    manifest.with_file_name(format!("{stem}.{environment}.toml"))
}

fn environment(inputs: &Inputs, base: &Layer, flags: &Layer) -> Result<String, Problems> {
    let var = |name: &str| {
        let found = inputs
            .vars
            .iter()
            .find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let key = |layer: &Layer| {
        layer
            .values
            .get("environment")
            .and_then(|value| value.as_str().map(str::to_owned))
    };
    let chosen = inputs
        .environment
        .clone()
        .or_else(|| var("DEPLOYER_ENV"))
        .or_else(|| key(flags))
        .or_else(|| var("DEPLOYER_ENVIRONMENT"))
        .or_else(|| key(base))
        .unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned());
    // It becomes part of a file's name before anything else is checked.
    if crate::names::ENVIRONMENT.accepts(&chosen) {
        return Ok(chosen);
    }
    let mut origins = Origins::default();
    origins.push(base.places.clone());
    let mut report = Report::new(&origins);
    let message = format!("`{chosen}` cannot name an environment");
    let help = crate::names::ENVIRONMENT.says;
    let from_file = key(base).as_deref() == Some(&chosen);
    if from_file {
        report.error(&KeyPath::new(["environment"]), message, help);
    } else {
        report.push(Problem::given("--env or DEPLOYER_ENV".to_owned(), message).with_help(help));
    }
    Err(Problems::new(report.finish().0))
}

fn merged(figment: &Figment) -> Dict {
    // The layers are dictionaries, read already: merging them cannot fail.
    figment
        .find_value("")
        .ok()
        .and_then(Value::into_dict)
        .unwrap_or_default()
}

fn is_there(value: &Dict, path: &KeyPath) -> bool {
    let Some((first, rest)) = path.parts().split_first() else {
        return true;
    };
    let mut at = value.get(first);
    for key in rest {
        at = match at {
            Some(Value::Dict(_, dict)) => dict.get(key),
            Some(Value::Array(_, values)) => key
                .parse::<usize>()
                .ok()
                .and_then(|index| values.get(index)),
            _ => None,
        };
    }
    at.is_some()
}

/// The environments that the manifest and the overlays beside it tell of, without a look at what
/// these hold.
///
/// # Errors
///
/// When the manifest cannot be read.
pub fn environments(manifest: &Path) -> Result<Vec<KnownEnvironment>, Problems> {
    let base = layers::from_file(manifest, shown(manifest)).map_err(Problems::new)?;
    Ok(known(manifest, &base))
}

fn known(manifest: &Path, base: &Layer) -> Vec<KnownEnvironment> {
    let own = base.values.get("environment").and_then(Value::as_str);
    let mut known = vec![KnownEnvironment {
        name: own.unwrap_or(DEFAULT_ENVIRONMENT).to_owned(),
        file: shown(manifest),
    }];
    let stem = manifest.file_stem().unwrap_or_default().to_string_lossy();
    let names = std::fs::read_dir(directory(manifest));
    let names = names.into_iter().flatten().flatten();
    let mut others: Vec<String> = names
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix(stem.as_ref())?.strip_prefix('.')?;
            let name = rest.strip_suffix(".toml")?.to_owned();
            crate::names::ENVIRONMENT.accepts(&name).then_some(name)
        })
        .filter(|name| *name != known[0].name)
        .collect();
    others.sort();
    known.extend(others.into_iter().map(|name| KnownEnvironment {
        file: shown(&overlay(manifest, &name)),
        name,
    }));
    known
}

fn fill_targets(manifest: &mut Manifest, environment: &str) -> Vec<Fault> {
    let app = &manifest.app;
    let targets = &mut manifest.targets;
    let aws = targets.aws.as_mut();
    let aws = aws.map(|own| fill_section(own, app, environment));
    let gcp = targets.gcp.as_mut();
    let gcp = gcp.map(|own| fill_section(own, app, environment));
    aws.into_iter().chain(gcp).flatten().collect()
}

impl Loaded {
    /// Whether a file tells of the environment: else it is a new one, one that a ledger alone
    /// knows, or a slip.
    pub fn is_known(&self) -> bool {
        self.known.iter().any(|it| it.name == self.environment)
    }

    /// The known environment that a person may have meant who wrote another: with a slip, or only
    /// how it begins.
    pub fn meant(&self) -> Option<&str> {
        let typed = self.environment.as_str();
        let known = || self.known.iter().map(|it| it.name.as_str());
        nearest(typed, known()).or_else(|| {
            let mut begin = known().filter(|name| name.starts_with(typed) && typed.len() > 1);
            begin.next().filter(|_| begin.next().is_none())
        })
    }

    /// What `cloud` is to hold; paths of files that secrets come from are as written, relative to
    /// [`Self::base_dir`].
    ///
    /// # Errors
    ///
    /// `Input` when the manifest has no such target.
    pub fn environment_spec(&self, cloud: CloudName) -> CoreResult<EnvironmentSpec> {
        self.manifest.environment_spec(cloud, &self.environment)
    }

    /// Where the value at `path` (`services.idp.port`) came from; `Default` when nobody wrote it.
    pub fn origin(&self, path: &str) -> Origin {
        let place = KeyPath::parse(path).and_then(|path| self.origins.place(&path));
        place.map_or(Origin::Default, crate::source::Place::origin)
    }

    /// Every value of the merged manifest, by key, with its origin; no secret value is among them.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = vec![];
        // Plain data with text keys; a manifest that was read can be written.
        let value = serde_json::to_value(&self.manifest).unwrap_or_default();
        self.gather(&KeyPath::default(), &value, &mut leaves);
        leaves
    }

    fn gather(&self, path: &KeyPath, value: &serde_json::Value, leaves: &mut Vec<Leaf>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    self.gather(&path.join(key), value, leaves);
                }
            }
            serde_json::Value::Null => {}
            _ => leaves.push(Leaf {
                path: path.to_string(),
                value: value.clone(),
                origin: self.leaf_origin(path, value),
            }),
        }
    }

    fn leaf_origin(&self, path: &KeyPath, value: &serde_json::Value) -> Origin {
        if let Some(place) = self.origins.place(path) {
            return place.origin();
        }
        // `health = "/health"` and `replicas = 2` are short for tables.
        let short = |path: &KeyPath| match path.parts() {
            [services, _, health, key] if services == "services" => {
                (health == "health" && key == "path") || (health == "replicas" && value.is_number())
            }
            _ => false,
        };
        let table = short(path).then(|| path.parent()).flatten();
        let table = table.filter(|table| !self.origins.has_below(table));
        let place = table.and_then(|table| self.origins.place(&table));
        place.map_or(Origin::Default, crate::source::Place::origin)
    }

    /// The images that are named as paths and are not there; for commands that need them.
    ///
    /// # Errors
    ///
    /// One problem for each.
    pub fn check_images(&self) -> Result<(), Problems> {
        let mut report = Report::new(&self.origins);
        for (key, service) in &self.manifest.services {
            if let Some(path) = absent_path(&service.image, &self.base_dir) {
                let help =
                    "build the image first, or correct the path (it is relative to the manifest)";
                let message = format!("there is nothing at `{}`", path.display());
                report.error(&KeyPath::new(["services", key, "image"]), message, help);
            }
        }
        let (errors, _) = report.finish();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problems::new(errors))
        }
    }
}

/// The path in `image`, when it must be one and nothing is there.
fn absent_path(image: &str, base_dir: &Path) -> Option<PathBuf> {
    let schemes = ["oci:", "oci-archive:", "docker-archive:"];
    let named = schemes.iter().find_map(|scheme| image.strip_prefix(scheme));
    let looks = image.starts_with('/') || image.starts_with("./") || image.starts_with("../");
    let path = named.or((looks || image.ends_with(".tar")).then_some(image))?;
    if path.contains("${") {
        return None;
    }
    // `DIRECTORY:TAG`: either may hold colons.
    let mut ends = path
        .match_indices(':')
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    ends.push(path.len());
    let exists = |end: &usize| {
        path.get(..*end)
            .is_some_and(|path| base_dir.join(path).exists())
    };
    (!ends.iter().any(exists)).then(|| base_dir.join(path))
}
