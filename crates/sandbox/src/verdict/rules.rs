//! The rules in force: which call each hits, counted in the order of calls and drawn from the seed.

use serde_json::{Value, json};

use super::{FaultKind, Verdict};
use crate::call::{ApiCall, Cloud, Effect};
use crate::glob::matches;

/// One `[[fault]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) call: String,
    pub(crate) cloud: Option<Cloud>,
    pub(crate) when: When,
    pub(crate) times: Option<u64>,
    /// As written in the file.
    pub(crate) what: &'static str,
    pub(crate) verdict: Verdict,
}

/// Which of the matching calls are hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// The nth and those after it, as many as `times` says.
    From(u64),
    /// Each nth.
    Every(u64),
    /// Each with this probability.
    Chance(f64),
}

/// Rules with their counts.
#[derive(Default)]
pub(crate) struct Rules {
    seed: u64,
    all: Vec<Rule>,
}

struct Rule {
    entry: Entry,
    chance: fastrand::Rng,
    seen: u64,
    fired: u64,
}

impl Rules {
    /// None of which has seen a call yet.
    pub(crate) fn new(seed: u64, faults: Vec<Entry>) -> Self {
        let all = faults.into_iter().zip(0_u64..).map(|(entry, at)| Rule {
            entry,
            // One source each: what one rule draws does not shift what another does.
            chance: fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(at)),
            seen: 0,
            fired: 0,
        });
        Self {
            seed,
            all: all.collect(),
        }
    }

    /// What becomes of a call: the first rule that fires decides. `earlier` tells whether there is
    /// an earlier answer to the same request.
    pub(crate) fn judge(&mut self, call: &ApiCall, earlier: bool) -> Verdict {
        let mut verdict = Verdict::Pass;
        for rule in self.all.iter_mut().filter(|rule| rule.matches(call)) {
            let stale = rule.entry.verdict == Verdict::Stale;
            if stale && !(call.effect == Effect::Read && earlier) {
                // There is nothing stale to say: not a call for this rule.
                continue;
            }
            // Every rule counts, whoever decides.
            if rule.hits() && verdict == Verdict::Pass {
                rule.fired += 1;
                verdict = rule.entry.verdict;
            }
        }
        verdict
    }

    /// Whether one of them denies every such call, as a missing permission does.
    pub(crate) fn deny(&self, call: &ApiCall) -> bool {
        self.all.iter().filter(|rule| rule.matches(call)).any(|rule| {
            let denies = matches!(rule.entry.verdict, Verdict::Refuse(it) if it.kind == FaultKind::Denied);
            denies && rule.entry.times.is_none() && rule.entry.when == When::Every(1)
        })
    }

    /// Whether answers must be kept for later.
    pub(crate) fn remember(&self) -> bool {
        let mut verdicts = self.all.iter().map(|rule| rule.entry.verdict);
        verdicts.any(|verdict| verdict == Verdict::Stale)
    }

    /// What `sandbox status` says.
    pub(crate) fn status(&self) -> Value {
        let rules = self.all.iter().map(|rule| {
            json!({
                "call": rule.entry.call, "what": rule.entry.what, "seen": rule.seen, "fired": rule.fired,
            })
        });
        json!({ "seed": self.seed, "rules": rules.collect::<Vec<_>>() })
    }
}

impl Rule {
    fn matches(&self, call: &ApiCall) -> bool {
        let here = self.entry.cloud.is_none_or(|cloud| cloud == call.cloud);
        here && matches(&self.entry.call, &call.name)
    }

    /// Counts a call, and says whether it is one to hit.
    fn hits(&mut self) -> bool {
        self.seen += 1;
        let left = self.entry.times.is_none_or(|times| self.fired < times);
        let due = match self.entry.when {
            When::From(nth) => self.seen >= nth,
            When::Every(every) => self.seen.is_multiple_of(every),
            // Drawn also when nothing is left, so that the order of draws is the order of calls.
            When::Chance(chance) => self.chance.f64() < chance,
        };
        left && due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::FaultsFile;

    /// Which of `count` calls of UpdateService are hit, `x`, by a rule with these keys.
    fn hits(keys: &str, count: usize) -> String {
        let text = format!("[[fault]]\ncall = \"ecs:Update*\"\nwhat = \"internal\"\n{keys}\n");
        let mut rules = FaultsFile::parse("test", &text).unwrap().rules();
        let call = ApiCall::aws("ecs:UpdateService".into());
        let other = ApiCall::aws("ecs:DescribeServices".into());
        let mut hit = String::new();
        for _ in 0..count {
            assert_eq!(rules.judge(&other, false), Verdict::Pass);
            let passed = rules.judge(&call, false) == Verdict::Pass;
            hit.push(if passed { '.' } else { 'x' });
        }
        assert_eq!(rules.status()["rules"][0]["seen"], count);
        hit
    }

    #[test]
    fn the_nth_each_nth_or_a_share_of_the_matching_calls_is_hit() {
        assert_eq!(hits("", 3), "xxx");
        assert_eq!(hits("nth = 2", 5), ".x...");
        assert_eq!(hits("nth = 2\ntimes = 2", 5), ".xx..");
        assert_eq!(hits("every = 2", 6), ".x.x.x");
        assert_eq!(hits("every = 2\ntimes = 1", 6), ".x....");
        assert_eq!(hits("probability = 0.0", 9), ".........");
        let drawn = hits("probability = 0.5", 200);
        let count = drawn.matches('x').count();
        assert!((60..140).contains(&count), "{count}");
        assert_eq!(hits("probability = 0.5", 200), drawn);
    }

    #[test]
    fn the_first_rule_that_fires_decides_and_all_count() {
        let text = "[[fault]]\ncall = \"*\"\nwhat = \"internal\"\nnth = 2\n\
                    [[fault]]\ncall = \"*\"\nwhat = \"reset_after\"\ncloud = \"aws\"\n";
        let mut rules = FaultsFile::parse("test", text).unwrap().rules();
        let call = ApiCall::aws("ecs:UpdateService".into());
        assert_eq!(rules.judge(&call, false), Verdict::LoseReply);
        assert!(matches!(rules.judge(&call, false), Verdict::Refuse(_)));
        let google = ApiCall::google("run.projects.locations.services.patch");
        assert_eq!(rules.judge(&google, false), Verdict::Pass);
        let counts = rules.status();
        assert_eq!(
            counts["rules"][1],
            json!({"call": "*", "what": "reset_after", "seen": 2, "fired": 1})
        );
    }
}
