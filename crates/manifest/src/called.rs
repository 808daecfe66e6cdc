//! A key of the manifest with the one that names in the clouds are made from.

/// A thing of the manifest: what it is called, and under which key it was first applied.
///
/// Names are made from the second, and from nothing else: who renames a thing in the manifest, and
/// says so with `was`, renames nothing in a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called<'a> {
    /// The manifest's key of today: it finds the tables that say something of the thing.
    pub key: &'a str,
    /// The key under which it was first applied, which default names are made from.
    pub origin: &'a str,
}
