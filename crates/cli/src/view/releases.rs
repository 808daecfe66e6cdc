//! Releases as one table, of one service or of many: both clouds side by side, what changed,
//! attempts that failed among them; pure.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use jiff::Timestamp;

use crate::duration;
use crate::view::foreign;
use crate::view::plan::{cut, list, wrap};

/// A release or an attempt at one, on the clouds where it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub service: String,
    /// `None` for an attempt that became none.
    pub number: Option<u64>,
    /// What tells it from another of that number.
    pub content_id: String,
    pub image: String,
    /// What changed on each cloud, in words.
    pub changed: BTreeMap<CloudName, Vec<String>>,
    pub cells: BTreeMap<CloudName, String>,
    pub at: Timestamp,
    pub by: String,
}

/// How moments are told.
#[derive(Clone, Copy, Debug)]
pub enum Moments {
    /// So long before now.
    Ago(Timestamp),
    /// In full.
    Iso,
}

/// Puts the rows of one cloud to those of the others: what is the same release there stands in one
/// row.
pub fn merge(rows: &mut Vec<Row>, of_cloud: Vec<Row>) {
    for row in of_cloud {
        let same = |it: &&mut Row| {
            let free = row.cells.keys().all(|cloud| !it.cells.contains_key(cloud));
            // Of an attempt, which has no number, what it changed tells it from others.
            let alike = row.number.is_some() || row.changed.values().eq(it.changed.values());
            let of = |row: &Row| (row.service.clone(), row.number, row.content_id.clone());
            of(it) == of(&row) && alike && free
        };
        match rows.iter_mut().find(same) {
            Some(other) => {
                other.cells.extend(row.cells);
                other.changed.extend(row.changed);
                other.at = other.at.max(row.at);
            }
            None => rows.push(row),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.at));
}

/// What changed, each thing once; what changed on one of the row's clouds alone says so.
fn changed(row: &Row) -> String {
    let mut told: Vec<(&String, Vec<&str>)> = Vec::new();
    for (cloud, changed) in &row.changed {
        for what in changed {
            match told.iter_mut().find(|(it, _)| *it == what) {
                Some((_, clouds)) => clouds.push(cloud.as_str()),
                None => told.push((what, vec![cloud.as_str()])),
            }
        }
    }
    let words = told
        .into_iter()
        .map(|(what, clouds)| match clouds.len() == row.changed.len() {
            true => what.clone(),
            false => format!("{what} ({} only)", list(&clouds)),
        });
    words.collect::<Vec<_>>().join(", ")
}

/// The table, newest first, with its title and what is to be said below it.
pub fn render(
    title: &str,
    rows: &[Row],
    notes: &[String],
    clouds: &[CloudName],
    moments: Moments,
    width: usize,
) -> String {
    const LEAST: usize = 12;
    let when = |row: &Row| match moments {
        Moments::Ago(now) => format!("{} ago", duration::since(row.at, now)),
        Moments::Iso => format!("{:.0}", row.at),
    };
    // Of one service the title says it.
    let several = rows.iter().any(|row| row.service != rows[0].service);
    let mut header = vec![String::new(), "IMAGE".into(), "CHANGED".into()];
    header.extend(clouds.iter().map(|it| it.as_str().to_uppercase()));
    header.extend(["WHEN".into(), "WHO".into()]);
    if several {
        header.insert(0, "SERVICE".into());
    }
    let mut table = vec![header];
    for row in rows {
        let number = row
            .number
            .map_or_else(|| "-".to_owned(), |it| format!("r{it}"));
        let mut cells = vec![number, cut(&row.image, 14), changed(row)];
        let on = clouds.iter().map(|it| row.cells.get(it));
        cells.extend(on.map(|it| it.cloned().unwrap_or_else(|| "-".into())));
        cells.extend([when(row), cut(&row.by, 16)]);
        if several {
            cells.insert(0, cut(&row.service, 20));
        }
        let cells = cells.iter().map(|cell| foreign::one_line(cell));
        table.push(cells.collect());
    }
    let columns = table[0].len();
    let widest = |at: usize| table.iter().map(|row| row[at].chars().count()).max();
    let mut widths: Vec<usize> = (0..columns).map(|at| widest(at).unwrap_or(0)).collect();
    // What changed gives way: `plan` and `releases --json` have it whole. Then who did it, when,
    // and the image: `releases SERVICE REV` has them.
    let gives = 2 + usize::from(several);
    for last in [None, Some(columns - 1), Some(columns - 2), Some(gives - 1)] {
        if let Some(last) = last {
            widths.remove(last);
            table.iter_mut().for_each(|row| drop(row.remove(last)));
        }
        let gives = gives - usize::from(last == Some(gives - 1));
        let used: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        let over = used.saturating_sub(width);
        let least = LEAST.min(widths[gives]);
        widths[gives] = widths[gives].saturating_sub(over).max(least);
        let used: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        if used <= width {
            break;
        }
    }
    let mut text = format!("{title}\n");
    for row in &table {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{:<width$}", cut(cell, *width)))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for note in notes {
        let note = foreign::words(note).replace('\n', " ");
        for (at, line) in wrap(&note, width.saturating_sub(3)).into_iter().enumerate() {
            let mark = if at == 0 { '!' } else { ' ' };
            text.push_str(&format!("{mark}  {line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: Option<u64>, changed: &str, cloud: CloudName, cell: &str, at: i64) -> Row {
        Row {
            service: "web".into(),
            number,
            content_id: format!("{number:?}"),
            image: "1.1".into(),
            changed: BTreeMap::from([(cloud, vec![changed.into()])]),
            cells: BTreeMap::from([(cloud, cell.into())]),
            at: Timestamp::from_second(at).unwrap(),
            by: "ana@laptop".into(),
        }
    }

    fn made_up() -> Vec<Row> {
        use CloudName::{Aws, Gcp};
        let mut rows = Vec::new();
        let of_aws = vec![
            row(Some(3), "back to r1", Aws, "serves", 9_000),
            row(Some(2), "image", Aws, "ON HOLD", 8_000),
            row(None, "image, CRASH", Aws, "failed", 7_000),
            row(Some(1), "first", Aws, "served", 100),
        ];
        let of_gcp = vec![
            row(Some(3), "back to r1", Gcp, "serves", 9_001),
            row(Some(2), "image", Gcp, "ON HOLD", 8_001),
            row(None, "image, CRASH", Gcp, "failed", 7_001),
            row(Some(1), "first", Gcp, "served", 101),
        ];
        merge(&mut rows, of_aws);
        merge(&mut rows, of_gcp);
        rows
    }

    #[test]
    fn one_release_on_both_clouds_is_one_row_and_a_failed_attempt_is_one() {
        let rows = made_up();
        assert_eq!(rows.len(), 4);
        let now = Moments::Ago(Timestamp::from_second(9_121).unwrap());
        let text = render("web · staging", &rows, &[], &CloudName::ALL, now, 80);
        assert!(text.lines().all(|it| it.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @r"
    web · staging
        IMAGE  CHANGED       AWS      GCP      WHEN     WHO
    r3  1.1    back to r1    serves   serves   2m ago   ana@laptop
    r2  1.1    image         ON HOLD  ON HOLD  18m ago  ana@laptop
    -   1.1    image, CRASH  failed   failed   35m ago  ana@laptop
    r1  1.1    first         served   served   2h ago   ana@laptop
    ");
    }

    #[test]
    fn who_and_when_give_way_on_a_narrow_terminal() {
        let rows = made_up();
        let now = Moments::Ago(Timestamp::from_second(9_121).unwrap());
        for width in [40, 50, 60] {
            let text = render("web · staging", &rows, &[], &CloudName::ALL, now, width);
            assert!(text.lines().all(|it| it.chars().count() <= width), "{text}");
            assert!(text.contains("image, CRASH  failed   failed"), "{text}");
        }
    }

    #[test]
    fn the_releases_of_many_services_are_one_table() {
        let mut rows = made_up();
        rows.truncate(2);
        let of_worker = row(Some(3), "replicas", CloudName::Aws, "serves", 8_500);
        let of_worker = Row {
            service: "worker".into(),
            content_id: rows[0].content_id.clone(),
            ..of_worker
        };
        merge(&mut rows, vec![of_worker]);
        let now = Moments::Ago(Timestamp::from_second(9_121).unwrap());
        let text = render("shop · staging", &rows, &[], &CloudName::ALL, now, 80);
        assert!(text.lines().all(|it| it.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @r"
        shop · staging
        SERVICE      IMAGE  CHANGED     AWS      GCP      WHEN     WHO
        web      r3  1.1    back to r1  serves   serves   2m ago   ana@laptop
        worker   r3  1.1    replicas    serves   -        10m ago  ana@laptop
        web      r2  1.1    image       ON HOLD  ON HOLD  18m ago  ana@laptop
        ");
    }

    #[test]
    fn moments_are_whole_in_a_pipe_and_what_changed_gives_way() {
        let mut rows = made_up();
        rows[0].changed = BTreeMap::from([(CloudName::Aws, vec!["A, ".repeat(40)])]);
        let text = render(
            "web · staging",
            &rows,
            &[],
            &CloudName::ALL,
            Moments::Iso,
            80,
        );
        assert!(text.contains("1970-01-01T02:30:01Z"), "{text}");
        assert!(text.lines().all(|it| it.chars().count() <= 80), "{text}");
    }

    #[test]
    fn what_changed_on_one_cloud_alone_says_so() {
        use CloudName::{Aws, Gcp};
        let of = |cloud, changed: &[&str]| Row {
            changed: BTreeMap::from([(cloud, changed.iter().map(|it| (*it).into()).collect())]),
            ..row(Some(3), "", cloud, "serves", 9_000)
        };
        let mut rows = Vec::new();
        merge(&mut rows, vec![of(Aws, &["image", "replicas"])]);
        merge(&mut rows, vec![of(Gcp, &["image", "LOG_LEVEL"])]);
        assert_eq!(rows.len(), 1);
        let text = render("web", &rows, &[], &CloudName::ALL, Moments::Iso, 120);
        let says = "image, replicas (aws only), LOG_LEVEL (gcp only)";
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn another_content_of_the_same_number_is_another_row() {
        let mut rows = made_up();
        let other = Row {
            content_id: "another".into(),
            ..row(Some(3), "image", CloudName::Gcp, "serves", 9_002)
        };
        rows.retain(|it| it.number == Some(3));
        rows[0].cells.remove(&CloudName::Gcp);
        merge(&mut rows, vec![other]);
        assert_eq!(rows.len(), 2);
    }
}
