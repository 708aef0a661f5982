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

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const END: &str = "\x1b[0m";

/// The terminal's code for the colour of a cell with this title: states that want a look stand out.
fn tone(title: &str, cell: &str) -> &'static str {
    if !title.eq_ignore_ascii_case("state") {
        return "";
    }
    match cell.split(' ').next().unwrap_or_default() {
        "failed" => RED,
        "running" | "succeeded" => GREEN,
        "held" | "cancelling" | "paused" => YELLOW,
        _ => "",
    }
}

/// Writes the rows below the titles, each column as wide as it needs to be. All rows have as many cells as there
/// are columns; control characters, which a peer may have put into a name, are written as escapes.
pub(super) fn write(out: impl Write, columns: &[Column], rows: &[Vec<String>]) -> io::Result<()> {
    write_in(false, out, columns, rows)
}

/// The same, in colour if wished.
pub(super) fn write_in(
    colour: bool,
    out: impl Write,
    columns: &[Column],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(titles).chain(rows.iter().cloned()).collect();
    write_lines(out, columns, &lines, |line, column, cell| match line {
        _ if !colour => "",
        0 => BOLD,
        _ => tone(columns[column].title, cell),
    })
}

/// Names and values, a line each.
pub(super) fn write_facts(colour: bool, out: impl Write, facts: &[(String, String)]) -> io::Result<()> {
    let columns = [Column { title: "", is_number: false }; 2];
    let lines: Vec<Vec<String>> =
        facts.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
    write_lines(out, &columns, &lines, |line, column, cell| match (colour, column) {
        (true, 0) => BOLD,
        (true, _) => tone(&facts[line].0, cell),
        (false, _) => "",
    })
}

/// `tone`: the colour of a cell, from the numbers of its line and column, and its text.
fn write_lines(
    mut out: impl Write,
    columns: &[Column],
    lines: &[Vec<String>],
    tone: impl Fn(usize, usize, &str) -> &'static str,
) -> io::Result<()> {
    let lines: Vec<Vec<String>> =
        lines.iter().map(|line| line.iter().map(|cell| printable(cell)).collect()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or(0))
        .collect();
    for (number, line) in lines.iter().enumerate() {
        let mut text = String::new();
        for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if columns[index].is_number { (&*padding, "") } else { ("", &*padding) };
            let (begin, end) = match tone(number, index, cell) {
                "" => ("", ""),
                begin => (begin, END),
            };
            text.push_str(&format!("{before}{begin}{cell}{end}{after}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Text with its control characters as escapes.
pub(super) fn printable(cell: &str) -> String {
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

    #[test]
    fn colours_do_not_move_what_stands_beside_them() {
        let columns = [Column { title: "STATE", is_number: false }, Column { title: "N", is_number: true }];
        let rows = [vec!["failed".into(), "1".into()], vec!["queued".into(), "2".into()]];
        let mut out = Vec::new();
        write_in(true, &mut out, &columns, &rows).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "\x1b[1mSTATE\x1b[0m   \x1b[1mN\x1b[0m\n\x1b[31mfailed\x1b[0m  1\nqueued  2\n");
    }
}
