//! Why the instances of a service ended, in one sentence; pure.

use deployer_core::address::CloudName;
use deployer_core::capability::Autopsy;
use deployer_core::error::ErrorKind;
use serde_json::json;

use super::Side;
use crate::failure::Failure;
use crate::view::plan::list;

/// What ECS says of a task whose container ended without being told to ("Viewing Amazon ECS stopped
/// task errors").
const ENDED_BY_ITSELF: &str = "Essential container in task exited";

/// How instances ended, in words that follow the service's name: where every cloud that tells how
/// tells the same. `exits with 1: 3 times on aws, once on gcp`.
pub(super) fn of(sides: &[Side<'_>]) -> Option<String> {
    let ends: Vec<(&Side<'_>, End)> = sides
        .iter()
        .filter_map(|side| Some((side, End::of(side)?)))
        .collect();
    let (_, first) = ends.first()?;
    if ends.iter().any(|(_, end)| end.way != first.way) {
        return None;
    }
    let told = ends.iter().map(|(side, end)| {
        let times = match end.times {
            0 | 1 => "once".to_owned(),
            2 => "twice".to_owned(),
            times => format!("{times} times"),
        };
        match sides.len() > 1 {
            true => format!("{times} on {}", side.name()),
            false => times,
        }
    });
    let told: Vec<String> = told.collect();
    Some(match first.way {
        Way::Exits(code) => format!("exits with {code}: {}", told.join(", ")),
        Way::IsUnhealthy => {
            let clouds: Vec<String> = ends.iter().map(|(side, _)| side.name()).collect();
            format!("starts, and fails its health check on {}", list(&clouds))
        }
    })
}

/// How the instances of one side ended.
struct End {
    way: Way,
    /// So often, as far as was told.
    times: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The app ended by itself, with this code.
    Exits(i32),
    /// It runs, and its check fails.
    IsUnhealthy,
}

impl End {
    /// `None` where nothing tells, or several things are told.
    fn of(side: &Side<'_>) -> Option<Self> {
        if side.is_unhealthy() {
            let (way, times) = (Way::IsUnhealthy, 1);
            return Some(Self { way, times });
        }
        let stopped = side.autopsy.stopped.iter();
        let by_itself = stopped.filter(|it| it.reason.contains(ENDED_BY_ITSELF));
        let containers = by_itself.flat_map(|it| &it.containers);
        let stopped = containers.filter_map(|it| it.exit_code.filter(|code| *code != 0));
        let said = side.autopsy.log.iter().filter_map(|it| exit_code(&it.text));
        let codes: Vec<i32> = match side.cloud {
            Some(CloudName::Gcp) => said.collect(),
            Some(CloudName::Aws) | None => stopped.collect(),
        };
        let first = *codes.first()?;
        let alike = codes.iter().all(|code| *code == first);
        alike.then_some(Self {
            way: Way::Exits(first),
            times: codes.len(),
        })
    }
}

impl Failure {
    /// What the app printed last and that tells why it failed, as far as that is kept. Of an app
    /// that runs on, or is told to end, the last line may be any: it is no cause.
    pub fn last_line(&self) -> Option<&str> {
        let output = self.output.iter().map(String::as_str);
        if let Some(line) = last_line(output) {
            return Some(line);
        }
        let unverified = json!(ErrorKind::Unverified);
        if self
            .failed
            .iter()
            .any(|it| it["error"]["kind"] == unverified)
        {
            return None;
        }
        let log = self.autopsy.log.iter().map(|it| it.text.as_str());
        match ended_by_itself(&self.autopsy) {
            true => last_line(log),
            false => telling_line(log),
        }
    }
}

/// What the app printed last, of these, that tells why: what Cloud Run logs of its containers is
/// not the app's. `None` where it printed nothing.
pub fn last_line<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<&'a str> {
    let own = own(lines);
    telling(&own).or_else(|| own.first().copied())
}

/// The last of these lines that holds a word of an error. `None` where none does.
pub fn telling_line<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<&'a str> {
    telling(&own(lines))
}

/// What the app printed last, the last line first.
fn own<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Vec<&'a str> {
    let of_the_cloud = |line: &str| exit_code(line).is_some() || line.contains(PROBE);
    let lines = lines.map(str::trim).rev();
    lines
        .filter(|line| !line.is_empty() && !of_the_cloud(line))
        .take(MOST)
        .collect()
}

fn telling<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let mut lines = lines.iter().copied();
    lines.find(|line| {
        let line = line.to_lowercase();
        TELLING.iter().any(|word| line.contains(word))
    })
}

/// Whether an instance ended by itself, with a code that is not 0.
pub fn ended_by_itself(autopsy: &Autopsy) -> bool {
    let stopped = autopsy.stopped.iter();
    let mut by_itself = stopped.filter(|it| it.reason.contains(ENDED_BY_ITSELF));
    let mut log = autopsy.log.iter();
    by_itself.any(|it| {
        it.containers
            .iter()
            .any(|it| it.exit_code.is_some_and(|code| code != 0))
    }) || log.any(|it| exit_code(&it.text).is_some_and(|code| code != 0))
}

/// So many of the last lines are looked through for the one that tells most.
const MOST: usize = 20;

/// What the line that tells why often holds, in lower case: what comes after it is usage or a
/// trace.
const TELLING: [&str; 8] = [
    "error",
    "fatal",
    "panic",
    "exception",
    "cannot",
    "failed",
    "refused",
    "denied",
];

/// What Cloud Run logs of a container whose probe failed holds this.
const PROBE: &str = " probe failed ";

/// What Cloud Run logs of a container that ended by itself.
fn exit_code(line: &str) -> Option<i32> {
    let rest = line.strip_prefix("Container called exit(")?;
    rest.strip_suffix(").")?.parse().ok()
}
