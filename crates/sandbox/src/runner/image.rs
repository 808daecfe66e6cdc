//! Finds an image's variant for a platform in the store and reads what it says about itself.

use serde::Deserialize;
use serde_json::Value;

use super::{ContainerSpec, StartError};
use crate::registry::{Store, StoredManifest};

/// An image that can run here: its layers, base first, and its configuration.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The digest of the manifest that was asked for, which may be an index.
    pub(super) requested: String,
    /// The digest of the platform's own manifest.
    pub(super) digest: String,
    pub(super) layers: Vec<String>,
    pub(super) diff_ids: Vec<String>,
    pub(super) config: ImageConfig,
}

/// The part of an image's configuration that says how to run it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageConfig {
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) user: String,
}

/// Docker writes `null` for what is unset.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Image {
    /// Resolves a tag or digest; an index to its child for the platform.
    pub(super) fn find(store: &Store, spec: &ContainerSpec) -> Result<Self, StartError> {
        let (repository, reference) = (spec.repository.as_str(), spec.reference.as_str());
        let wanted = spec.platform;
        let separator = if reference.contains(':') { '@' } else { ':' };
        let name = format!("{repository}{separator}{reference}");
        let absent = || StartError::ImageNotFound(name.clone());
        let top = store.manifest(repository, reference).ok_or_else(absent)?;
        let manifest = parse(&top)?;
        let Some(children) = manifest["manifests"].as_array() else {
            return Self::read(store, (&name, wanted), (&top, &top), &manifest);
        };
        let child = children
            .iter()
            .find(|it| platform(&it["platform"]) == wanted);
        let Some(child) = child.and_then(|child| child["digest"].as_str()) else {
            let has: Vec<_> = children
                .iter()
                .map(|it| platform(&it["platform"]))
                .collect();
            // Attestations are listed beside the images as `unknown/unknown`.
            let has: Vec<_> = has
                .into_iter()
                .filter(|it| !it.contains("unknown"))
                .collect();
            let has = has.join(", ");
            return Err(StartError::WrongPlatform {
                image: name,
                wanted,
                has,
            });
        };
        let child = store.manifest(repository, child).ok_or_else(absent)?;
        let manifest = parse(&child)?;
        Self::read(store, (&name, wanted), (&top, &child), &manifest)
    }

    fn read(
        store: &Store,
        (name, wanted): (&str, &'static str),
        (top, stored): (&StoredManifest, &StoredManifest),
        manifest: &Value,
    ) -> Result<Self, StartError> {
        let bad = |why: &str| StartError::BadImage(why.to_owned());
        let config = manifest["config"]["digest"].as_str().unwrap_or_default();
        let config = store.blob(config).ok_or_else(|| bad("no configuration"))?;
        let config = std::fs::read(config).map_err(|error| bad(&error.to_string()))?;
        let config: Value = serde_json::from_slice(&config)
            .map_err(|error| bad(&format!("unreadable configuration: {error}")))?;
        let has = platform(&config);
        if has != wanted {
            let image = name.to_owned();
            return Err(StartError::WrongPlatform { image, wanted, has });
        }
        let strings = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|it| Some(it.as_str()?.to_owned()))
                .collect()
        };
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let layers = layers.map(|layer| layer["digest"].as_str().unwrap_or_default().to_owned());
        let run = match config.get("config") {
            None | Some(Value::Null) => ImageConfig::default(),
            Some(run) => ImageConfig::deserialize(run)
                .map_err(|error| bad(&format!("unreadable configuration: {error}")))?,
        };
        Ok(Self {
            requested: top.digest.clone(),
            digest: stored.digest.clone(),
            layers: layers.collect(),
            diff_ids: strings(&config["rootfs"]["diff_ids"]),
            config: run,
        })
    }
}

fn platform(of: &Value) -> String {
    let part = |name: &str| of[name].as_str().unwrap_or("unknown").to_owned();
    format!("{}/{}", part("os"), part("architecture"))
}

fn parse(manifest: &StoredManifest) -> Result<Value, StartError> {
    serde_json::from_slice(&manifest.bytes)
        .map_err(|error| StartError::BadImage(format!("unreadable manifest: {error}")))
}
