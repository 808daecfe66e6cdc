//! Durations as people type them.

use std::time::Duration;

/// `30s`, `10m`, `2h`, `1d`; a bare number is seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration: write `30s`, `10m`, `2h` or `1d`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().map_err(|_| bad())?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

/// `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`, `4 d 01 h`.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {:02} s", seconds % 60),
        3600..86_400 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {:02} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_as_people_write_them() {
        assert_eq!(parse("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(parse("45").unwrap(), Duration::from_secs(45));
        assert!(parse("soon").is_err() && parse("10y").is_err());
        assert_eq!(show(Duration::from_millis(420)), "0.4 s");
        assert_eq!(show(Duration::from_secs(59)), "59 s");
        assert_eq!(show(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(show(Duration::from_secs(3599)), "59 min 59 s");
        assert_eq!(show(Duration::from_secs(2 * 3600 + 7 * 60)), "2 h 07 min");
        assert_eq!(show(Duration::from_secs(86_399)), "23 h 59 min");
        assert_eq!(show(Duration::from_secs(4 * 86_400 + 3600)), "4 d 01 h");
    }
}
