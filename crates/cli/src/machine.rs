//! This process as a holder of the lock, and what this machine knows of other holders.

use deployer_core::ledger::{Holder, Known, Origin, Witness};
use jiff::Timestamp;
use uuid::Uuid;

use crate::system;

/// This process as a holder of the lock; each call is a claim of its own.
pub fn holder(command: &str, now: Timestamp) -> Holder {
    let process = std::process::id();
    Holder {
        user: system::user(),
        host: system::host(),
        process,
        run: command.into(),
        since: now,
        until: now,
        released: false,
        released_by: None,
        claim: Uuid::new_v4(),
        origin: Origin {
            machine: world(),
            started: life(process).map_or(0, |life| life.started),
        },
    }
}

/// What can be found out here; says its notes to standard error.
pub struct Here;

impl Witness for Here {
    fn known(&self, holder: &Holder) -> Known {
        let known_world = !holder.origin.machine.is_empty() && holder.origin.machine == world();
        // Where processes of others are hidden, the first one is too: then nobody is known to be
        // gone.
        if !known_world || life(1).is_none() {
            return Known::Nothing;
        }
        match life(holder.process) {
            Some(life) if life.started == holder.origin.started && !life.over => Known::Alive,
            Some(_) | None => Known::Gone,
        }
    }

    fn note(&self, line: &str) {
        noteln!("{line}");
    }
}

/// The machine since it started, and the processes that see each other on it: a host's name and a
/// process's number are those of many containers. Empty where that cannot be told.
fn world() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let processes = std::fs::read_link("/proc/self/ns/pid");
    match (boot, processes) {
        (Ok(boot), Ok(processes)) => format!("{} {}", boot.trim(), processes.display()),
        (Err(_), _) | (_, Err(_)) => String::new(),
    }
}

struct Life {
    /// In ticks since the machine started.
    started: u64,
    /// It ended, and its parent has not asked how.
    over: bool,
}

/// `None` when there is no such process, or it cannot be seen.
fn life(process: u32) -> Option<Life> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name, in brackets, and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Life {
        over: matches!(*fields.first()?, "Z" | "X"),
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_ended_is_gone() {
        let me = holder("apply", Timestamp::UNIX_EPOCH);
        assert_eq!(Here.known(&me), Known::Alive);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mut other = holder("apply", Timestamp::UNIX_EPOCH);
        other.process = child.id();
        other.origin.started = life(child.id()).unwrap().started;
        assert_eq!(Here.known(&other), Known::Alive);
        child.kill().unwrap();
        while life(child.id()).is_some_and(|life| !life.over) {
            std::thread::yield_now();
        }
        // Nobody has waited for it yet.
        assert_eq!(Here.known(&other), Known::Gone);
        child.wait().unwrap();
        assert_eq!(Here.known(&other), Known::Gone);
    }

    #[test]
    fn a_later_process_of_the_same_number_is_not_the_holder() {
        let mut other = holder("apply", Timestamp::UNIX_EPOCH);
        other.origin.started -= 1;
        assert_eq!(Here.known(&other), Known::Gone);
    }

    #[test]
    fn nothing_is_known_of_another_machine_of_the_same_name() {
        let mut other = holder("apply", Timestamp::UNIX_EPOCH);
        other.process = u32::MAX;
        for machine in ["", "another boot pid:[4026531836]"] {
            other.origin.machine = machine.into();
            assert_eq!(Here.known(&other), Known::Nothing);
        }
    }
}
