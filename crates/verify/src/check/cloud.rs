//! The cloud's own word: the wanted revision serves, with as many instances as asked for.

use std::time::Duration;

use deployer_core::capability::{Serving, ServingState};

use crate::finding::Finding;
use crate::subject::Word;

const CHECK: &str = "cloud";
const EXPECTED: &str = "ready, all instances run";

/// Judges what the cloud said.
pub fn check(word: &Word) -> Finding {
    let judgement = match word {
        Word::Withheld(why) => return Finding::skipped(CHECK, EXPECTED, why),
        Word::Unheard(why) => Err(why.clone()),
        Word::Said(None) => Err("no such service".into()),
        Word::Said(Some(serving)) => judge(serving),
    };
    Finding::judged(CHECK, EXPECTED, Duration::ZERO, judgement)
}

fn judge(serving: &Serving) -> Result<String, String> {
    let running = serving
        .instances
        .map_or_else(String::new, |(wanted, running)| {
            format!(", {running} of {wanted} instances")
        });
    match &serving.state {
        ServingState::Ready => {}
        ServingState::InProgress(why) => return Err(format!("in progress: {why}")),
        ServingState::Failing(why) => return Err(format!("failing: {why}")),
        ServingState::Failed(why) => return Err(format!("failed: {why}")),
    }
    match serving.instances {
        // Nothing runs, and nothing is to: nobody serves, whoever asked for that.
        Some((0, _)) => Err("ready, but 0 instances are asked for: nobody serves".to_owned()),
        Some((wanted, running_now)) if running_now < wanted => Err(format!("ready{running}")),
        Some(_) | None => Ok(format!("ready{running}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn as_many_as_were_asked_for_are_not_enough_where_that_is_none() {
        let serving = |instances| Serving {
            service: "web".into(),
            wanted: None,
            traffic: Vec::new(),
            images: BTreeMap::new(),
            instances,
            state: ServingState::Ready,
            url: None,
            put_back: None,
        };
        assert!(judge(&serving(Some((2, 2)))).is_ok());
        // Cloud Run does not count: it starts one for a request.
        assert!(judge(&serving(None)).is_ok());
        let why = judge(&serving(Some((0, 0)))).unwrap_err();
        assert!(why.contains("nobody serves"), "{why}");
    }
}
