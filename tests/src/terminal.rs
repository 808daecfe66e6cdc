//! Somebody who sits at a terminal and types, as far as a program can tell.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::Pty;

use crate::deployer::Deployer;
use crate::wait;

/// Nothing that a command shows takes longer.
const SOON: Duration = Duration::from_secs(60);

/// A command on a terminal of its own.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a shell's line on a terminal of this many columns and rows; `$DEPLOYER` is the
    /// binary.
    pub fn start(deployer: &Deployer, line: &str, (columns, rows): (u16, u16)) -> Self {
        let (pty, pts) = pty_process::blocking::open().expect("a terminal can be opened");
        pty.resize(Size::new(rows, columns)).expect("it has a size");
        let command = deployer.on_a_terminal(line);
        let child = command.spawn(pts).expect("a shell can be started");
        let (pty, shown) = (Arc::new(pty), Arc::default());
        let (from, to) = (Arc::clone(&pty), Arc::clone(&shown));
        std::thread::spawn(move || listen(&from, &to));
        Self { pty, child, shown }
    }

    /// Types, as fast as a machine.
    pub fn types(&self, keys: &str) {
        let mut to: &Pty = &self.pty;
        to.write_all(keys.as_bytes()).expect("somebody reads");
    }

    /// Gives the window another size.
    pub fn resize(&self, (columns, rows): (u16, u16)) {
        let resized = self.pty.resize(Size::new(rows, columns));
        resized.expect("it has another size");
    }

    /// Everything that was shown.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Returns once these words were shown.
    #[track_caller]
    pub fn until_it_shows(&self, words: &str) {
        let what = format!("`{words}` on the terminal");
        let deadline = Instant::now() + SOON;
        wait::until(&what, SOON * 2, || {
            let shown = self.shown();
            let found = shown.contains(words);
            assert!(
                found || Instant::now() < deadline,
                "waited for {what}; it shows:\n{shown}"
            );
            found.then_some(())
        });
    }

    /// Waits for the end: the exit code as shells tell it, and all that was shown.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let status = wait::until("the end of a command on a terminal", SOON, || {
            self.child.try_wait().expect("a child can be asked")
        });
        (code(status), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.expect("what ended has a code or a signal")
}

/// Reads until nobody holds the other side any more.
fn listen(from: &Pty, to: &Mutex<Vec<u8>>) {
    let mut from = from;
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let mut shown = to.lock().unwrap_or_else(PoisonError::into_inner);
        shown.extend_from_slice(&piece[..count]);
    }
}
