//! Lines of an app that say the same over and over; pure.

/// So many lines in a row that differ in numbers alone are told in two.
const MANY: usize = 3;

/// The first line of each row of lines that differ in numbers alone - times, counts, durations -
/// and how many more like it follow. Rows that are short are left as they are.
pub fn folded(lines: &[String]) -> Vec<(&str, usize)> {
    let mut told: Vec<(&str, usize)> = Vec::new();
    let mut rest = lines;
    while let Some(first) = rest.first() {
        let form = form_of(first);
        let alike = rest.iter().take_while(|it| form_of(it) == form).count();
        let (row, after) = rest.split_at(alike);
        match alike >= MANY {
            true => told.push((first, alike - 1)),
            false => told.extend(row.iter().map(|it| (it.as_str(), 0))),
        }
        rest = after;
    }
    told
}

/// A line with a digit for each of its numbers.
fn form_of(line: &str) -> String {
    let mut form = String::with_capacity(line.len());
    for letter in line.chars() {
        match letter.is_ascii_digit() {
            true if form.ends_with('0') => {}
            true => form.push('0'),
            false => form.push(letter),
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_over_and_over_is_told_once_with_how_often() {
        let lines = [
            "listening on 3000",
            "09:15:01.25 GET /health 500 in 3 ms",
            "09:15:02.7 GET /health 500 in 12 ms",
            "09:15:03.001 GET /health 500 in 4 ms",
            "stopping",
        ];
        let lines = lines.map(str::to_owned);
        let (listening, stopping) = (("listening on 3000", 0), ("stopping", 0));
        let asked = ("09:15:01.25 GET /health 500 in 3 ms", 2);
        assert_eq!(folded(&lines), [listening, asked, stopping]);
    }

    #[test]
    fn two_of_them_and_others_between_are_left_as_they_are() {
        let lines = ["try 1", "try 2", "no", "try 3"].map(str::to_owned);
        let told = folded(&lines);
        let as_they_are: Vec<_> = lines.iter().map(|it| (it.as_str(), 0)).collect();
        assert_eq!(told, as_they_are);
        assert_eq!(folded(&[]), []);
    }
}
