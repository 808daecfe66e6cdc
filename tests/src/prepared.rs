//! What `cargo xtask test` prepared, by the variables that it sets.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The binary, the images, the database server and the Python clients.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The product.
    pub binary: PathBuf,
    /// The directory of the test service's images.
    pub images: PathBuf,
    /// The superuser's URL of a PostgreSQL server.
    pub postgres: String,
    /// A virtual environment with the vendors' clients.
    pub venv: PathBuf,
}

impl Prepared {
    /// Finds it; `None` after noting that `test` is skipped.
    pub fn find(test: &str) -> Option<Self> {
        match Self::read() {
            Ok(prepared) => Some(prepared),
            Err(missing) => {
                skip(
                    test,
                    &format!("{missing} is not set (run `cargo xtask test`)"),
                );
                None
            }
        }
    }

    fn read() -> Result<Self, &'static str> {
        let variable = |name| std::env::var(name).map_err(|_| name);
        Ok(Self {
            binary: variable("DEPLOYER_TEST_BIN")?.into(),
            images: variable("DEPLOYER_TEST_IMAGES")?.into(),
            postgres: variable("DEPLOYER_TEST_POSTGRES_URL")?,
            venv: variable("DEPLOYER_TEST_VENV")?.into(),
        })
    }

    /// The OCI layout of one release of the test service.
    pub fn image(&self, version: &str) -> PathBuf {
        self.images.join(format!("idp-{version}"))
    }

    /// The folder of the clients that run on Node.js. `None` after noting that `test` is skipped.
    pub fn node(&self, test: &str) -> Option<PathBuf> {
        let folder = std::env::var_os("DEPLOYER_TEST_NODE").map(PathBuf::from);
        if folder.is_none() {
            skip(
                test,
                "DEPLOYER_TEST_NODE is not set: `cargo xtask test` says why Node.js has no clients",
            );
        }
        folder
    }

    /// A program of the virtual environment.
    pub fn python_program(&self, name: &str) -> PathBuf {
        self.venv.join("bin").join(name)
    }
}

/// Notes that a test did not run, where people see it: the harness hides what passing tests print.
pub fn skip(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    let Some(list) = std::env::var_os("DEPLOYER_TEST_SKIPPED") else {
        return;
    };
    let mut list = OpenOptions::new()
        .append(true)
        .create(true)
        .open(list)
        .expect("the list of skipped tests can be opened");
    writeln!(list, "{test}: {why}").expect("the list of skipped tests can be written");
}

/// The first of `programs` that is on the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Where the Python checks are.
pub fn conformance_scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}
