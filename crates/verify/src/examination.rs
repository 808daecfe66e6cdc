//! What the checks of one service on one target found, and what tokens of one target are worth on
//! another.

use std::fmt;

use jiff::Timestamp;
use url::Url;

use crate::check::token::Issued;
use crate::finding::{Finding, Overall};
use crate::jwt::KeySet;
use crate::subject::Subject;

/// The findings of one service on one target.
#[derive(Clone)]
pub struct Examination {
    /// What the target is called.
    pub target: String,
    /// Where the service was asked; or why it was not.
    pub address: Result<Url, String>,
    /// What was found, in the order in which it is reported.
    pub findings: Vec<Finding>,
    /// The status with which a candidate's own address turned the health check away: a redirect, or
    /// that the caller or the name is not welcome. `None` where nobody was turned away.
    pub turned_away: Option<u16>,
    /// Whether the manifest asks for tokens.
    pub(crate) issues: bool,
    /// Whether the manifest asks for a key set.
    pub(crate) publishes: bool,
    /// The token of the round trip.
    pub(crate) issued: Option<Issued>,
    /// The published keys.
    pub(crate) keys: Option<KeySet>,
}

impl fmt::Debug for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examination")
            .field("target", &self.target)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

/// A target of the manifest that is not examined.
#[derive(Clone, Debug)]
pub struct Absentee {
    /// What it is called.
    pub target: String,
    /// Why it is not there.
    pub why: String,
}

impl Examination {
    pub(crate) fn of(subject: &Subject) -> Self {
        Self {
            target: subject.target.clone(),
            address: subject.address.clone(),
            findings: Vec::new(),
            turned_away: None,
            issues: subject.spec.token.is_some(),
            publishes: subject.spec.jwks.is_some(),
            issued: None,
            keys: None,
        }
    }

    pub(crate) fn skip(&mut self, checks: Vec<(String, String)>, why: &str) {
        let skipped = checks
            .into_iter()
            .map(|(check, expected)| Finding::skipped(check, expected, why));
        self.findings.extend(skipped);
    }

    /// What the findings come to.
    pub fn overall(&self) -> Overall {
        Overall::of(&self.findings)
    }
}

/// Verifies the token of each target with the keys of every other one, and adds what it finds to
/// the issuer's findings. `absent` are targets whose keys nobody asked for: their checks are
/// skipped, and said to be.
///
/// Sends nothing: it judges what the examinations brought back.
pub fn cross_verify(
    examinations: &mut [Examination],
    absent: &[Absentee],
    mut now: impl FnMut() -> Timestamp,
) {
    let keys: Vec<(String, Option<Option<KeySet>>)> = examinations
        .iter()
        .map(|one| (one.target.clone(), one.publishes.then(|| one.keys.clone())))
        .collect();
    for issuer in examinations.iter_mut().filter(|issuer| issuer.issues) {
        for (target, keys) in keys.iter().filter(|(target, _)| *target != issuer.target) {
            let Some(keys) = keys else { continue };
            let started = now();
            let check = format!("token with {target}'s keys");
            let found = match (&issuer.issued, keys) {
                (None, _) => Err(format!("{} issued no token", issuer.target)),
                (_, None) => Err(format!("{target} has no usable keys")),
                (Some(issued), Some(keys)) => Ok(issued.verify(keys, started)),
            };
            issuer.findings.push(match found {
                Err(why) => Finding::skipped(check, EXPECTED, &why),
                Ok(verified) => {
                    let took = crate::http::between(started, now());
                    let judgement = verified.map(|algorithm| format!("{algorithm}, verified"));
                    Finding::judged(check, EXPECTED, took, judgement)
                }
            });
        }
        if issuer.publishes {
            let skipped = absent.iter().map(|absentee| {
                let check = format!("token with {}'s keys", absentee.target);
                Finding::skipped(check, EXPECTED, &absentee.why)
            });
            issuer.findings.extend(skipped);
        }
    }
}

const EXPECTED: &str = "it verifies there too";
