//! What of a service differs between two of its versions, in the manifest's words: the cause of a
//! roll-out, not its consequences; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::capability::SecretVersion;
use deployer_core::ledger::Release;
use deployer_core::spec::{MigrateSpec, Replicas, SecretUse, ServiceSpec, program};
use serde::{Deserialize, Serialize};

/// How many digits of a digest people see.
const DIGITS: usize = 12;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What: `image`, a variable's name, `replicas`.
    pub what: String,
    /// How.
    pub how: How,
}

/// How something differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// From one value to another. `None`: there is none.
    Values(Option<String>, Option<String>),
    /// Another image.
    Image { old: ImageName, new: ImageName },
    /// Something that has no value to show, in words: a secret's new version.
    Words(String),
}

/// The last part of an ARN; a revision's name as it is.
pub fn revision_name(revision: &str) -> String {
    revision.rsplit('/').next().unwrap_or(revision).to_owned()
}

/// An image as people tell it from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    /// Its tag, where its source had one.
    pub tag: Option<String>,
    /// `sha256:...`
    pub digest: String,
}

impl ImageName {
    /// The image that a release is of.
    pub fn of(release: &Release) -> Self {
        let digest = release.image.0.rsplit('@').next().unwrap_or_default();
        Self {
            tag: release.tag.clone(),
            digest: digest.to_owned(),
        }
    }

    /// The first 12 digits.
    pub fn short(&self) -> String {
        short(&self.digest)
    }

    /// The tag, or the first 12 digits where there is none.
    pub fn name(&self) -> String {
        self.tag.clone().unwrap_or_else(|| self.short())
    }
}

/// The first 12 digits of a digest, without `sha256:` and what stands before it.
pub fn short(digest: &str) -> String {
    let digits = digest.rsplit(':').next().unwrap_or_default();
    digits.chars().take(DIGITS).collect()
}

/// One version of a service.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    pub spec: &'a ServiceSpec,
    pub image: ImageName,
    /// The secret versions that it pins, by the manifest's names; what is not known yet is left
    /// out.
    pub secrets: BTreeMap<String, SecretVersion>,
}

impl<'a> Version<'a> {
    /// What a release is.
    pub fn of(release: &'a Release) -> Self {
        Self {
            spec: &release.spec,
            image: ImageName::of(release),
            secrets: release.secrets.clone(),
        }
    }
}

/// What differs between two versions of a service: the image first, then its variables, then
/// everything else. Names of defaults that nobody wrote are left out where both leave them out.
pub fn between(old: &Version<'_>, new: &Version<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    if old.image.digest != new.image.digest {
        facts.push(Fact {
            what: "image".into(),
            how: How::Image {
                old: old.image.clone(),
                new: new.image.clone(),
            },
        });
    }
    facts.extend(variables(&old.spec.env, &new.spec.env));
    facts.extend(secrets(old, new));
    let (then, now) = (settings(old.spec), settings(new.spec));
    for ((what, old), (_, new)) in then.into_iter().zip(now) {
        if old != new {
            facts.push(Fact {
                what: what.into(),
                how: How::Values(old, new),
            });
        }
    }
    facts
}

fn variables(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Fact> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let names = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    names
        .map(|name| Fact {
            what: name.clone(),
            how: How::Values(old.get(name).cloned(), new.get(name).cloned()),
        })
        .collect()
}

fn secrets(old: &Version<'_>, new: &Version<'_>) -> Vec<Fact> {
    let (then, now) = (&old.spec.secrets, &new.spec.secrets);
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let source = |it: Option<&SecretUse>| it.map(|it| format!("secret {}", it.secret));
    names
        .into_iter()
        .filter_map(|name| {
            let (then, now) = (then.get(name), now.get(name));
            let how = match (then, now) {
                (Some(then), Some(now)) if then == now => {
                    let pinned = |of: &Version<'_>| of.secrets.get(&now.secret).cloned();
                    match (pinned(old), pinned(new)) {
                        (Some(old), Some(new)) if old != new => How::Words("new value".into()),
                        _ => return None,
                    }
                }
                (then, now) => How::Values(source(then), source(now)),
            };
            let what = name.clone();
            Some(Fact { what, how })
        })
        .collect()
}

/// Everything else, in the manifest's words. The same names for every service.
pub fn settings(spec: &ServiceSpec) -> Vec<(&'static str, Option<String>)> {
    let words = |words: &[String]| (!words.is_empty()).then(|| program(&[], words));
    let words = |given: &[String]| words(given).map(|it| it.replace(OF_THE_IMAGE, ""));
    let health = &spec.health;
    let seconds = |it: Duration| Some(format!("{}s", it.as_secs()));
    let migrate = spec.migrate.as_ref();
    vec![
        ("port", Some(spec.port.to_string())),
        ("cpu", Some(spec.cpu.to_string())),
        ("memory", Some(spec.memory.to_string())),
        ("replicas", Some(replicas(spec.replicas))),
        ("entrypoint", words(&spec.entrypoint)),
        ("command", words(&spec.command)),
        ("health.path", Some(health.path.clone())),
        ("health.command", words(&health.command)),
        ("health.interval", seconds(health.interval)),
        ("health.timeout", seconds(health.timeout)),
        ("health.retries", Some(health.retries.to_string())),
        ("health.start_period", seconds(health.start_period)),
        ("migrate", migrate.map(MigrateSpec::program)),
        (
            "migrate.timeout",
            migrate.and_then(|it| seconds(it.timeout)),
        ),
        ("name", spec.record.as_ref().map(|it| it.name.clone())),
        ("domains", words(&spec.domains)),
    ]
}

/// What [`program`] says of a command whose entry point is the image's.
const OF_THE_IMAGE: &str = "(the image's entry point) ";

/// `2`, or `1 to 4`.
pub fn replicas(replicas: Replicas) -> String {
    match replicas.min == replicas.max {
        true => replicas.min.to_string(),
        false => format!("{} to {}", replicas.min, replicas.max),
    }
}

#[cfg(test)]
pub mod made_up {
    //! Releases and specifications that nobody deployed.

    use deployer_core::capability::{ImageRef, Revision};
    use deployer_core::spec::{HealthSpec, MebiBytes, MilliCpu, PATIENCE, VerifySpec};
    use jiff::Timestamp;

    use super::*;

    /// A service with a variable.
    pub fn service(key: &str) -> ServiceSpec {
        ServiceSpec {
            key: key.into(),
            name: format!("shop-staging-{key}"),
            repository: format!("shop-staging-{key}"),
            image: "oci:img:1.0".into(),
            architecture: None,
            port: 3000,
            health: HealthSpec {
                path: "/health".into(),
                command: vec!["CMD".into(), "/app/check".into()],
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(2),
                retries: 3,
                start_period: Duration::from_secs(2),
            },
            cpu: MilliCpu(1000),
            memory: MebiBytes(2048),
            replicas: Replicas { min: 1, max: 1 },
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::from([("LOG_LEVEL".into(), "info".into())]),
            secrets: BTreeMap::new(),
            migrate: None,
            url: None,
            adopt: false,
            record: None,
            domains: Vec::new(),
            verify: VerifySpec::default(),
            patience: PATIENCE,
            unsaid: BTreeSet::new(),
        }
    }

    /// Its release of that number, at so many seconds.
    pub fn release(number: u64, tag: &str, at: i64) -> Release {
        let digit = tag.bytes().last().unwrap_or(b'0') as char;
        let digest = digit.to_string().repeat(64);
        Release {
            number,
            service: "web".into(),
            content_id: format!("{tag}{number}"),
            overrides: None,
            image: ImageRef(format!("registry.example/shop@sha256:{digest}")),
            tag: Some(tag.into()),
            revision: Revision(format!("shop-staging-web:{number}")),
            secrets: BTreeMap::new(),
            migration: None,
            spec: service("web"),
            at: Timestamp::from_second(at).unwrap(),
            by: "ana@laptop".into(),
            run: format!("run {number}"),
            rollback_to: None,
            rejects: None,
            put_back: false,
            redeployed: false,
            kept: Vec::new(),
            detached: false,
            verified: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::spec::Inject;

    use super::*;

    #[test]
    fn a_release_is_told_from_another_by_what_the_manifest_said() {
        let old = made_up::release(1, "1.0", 0);
        let mut new = made_up::release(2, "1.1", 60);
        new.spec.env.insert("CRASH".into(), "1".into());
        new.spec.env.remove("LOG_LEVEL");
        new.spec.replicas = Replicas { min: 1, max: 3 };
        new.spec.command = vec!["serve".into(), "--fast".into()];
        let facts = between(&Version::of(&old), &Version::of(&new));
        let what: Vec<&str> = facts.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(what, ["image", "CRASH", "LOG_LEVEL", "replicas", "command"]);
        assert_eq!(facts[1].how, How::Values(None, Some("1".into())));
        assert_eq!(facts[2].how, How::Values(Some("info".into()), None));
        let (old, new) = (Some("1".into()), Some("1 to 3".into()));
        assert_eq!(facts[3].how, How::Values(old, new));
        assert_eq!(facts[4].how, How::Values(None, Some("serve --fast".into())));
    }

    #[test]
    fn a_secret_with_another_version_has_a_new_value_and_the_same_one_has_none() {
        let mut old = made_up::release(1, "1.0", 0);
        let of = |secret: &str| SecretUse {
            secret: secret.into(),
            inject: Inject::Value,
            member: None,
        };
        let version = |version: &str| SecretVersion {
            secret: "arn:api-token".into(),
            version: version.into(),
        };
        old.spec.secrets.insert("API_TOKEN".into(), of("api-token"));
        old.secrets.insert("api-token".into(), version("1"));
        let mut new = old.clone();
        assert_eq!(between(&Version::of(&old), &Version::of(&new)), []);
        new.secrets.insert("api-token".into(), version("2"));
        new.spec.secrets.insert("OTHER".into(), of("other"));
        let facts = between(&Version::of(&old), &Version::of(&new));
        assert_eq!(facts[0].how, How::Words("new value".into()));
        let added = How::Values(None, Some("secret other".into()));
        assert_eq!(facts[1].how, added);
    }

    #[test]
    fn a_digest_is_twelve_digits_without_the_registry() {
        let digest = "registry/shop@sha256:02dfa3628d5f0b87d522298fa3244386";
        assert_eq!(short(digest), "02dfa3628d5f");
    }
}
