//! `deployer exec`: a command, or a shell, in a task that serves.
//!
//! ECS Exec tells no exit code. So the command is run by a shell that prints a word that nobody
//! else knows when it ends, and the code behind it; that is never shown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deployer_core::capability::{Keyboard, Over, Shown};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::spec::ServiceSpec;
use futures::future::select;
use uuid::Uuid;

use crate::again::Again;
use crate::args::{ExecArgs, Global};
use crate::command::run::mask_of;
use crate::exit::Exit;
use crate::mask::Mask;
use crate::output;
use crate::session::{Place, Session};
use crate::terminal::{self, Raw, Typed};

/// `$1` is the word, the rest is the command. An end that was asked for with Ctrl-C or Ctrl-\ is
/// the command's alone: the shell stays to tell the code.
const WITH_TERMINAL: &str =
    r#"m=$1; shift; trap : INT QUIT; "$@"; c=$?; printf '%s%s\n' "$m" "$c""#;
/// The same for who has no terminal: nothing is echoed, no line end is changed.
const WITHOUT: &str =
    r#"m=$1; shift; stty raw -echo 2>/dev/null; "$@" </dev/null; c=$?; printf '%s%s\n' "$m" "$c""#;

/// How long a session may take to end once its command has; whatever that left in its terminal
/// holds it. Ours.
const ENDING: Duration = Duration::from_secs(3);
/// What a window has that nobody looks at: no program breaks its lines for it. It has a row more
/// every other time, so that each size is news.
const COLUMNS: u32 = 500;
const ROWS: [u32; 2] = [50, 51];

/// Runs the command to its end, and ends as it does.
pub async fn run(global: &Global, session: Session, args: &ExecArgs) -> Result<Exit> {
    session.services(Some(&args.service))?;
    if session.places.is_empty() {
        return Ok(session.failure());
    }
    let (place, service) = chosen(global, &session, args)?;
    let mark = format!("deployer-{}:", Uuid::new_v4().simple());
    let has_terminal = terminal::is_here();
    if args.command.is_empty() && !has_terminal {
        let message = "a shell needs a terminal to type into, and there is none here";
        return Err(Error::input(message).hint(
            "say what to run: `deployer exec SERVICE -- COMMAND`; what is piped in is not passed on, `-- /bin/sh -c 'SCRIPT'` is",
        ));
    }
    let words = words(&args.command, &mark, has_terminal);
    let runtime = place.cloud.services();
    runtime.must_be_of(&place.owner(), &service.name).await?;
    let mask = match has_terminal {
        true => Mask::default(),
        false => mask(place, service, args.unmasked).await?,
    };
    let console = runtime.console(service, args.task.as_deref(), &words);
    let mut console = console.await?;
    let keyboard = console.keyboard();
    let raw = match has_terminal {
        true => {
            noteln!("in {}; its end, or `exit`, ends this", console.place());
            Some(Raw::enter()?)
        }
        false => None,
    };
    let mut filter = Filter::new(&mark);
    let mut printed = match has_terminal || args.unmasked {
        true => Printed::AsItComes,
        false => Printed::ByLines(mask, Vec::new()),
    };
    let showing = async {
        while let Some(shown) = console.next().await {
            match shown {
                Shown::Bytes(bytes) => {
                    output::bytes_to_stdout(&printed.shown(filter.take(&bytes)));
                    if filter.code().is_some() {
                        break;
                    }
                }
                Shown::Notice(words) => noteln!("{}\r", crate::view::foreign::line(&words)),
            }
        }
    };
    match &raw {
        Some(_) => tokio::select! {
            () = showing => {}
            () = typing(&keyboard) => {}
        },
        None => tokio::select! {
            () = showing => {}
            () = keep_alive(&session, &keyboard) => {}
        },
    }
    // Before anything else is said.
    drop(raw);
    if filter.code().is_some() {
        // What a session says after that is not the command's. An agent that nobody listens to any
        // more does not see its end, and takes but two at a time.
        let ends = async { while console.next().await.is_some() {} };
        select(pin!(ends), session.clock.pause(ENDING)).await;
    }
    if filter.code().is_none() {
        output::bytes_to_stdout(&printed.shown(filter.rest()));
    }
    output::bytes_to_stdout(&printed.rest());
    if let Some(code) = filter.code() {
        return Ok(match u8::try_from(code) {
            Ok(0) => Exit::Success,
            Ok(code) => Exit::Program(code),
            Err(_) => Exit::NotRun,
        });
    }
    let on = place;
    let place = console.place().to_owned();
    Err(match console.over().await {
        Over::Ended(Some(words)) => {
            let message =
                format!("the session in {place} ended, and how the command did is not known");
            let error = Error::new(ErrorKind::Rejected, message).because(words.trim().to_owned());
            match words.contains("/bin/sh") {
                true => error.hint(format!(
                    "the image has no `/bin/sh`; without one, as arguments of the image's entry point: `{}`",
                    by_itself(global, on, args)
                )),
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

/// Where it runs: on the one cloud that has the service and takes commands.
///
/// Errors: input, when none does, or several.
fn chosen<'a>(
    global: &Global,
    session: &'a Session,
    args: &ExecArgs,
) -> Result<(&'a Place, &'a ServiceSpec)> {
    let places = session.places.iter();
    let having: Vec<(&Place, &ServiceSpec)> = places
        .filter_map(|place| Some((place, place.env.services.get(&args.service)?)))
        .collect();
    let refusal = |(place, service): &(&Place, &ServiceSpec)| {
        place.cloud.services().takes_no_commands(service)
    };
    let able: Vec<_> = having.iter().filter(|it| refusal(it).is_none()).collect();
    match (able.as_slice(), having.as_slice()) {
        ([one], _) => Ok(**one),
        ([], []) => {
            let clouds: Vec<String> = session
                .places
                .iter()
                .map(|it| it.name().to_string())
                .collect();
            let message = format!("`{}` is not on {}", args.service, clouds.join(" and "));
            Err(Error::input(message))
        }
        ([], all @ [first, ..]) => {
            let whys: Vec<&str> = all.iter().filter_map(refusal).collect();
            let hint = format!(
                "`{}` runs it by itself, with the same image, variables and secrets",
                by_itself(global, first.0, args)
            );
            Err(Error::input(whys.join("; ")).hint(hint))
        }
        (several, _) => {
            let clouds: Vec<String> = several.iter().map(|it| it.0.name().to_string()).collect();
            let message = format!("`{}` is on {}", args.service, clouds.join(" and "));
            Err(Error::input(message)
                .hint(format!("say which one is meant: `--cloud {}`", clouds[0])))
        }
    }
}

/// The same command in a container of its own, as it is typed.
fn by_itself(global: &Global, place: &Place, args: &ExecArgs) -> Again {
    let run = Again::new(global, "run").on(place.name());
    let run = run.with(&args.service).with("--");
    match args.command.as_slice() {
        [] => run.with("COMMAND"),
        words => words.iter().fold(run, |run, word| run.with(word)),
    }
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

/// Keeps the session of a command that nobody types into: one in which nothing is sent is over
/// after 20 minutes. That a size counts is ours: the vendor says of nothing what does.
async fn keep_alive(session: &Session, keyboard: &Arc<dyn Keyboard>) {
    for rows in ROWS.into_iter().cycle() {
        if !keyboard.resize(COLUMNS, rows).await {
            break;
        }
        session.clock.pause(terminal::ALIVE).await;
    }
    std::future::pending::<()>().await;
}

/// What is hidden where there is no terminal: as in `run`, the values that are set now, and those
/// of what serves.
async fn mask(place: &Place, service: &ServiceSpec, unmasked: bool) -> Result<Mask> {
    if unmasked {
        return Ok(Mask::default());
    }
    let runtime = place.cloud.services();
    let serving = place.serving(service).await?;
    let serving = serving.into_iter().flat_map(|serving| {
        let traffic = serving.traffic.into_iter().map(|(revision, _)| revision);
        traffic.chain(serving.wanted).collect::<Vec<_>>()
    });
    let mut pinned = Vec::new();
    for revision in serving {
        pinned.extend(runtime.pinned(&service.name, &revision).await?);
    }
    let pinned = pinned.iter().map(|(key, version)| (key, version));
    Ok(mask_of(place, pinned, false).await)
}

/// How what is printed goes out.
enum Printed {
    AsItComes,
    /// Without what is hidden: whole lines, and what there is of the next one.
    ByLines(Mask, Vec<u8>),
}

impl Printed {
    fn shown(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Self::ByLines(mask, part) = self else {
            return bytes;
        };
        part.extend(bytes);
        let whole = part.iter().rposition(|byte| *byte == b'\n');
        let whole: Vec<u8> = part.drain(..whole.map_or(0, |at| at + 1)).collect();
        let lines = whole.split_inclusive(|byte| *byte == b'\n');
        lines.flat_map(|line| hidden(mask, line)).collect()
    }

    /// The last line, which has no end.
    fn rest(&mut self) -> Vec<u8> {
        match self {
            Self::AsItComes => Vec::new(),
            Self::ByLines(mask, part) => hidden(mask, &std::mem::take(part)),
        }
    }
}

/// A line without what is hidden. What is no text is left as it is.
fn hidden(mask: &Mask, line: &[u8]) -> Vec<u8> {
    let pieces = line.utf8_chunks().flat_map(|piece| {
        let mut shown = mask.hide(piece.valid()).into_bytes();
        shown.extend(piece.invalid());
        shown
    });
    pieces.collect()
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
        let mut shown = Vec::new();
        while let Some(at) = find(&self.held, &self.mark) {
            shown.extend(self.held.drain(..at));
            match Behind::of(&self.held[self.mark.len()..]) {
                Behind::Code(code) => {
                    self.code = Some(code);
                    self.held.clear();
                    return shown;
                }
                Behind::Unfinished => return shown,
                Behind::Other => shown.extend(self.held.drain(..self.mark.len())),
            }
        }
        let most = self.held.len().min(self.mark.len() - 1);
        let begun = (1..=most).rev().find(|count| {
            let tail = &self.held[self.held.len() - count..];
            self.mark.starts_with(tail)
        });
        let keep = begun.unwrap_or(0);
        let free = self.held.len() - keep;
        shown.extend(self.held.drain(..free));
        shown
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

/// What stands behind the word.
enum Behind {
    /// Digits, and the end of the line.
    Code(i32),
    /// What may become that.
    Unfinished,
    /// Anything else: the command shows the words that it was run with, as `ps` does.
    Other,
}

impl Behind {
    fn of(text: &[u8]) -> Self {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
        let (digits, end) = text.split_at(digits.count());
        let ends = end.iter().find(|byte| **byte != b'\r');
        // No code has more than three.
        let code = std::str::from_utf8(digits).ok();
        let code = code.filter(|code| code.len() <= 3);
        match (ends, code) {
            (None, Some(_)) => Self::Unfinished,
            (Some(b'\n'), Some(code)) => code.parse().map_or(Self::Other, Self::Code),
            (None | Some(_), _) => Self::Other,
        }
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
    fn the_word_among_what_the_command_shows_is_shown_and_its_code_comes_behind() {
        let whole = "sh -c x deployer mark: 3\nmark:7x\nmark:\nmark:12345\nmark:mark:9\n";
        let text = whole.strip_suffix("mark:9\n").unwrap();
        for at in 0..whole.len() {
            let (one, two) = whole.split_at(at);
            assert_eq!(shown(&[one, two]), (text.to_owned(), Some(9)), "{at}");
        }
        // Without an end of the line nothing waits for it.
        let mut filter = Filter::new("mark:");
        assert_eq!(filter.take(b"mark: top"), b"mark: top");
    }

    #[test]
    fn lines_are_hidden_in_however_they_are_cut_and_what_is_no_text_is_kept() {
        let whole: &[u8] = b"a hunter2hunter2 b\n\xff\xfehunter2hunter2\n\nlast hunter2hunter2";
        let want: &[u8] = b"a [redacted] b\n\xff\xfe[redacted]\n\nlast [redacted]";
        for at in 0..whole.len() {
            let mask = Mask::with(["hunter2hunter2"]);
            let mut printed = Printed::ByLines(mask, Vec::new());
            let mut got = printed.shown(whole[..at].to_vec());
            got.extend(printed.shown(whole[at..].to_vec()));
            got.extend(printed.rest());
            assert_eq!(got, want, "{at}");
        }
        let mut printed = Printed::AsItComes;
        assert_eq!(printed.shown(b"part".to_vec()), b"part");
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
