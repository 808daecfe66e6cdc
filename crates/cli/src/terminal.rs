//! The terminal that somebody sits at: raw for a while, and put right again whatever happens.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use deployer_core::clock::Clock as _;
use deployer_core::error::{Error, Result};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::clock::SystemClock;

/// How often the window's size is said though it has not changed: a session is over after 20
/// minutes in which nothing was sent ("ECS Exec", Amazon ECS Developer Guide), and whoever only
/// reads sends nothing.
pub const ALIVE: Duration = Duration::from_secs(5 * 60);

/// Whether somebody sits at one: they type there, and read there.
pub fn is_here() -> bool {
    !crate::capture::is_kept() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// What is done there.
#[derive(Debug)]
pub enum Typed {
    /// Keys, as they come.
    Keys(Vec<u8>),
    /// The window has so many columns and rows.
    Size(u32, u32),
}

/// While this lives, keys go through as they are typed, Ctrl-C too.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Notes how the terminal is, and makes it raw.
    ///
    /// Errors: internal, when there is none after all.
    pub fn enter() -> Result<Self> {
        let failed =
            |error: nix::Error| Error::internal("the terminal cannot be made raw").because(error);
        let before = termios::tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).map_err(failed)?;
        let this = Self { before };
        this.outlive_signals();
        Ok(this)
    }

    /// Puts the terminal right before a signal ends the process.
    fn outlive_signals(&self) {
        // Keys send none while it is raw: these come from elsewhere.
        let kinds = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
        ];
        for kind in kinds {
            let before = self.before.clone();
            let Ok(mut signal) = signal(kind) else {
                continue;
            };
            tokio::spawn(async move {
                signal.recv().await;
                put_right(&before);
                std::process::exit(128 + kind.as_raw_value());
            });
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        put_right(&self.before);
    }
}

fn put_right(before: &Termios) {
    // Whoever took the terminal away needs it no more.
    let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
}

/// What is typed from now on, the window's size first. Ends with standard input.
pub fn typed() -> mpsc::Receiver<Typed> {
    let (out, typed) = mpsc::channel(16);
    let keys = out.clone();
    // A thread of its own, which nobody waits for: a read that waits for a key cannot be ended.
    std::thread::spawn(move || {
        let mut piece = [0; 1024];
        let mut input = std::io::stdin();
        while let Ok(count @ 1..) = input.read(&mut piece) {
            let typed = Typed::Keys(piece[..count].to_vec());
            if keys.blocking_send(typed).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let Ok(mut changed) = signal(SignalKind::window_change()) else {
            return;
        };
        loop {
            // Rows come first there.
            let (rows, columns) = console::Term::stdout().size();
            let size = Typed::Size(columns.into(), rows.into());
            if out.send(size).await.is_err() {
                return;
            }
            tokio::select! {
                changed = changed.recv() => if changed.is_none() {
                    return;
                },
                () = SystemClock.pause(ALIVE) => {}
            }
        }
    });
    typed
}
