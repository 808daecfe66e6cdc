//! Content digests: parsed strictly, computed, and checked against bytes as they are read.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::{Error, ErrorKind};

/// A content digest, `sha256:...`, `sha384:...` or `sha512:...` with lower-case hexadecimal digits.
///
/// No other algorithm can be made: every digest of this type can be checked, and is safe as a file
/// name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
    }

    /// The SHA-256 digest of all that `reader` gives. Blocks.
    pub(crate) fn of_reader(mut reader: impl std::io::Read) -> std::io::Result<Self> {
        let mut state = Sha256::new();
        std::io::copy(&mut reader, &mut state)?;
        Ok(Self(format!("sha256:{}", hex::encode(state.finalize()))))
    }

    /// The whole digest with its algorithm.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm and the hexadecimal part, which are folder and file name in an OCI layout.
    pub(crate) fn parts(&self) -> (&str, &str) {
        self.0
            .split_once(':')
            .expect("a digest is parsed before it is made")
    }

    /// Starts computing a digest by this digest's algorithm, to compare the result with it.
    pub(crate) fn check(&self) -> Check {
        let state = match self.parts().0 {
            "sha512" => State::Sha512(Sha512::new()),
            "sha384" => State::Sha384(Sha384::new()),
            _ => State::Sha256(Sha256::new()),
        };
        Check {
            wanted: self.clone(),
            state,
        }
    }

    /// Whether `bytes` have this digest.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        let mut check = self.check();
        check.update(bytes);
        check.finish().is_ok()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::new(ErrorKind::Invalid, "read digest", text);
        let parsed = oci_spec::image::Digest::from_str(text).map_err(|e| invalid().caused_by(e))?;
        Self::try_from(&parsed)
    }
}

impl TryFrom<&oci_spec::image::Digest> for Digest {
    type Error = Error;

    fn try_from(digest: &oci_spec::image::Digest) -> Result<Self, Error> {
        use oci_spec::image::DigestAlgorithm as Algorithm;
        match digest.algorithm() {
            Algorithm::Sha256 | Algorithm::Sha384 | Algorithm::Sha512 => {
                Ok(Self(digest.to_string()))
            }
            // The type is non-exhaustive, and its `Other` holds anything.
            _ => Err(Error::new(ErrorKind::Invalid, "read digest", digest)
                .detail("its algorithm is none of sha256, sha384 and sha512")),
        }
    }
}

/// A digest in the making, with the one that it should become.
pub(crate) struct Check {
    wanted: Digest,
    state: State,
}

enum State {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Check {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(s) => s.update(bytes),
            State::Sha384(s) => s.update(bytes),
            State::Sha512(s) => s.update(bytes),
        }
    }

    /// `Err` with the digest that the bytes do have.
    pub(crate) fn finish(self) -> Result<(), Digest> {
        let hex = match self.state {
            State::Sha256(s) => hex::encode(s.finalize()),
            State::Sha384(s) => hex::encode(s.finalize()),
            State::Sha512(s) => hex::encode(s.finalize()),
        };
        let found = Digest(format!("{}:{hex}", self.wanted.parts().0));
        if found == self.wanted {
            Ok(())
        } else {
            Err(found)
        }
    }
}
