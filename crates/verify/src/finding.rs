//! What one check expected and what it got. Never holds a secret or a token.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// The result of one check, in words for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was checked: `health`, `token`, `token with the keys of gcp`, the name of a check of
    /// the manifest.
    pub check: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub got: String,
    /// How long it took; the answer with its whole body, where there is one.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "why")]
pub enum Outcome {
    /// As expected.
    Passed,
    /// As expected, but somebody should look at it soon; says why.
    Warned(String),
    /// Not as expected: [`Finding::got`] says how.
    Failed,
    /// It could not be checked; says why. Neither good nor bad.
    Skipped(String),
}

/// What several findings come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Something was checked and nothing failed.
    Passed,
    /// Something failed.
    Failed,
    /// Nothing could be checked.
    Skipped,
}

impl Overall {
    /// Sums findings up; no findings at all are [`Overall::Skipped`].
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut overall = Self::Skipped;
        for finding in findings {
            match finding.outcome {
                Outcome::Failed => return Self::Failed,
                Outcome::Passed | Outcome::Warned(_) => overall = Self::Passed,
                Outcome::Skipped(_) => {}
            }
        }
        overall
    }
}

impl Finding {
    /// A check that was not made.
    pub fn skipped(check: impl Into<String>, expected: impl Into<String>, why: &str) -> Self {
        Self {
            check: check.into(),
            expected: expected.into(),
            got: String::new(),
            took: Duration::ZERO,
            outcome: Outcome::Skipped(why.to_owned()),
        }
    }

    /// A check that was made: `Ok` and `Err` say what was got.
    pub(crate) fn judged(
        check: impl Into<String>,
        expected: impl Into<String>,
        took: Duration,
        judgement: Result<String, String>,
    ) -> Self {
        let (got, outcome) = match judgement {
            Ok(got) => (got, Outcome::Passed),
            Err(got) => (got, Outcome::Failed),
        };
        Self {
            check: check.into(),
            expected: expected.into(),
            got,
            took,
            outcome,
        }
    }
}

fn seconds<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(outcome: Outcome) -> Finding {
        Finding {
            check: "health".into(),
            expected: "200".into(),
            got: "200".into(),
            took: Duration::from_millis(1500),
            outcome,
        }
    }

    #[test]
    fn one_failure_outweighs_everything_and_skipped_checks_pass_nothing() {
        let (passed, failed) = (finding(Outcome::Passed), finding(Outcome::Failed));
        let skipped = finding(Outcome::Skipped("no address is known".into()));
        assert_eq!(Overall::of([&passed, &failed, &skipped]), Overall::Failed);
        assert_eq!(Overall::of([&skipped, &passed]), Overall::Passed);
        assert_eq!(Overall::of([&skipped]), Overall::Skipped);
        assert_eq!(Overall::of([]), Overall::Skipped);
    }

    #[test]
    fn a_finding_as_json_says_its_outcome_and_its_reason_side_by_side() {
        let json = serde_json::to_value(finding(Outcome::Skipped("why".into()))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "check": "health", "expected": "200", "got": "200", "seconds": 1.5,
                "outcome": "skipped", "why": "why",
            })
        );
    }
}
