//! Reads a faults file: TOML, each mistake told with the place and the remedy.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::known_calls::{KnownCalls, nearest};
use crate::call::Cloud;
use crate::verdict::{Entry, Fault, FaultKind, Rules, Verdict, When};

/// A faults file that was read and makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultsFile {
    seed: u64,
    faults: Vec<Entry>,
}

/// Why a faults file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// It could not be read.
    #[error("cannot read the faults file `{file}`")]
    Unreadable {
        /// The file.
        file: String,
        /// What the machine said.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{file}, line {line}: {key}: {what}")]
    Invalid {
        /// The file, or what stands for it.
        file: String,
        /// Counted from 1.
        line: usize,
        /// The key at fault: `fault.what`.
        key: String,
        /// What is wrong.
        what: String,
        /// What would be right.
        remedy: String,
    },
}

impl FaultsError {
    /// What to do about it.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Unreadable { .. } => "name a TOML file that this user can read",
            Self::Invalid { remedy, .. } => remedy,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<toml::Spanned<WrittenFault>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFault {
    call: String,
    cloud: Option<WrittenCloud>,
    nth: Option<u64>,
    every: Option<u64>,
    probability: Option<f64>,
    times: Option<u64>,
    what: What,
    #[serde(default, deserialize_with = "duration")]
    delay: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenCloud {
    Aws,
    Gcp,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Throttled,
    Unavailable,
    Internal,
    ResetBefore,
    ResetAfter,
    Delay,
    Stale,
    Denied,
    Quota,
    Settling,
    Closed,
}

/// `3s`, `500ms`, `2m`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let read = humantime::parse_duration(&text);
    read.map(Some).map_err(|error| {
        serde::de::Error::custom(format!("`{text}` is not a duration such as `3s`: {error}"))
    })
}

impl FaultsFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, FaultsError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(source) => Err(FaultsError::Unreadable { file, source }),
        }
    }

    /// Reads the text of a file; `file` is for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, FaultsError> {
        let place = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let written: Written = toml::from_str(text).map_err(|error| FaultsError::Invalid {
            file: file.to_owned(),
            line: place(error.span().map_or(0, |span| span.start)),
            key: key_at(text, error.span().map_or(0, |span| span.start)),
            what: error.message().replace('\n', ", "),
            remedy: "a fault is `[[fault]]` with `call`, `what` and one of `nth`, `every`, `probability`".to_owned(),
        })?;
        let known = KnownCalls::all();
        let faults = written.fault.iter().map(|one| {
            let start = one.span().start;
            entry(one.get_ref(), known).map_err(|wrong| FaultsError::Invalid {
                file: file.to_owned(),
                line: line_of(text, start, wrong.key).unwrap_or_else(|| place(start)),
                key: format!("fault.{}", wrong.key),
                what: wrong.what,
                remedy: wrong.remedy,
            })
        });
        Ok(Self {
            seed: written.seed,
            faults: faults.collect::<Result<_, _>>()?,
        })
    }

    /// Its rules, none of which has seen a call yet.
    pub(crate) fn rules(self) -> Rules {
        Rules::new(self.seed, self.faults)
    }
}

/// The key of the line that an error points at.
fn key_at(text: &str, offset: usize) -> String {
    let offset = offset.min(text.len());
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    match key.is_empty() {
        true => "the file".to_owned(),
        false => format!("`{key}`"),
    }
}

/// Where the table that starts at `start` has that key.
fn line_of(text: &str, start: usize, key: &str) -> Option<usize> {
    let before = text[..start].matches('\n').count();
    let mut lines = text[start..].lines().enumerate();
    // The first line may be the table's own header.
    let within = lines
        .by_ref()
        .take_while(|(at, line)| *at == 0 || !line.trim_start().starts_with('['));
    let mut found = within.filter(|(_, line)| {
        let name = line.split('=').next().unwrap_or_default();
        name.trim() == key
    });
    found.next().map(|(at, _)| before + at + 1)
}

/// A mistake in one fault.
struct Wrong {
    key: &'static str,
    what: String,
    remedy: String,
}

fn wrong(key: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Wrong {
    Wrong {
        key,
        what: what.into(),
        remedy: remedy.into(),
    }
}

fn entry(written: &WrittenFault, known: &KnownCalls) -> Result<Entry, Wrong> {
    check_call(&written.call, known)?;
    let when = when(written)?;
    let times = match (written.times, when) {
        (Some(0), _) => {
            return Err(wrong(
                "times",
                "is 0: nothing would happen",
                "at least 1, or leave it out",
            ));
        }
        (None, When::From(_)) => Some(1),
        (times, _) => times,
    };
    let (what, verdict) = verdict(written)?;
    Ok(Entry {
        call: written.call.clone(),
        cloud: written.cloud.map(|cloud| match cloud {
            WrittenCloud::Aws => Cloud::Aws,
            WrittenCloud::Gcp => Cloud::Google,
        }),
        when,
        times,
        what,
        verdict,
    })
}

/// A pattern that no call matches would never do anything.
fn check_call(call: &str, known: &KnownCalls) -> Result<(), Wrong> {
    if known.may_match(call) {
        return Ok(());
    }
    let remedy = match nearest(call, known) {
        Some(near) => format!("perhaps `{near}`?"),
        None => "`ecs:UpdateService`, `run.projects.locations.services.patch`, `registry PUT manifest`, or a pattern with `*`".to_owned(),
    };
    Err(wrong("call", format!("no call matches `{call}`"), remedy))
}

fn when(written: &WrittenFault) -> Result<When, Wrong> {
    let from_one = |key, number: u64| match number {
        0 => Err(wrong(key, "is 0", "calls are counted from 1")),
        number => Ok(number),
    };
    match (written.nth, written.every, written.probability) {
        (None, None, None) => Ok(When::Every(1)),
        (Some(nth), None, None) => Ok(When::From(from_one("nth", nth)?)),
        (None, Some(every), None) => Ok(When::Every(from_one("every", every)?)),
        (None, None, Some(chance)) if (0.0..=1.0).contains(&chance) => Ok(When::Chance(chance)),
        (None, None, Some(chance)) => Err(wrong(
            "probability",
            format!("{chance} is not a probability"),
            "a number from 0.0 to 1.0",
        )),
        (Some(_), Some(_), _) => Err(wrong("every", "stands beside `nth`", "keep one of the two")),
        (_, _, Some(_)) => Err(wrong(
            "probability",
            "stands beside `nth` or `every`",
            "keep one of them",
        )),
    }
}

fn verdict(written: &WrittenFault) -> Result<(&'static str, Verdict), Wrong> {
    let tells_when = matches!(written.what, What::Throttled | What::Unavailable);
    if written.retry_after.is_some() && !tells_when {
        return Err(wrong(
            "retry_after",
            "is not said with this fault",
            "only with `throttled` and `unavailable`",
        ));
    }
    if written.delay.is_some() && written.what != What::Delay {
        return Err(wrong(
            "delay",
            "is of no use here",
            "only with `what = \"delay\"`",
        ));
    }
    let refuse = |kind| {
        Verdict::Refuse(Fault {
            kind,
            retry_after: written.retry_after,
        })
    };
    Ok(match written.what {
        What::Throttled => ("throttled", refuse(FaultKind::Throttled)),
        What::Unavailable => ("unavailable", refuse(FaultKind::Unavailable)),
        What::Internal => ("internal", refuse(FaultKind::Internal)),
        What::Denied => ("denied", refuse(FaultKind::Denied)),
        What::Quota => ("quota", refuse(FaultKind::QuotaExceeded)),
        What::Settling => ("settling", refuse(FaultKind::Settling)),
        What::Closed => ("closed", refuse(FaultKind::Closed)),
        What::ResetBefore => ("reset_before", refuse(FaultKind::HungUp)),
        What::ResetAfter => ("reset_after", Verdict::LoseReply),
        What::Stale => ("stale", Verdict::Stale),
        What::Delay => match written.delay {
            Some(delay) => ("delay", Verdict::Delay(delay)),
            None => {
                return Err(wrong(
                    "what",
                    "is `delay` without how long",
                    "add `delay = \"3s\"`",
                ));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, says: &str, remedy: &str) {
        let error = FaultsFile::parse("faults.toml", text).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.remedy().contains(remedy), "{}", error.remedy());
    }

    const ONE: &str = "seed = 7\n\n[[fault]]\ncall = \"ecs:UpdateService\"\nwhat = \"throttled\"\n";

    #[test]
    fn a_fault_says_which_calls_and_what_happens() {
        let file = FaultsFile::parse(
            "faults.toml",
            &format!("{ONE}nth = 2\nretry_after = \"2s\"\n"),
        );
        let entry = &file.unwrap().faults[0];
        assert_eq!((entry.when, entry.times), (When::From(2), Some(1)));
        let fault = Fault {
            kind: FaultKind::Throttled,
            retry_after: Some(Duration::from_secs(2)),
        };
        assert_eq!(entry.verdict, Verdict::Refuse(fault));
    }

    #[test]
    fn a_mistake_is_told_with_its_line_its_key_and_what_would_be_right() {
        check(
            &format!("{ONE}nht = 2\n"),
            "faults.toml, line 6: `nht`: unknown field",
            "nth",
        );
        check(
            &format!("{ONE}nth = 0\n"),
            "line 6: fault.nth: is 0",
            "from 1",
        );
        check(
            &format!("{ONE}nth = 1\nevery = 2\n"),
            "line 7: fault.every",
            "one of the two",
        );
        check(
            &format!("{ONE}probability = 2.0\n"),
            "line 6: fault.probability",
            "0.0 to 1.0",
        );
        check(
            &format!("{ONE}delay = \"3 fortnights\"\n"),
            "line 6: `delay`: `3 fortnights`",
            "",
        );
        check(
            &format!("{ONE}delay = \"3s\"\n"),
            "line 6: fault.delay",
            "what = \"delay\"",
        );
        check(
            &format!("{ONE}times = 0\n"),
            "line 6: fault.times",
            "at least 1",
        );
        check(
            &ONE.replace("throttled", "gone"),
            "line 5: `what`: unknown variant",
            "",
        );
        check(
            &ONE.replace("UpdateService", "UpdateServce"),
            "line 4: fault.call",
            "`ecs:UpdateService`?",
        );
        check(
            &ONE.replace("throttled", "delay"),
            "line 5: fault.what",
            "delay = \"3s\"",
        );
        check("seed = \"x\"", "line 1: `seed`", "");
    }

    #[test]
    fn patterns_may_name_what_the_sandbox_passes_on() {
        for call in [
            "ec2:*",
            "s3:PutObject",
            "run.*",
            "registry * blob",
            "*",
            "oauth2.token",
        ] {
            let text = ONE.replace("ecs:UpdateService", call);
            assert!(FaultsFile::parse("faults.toml", &text).is_ok(), "{call}");
        }
    }
}
