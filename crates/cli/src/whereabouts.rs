//! Finds the manifest that nobody names: in the current folder or in one above, up to the
//! root of the repository.

use std::path::{Component, Path, PathBuf};

/// The commands that tell of what was recorded, whatever variables the manifest sets now.
pub const OF_RECORDS: [&str; 6] = ["report", "logs", "releases", "runs", "status", "lock"];

/// What a manifest is called where nobody names another.
pub const MANIFEST: &str = "deployer.toml";

/// What the root of a repository holds.
const ROOTS: [&str; 3] = [".git", ".hg", ".jj"];

/// Where a manifest is that nobody names, relative to the current folder. One that is nowhere is
/// looked for here.
pub fn usual() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let above = levels(&here).unwrap_or_default();
    let up: PathBuf = std::iter::repeat_n(Component::ParentDir, above).collect();
    up.join(MANIFEST)
}

/// How many folders above the manifest is. Outside of a repository nothing but the folder itself
/// counts: a manifest further up is a stranger's.
fn levels(here: &Path) -> Option<usize> {
    let is_root = |folder: &Path| ROOTS.iter().any(|name| folder.join(name).exists());
    let root = here.ancestors().position(is_root).unwrap_or(0);
    let mut folders = here.ancestors().take(root + 1);
    folders.position(|folder| folder.join(MANIFEST).is_file())
}

/// Where a manifest was looked for, in words, for who has none.
pub fn searched() -> String {
    searched_from(&std::env::current_dir().unwrap_or_default())
}

fn searched_from(here: &Path) -> String {
    let is_root = |folder: &&Path| ROOTS.iter().any(|name| folder.join(name).exists());
    match here.ancestors().find(is_root) {
        Some(root) if root != here => format!(
            "in {} and the folders above it, up to the repository's root {}",
            here.display(),
            root.display()
        ),
        Some(root) => format!("in {}, the repository's root", root.display()),
        None => format!(
            "in {} alone: outside of a repository no folder above it counts",
            here.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_looked_for_up_to_the_root_of_the_repository_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        let deep = repository.join("sub/deep");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(folder.path().join(MANIFEST), "").unwrap();
        assert_eq!(levels(&deep), None, "there is no repository");
        let said = searched_from(&deep);
        assert!(said.contains("no folder above it counts"), "{said}");
        std::fs::create_dir(repository.join(".git")).unwrap();
        assert_eq!(levels(&deep), None, "it is beyond the root");
        let up_to = format!("root {}", repository.display());
        assert!(
            searched_from(&deep).ends_with(&up_to),
            "{}",
            searched_from(&deep)
        );
        let said = searched_from(&repository);
        assert!(said.ends_with("the repository's root"), "{said}");
        std::fs::write(repository.join(MANIFEST), "").unwrap();
        assert_eq!(levels(&deep), Some(2));
        std::fs::write(deep.join(MANIFEST), "").unwrap();
        assert_eq!(levels(&deep), Some(0));
    }
}
