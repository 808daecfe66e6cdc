//! Unpacks an image's layers into a folder, and looks paths up in it without ever leaving it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// More symbolic links in one path than any kernel follows.
const MAX_LINKS: usize = 40;

/// Applies one layer on top of what `root` holds. `diff_id` is the digest that the image's
/// configuration promises for the unpacked stream.
pub(super) fn apply_layer(root: &Path, blob: &Path, diff_id: Option<&str>) -> io::Result<()> {
    let stream = HashingReader {
        inner: decompressed(blob)?,
        hasher: Context::new(&SHA256),
    };
    let mut archive = Archive::new(stream);
    archive.set_preserve_permissions(true);
    let mut written = HashSet::new();
    for entry in archive.entries()? {
        apply_entry(root, &mut entry?, &mut written)?;
    }
    let mut stream = archive.into_inner();
    // Padding after the end of the archive counts for the digest.
    io::copy(&mut stream, &mut io::sink())?;
    let actual = format!("sha256:{}", hex::encode(stream.hasher.finish()));
    match diff_id {
        Some(expected) if expected != actual => Err(io::Error::other(format!(
            "a layer unpacks to {actual}, the configuration says {expected}"
        ))),
        _ => Ok(()),
    }
}

fn decompressed(blob: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(blob)?);
    // Media types differ between the formats' histories; the first bytes do not lie.
    Ok(match file.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(file);
            Box::new(decoder.map_err(io::Error::other)?)
        }
        _ => Box::new(file),
    })
}

fn apply_entry<R: Read>(
    root: &Path,
    entry: &mut Entry<'_, R>,
    written: &mut HashSet<PathBuf>,
) -> io::Result<()> {
    let path = plain(&entry.path()?)?;
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        // The root itself.
        return Ok(());
    };
    let parent = make_folders(root, parent)?;
    let target = parent.join(name);
    if name == OPAQUE {
        return clear(&parent, written);
    }
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT.as_bytes()) {
        return match hidden {
            // `.wh...` would hide the folder above, `.wh..` or `.wh.` this one.
            b"" | b"." | b".." => Err(io::Error::other(format!(
                "the white-out `{}` hides no file",
                path.display()
            ))),
            hidden => remove(&parent.join(OsStr::from_bytes(hidden))),
        };
    }
    let kind = entry.header().entry_type();
    let keeps_folder = kind.is_dir() && target.symlink_metadata().is_ok_and(|it| it.is_dir());
    if !keeps_folder {
        remove(&target)?;
    }
    written.insert(target.clone());
    let link = |entry: &Entry<'_, R>| -> io::Result<PathBuf> {
        let link = entry.link_name()?;
        let link = link.ok_or_else(|| io::Error::other("a link without a target"))?;
        Ok(link.into_owned())
    };
    match kind {
        EntryType::Link => {
            let link = plain(&link(entry)?)?;
            let absent = || io::Error::other(format!("a link to `{}`", link.display()));
            let original = resolve_parent(root, &link).ok_or_else(absent)?;
            std::fs::hard_link(original, target)
        }
        EntryType::Symlink => std::os::unix::fs::symlink(link(entry)?, target),
        // The container gets its own devices; pipes and the like carry nothing.
        EntryType::Block | EntryType::Char | EntryType::Fifo => Ok(()),
        EntryType::XGlobalHeader => Ok(()),
        _ => {
            entry.unpack(&target)?;
            own(&target, entry.header())
        }
    }
}

/// Gives a file the owner that the archive names; where that is not allowed, it stays ours.
fn own(target: &Path, header: &tar::Header) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // Blank fields mean root; some archivers leave them so.
    let id = |field: io::Result<u64>| field.ok().and_then(|id| u32::try_from(id).ok());
    let (uid, gid) = (id(header.uid()), id(header.gid()));
    std::os::unix::fs::chown(target, uid.or(Some(0)), gid.or(Some(0)))?;
    // A change of owner clears set-user-id.
    std::fs::set_permissions(target, Permissions::from_mode(header.mode()?))
}

/// A path in an archive as one relative to its root; `..` has no business there.
fn plain(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let message = format!("the path `{}` leaves the image", path.display());
                return Err(io::Error::other(message));
            }
        }
    }
    Ok(plain)
}

/// Makes the folders of `path` that are absent; returns where it really lies.
pub(super) fn make_folders(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut made = root.to_owned();
    let mut inside = PathBuf::from("/");
    for component in path.components() {
        let Component::Normal(part) = component else {
            continue;
        };
        inside.push(part);
        made = match resolve(root, &inside) {
            Some(existing) => existing,
            None => {
                let folder = made.join(part);
                std::fs::create_dir(&folder)?;
                folder
            }
        };
    }
    Ok(made)
}

/// Where a path of the image lies on this machine, every symbolic link followed as the image's
/// own processes would. `None` when there is nothing.
pub(super) fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut left: Vec<_> = reversed(path);
    let mut real = root.to_owned();
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            if real != root {
                real.pop();
            }
            continue;
        }
        let next = real.join(&part);
        let metadata = next.symlink_metadata().ok()?;
        if !metadata.is_symlink() {
            real = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        let link = std::fs::read_link(&next).ok()?;
        if link.is_absolute() {
            real = root.to_owned();
        }
        left.extend(reversed(&link));
    }
    Some(real)
}

/// As [`resolve`], but a symbolic link at the very end stands for itself.
fn resolve_parent(root: &Path, path: &Path) -> Option<PathBuf> {
    let parent = resolve(root, path.parent()?)?;
    Some(parent.join(path.file_name()?))
}

/// Adds to a file of the image, at whichever place of the image its links lead to; where they lead
/// nowhere, a file takes the link's place.
pub(super) fn append(root: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut whole = Vec::new();
    let file = match resolve(root, path) {
        Some(file) => {
            whole = std::fs::read(&file)?;
            file
        }
        None => {
            let folder = make_folders(root, path.parent().unwrap_or(Path::new("/")))?;
            folder.join(path.file_name().unwrap_or_default())
        }
    };
    whole.extend_from_slice(text);
    write_fresh(&file, &whole)
}

/// Puts a file of its own where `path` is: whatever is there, a link above all, is taken away and
/// not written through. A hard link of it elsewhere keeps what it has.
pub(super) fn write_fresh(path: &Path, text: &[u8]) -> io::Result<()> {
    remove(path)?;
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(text)
}

fn reversed(path: &Path) -> Vec<std::ffi::OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<_> = parts.collect();
    parts.reverse();
    parts
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(it) if it.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    }
}

/// Empties a folder of what lower layers put there.
fn clear(folder: &Path, written: &HashSet<PathBuf>) -> io::Result<()> {
    for child in std::fs::read_dir(folder)? {
        let child = child?.path();
        if !written.contains(&child) {
            remove(&child)?;
        }
    }
    Ok(())
}

struct HashingReader {
    inner: Box<dyn Read>,
    hasher: Context,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
        let blob = folder.join(format!("layer-{}", files[0].0.replace('/', "-")));
        let mut archive = tar::Builder::new(File::create(&blob).unwrap());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            match text.strip_prefix("-> ") {
                Some(link) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    archive.append_link(&mut header, path, link).unwrap();
                }
                None => {
                    header.set_size(text.len() as u64);
                    header.set_mode(0o644);
                    archive
                        .append_data(&mut header, path, text.as_bytes())
                        .unwrap();
                }
            }
        }
        archive.finish().unwrap();
        blob
    }

    #[test]
    fn whiteouts_take_away_what_lower_layers_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let base = [("a/one", "1"), ("a/two", "2"), ("b/three", "3")];
        apply_layer(&root, &layer(folder.path(), &base), None).unwrap();
        let above = [("a/.wh.one", ""), ("b/four", "4"), ("b/.wh..wh..opq", "")];
        apply_layer(&root, &layer(folder.path(), &above), None).unwrap();
        assert!(!root.join("a/one").exists());
        assert!(root.join("a/two").exists());
        assert!(!root.join("b/three").exists());
        assert!(root.join("b/four").exists());
    }

    #[test]
    fn links_never_lead_out_of_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let files = [
            ("usr/x", ""),
            ("lib", "-> /usr"),
            ("up", "-> ../../.."),
            ("lib/y", ""),
        ];
        apply_layer(&root, &layer(folder.path(), &files), None).unwrap();
        assert!(root.join("usr/y").exists());
        assert_eq!(resolve(&root, Path::new("/up")), Some(root.clone()));
        assert_eq!(
            resolve(&root, Path::new("/../lib/x")),
            Some(root.join("usr/x"))
        );
        assert_eq!(resolve(&root, Path::new("/lib/absent")), None);
    }

    #[test]
    fn a_white_out_hides_nothing_above_its_folder() {
        for name in [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh.."] {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            std::fs::create_dir(&root).unwrap();
            std::fs::write(folder.path().join("neighbour"), "stays").unwrap();
            let base = layer(folder.path(), &[("a/one", "1")]);
            apply_layer(&root, &base, None).unwrap();
            let above = layer(folder.path(), &[(name, "")]);
            let refused = apply_layer(&root, &above, None).unwrap_err();
            assert!(refused.to_string().contains("hides no file"), "{refused}");
            assert!(root.join("a/one").exists(), "{name}");
            assert!(folder.path().join("neighbour").exists(), "{name}");
        }
    }

    #[test]
    fn what_is_added_to_a_file_never_leaves_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        for link in [outside.to_str().unwrap(), "../../outside", "/absent/file"] {
            let root = folder.path().join("root");
            std::fs::create_dir(&root).unwrap();
            let files = [("etc/x", ""), ("etc/bundle", &format!("-> {link}") as &str)];
            apply_layer(&root, &layer(folder.path(), &files), None).unwrap();
            append(&root, Path::new("/etc/bundle"), b"certificate").unwrap();
            assert!(!outside.exists(), "{link}");
            let written = resolve(&root, Path::new("/etc/bundle")).unwrap();
            assert_eq!(std::fs::read(written).unwrap(), b"certificate", "{link}");
            std::fs::remove_dir_all(&root).unwrap();
        }
    }

    #[test]
    fn what_is_added_follows_links_inside_the_image_and_keeps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let files = [("usr/real", "first "), ("etc/bundle", "-> /usr/real")];
        apply_layer(&root, &layer(folder.path(), &files), None).unwrap();
        append(&root, Path::new("/etc/bundle"), b"second").unwrap();
        let real = std::fs::read_to_string(root.join("usr/real")).unwrap();
        assert_eq!(real, "first second");
        assert!(root.join("etc/bundle").is_symlink());
    }

    #[test]
    fn a_layer_that_is_not_what_the_configuration_promises_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let blob = layer(folder.path(), &[("a", "1")]);
        let refused = apply_layer(&root, &blob, Some("sha256:00")).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("the configuration says sha256:00")
        );
    }
}
