//! Merges an image's configuration with what the cloud overrides into one command to start.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::image::ImageConfig;
use super::rootfs::resolve;
use super::{ContainerSpec, StartError};

/// What container engines set when an image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command ready to start in an unpacked image.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    /// The program and its arguments, as given.
    pub(super) argv: Vec<String>,
    /// Where the program lies on this machine.
    pub(super) program: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    /// A path in the image.
    pub(super) working_dir: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Invocation {
    /// Refuses what no container engine would start: no command, one that is absent, an unknown
    /// user.
    pub(super) fn new(
        config: &ImageConfig,
        spec: &ContainerSpec,
        root: &Path,
    ) -> Result<Self, StartError> {
        let argv = argv(config, spec);
        let Some(name) = argv.first().cloned() else {
            return Err(StartError::BadImage("no command specified".into()));
        };
        let user = User::find(root, &config.user)?;
        let env = environment(config, spec, &user.home);
        let working_dir = Path::new("/").join(&config.working_dir);
        let path = env.get("PATH").map_or("", String::as_str);
        let program = find_program(root, &working_dir, path, &name)
            .ok_or(StartError::CommandNotFound(name))?;
        Ok(Self {
            argv,
            program,
            env,
            working_dir,
            uid: user.uid,
            gid: user.gid,
        })
    }
}

/// The command of a container: the image's, with what overrides it. Empty when there is none.
pub(super) fn argv(config: &ImageConfig, spec: &ContainerSpec) -> Vec<String> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|it| !it.is_empty());
    // An entry point of one's own also sets the image's command aside, on both clouds.
    let (entrypoint, image_cmd) = match given(&spec.entrypoint) {
        Some(entrypoint) => (entrypoint, Vec::new()),
        None => (config.entrypoint.clone(), config.cmd.clone()),
    };
    let mut argv = entrypoint;
    argv.extend(given(&spec.command).unwrap_or(image_cmd));
    argv
}

/// The environment of a container: what every engine sets, the image's, and what is added.
pub(super) fn environment(
    config: &ImageConfig,
    spec: &ContainerSpec,
    home: &str,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOME".to_owned(), home.to_owned()),
    ]);
    for pair in &config.env {
        if let Some((name, value)) = pair.split_once('=') {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    env.extend(spec.env.clone());
    env
}

/// Where a program of an image lies on this machine. `None` when it is absent or cannot start.
pub(super) fn find_program(
    root: &Path,
    working_dir: &Path,
    path: &str,
    name: &str,
) -> Option<PathBuf> {
    if name.contains('/') {
        let program = resolve(root, &working_dir.join(name))?;
        return starts(root, &program).then_some(program);
    }
    let folders = path.split(':');
    let found = folders.filter_map(|folder| resolve(root, &working_dir.join(folder).join(name)));
    let mut found = found.filter(|it| is_executable(it));
    found.next().filter(|it| starts(root, it))
}

fn is_executable(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// Executable, and, if a script, with its interpreter in the image.
fn starts(root: &Path, program: &Path) -> bool {
    let mut head = [0; 256];
    let read = std::fs::File::open(program).and_then(|mut file| file.read(&mut head));
    let line = head[..read.unwrap_or(0)]
        .split(|byte| *byte == b'\n')
        .next();
    let script = line.and_then(|line| line.strip_prefix(b"#!"));
    let interpreter = script.and_then(|line| std::str::from_utf8(line).ok());
    let interpreter = interpreter.and_then(|line| line.split_whitespace().next());
    let interpreted =
        interpreter.is_none_or(|it| resolve(root, Path::new(it)).is_some_and(|it| it.is_file()));
    is_executable(program) && interpreted
}

struct User {
    uid: u32,
    gid: u32,
    home: String,
}

impl User {
    /// `USER[:GROUP]`, each a name or a number; empty is root.
    fn find(root: &Path, user: &str) -> Result<Self, StartError> {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (user, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let unknown = |what: &str, name: &str| {
            StartError::BadImage(format!("unable to find {what} {name}: no matching entries"))
        };
        let entry = lookup(root, "/etc/passwd", user);
        let number = |text: &str| text.parse::<u32>().ok();
        let field = |at: usize| entry.as_ref().and_then(|it| it.get(at));
        let uid = field(2).and_then(|it| number(it)).or(number(user));
        let uid = uid.ok_or_else(|| unknown("user", user))?;
        let gid = match group {
            None => field(3).and_then(|it| number(it)).unwrap_or(0),
            Some(group) => {
                let entry = lookup(root, "/etc/group", group);
                let gid = entry.and_then(|it| number(it.get(2)?)).or(number(group));
                gid.ok_or_else(|| unknown("group", group))?
            }
        };
        let home = field(5).cloned();
        let home = home.unwrap_or_else(|| if uid == 0 { "/root" } else { "/" }.to_owned());
        Ok(Self { uid, gid, home })
    }
}

/// The fields of the line of an account file whose name or number matches.
fn lookup(root: &Path, file: &str, key: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(resolve(root, Path::new(file))?).ok()?;
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut lines = lines.filter(|it| it.first() == Some(&key) || it.get(2) == Some(&key));
    Some(lines.next()?.into_iter().map(str::to_owned).collect())
}
