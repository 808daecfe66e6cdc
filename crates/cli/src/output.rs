//! Writes to standard output and standard error. A reader that went away (`deployer releases | head`) ends no run: what it
//! does not take is dropped, and the exit code still tells.

/// To standard output: what was asked for.
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        write!(std::io::stdout(), $($text)*).unwrap_or_default()
    }};
}

/// A line to standard output.
macro_rules! outln {
    () => { out!("\n") };
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($text)*).unwrap_or_default()
    }};
}

/// To standard error: what people should know meanwhile.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        write!(std::io::stderr(), $($text)*).unwrap_or_default()
    }};
}

/// A line to standard error.
macro_rules! sayln {
    () => { say!("\n") };
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stderr(), $($text)*).unwrap_or_default()
    }};
}
