//! Reads a tar archive in place: one pass notes where each file lies, nothing is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::place::{DOCUMENT_LIMIT, Place};
use crate::{Digest, Error, ErrorKind};

const ACTION: &str = "read archive";

/// What an archive is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI layout in a tar file.
    Oci,
    /// The output of `docker save`, with OCI content or without.
    DockerSave,
    /// Either, decided by what is in it.
    Detect,
}

/// An archive's table of contents.
///
/// Names are only ever looked up here, never used as paths of the machine: an entry called
/// `../../etc/passwd` is simply not found.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    data: PathBuf,
    entries: HashMap<String, Entry>,
    extra: HashMap<Digest, Place>,
    // Holds the unpacked copy of a compressed archive until the image is dropped.
    _unpacked: Option<tempfile::TempPath>,
}

#[derive(Debug, Clone)]
enum Entry {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    /// Reads the table of contents. Blocks; an archive compressed with gzip is unpacked to a
    /// temporary file first, since nothing can be read from its middle.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |e| Error::io(ACTION, path.display(), e);
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = [0; 2];
        let compressed = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut unpacked = None;
        let mut data = path.to_owned();
        if compressed {
            let mut copy = tempfile::NamedTempFile::new().map_err(failed)?;
            std::io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut copy)
                .map_err(failed)?;
            let kept = copy.into_temp_path();
            file = File::open(&kept).map_err(failed)?;
            data = kept.to_path_buf();
            unpacked = Some(kept);
        }
        let entries = contents(file).map_err(|e| {
            Error::new(ErrorKind::Invalid, ACTION, path.display())
                .detail("it is not a complete tar archive")
                .caused_by(e)
        })?;
        let extra = HashMap::new();
        Ok(Self {
            path: path.to_owned(),
            data,
            entries,
            extra,
            _unpacked: unpacked,
        })
    }

    /// The path that the user gave.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the archive, symbolic and hard links resolved within it.
    pub(crate) fn file(&self, name: &str) -> Option<Place> {
        let mut name = normal(Path::new(name))?;
        // A chain longer than this is a loop.
        for _ in 0..8 {
            match self.entries.get(&name)? {
                Entry::Link(target) => name.clone_from(target),
                Entry::File { offset, size } => {
                    let (path, offset, size) = (self.data.clone(), *offset, *size);
                    return Some(Place::File { path, offset, size });
                }
            }
        }
        None
    }

    /// The content with a digest: one that [`Self::insert`] named, else a file of an OCI layout.
    pub(crate) fn blob(&self, digest: &Digest) -> Option<Place> {
        let (algorithm, hex) = digest.parts();
        self.extra
            .get(digest)
            .cloned()
            .or_else(|| self.file(&format!("blobs/{algorithm}/{hex}")))
    }

    /// Gives content a digest to be found by.
    pub(crate) fn insert(&mut self, digest: Digest, place: Place) {
        self.extra.insert(digest, place);
    }

    /// Opens a file of the archive for reading. Blocks. `NotFound` when there is none.
    pub(crate) fn reader(&self, name: &str) -> Result<impl Read + use<>, Error> {
        let Some(Place::File { path, offset, size }) = self.file(name) else {
            return Err(Error::new(ErrorKind::NotFound, ACTION, self.path.display())
                .detail(format!("it holds no file `{name}`")));
        };
        let failed = |e| Error::io(ACTION, self.path.display(), e);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(file.take(size))
    }

    /// A small file of the archive. Blocks. `Invalid` when it is larger than [`DOCUMENT_LIMIT`].
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut reader = self.reader(name)?.take(DOCUMENT_LIMIT + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(ACTION, self.path.display(), e))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(
                Error::new(ErrorKind::Invalid, ACTION, self.path.display()).detail(format!(
                    "its `{name}` is larger than {DOCUMENT_LIMIT} bytes"
                )),
            );
        }
        Ok(bytes)
    }
}

fn contents(file: File) -> std::io::Result<HashMap<String, Entry>> {
    let size = file.metadata()?.len();
    let mut archive = tar::Archive::new(file);
    let mut entries = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let Some(name) = normal(&entry.path()?) else {
            continue;
        };
        let kind = entry.header().entry_type();
        let found = if kind.is_file() {
            let (offset, length) = (entry.raw_file_position(), entry.size());
            if offset.checked_add(length).is_none_or(|end| end > size) {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Entry::File {
                offset,
                size: length,
            }
        } else if kind.is_hard_link() || kind.is_symlink() {
            let Some(link) = entry.link_name()? else {
                continue;
            };
            // A hard link names its target from the root, a symbolic one from beside itself.
            let beside = Path::new(&name).parent().unwrap_or(Path::new(""));
            let from = if kind.is_symlink() {
                beside
            } else {
                Path::new("")
            };
            let Some(target) = normal(&from.join(link)) else {
                continue;
            };
            Entry::Link(target)
        } else {
            continue;
        };
        entries.insert(name, found);
    }
    Ok(entries)
}

/// The name without `.` and `..`; `None` when it leaves the archive or is not UTF-8.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_archive_is_no_name() {
        assert_eq!(
            normal(Path::new("./a/../b/layer.tar")).as_deref(),
            Some("b/layer.tar")
        );
        assert_eq!(normal(Path::new("a/../../etc/passwd")), None);
        assert_eq!(normal(Path::new("/etc/passwd")), None);
    }
}
