//! `deployer logs`: what the containers print, from every target, in the order of time.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::capability::LogLine;
use deployer_core::engine::Interrupt;
use deployer_core::error::{Error, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::args::{Global, LogsArgs};
use crate::exit::Exit;
use crate::session::Session;
use crate::view;

/// Between two looks with `--follow`.
const LOOK: Duration = Duration::from_secs(2);

/// Prints lines, and goes on with `--follow` until somebody stops it.
pub async fn run(global: &Global, session: Session, args: &LogsArgs) -> Result<Exit> {
    let services = session.services(args.service.as_deref())?;
    let now = session.clock.now();
    let start = now.checked_sub(args.since).map_err(|error| {
        Error::input("--since reaches back further than time does").because(error)
    })?;
    let mut seen: BTreeMap<(CloudName, String), Seen> = BTreeMap::new();
    let stop = match args.follow {
        true => Some(session.stop()?),
        false => None,
    };
    loop {
        let mut lines = Vec::new();
        for place in &session.places {
            for key in &services {
                let Some(service) = place.env.services.get(key) else {
                    continue;
                };
                let seen = seen
                    .entry((place.name(), key.clone()))
                    .or_insert_with(|| Seen::from(start));
                let found = place
                    .cloud
                    .logs()
                    .lines(service, seen.until, args.lines)
                    .await?;
                lines.extend(
                    seen.fresh(found)
                        .into_iter()
                        .map(|line| (place.name(), key.clone(), line)),
                );
            }
        }
        lines.sort_by_key(|(_, _, line)| line.at);
        for (cloud, service, line) in lines {
            print_line(global, cloud, &service, &line);
        }
        match &stop {
            Some(stop) if !stop.requested() => session.clock.pause(LOOK).await,
            _ => return Ok(session.failure()),
        }
    }
}

/// What was printed so far: everything before `until`, and of `until` itself these lines.
struct Seen {
    until: Timestamp,
    at_until: Vec<LogLine>,
}

impl Seen {
    fn from(until: Timestamp) -> Self {
        Self {
            until,
            at_until: Vec::new(),
        }
    }

    /// The lines that were not printed yet.
    fn fresh(&mut self, lines: Vec<LogLine>) -> Vec<LogLine> {
        let fresh: Vec<LogLine> = lines
            .into_iter()
            .filter(|line| line.at >= self.until && !self.at_until.contains(line))
            .collect();
        if let Some(last) = fresh.iter().map(|line| line.at).max() {
            if last > self.until {
                self.at_until.clear();
                self.until = last;
            }
            self.at_until
                .extend(fresh.iter().filter(|line| line.at == last).cloned());
        }
        fresh
    }
}

fn print_line(global: &Global, cloud: CloudName, service: &str, line: &LogLine) {
    if global.json {
        view::json_line(&json!({
            "cloud": cloud, "service": service, "at": line.at, "source": line.source, "text": line.text,
        }));
    } else {
        let text = view::foreign::one_line(&line.text);
        outln!("{:.3} {cloud} {service} {text}", line.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_printed_once_also_when_several_share_a_moment() {
        let line = |second: i64, text: &str| LogLine {
            at: Timestamp::from_second(second).unwrap(),
            source: "a".into(),
            text: text.into(),
        };
        let mut seen = Seen::from(Timestamp::from_second(5).unwrap());
        assert_eq!(seen.fresh(vec![line(5, "one"), line(6, "two")]).len(), 2);
        assert_eq!(
            seen.fresh(vec![line(6, "two"), line(6, "three")]),
            [line(6, "three")]
        );
        assert_eq!(seen.fresh(vec![line(6, "two"), line(6, "three")]), []);
    }
}
