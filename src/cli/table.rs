//! Tables for people.

use std::io::{self, Write};

/// A column: its title, and whether it holds numbers, which stand to the right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Stands above.
    pub(super) title: &'static str,
    /// Numbers are compared by their length at a glance if they end in one line.
    pub(super) is_number: bool,
}

/// Writes the rows below the titles, each column as wide as it needs to be. All rows have as many cells as there
/// are columns; control characters, which a peer may have put into a name, are written as escapes.
pub(super) fn write(mut out: impl Write, columns: &[Column], rows: &[Vec<String>]) -> io::Result<()> {
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(&rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or(0))
        .collect();
    for line in lines {
        let mut text = String::new();
        for ((cell, column), width) in line.iter().zip(columns).zip(&widths) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if column.is_number { (&*padding, "") } else { ("", &*padding) };
            text.push_str(&format!("{before}{cell}{after}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn printable(cell: &str) -> String {
    cell.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let columns =
            [Column { title: "FUNCTION", is_number: false }, Column { title: "TOTAL", is_number: true }];
        let rows = [vec!["a-long-name-ü".into(), "5".into()], vec!["b\x1b".into(), "1234567".into()]];
        let mut out = Vec::new();
        write(&mut out, &columns, &rows).unwrap();
        let expected = "FUNCTION         TOTAL\na-long-name-ü        5\nb\\u{1b}        1234567\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
