//! Durations as people type them.

use std::time::Duration;

use jiff::Timestamp;

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

/// `0.4s`, `62s`, `8m04s`, `2h07m`, `4d01h`: the one form in which people read how long something
/// took.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..100 => format!("{seconds}s"),
        100..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{}d{:02}h", hours / 24, hours % 24),
    }
}

/// `40s`, `8m`, `1h10m`: how long something takes about, never less than it did.
pub fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds.div_ceil(60);
    match seconds {
        0..56 => format!("{}s", seconds.div_ceil(5) * 5),
        56..3541 => format!("{minutes}m"),
        _ => format!("{}h{:02}m", minutes / 60, minutes % 60),
    }
}

/// `12s`, `9m`, `3h`, `2d`: how long ago something was, in one unit.
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long before `now` that was, in one unit; a clock that is behind says that it was just now.
pub fn since(then: Timestamp, now: Timestamp) -> String {
    age(now.duration_since(then).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_as_people_write_them() {
        assert_eq!(parse("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(parse("45").unwrap(), Duration::from_secs(45));
        assert!(parse("soon").is_err() && parse("10y").is_err());
        assert_eq!(show(Duration::from_millis(420)), "0.4s");
        assert_eq!(show(Duration::from_secs(62)), "62s");
        assert_eq!(show(Duration::from_secs(185)), "3m05s");
        assert_eq!(show(Duration::from_secs(3599)), "59m59s");
        assert_eq!(show(Duration::from_secs(2 * 3600 + 7 * 60)), "2h07m");
        assert_eq!(show(Duration::from_secs(86_399)), "23h59m");
        assert_eq!(show(Duration::from_secs(4 * 86_400 + 3600)), "4d01h");
    }

    #[test]
    fn what_is_about_is_rounded_up() {
        let about = |seconds| about(Duration::from_secs(seconds));
        assert_eq!(about(12), "15s");
        assert_eq!(about(55), "55s");
        assert_eq!(about(56), "1m");
        assert_eq!(about(62), "2m");
        assert_eq!(about(480), "8m");
        assert_eq!(about(3540), "59m");
        assert_eq!(about(3541), "1h00m");
        assert_eq!(about(4180), "1h10m");
    }

    #[test]
    fn an_age_has_one_unit() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(since(at(0), at(59)), "59s");
        assert_eq!(since(at(0), at(600)), "10m");
        assert_eq!(since(at(0), at(7_300)), "2h");
        assert_eq!(since(at(0), at(200_000)), "2d");
        assert_eq!(since(at(10), at(0)), "0s");
    }
}
