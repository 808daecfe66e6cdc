//! Plans on disk: what `plan --out` writes and `apply FILE` takes, with the fingerprint of what was observed.

use std::path::Path;

use deployer_core::compose::Part;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::plan::Plan;
use serde::{Deserialize, Serialize};

/// The version of the format.
const FORMAT: u32 = 1;

/// No plan is larger; a file that is, is not one.
const LARGEST: u64 = 64 << 20;

/// A plan with what it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanFile {
    /// [`FORMAT`].
    pub format: u32,
    /// Always `deployer plan`, so that another tool's file is told apart.
    pub kind: String,
    /// The one service, when only one was planned.
    pub only: Option<String>,
    /// Whether a hold was to be lifted.
    pub release_hold: bool,
    /// The images' digests, by service.
    pub images: std::collections::BTreeMap<String, String>,
    /// The plan.
    pub plan: Plan,
}

impl PlanFile {
    /// A file for this plan.
    pub fn new(
        plan: Plan,
        part: &Part,
        release_hold: bool,
        images: std::collections::BTreeMap<String, String>,
    ) -> Self {
        let only = match part {
            Part::All => None,
            Part::CodeOf(service) => Some(service.clone()),
        };
        Self {
            format: FORMAT,
            kind: "deployer plan".into(),
            only,
            release_hold,
            images,
            plan,
        }
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::internal("a plan has no JSON form").because(error))?;
        std::fs::write(path, text).map_err(|error| {
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
        serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))
    }

    /// Refuses when what was planned is not what would be planned now; says what moved.
    pub fn check_fresh(&self, now: &Plan) -> Result<()> {
        if self.plan.fingerprint == now.fingerprint && self.plan.changes == now.changes {
            return Ok(());
        }
        let mut moved: Vec<String> = now
            .changes
            .iter()
            .filter(|change| !self.plan.changes.contains(change))
            .map(|change| format!("{} ({:?} now)", change.address, change.action))
            .collect();
        let gone = self.plan.changes.iter().filter(|change| {
            !now.changes
                .iter()
                .any(|other| other.address == change.address)
        });
        moved.extend(gone.map(|change| format!("{} (no longer planned)", change.address)));
        if moved.is_empty() {
            moved.push("something that the plan leaves alone".into());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the plan is stale; since it was made, this moved: {}",
                moved.join(", ")
            ),
        )
        .hint("plan again, look, and apply the new plan"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use deployer_core::error::Result;

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

    fn written() -> Vec<u8> {
        let plan = plan();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        let file = PlanFile::new(plan, &Part::All, false, Default::default());
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
                Ok(file) => match file.check_fresh(&plan()) {
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Conflict),
                    Ok(()) => prop_assert_eq!(file.plan.changes, plan().changes),
                },
            }
        }
    }
}
