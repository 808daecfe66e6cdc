//! Packs folders, in the order of names and without times and owners: the same content is the same
//! archive.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A compressed archive of a folder, whose content stands below `name` in it.
pub(super) fn pack(folder: &Path, archive: &Path, name: &str, level: Compression) -> Result<()> {
    let file = fs::File::create(archive).context("cannot write the archive")?;
    let gzip = write(folder, Path::new(name), GzEncoder::new(file, level))?;
    gzip.finish().context("cannot write the archive")?;
    Ok(())
}

/// An archive of a folder, whose content stands at its root.
pub(super) fn pack_plain(folder: &Path, archive: &Path) -> Result<()> {
    let file = fs::File::create(archive).context("cannot write the archive")?;
    write(folder, Path::new(""), file)?;
    Ok(())
}

fn write<W: Write>(folder: &Path, below: &Path, to: W) -> Result<W> {
    let mut builder = tar::Builder::new(to);
    for path in files(folder)? {
        let inside = below.join(path.strip_prefix(folder)?);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let is_program = path.file_name().is_some_and(|it| it == "deployer");
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if is_program { 0o755 } else { 0o644 });
        header.set_mtime(0);
        builder
            .append_data(&mut header, inside, content.as_slice())
            .context("cannot write the archive")?;
    }
    builder.into_inner().context("cannot write the archive")
}

/// Every file below a folder, in the order of their paths.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).context("cannot read the folder of the archive")? {
        let path = entry
            .context("cannot read the folder of the archive")?
            .path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}
