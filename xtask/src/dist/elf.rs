//! Whether a program brings everything along that it runs with.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// How a program was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linkage {
    /// It needs nothing but the kernel.
    Static,
    /// A loader of the system starts it.
    Dynamic,
}

/// The type of a program header that names a loader (elf(5), `PT_INTERP`).
const INTERPRETER: u32 = 3;

/// How a program was linked.
///
/// Errors: it is no 64-bit little-endian ELF file.
pub(super) fn linkage(program: &Path) -> Result<Linkage> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    read(&bytes).with_context(|| format!("{} is no program for Linux", program.display()))
}

fn read(bytes: &[u8]) -> Result<Linkage> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no 64-bit ELF file");
    let number = |at: usize, length: usize| -> Result<usize> {
        let bytes = bytes.get(at..at + length).context("it is cut off")?;
        let digits = bytes.iter().rev();
        Ok(digits.fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    };
    // elf(5), `Elf64_Ehdr`: where the program headers are, how long each is, how many.
    let (start, length, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for header in 0..count {
        if number(start + header * length, 4)? == INTERPRETER as usize {
            return Ok(Linkage::Dynamic);
        }
    }
    Ok(Linkage::Static)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20] = 64;
        bytes[0x36] = 56;
        bytes[0x38] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            let mut header = [0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn a_program_that_names_a_loader_is_dynamic() {
        assert_eq!(read(&program(&[1, 2])).unwrap(), Linkage::Static);
        assert_eq!(read(&program(&[1, INTERPRETER])).unwrap(), Linkage::Dynamic);
        assert!(read(b"#!/bin/sh\n").is_err());
        assert!(read(&program(&[1])[..66]).is_err());
    }

    #[test]
    fn this_program_is_read() {
        let this = std::env::current_exe().unwrap();
        linkage(&this).unwrap();
    }
}
