//! Hands a container's output on, line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::{LogSink, Stream};

/// Longer lines come in pieces: both clouds limit one log entry to 256 KB.
const LINE_LIMIT: usize = 256 * 1024;

/// Reads until the end; a last line without a line break counts.
pub(super) async fn copy_lines(pipe: impl AsyncRead + Unpin, stream: Stream, sink: LogSink) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    let emit = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        sink(stream, text.strip_suffix('\r').unwrap_or(&text));
        line.clear();
    };
    // A pipe that cannot be read any more has ended.
    while let Ok(bytes) = pipe.fill_buf().await {
        if bytes.is_empty() {
            break;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let count = end.unwrap_or(bytes.len()).min(LINE_LIMIT - line.len());
        line.extend_from_slice(&bytes[..count]);
        let whole = end == Some(count);
        pipe.consume(count + usize::from(whole));
        if whole || line.len() == LINE_LIMIT {
            emit(&mut line);
        }
    }
    if !line.is_empty() {
        emit(&mut line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn lines_arrive_whole_and_long_ones_in_pieces() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let taken = lines.clone();
        let sink: LogSink = Arc::new(move |_, line| taken.lock().unwrap().push(line.to_owned()));
        let long = "x".repeat(LINE_LIMIT + 1);
        let text = format!("one\r\n\ntwo\n{long}\nrest");
        copy_lines(text.as_bytes(), Stream::Stdout, sink).await;
        let lines = lines.lock().unwrap();
        assert_eq!(lines[..3], ["one", "", "two"]);
        assert_eq!(lines[3].len(), LINE_LIMIT);
        assert_eq!(lines[4..], ["x", "rest"]);
    }
}
