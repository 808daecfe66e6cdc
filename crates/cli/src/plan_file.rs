//! Plans on disk: what `plan --out` writes and `apply FILE` takes, with the fingerprint of what was
//! observed.

mod alike;
mod fresh;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::pbkdf2;

use deployer_core::address::CloudName;
use deployer_core::compose::Part;
use deployer_core::error::{Error, Result};
use deployer_core::plan::Plan;
use deployer_core::renames::{Keyed, Renames};
use deployer_manifest::catalogue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::redeploys::Redeploys;
use crate::scene::Scene;

/// The version of the format.
const FORMAT: u32 = 2;

/// No plan is larger; a file that is, is not one.
const LARGEST: u64 = 64 << 20;

/// How often the digest of a value is taken of itself: what OWASP asks for PBKDF2 with HMAC-SHA-256
/// ("Password Storage Cheat Sheet").
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not 0");

/// Of the salt and of a digest, in bytes.
const WIDTH: usize = 32;

/// What a plan was made from beside the clouds.
pub struct Sources {
    /// The images' digests, by service.
    pub images: BTreeMap<String, String>,
    /// What this machine gives the secrets to hold, by `cloud/secret`. In memory only.
    pub values: BTreeMap<String, SecretString>,
}

/// The same with the secrets' other keys.
fn values_of(
    values: &BTreeMap<String, SecretString>,
    renames: &Renames,
) -> BTreeMap<String, SecretString> {
    let other = |name: &String| match name.split_once('/') {
        Some((cloud, key)) => format!("{cloud}/{}", renames.secret(key)),
        None => name.clone(),
    };
    let values = values.iter();
    values
        .map(|(name, value)| (other(name), value.clone()))
        .collect()
}

/// The values that this machine gave, as a file may hold them: whether one is another now can be
/// told, and what it was can not be found out but by trying, slowly.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Digests {
    /// In hexadecimal, of this file alone.
    salt: String,
    /// By `cloud/secret` with the secret's origin, in hexadecimal.
    digests: BTreeMap<String, String>,
}

impl Digests {
    fn of(values: &BTreeMap<String, SecretString>) -> Result<Self> {
        if values.is_empty() {
            return Ok(Self::default());
        }
        let mut salt = [0; WIDTH];
        aws_lc_rs::rand::fill(&mut salt)
            .map_err(|_| Error::internal("this machine gives no random bytes"))?;
        let digests = values
            .iter()
            .map(|(name, value)| (name.clone(), hex::encode(digest(&salt, name, value))));
        Ok(Self {
            salt: hex::encode(salt),
            digests: digests.collect(),
        })
    }

    /// The secrets whose values are not what they were, in words.
    fn moved(&self, now: &BTreeMap<String, SecretString>, renames: &Renames) -> Vec<String> {
        let now = values_of(now, renames);
        // A file that was changed by hand has another salt, and every value is another one.
        let salt = hex::decode(&self.salt).unwrap_or_default();
        let names: BTreeSet<&String> = self.digests.keys().chain(now.keys()).collect();
        let moved = names.into_iter().filter_map(|name| {
            let (cloud, key) = name.split_once('/').unwrap_or(("", name));
            let key = renames.secret(key);
            let how = match (self.digests.get(name), now.get(name)) {
                (Some(then), Some(value)) => {
                    if *then == hex::encode(digest(&salt, name, value)) {
                        return None;
                    }
                    "is to hold another value"
                }
                (Some(_), None) => "is given no value any more",
                (None, Some(_)) => "is given a value",
                (None, None) => return None,
            };
            Some(format!("secret `{key}` on {cloud} {how}"))
        });
        moved.collect()
    }
}

/// Slow on purpose. The secret's name is part of it: two that hold the same do not show it.
fn digest(salt: &[u8], name: &str, value: &SecretString) -> [u8; WIDTH] {
    let salt = [salt, name.as_bytes()].concat();
    let mut digest = [0; WIDTH];
    let value = value.expose_secret().as_bytes();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        &salt,
        value,
        &mut digest,
    );
    digest
}

/// Which services a plan is of. Files of before know one alone, as a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Only {
    One(String),
    Several(BTreeSet<String>),
}

/// A plan with what it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanFile {
    /// [`FORMAT`].
    pub format: u32,
    /// Always `deployer plan`, so that another tool's file is told apart.
    pub kind: String,
    /// The services whose code alone was planned.
    #[serde(default)]
    pub only: Option<Only>,
    /// Whether a hold was to be lifted.
    pub release_hold: bool,
    /// The new roll-outs of what serves that were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub redeploys: Redeploys,
    /// The images' digests, by service.
    pub images: BTreeMap<String, String>,
    /// What this machine gave the secrets to hold.
    pub values: Digests,
    /// The plan.
    pub plan: Plan,
    /// What it is about, for `show`. Files of before do not say it.
    #[serde(default)]
    pub scene: Scene,
    /// What the manifest calls otherwise than the file does.
    #[serde(skip)]
    renames: Renames,
}

/// A file on disk says origins, as ledgers do: it is read also by whoever calls its things
/// otherwise by then. What it is about for people, the scene, is in the words of its day.
impl Keyed for PlanFile {
    fn exchange(&mut self, renames: &Renames) {
        match &mut self.only {
            None => {}
            Some(Only::One(service)) => renames.exchange_service(service),
            Some(Only::Several(services)) => {
                let all = std::mem::take(services).into_iter();
                *services = all.map(|it| renames.service(&it).to_owned()).collect();
            }
        }
        let redeploys = self.redeploys.values_mut();
        redeploys.for_each(|it| renames.services_of(it));
        renames.services_of(&mut self.images);
        self.renames = renames.clone();
    }
}

impl PlanFile {
    /// The services whose code alone was planned; none when everything was.
    pub fn services(&self) -> BTreeSet<String> {
        match &self.only {
            None => BTreeSet::new(),
            Some(Only::One(service)) => BTreeSet::from([service.clone()]),
            Some(Only::Several(services)) => services.clone(),
        }
    }

    /// A file for this plan, of a manifest that calls these things otherwise.
    ///
    /// Errors: internal, when this machine gives no random bytes.
    pub fn of(
        plan: Plan,
        part: &Part,
        release_hold: bool,
        sources: Sources,
        renames: &Renames,
    ) -> Result<Self> {
        let values = values_of(&sources.values, renames);
        let sources = Sources { values, ..sources };
        Ok(renames.exchanged(Self::new(plan, part, release_hold, sources)?))
    }

    /// A file for this plan.
    ///
    /// Errors: internal, when this machine gives no random bytes.
    fn new(plan: Plan, part: &Part, release_hold: bool, sources: Sources) -> Result<Self> {
        let only = match part {
            Part::All => None,
            Part::CodeOf(services) => Some(match services.first() {
                Some(one) if services.len() == 1 => Only::One(one.clone()),
                Some(_) | None => Only::Several(services.clone()),
            }),
        };
        Ok(Self {
            format: FORMAT,
            kind: "deployer plan".into(),
            only,
            release_hold,
            redeploys: Redeploys::new(),
            values: Digests::of(&sources.values)?,
            images: sources.images,
            plan,
            scene: Scene::default(),
            renames: Renames::default(),
        })
    }

    /// The same with these roll-outs.
    #[must_use]
    pub fn redeploying(self, mut redeploys: Redeploys) -> Self {
        let targets = redeploys.values_mut();
        targets.for_each(|it| self.renames.services_of(it));
        Self { redeploys, ..self }
    }

    /// The same with what it is about.
    #[must_use]
    pub fn about(self, scene: Scene) -> Self {
        Self { scene, ..self }
    }

    /// Writes it whole or not at all, for its owner alone.
    ///
    /// Errors: input, when that cannot be done.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::internal("a plan has no JSON form").because(error))?;
        put(path, &text).map_err(|error| {
            Error::input(format!("cannot write the plan to {}", path.display())).because(error)
        })
    }

    /// Reads one.
    ///
    /// Errors: input, naming the file, when it is no plan or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |why: String| {
            Error::input(format!(
                "{} is no plan that this deployer can apply: {why}",
                path.display()
            ))
            .hint("make one with `deployer plan --out FILE`")
        };
        let size = std::fs::metadata(path)
            .map_err(|error| bad(error.to_string()))?
            .len();
        if size > LARGEST {
            return Err(bad(format!("it has {size} bytes")));
        }
        let bytes = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        #[derive(Deserialize)]
        struct Header {
            format: u32,
            kind: String,
        }
        let header: Header =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if header.kind != "deployer plan" || header.format != FORMAT {
            return Err(bad(format!(
                "it is `{}`, format {}",
                header.kind, header.format
            )));
        }
        let read = || {
            let mut written = serde_json::from_slice(&bytes)?;
            for cloud in CloudName::ALL {
                catalogue(cloud).kinds.moved.rewrite(&mut written);
            }
            serde_json::from_value(written)
        };
        read().map_err(|error: serde_json::Error| bad(error.to_string()))
    }

    /// Its id: of the plan and of when it was made.
    pub fn id(&self) -> String {
        let said = serde_json::to_vec(&(&self.plan, self.scene.at));
        let said = said.expect("a plan that was read has a JSON form");
        hex::encode(&aws_lc_rs::digest::digest(&SHA256, &said).as_ref()[..8])
    }
}

/// Replaces a file as a whole; what is no file (a pipe, a device) is written to.
fn put(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let special = std::fs::metadata(path).is_ok_and(|there| !there.is_file());
    if special {
        return std::fs::write(path, text);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    // Made with mode 0600.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use deployer_core::error::{ErrorKind, Result};

    #[test]
    fn what_is_no_plan_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let check = |content: &[u8]| {
            let path = folder.path().join("p.json");
            std::fs::write(&path, content).unwrap();
            let error = PlanFile::read(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input);
            assert!(error.to_string().contains("p.json"), "{error}");
        };
        check(b"");
        check(b"{\"format\": 1");
        check(&[0xff, 0xfe]);
        check(b"{\"format\": 9, \"kind\": \"deployer plan\"}");
        check(b"{\"format_version\":\"1.2\",\"terraform_version\":\"1.9.0\"}");
    }

    /// A change with something in each of its parts.
    const CHANGE: &str = r#"{
        "address": "aws/us-east-1/logs.group//ecs/shop-staging-web", "sort": "resource", "action": "update",
        "reason": "it differs", "effect": "in_place", "settling": "a while",
        "changes": [
            {"field": "retention_days", "old": "365", "new": "30"},
            {"field": "kms_key", "old": null, "new": {"known_after": "aws/us-east-1/ecr.repository/shop-staging-web"}}
        ],
        "drift": [{"field": "retention_days", "left": "30"}],
        "needs": ["aws/us-east-1/ecr.repository/shop-staging-web"]
    }"#;

    fn plan() -> Plan {
        let target = r#"{"cloud": "aws", "account": "123456789012", "region": "us-east-1", "sandbox": false}"#;
        Plan {
            app: "shop".into(),
            environment: "staging".into(),
            targets: vec![serde_json::from_str(target).unwrap()],
            changes: vec![serde_json::from_str(CHANGE).unwrap()],
            notes: vec!["a note".into()],
            fingerprint: "0123".into(),
        }
    }

    fn nothing() -> Sources {
        Sources {
            images: BTreeMap::new(),
            values: BTreeMap::new(),
        }
    }

    fn sources(digest: &str, values: &[(&str, &str)]) -> Sources {
        let values = values.iter();
        Sources {
            images: BTreeMap::from([("web".to_owned(), digest.to_owned())]),
            values: values
                .map(|(name, value)| ((*name).to_owned(), SecretString::from(*value)))
                .collect(),
        }
    }

    #[test]
    fn a_plan_is_stale_when_an_image_or_a_value_is_another_one() {
        let then = sources(
            "sha256:1",
            &[("aws/mail", "hunter2"), ("gcp/mail", "hunter2")],
        );
        let file = PlanFile::new(plan(), &Part::All, false, then).unwrap();
        let text = serde_json::to_string(&file).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        let digests: BTreeSet<&String> = file.values.digests.values().collect();
        assert_eq!(digests.len(), 2, "equal values do not show");
        let file: PlanFile = serde_json::from_str(&text).unwrap();
        let same = sources(
            "sha256:1",
            &[("aws/mail", "hunter2"), ("gcp/mail", "hunter2")],
        );
        assert!(file.check_fresh(&plan(), &same).is_ok());
        let check = |now: Sources, expected: &str| {
            let error = file.check_fresh(&plan(), &now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            let words = "the plan is stale; since it was made, this moved: ";
            assert_eq!(error.to_string(), format!("{words}{expected}"));
        };
        check(
            sources(
                "sha256:1",
                &[("aws/mail", "hunter3"), ("gcp/mail", "hunter2")],
            ),
            "secret `mail` on aws is to hold another value",
        );
        check(
            sources("sha256:1", &[("aws/mail", "hunter2")]),
            "secret `mail` on gcp is given no value any more",
        );
        check(
            sources(
                "sha256:2",
                &[
                    ("aws/mail", "hunter2"),
                    ("aws/more", "x"),
                    ("gcp/mail", "hunter2"),
                ],
            ),
            "the image of `web`, secret `more` on aws is given a value",
        );
    }

    #[test]
    fn a_plan_is_its_owners_alone_and_a_pipe_is_written_to() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        let file = PlanFile::new(plan(), &Part::All, false, nothing()).unwrap();
        std::fs::write(&path, "before").unwrap();
        file.write(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        file.write(Path::new("/dev/null")).unwrap();
        let there = std::fs::metadata("/dev/null").unwrap();
        assert!(!there.is_file());
        let error = file.write(&folder.path().join("no/p.json")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
    }

    fn written() -> Vec<u8> {
        let plan = plan();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        let file = PlanFile::new(plan, &Part::All, false, nothing()).unwrap();
        file.write(&path).unwrap();
        PlanFile::read(&path).unwrap();
        std::fs::read(path).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<PlanFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, bytes).unwrap();
        PlanFile::read(&path)
    }

    #[test]
    fn a_file_that_is_much_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(100 << 20).unwrap();
        let error = PlanFile::read(&path).unwrap_err();
        assert!(error.to_string().contains("104857600 bytes"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_of_any_kind_are_no_plan(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::Input);
        }

        #[test]
        fn a_truncated_plan_is_none(keep in 0.0..0.99_f64) {
            let whole = written();
            let part = &whole[..(whole.len() as f64 * keep) as usize];
            prop_assert_eq!(read(part).unwrap_err().kind(), ErrorKind::Input);
        }

        #[test]
        fn a_plan_with_another_word_somewhere_is_none_or_stale_or_says_the_same(
            at in 0.0..1.0_f64,
            gone in 0..12_usize,
            word in r#"([\[\]{}":,0-9a-z./\n-]{0,8}|null|99999999999999999999|-1|\\u0000|é)"#,
        ) {
            let whole = written();
            let at = (whole.len() as f64 * at) as usize;
            let mut bytes = whole[..at].to_vec();
            bytes.extend(word.as_bytes());
            bytes.extend(&whole[(at + gone).min(whole.len())..]);
            match read(&bytes) {
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Input),
                Ok(file) => match file.check_fresh(&plan(), &nothing()) {
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Conflict),
                    Ok(()) => prop_assert_eq!(file.plan.changes, plan().changes),
                },
            }
        }
    }
}
