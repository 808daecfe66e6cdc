//! A cloud's words without what is told by itself, or each time; pure.

use deployer_core::capability::Autopsy;

/// What Cloud Run says of every revision that does not start, whatever the cause ("Troubleshoot
/// Cloud Run issues", container failed to start): `--json` has it.
const OF_EVERY_REVISION: [&str; 4] = [
    " is not ready and cannot serve traffic",
    "This can happen when the container port is misconfigured",
    "The health check timeout can be extended",
    "Logs for this revision might contain more information",
];

/// What Cloud Run calls such a failure: its words follow.
const CODES: [&str; 2] = ["REVISION_FAILED: ", "HEALTH_CHECK_CONTAINER_ERROR: "];

/// A cloud's words without what it says each time.
pub fn brief(words: &str) -> String {
    let codes = CODES
        .iter()
        .filter_map(|code| Some((words.find(code)?, code.len())));
    let Some((at, length)) = codes.min() else {
        return words.to_owned();
    };
    let (heading, said) = words.split_at(at + length);
    let told = |it: &&str| !OF_EVERY_REVISION.iter().any(|same| it.contains(same));
    let sentences: Vec<&str> = said.split(". ").filter(told).collect();
    match sentences.is_empty() {
        true => words.to_owned(),
        false => format!("{heading}{}", sentences.join(". ")),
    }
}

/// The same without the name of the failure: of one failure each of Cloud Run's objects has
/// another.
pub fn without_code(words: &str) -> String {
    let words = brief(words);
    let codes = CODES
        .iter()
        .filter_map(|code| Some(words.find(code)? + code.len()));
    let said = codes.max().map_or(words.as_str(), |at| &words[at..]);
    said.trim().to_owned()
}

/// A cloud's long sentence without the parts that are told by themselves: events, and tasks that
/// stopped.
pub fn without_events(message: &str, autopsy: &Autopsy) -> String {
    let told = |part: &&str| {
        let part = part.trim();
        let of_task = part.starts_with("task stopped:") && !autopsy.stopped.is_empty();
        !part.starts_with("event:") && !of_task
    };
    let parts: Vec<&str> = message.split("; ").filter(told).collect();
    parts.join("; ")
}
