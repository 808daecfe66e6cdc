//! Releases as JSON: beside the cloud's own names, which hold account and project, the parts that a
//! pipeline can pass on. Pipelines drop an output with an account's number in it where that is one
//! of their secrets.

use deployer_core::address::CloudName;
use deployer_core::ledger::Release;
use serde_json::{Value, json};

use crate::facts::revision_name;

/// The line about a release that serves now.
pub fn event(cloud: CloudName, release: &Release) -> Value {
    json!({
        "event": "release", "cloud": cloud, "service": release.service, "number": release.number,
        "content_id": release.content(), "tag": release.tag, "digest": digest(release),
        "revision": revision_name(&release.revision.0), "release": with_short_names(release),
    })
}

/// The release with the id of its whole content, and with `digest` and `revision_name`, which name
/// image and revision within account and project.
pub fn with_short_names(release: &Release) -> Value {
    let mut value = json!(release);
    value["content_id"] = json!(release.content());
    value["digest"] = json!(digest(release));
    value["revision_name"] = json!(revision_name(&release.revision.0));
    value
}

fn digest(release: &Release) -> Option<&str> {
    let (_, digest) = release.image.0.rsplit_once('@')?;
    Some(digest)
}
