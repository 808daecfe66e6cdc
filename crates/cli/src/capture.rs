//! A command whose output is kept instead of written.

use std::fmt::Arguments;
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    /// Where the output of a captured command goes.
    pub(crate) static KEPT: Output;
}

/// What a captured command wrote to standard output and standard error, as one text in the order of
/// writing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Output(Arc<Mutex<String>>);

impl Output {
    /// The text so far.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn push(&self, text: Arguments<'_>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_str(&text.to_string());
    }
}

/// Runs a command with its output kept instead of written.
pub async fn captured<T>(output: Output, command: impl Future<Output = T>) -> T {
    KEPT.scope(output, command).await
}

/// Whether this is a captured command.
pub(crate) fn is_kept() -> bool {
    KEPT.try_with(|_| ()).is_ok()
}
