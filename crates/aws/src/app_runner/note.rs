//! The versions of its secrets that a service's last deployment started with, noted in a variable;
//! performs no IO.
//!
//! Nothing of an App Runner service names a version: "App Runner only pulls secrets and parameters
//! during deployment" ("Referencing environment variables", AWS App Runner Developer Guide), what
//! is current then, and a new value is no change of the service. So the versions that were current
//! when a deployment began are noted with the service, and another version is a change that
//! deploys.
//!
//! They stand in a plain variable of the configuration, not in a tag: what App Runner puts back
//! after a failure is the configuration as a whole, and the note with it; it is set by the very
//! call that deploys, and no kill comes in between. A tag is set by a call of its own, is refused
//! while an operation is under way (`InvalidStateException` of TagResource), is not put back, and
//! holds 256 characters. The app sees the variable: ids of versions, which it can list itself, and
//! no value.
//!
//! AWS's own documents name no version in the ARN of a secret for App Runner; the alpha constructs
//! of its CDK write one (`fromSecretsManagerVersion`). As no page says what becomes of it, it is
//! not relied upon.

use std::collections::BTreeMap;

/// The note: `VARIABLE=VERSION`, by a space.
pub(super) fn write(versions: &BTreeMap<String, String>) -> String {
    let pairs = versions.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, version)| format!("{name}={version}"))
        .collect();
    pairs.join(" ")
}

/// What a note says. What is no note says nothing.
pub(super) fn read(note: &str) -> BTreeMap<String, String> {
    let pairs = note.split(' ').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, version)| (name.to_owned(), version.to_owned()));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let versions = BTreeMap::from([
            ("DB.URL".to_owned(), "v1".to_owned()),
            ("KEY".to_owned(), "v2".to_owned()),
        ]);
        assert_eq!(write(&versions), "DB.URL=v1 KEY=v2");
        assert_eq!(read(&write(&versions)), versions);
        assert_eq!(read(""), BTreeMap::new());
        assert_eq!(read("whatever"), BTreeMap::new());
    }
}
