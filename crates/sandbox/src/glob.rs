//! Patterns with `*` and `?`.

/// `*` is any run of characters, `?` any one.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // The row of the pattern's prefixes that match the text read so far.
    let mut row = vec![false; pattern.len() + 1];
    row[0] = true;
    for (i, p) in pattern.iter().enumerate() {
        row[i + 1] = row[i] && *p == '*';
    }
    for c in text {
        let mut next = vec![false; pattern.len() + 1];
        for (i, p) in pattern.iter().enumerate() {
            next[i + 1] = match p {
                '*' => next[i] || row[i + 1],
                '?' => row[i],
                literal => row[i] && *literal == c,
            };
        }
        row = next;
    }
    row.last().copied().unwrap_or(false)
}
