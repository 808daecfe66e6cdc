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
        Some((wanted, running_now)) if running_now < wanted => Err(format!("ready{running}")),
        Some(_) | None => Ok(format!("ready{running}")),
    }
}
