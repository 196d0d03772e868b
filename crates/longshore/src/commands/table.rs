//! Columns for people: as wide as their widest cell, no more.

use std::fmt::Write;

/// A table with a head, a line per row.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for cells in std::iter::once(&head.map(str::to_owned)).chain(rows) {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [["ä".to_owned(), String::new()], ["long".to_owned(), "x".to_owned()]];

        assert_eq!(table(["A", "B"], &rows), "A     B\nä\nlong  x");
    }
}
