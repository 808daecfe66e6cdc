//! The releases on disk keep the promise that the migration command enforces.

use std::collections::BTreeMap;

use crate::process::release;

fn migrations(version: &str) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(release(version).join("migrations")).unwrap();
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.map(read).collect()
}

#[test]
fn a_later_release_only_adds_migrations() {
    for (earlier, later, added) in [("1.0.0", "2.0.0", 1), ("2.0.0", "3.0.0", 0)] {
        let (earlier, later) = (migrations(earlier), migrations(later));
        assert_eq!(later.len(), earlier.len() + added);
        for (name, sql) in earlier {
            assert_eq!(later.get(&name), Some(&sql), "{name}");
        }
    }
}
