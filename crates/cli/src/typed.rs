//! Reads what a person types without showing it, and leaves the terminal as it was, whatever ends
//! the reading.

use std::io::{Read, Write as _};
use std::os::fd::AsFd;

use deployer_core::error::{Error, ErrorKind, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    FlushArg, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcflush, tcgetattr, tcsetattr,
};
use tokio::signal::unix::{SignalKind, signal};

/// A terminal that shows nothing of what is typed, until it is dropped.
struct Hidden<T: AsFd> {
    terminal: T,
    before: Termios,
}

impl<T: AsFd> Hidden<T> {
    fn new(terminal: T) -> nix::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        // A program that sleeps could not show again what is typed next.
        hidden.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl<T: AsFd> Drop for Hidden<T> {
    fn drop(&mut self) {
        // What was typed and not read would be the shell's next command. Nothing can be done where
        // this fails.
        let _ = tcflush(&self.terminal, FlushArg::TCIFLUSH);
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}

/// A terminal passes so many bytes of a line at most, and drops the others without a word
/// (`N_TTY_BUF_SIZE` of Linux is 4096, the line's end among them).
const LONGEST: usize = 4095;

/// The line that is typed on the terminal that is standard input, without its end. The words to ask
/// for it with are shown once nothing else is.
///
/// Errors: interrupted, by Ctrl-C or a request to end; input, when the terminal cannot be read, or
/// passes no more than a part of what is meant.
pub async fn hidden(ask: &str) -> Result<String> {
    let unusable = |error: String| Error::input("cannot read from this terminal").because(error);
    let watched = signal(SignalKind::interrupt()).and_then(|interrupt| {
        let terminate = signal(SignalKind::terminate())?;
        Ok((interrupt, terminate, signal(SignalKind::hangup())?))
    });
    let (mut interrupt, mut terminate, mut hangup) =
        watched.map_err(|error| unusable(error.to_string()))?;
    let hidden = Hidden::new(std::io::stdin()).map_err(|error| unusable(error.to_string()))?;
    say!("{ask} ");
    // A prompt that cannot be shown is answered by whoever types anyway.
    std::io::stderr().flush().unwrap_or_default();
    let (send, receive) = tokio::sync::oneshot::channel();
    // Not a task: the end of the program would wait for it.
    std::thread::spawn(move || {
        // Nobody waits for it any more after a signal.
        let _ = send.send(line(&mut std::io::stdin()));
    });
    let read = tokio::select! {
        read = receive => read,
        _ = interrupt.recv() => return Err(stopped()),
        _ = terminate.recv() => return Err(stopped()),
        _ = hangup.recv() => return Err(stopped()),
    };
    drop(hidden);
    // The end of the line was not shown either.
    sayln!();
    read.map_err(|error| unusable(error.to_string()))?
}

/// The next line of a terminal, without its end.
///
/// Errors: input, when it cannot be read, is more than a terminal passes, or has more behind it.
fn line<T: Read + AsFd>(terminal: &mut T) -> Result<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    while !bytes.ends_with(b"\n") {
        let count = terminal
            .read(&mut piece)
            .map_err(|error| Error::input("cannot read from this terminal").because(error))?;
        match count {
            0 => break,
            count => bytes.extend(&piece[..count]),
        }
    }
    let refused = |why: &str| {
        let message = format!("nothing was set: {why}");
        Err(Error::input(message).hint("pipe the value in, or name a file: `--file`"))
    };
    let mut waiting = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
    // What was pasted is all there at once.
    if poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        return refused("more than one line was typed");
    }
    if bytes.len() >= LONGEST {
        return refused("a terminal passes no longer line whole");
    }
    let text = String::from_utf8(bytes);
    let mut text = text.map_err(|_| Error::input("what was typed is no UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn stopped() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "nothing was set: stopped while the value was typed",
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use nix::pty::openpty;

    use super::*;

    fn shows(terminal: &impl AsFd) -> bool {
        let now = tcgetattr(terminal).expect("a terminal");
        now.local_flags.contains(LocalFlags::ECHO)
    }

    #[test]
    fn a_terminal_shows_nothing_while_a_secret_is_typed_and_everything_afterwards() {
        let pair = openpty(None, None).expect("a terminal can be made");
        assert!(shows(&pair.slave));
        let hidden = Hidden::new(&pair.slave).expect("it is a terminal");
        assert!(!shows(&pair.slave));
        drop(hidden);
        assert!(shows(&pair.slave));
    }

    /// What is read where this is typed, nothing of it shown.
    fn typed(keys: &str) -> Result<String> {
        let pair = openpty(None, None).expect("a terminal can be made");
        let hidden = Hidden::new(&pair.slave).expect("it is a terminal");
        let mut person = File::from(pair.master);
        person.write_all(keys.as_bytes()).expect("it takes keys");
        let mut terminal = File::from(pair.slave.try_clone().expect("a second one"));
        let read = line(&mut terminal);
        drop(hidden);
        read
    }

    #[test]
    fn one_enter_ends_what_is_typed_and_nothing_is_cut_off() {
        assert_eq!(typed("hunter2\n").unwrap(), "hunter2");
        assert_eq!(typed("\n").unwrap(), "");
        let several = typed("-----BEGIN\nKEY\n").unwrap_err();
        assert!(
            several.to_string().contains("more than one line"),
            "{several}"
        );
        assert!(
            several
                .hint_text()
                .is_some_and(|hint| hint.contains("--file"))
        );
        let long = typed(&format!("{}\n", "x".repeat(5000))).unwrap_err();
        assert!(long.to_string().contains("no longer line"), "{long}");
    }
}
