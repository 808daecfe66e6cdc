//! `deployer exec`: a command, or a shell, in a task that serves.
//!
//! ECS Exec tells no exit code. So the command is run by a shell that prints a word that nobody
//! else knows when it ends, and the code behind it; that word is never shown.

use std::sync::Arc;

use deployer_core::capability::{Keyboard, Over, Shown};
use deployer_core::error::{Error, ErrorKind, Result};
use uuid::Uuid;

use crate::args::ExecArgs;
use crate::exit::Exit;
use crate::output;
use crate::session::Session;
use crate::terminal::{self, Raw, Typed};

/// `$1` is the word, the rest is the command. An end that was asked for with Ctrl-C or Ctrl-\ is
/// the command's alone: the shell stays to tell the code.
const WITH_TERMINAL: &str =
    r#"m=$1; shift; trap : INT QUIT; "$@"; c=$?; printf '%s%s\n' "$m" "$c""#;
/// The same for who has no terminal: nothing is echoed, no line end is changed.
const WITHOUT: &str =
    r#"m=$1; shift; stty raw -echo 2>/dev/null; "$@" </dev/null; c=$?; printf '%s%s\n' "$m" "$c""#;

/// Runs the command to its end, and ends as it does.
pub async fn run(session: Session, args: &ExecArgs) -> Result<Exit> {
    let services = session.services(Some(&args.service))?;
    let [place] = session.places.as_slice() else {
        let clouds: Vec<String> = session
            .places
            .iter()
            .map(|it| it.name().to_string())
            .collect();
        let message = match clouds.as_slice() {
            [] => return Ok(session.failure()),
            _ => format!("`{}` is on {}", args.service, clouds.join(" and ")),
        };
        return Err(Error::input(message).hint("say which one is meant: `--cloud aws`"));
    };
    let service = services.first().and_then(|key| place.env.services.get(key));
    let service = service
        .ok_or_else(|| Error::input(format!("`{}` is not on {}", args.service, place.name())))?;
    let mark = format!("deployer-{}:", Uuid::new_v4().simple());
    let has_terminal = terminal::is_here();
    let words = words(&args.command, &mark, has_terminal);
    let runtime = place.cloud.runtime();
    let console = runtime.console(service, args.task.as_deref(), &words);
    let mut console = console.await?;
    let keyboard = console.keyboard();
    let raw = match has_terminal {
        true => {
            sayln!("in {}; its end, or `exit`, ends this", console.place());
            Some(Raw::enter()?)
        }
        false => None,
    };
    let mut filter = Filter::new(&mark);
    let showing = async {
        while let Some(shown) = console.next().await {
            match shown {
                Shown::Bytes(bytes) => {
                    output::bytes_to_stdout(&filter.take(&bytes));
                    // What a session says after that is not the command's.
                    if filter.code().is_some() {
                        break;
                    }
                }
                Shown::Notice(words) => sayln!("{}\r", crate::view::foreign::line(&words)),
            }
        }
    };
    match &raw {
        Some(_) => tokio::select! {
            () = showing => {}
            () = typing(&keyboard) => {}
        },
        None => showing.await,
    }
    // Before anything else is said.
    drop(raw);
    if let Some(code) = filter.code() {
        return Ok(match u8::try_from(code) {
            Ok(0) => Exit::Success,
            Ok(code) => Exit::Program(code),
            Err(_) => Exit::NotRun,
        });
    }
    output::bytes_to_stdout(&filter.rest());
    let place = console.place().to_owned();
    Err(match console.over().await {
        Over::Ended(Some(words)) => {
            let message =
                format!("the session in {place} ended, and how the command did is not known");
            let error = Error::new(ErrorKind::Rejected, message).because(words.trim().to_owned());
            match words.contains("/bin/sh") {
                true => error.hint(
                    "the image has no `/bin/sh`: `deployer run SERVICE -- COMMAND` runs a command without one",
                ),
                false => error,
            }
        }
        Over::Ended(None) => {
            let message =
                format!("the session in {place} ended, and how the command did is not known");
            Error::new(ErrorKind::Rejected, message)
                .hint("the task may have stopped: `deployer status` says so")
        }
        Over::Lost(why) => Error::new(
            ErrorKind::Unavailable,
            format!("the session in {place} was lost"),
        )
        .because(why)
        .hint("what it ran may run on there, for 20 minutes at most"),
    })
}

/// The words that run the command and tell its code.
fn words(command: &[String], mark: &str, has_terminal: bool) -> Vec<String> {
    let script = match has_terminal {
        true => WITH_TERMINAL,
        false => WITHOUT,
    };
    let own = ["/bin/sh", "-c", script, "deployer", mark];
    let own = own.iter().map(|word| (*word).to_owned());
    let shell = ["/bin/sh".to_owned()];
    let command = match command {
        [] => &shell[..],
        command => command,
    };
    own.chain(command.iter().cloned()).collect()
}

/// Passes on what is typed and how large the window is, for as long as anybody takes it.
async fn typing(keyboard: &Arc<dyn Keyboard>) {
    let mut typed = terminal::typed();
    while let Some(typed) = typed.recv().await {
        let taken = match typed {
            Typed::Keys(keys) => keyboard.put(keys).await,
            Typed::Size(columns, rows) => keyboard.resize(columns, rows).await,
        };
        if !taken {
            break;
        }
    }
    // The command goes on without anybody who types.
    std::future::pending::<()>().await;
}

/// Takes the word and the code behind it out of what is shown.
struct Filter {
    mark: Vec<u8>,
    held: Vec<u8>,
    code: Option<i32>,
}

impl Filter {
    fn new(mark: &str) -> Self {
        Self {
            mark: mark.as_bytes().to_vec(),
            held: Vec::new(),
            code: None,
        }
    }

    /// What of it is to be shown now: all but what may be the beginning of the word, or is the
    /// code.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        if let Some(at) = find(&self.held, &self.mark) {
            let behind = &self.held[at + self.mark.len()..];
            if let Some(end) = behind.iter().position(|byte| *byte == b'\n') {
                let code = String::from_utf8_lossy(&behind[..end]);
                self.code = code.trim().parse().ok();
                self.held.truncate(at);
                return std::mem::take(&mut self.held);
            }
            let shown = self.held.drain(..at);
            return shown.collect();
        }
        let most = self.held.len().min(self.mark.len() - 1);
        let begun = (1..=most).rev().find(|count| {
            let tail = &self.held[self.held.len() - count..];
            self.mark.starts_with(tail)
        });
        let keep = begun.unwrap_or(0);
        let shown = self.held.len() - keep;
        self.held.drain(..shown).collect()
    }

    /// What is held back, when nothing more comes.
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// How the command ended, once it has.
    fn code(&self) -> Option<i32> {
        self.code
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> (String, Option<i32>) {
        let mut filter = Filter::new("mark:");
        let mut shown = Vec::new();
        for piece in pieces {
            shown.extend(filter.take(piece.as_bytes()));
        }
        let code = filter.code();
        shown.extend(filter.rest());
        (String::from_utf8(shown).unwrap(), code)
    }

    #[test]
    fn the_word_and_the_code_are_never_shown_however_they_are_cut() {
        let whole = "out mar\nmark:3\r\n";
        for at in 0..whole.len() {
            let (one, two) = whole.split_at(at);
            assert_eq!(
                shown(&[one, two]),
                ("out mar\n".to_owned(), Some(3)),
                "{at}"
            );
        }
        let single: Vec<String> = whole.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        assert_eq!(shown(&single), ("out mar\n".to_owned(), Some(3)));
    }

    #[test]
    fn what_only_begins_like_the_word_is_shown_in_the_end() {
        assert_eq!(shown(&["a mar", "ket\n"]), ("a market\n".to_owned(), None));
        assert_eq!(shown(&["a mar"]), ("a mar".to_owned(), None));
        assert_eq!(shown(&["mmmark:", "0\n"]), ("mm".to_owned(), Some(0)));
    }

    #[test]
    fn the_command_is_run_as_it_is_and_a_shell_where_there_is_none() {
        let all = words(&["echo".to_owned(), "a b".to_owned()], "mark:", true);
        assert_eq!(all[3..], ["deployer", "mark:", "echo", "a b"]);
        let all = words(&[], "mark:", true);
        assert_eq!(all[4..], ["mark:", "/bin/sh"]);
    }

    #[test]
    fn a_shell_tells_the_code_behind_the_word() {
        for (script, command, code) in [
            (WITH_TERMINAL, "exit 3", 3),
            (WITHOUT, "exit 4", 4),
            (WITHOUT, "cat; exit 0", 0),
        ] {
            let printed = std::process::Command::new("/bin/sh")
                .args(["-c", script, "deployer", "mark:", "/bin/sh", "-c", command])
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            let mut filter = Filter::new("mark:");
            filter.take(&printed.stdout);
            assert_eq!(filter.code(), Some(code));
        }
    }
}
