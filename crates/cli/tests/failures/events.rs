//! What a command says with `--json`.

use deployer::Exit;
use serde_json::Value;

use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, run};

crate::tests! {
    a_release_is_told_in_parts_without_account_or_project => release_in_parts,
}

/// The lines that are JSON documents, in order.
fn lines(said: &str) -> impl Iterator<Item = Value> + '_ {
    let documents = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    documents.filter(Value::is_object)
}

/// Every event of this name.
pub fn named(said: &str, name: &str) -> Vec<Value> {
    lines(said).filter(|line| line["event"] == name).collect()
}

/// The only event of this name about this cloud.
pub fn about(said: &str, name: &str, cloud: &str) -> Value {
    let mut events = named(said, name);
    events.retain(|event| event["cloud"] == cloud);
    assert_eq!(events.len(), 1, "`{name}` about {cloud} in:\n{said}");
    events.remove(0)
}

/// What a command answers as one document.
pub async fn document(stage: &Stage, words: &[&str], cloud: &str, exit: Exit) -> Value {
    let said = run(stage, &[words, &["--json"]].concat(), cloud, exit).await;
    serde_json::from_str(&said).expect("JSON")
}

/// The texts in a list.
pub fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(Value::as_str).collect()
}

/// What a pipeline passes on of a release names no account and no project.
async fn release_in_parts(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    for (cloud, account) in [("aws", "123456789012"), ("gcp", "sandbox-project")] {
        let words = [APPLY, &["--json"]].concat();
        let said = run(stage, &words, cloud, Exit::Success).await;
        let mut line = named(&said, "release").remove(0);
        line.as_object_mut().expect("an object").remove("release");
        assert_eq!(line["number"], 1);
        assert_eq!(line["digest"], stage.digest(1));
        assert!(line["revision"].is_string(), "{line}");
        assert!(!line.to_string().contains(account), "{line}");
    }
}
