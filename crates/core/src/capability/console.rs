//! A command in a container that serves, with somebody in front of it.

use std::sync::Arc;

use async_trait::async_trait;

/// What comes from such a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What it printed, as it is for a terminal.
    Bytes(Vec<u8>),
    /// What the account has to say to who opens a session.
    Notice(String),
}

/// How such a command came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// It ended, or could not begin; the cloud's words, where it has some.
    Ended(Option<String>),
    /// It is no longer seen, and may run on; why.
    Lost(String),
}

/// A command in a terminal of a container. It ends with its own end; when this is dropped, it hears
/// that its terminal is gone, at the cloud's own time.
#[async_trait]
pub trait Console: Send {
    /// What it is called where it runs: "task `0a1b`".
    fn place(&self) -> &str;

    /// What comes next; `None` once it is over.
    async fn next(&mut self) -> Option<Shown>;

    /// What is typed, and how large the window is. Good for as long as the command runs.
    fn keyboard(&self) -> Arc<dyn Keyboard>;

    /// How it came to its end, once [`Console::next`] gave `None`.
    async fn over(self: Box<Self>) -> Over;
}

/// Somebody in front of a command.
#[async_trait]
pub trait Keyboard: Send + Sync {
    /// Types; whether anybody is there to take it.
    async fn put(&self, keys: Vec<u8>) -> bool;

    /// Says how large the window is; whether anybody is there to take it.
    async fn resize(&self, columns: u32, rows: u32) -> bool;
}
