//! Reads what a person types without showing it, and leaves the terminal as it was, whatever ends
//! the reading.

use std::io::Read;
use std::os::fd::AsFd;

use deployer_core::error::{Error, ErrorKind, Result};
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

/// What is typed on the terminal that is standard input, until Ctrl-D.
///
/// Errors: interrupted, by Ctrl-C or a request to end; input, when the terminal cannot be read.
pub async fn hidden() -> Result<String> {
    let unusable = |error: String| Error::input("cannot read from this terminal").because(error);
    let watched = signal(SignalKind::interrupt()).and_then(|interrupt| {
        let terminate = signal(SignalKind::terminate())?;
        Ok((interrupt, terminate, signal(SignalKind::hangup())?))
    });
    let (mut interrupt, mut terminate, mut hangup) =
        watched.map_err(|error| unusable(error.to_string()))?;
    let hidden = Hidden::new(std::io::stdin()).map_err(|error| unusable(error.to_string()))?;
    let (send, receive) = tokio::sync::oneshot::channel();
    // Not a task: the end of the program would wait for it.
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        // Nobody waits for it any more after a signal.
        let _ = send.send(read.map(|_| text));
    });
    let read = tokio::select! {
        read = receive => read,
        _ = interrupt.recv() => return Err(stopped()),
        _ = terminate.recv() => return Err(stopped()),
        _ = hangup.recv() => return Err(stopped()),
    };
    drop(hidden);
    let read = read.map_err(|error| unusable(error.to_string()))?;
    read.map_err(|error| unusable(error.to_string()))
}

fn stopped() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "nothing was set: stopped while the value was typed",
    )
}

#[cfg(test)]
mod tests {
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
}
