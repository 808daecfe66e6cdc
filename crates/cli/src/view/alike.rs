//! Lines of an app that say the same over and over; pure.

/// So many lines in a row that differ in numbers alone are told by the first and the last.
const MANY: usize = 4;

/// What is told of an app's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// One of them.
    Line(&'a str),
    /// So many between the two beside it, which differ from them in numbers alone.
    More(usize),
}

/// Each line; of many in a row that differ in numbers alone - times, counts, durations - the first,
/// how many follow, and the last.
pub fn folded(lines: &[String]) -> Vec<Told<'_>> {
    let mut told = Vec::new();
    let mut rest = lines;
    while let Some(first) = rest.first() {
        let form = form_of(first);
        let alike = rest.iter().take_while(|it| form_of(it) == form).count();
        let (row, after) = rest.split_at(alike);
        match row {
            [first, between @ .., last] if alike >= MANY => {
                let more = Told::More(between.len());
                told.extend([Told::Line(first), more, Told::Line(last)]);
            }
            _ => told.extend(row.iter().map(|it| Told::Line(it))),
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
    fn what_is_said_over_and_over_is_told_by_the_first_and_the_last() {
        let lines = [
            "listening on 3000",
            "09:15:01.25 GET /health 500 in 3 ms",
            "09:15:02.7 GET /health 500 in 12 ms",
            "09:15:03.001 GET /health 500 in 4 ms",
            "09:15:04.1 GET /health 500 in 5 ms",
            "stopping",
        ];
        let expected = [
            Told::Line(lines[0]),
            Told::Line(lines[1]),
            Told::More(2),
            Told::Line(lines[4]),
            Told::Line(lines[5]),
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(folded(&lines), expected);
    }

    #[test]
    fn a_few_of_them_and_others_between_are_left_as_they_are() {
        let lines = ["try 1", "try 2", "try 3", "no", "try 4"].map(str::to_owned);
        let as_they_are: Vec<_> = lines.iter().map(|it| Told::Line(it)).collect();
        assert_eq!(folded(&lines), as_they_are);
        assert_eq!(folded(&[]), []);
    }
}
