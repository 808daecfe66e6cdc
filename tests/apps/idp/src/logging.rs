//! One JSON object a line on standard output, for both clouds' log viewers.

/// Starts logging for the whole process.
pub fn start() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false)
        // The database client logs its own traffic below this level.
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stdout)
        .init();
}
