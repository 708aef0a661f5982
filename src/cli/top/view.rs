//! How `top` looks: a line about the server, the functions, and a line of keys. Everything has its place in 80 columns.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row as Cells, Table, Widget};

use super::super::load::sparkline;
use super::super::show;
use super::super::table::printable;
use super::keys::View;
use super::sample::{CURVE, History, Row, SortBy};

const KEYS: &str = "q quit  sort by n w t r a i o f  / filter  x active only  space stop";

/// Titles with the column that they sort by, and their widths; the four of `gearman_top` come first. [`KEYS`] has the keys in
/// this order.
const COLUMNS: [(&str, Option<SortBy>, u16); 9] = [
    ("Name", Some(SortBy::Name), 0),
    ("Workers", Some(SortBy::Workers), 7),
    ("Waiting", Some(SortBy::Waiting), 7),
    ("Running", Some(SortBy::Running), 7),
    ("Age", Some(SortBy::Age), 6),
    ("In/s", Some(SortBy::In), 6),
    ("Out/s", Some(SortBy::Out), 6),
    ("Failed", Some(SortBy::Failed), 6),
    ("trend", None, CURVE as u16),
];

/// What a name is given at least.
const NAME: u16 = 8;

/// Lines above the functions: the server, and the titles.
const ABOVE: u16 = 2;

/// The width and height that everything has room in.
pub(super) fn natural(view: &View, history: &History) -> (u16, u16) {
    let rows = view.rows(history);
    let longest = rows.iter().map(|row| shown(row).chars().count()).max().unwrap_or(0);
    let others: usize = COLUMNS.iter().map(|(_, _, width)| usize::from(*width) + 1).sum();
    let bounded = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    (bounded(longest + others).max(80), bounded(rows.len()).saturating_add(ABOVE))
}

/// How many columns have room. A number that is cut is another number, so a column is there in whole or not at all.
fn fitting(width: u16) -> usize {
    let ends = COLUMNS.iter().scan(0, |end, (_, _, width)| {
        *end += if *width == 0 { NAME } else { width + 1 };
        Some(*end)
    });
    ends.take_while(|end| *end <= width).count().max(1)
}

/// The whole view.
pub(super) fn draw(view: &View, history: &History, area: Rect, buffer: &mut Buffer) {
    let height = area.height.saturating_sub(1);
    draw_once(view, history, Rect { height, ..area }, buffer);
    let bottom = Rect { y: area.y + height, height: area.height.min(1), ..area };
    let line = match &view.trouble {
        _ if view.is_typing => Line::from(format!("filter: {}_   Enter keeps it, Esc lifts it", view.filter)),
        Some(why) => Line::styled(printable(why), Style::new().fg(Color::Red)),
        None => Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM)),
    };
    line.render(bottom, buffer);
}

/// The view without its line of keys.
pub(super) fn draw_once(view: &View, history: &History, area: Rect, buffer: &mut Buffer) {
    let rows = view.rows(history);
    head(view, history, &rows, area.width).render(Rect { height: area.height.min(1), ..area }, buffer);
    let below = Rect { y: area.y + area.height.min(1), height: area.height.saturating_sub(1), ..area };
    let height = usize::from(below.height.saturating_sub(1));
    let first = view.first_of(rows.len(), height);
    let columns = &COLUMNS[..fitting(area.width)];
    let widths = columns.iter().map(|(_, _, width)| match width {
        0 => Constraint::Min(NAME),
        width => Constraint::Length(*width),
    });
    let titles = columns.iter().enumerate().map(|(index, (title, sort, _))| {
        let is_sorted = *sort == Some(view.sort);
        let style = if is_sorted { Style::new().add_modifier(Modifier::UNDERLINED) } else { Style::new() };
        Cell::from(aligned(index, (*title).to_owned())).style(style)
    });
    let lines = rows.iter().skip(first).take(height).map(|row| cells(row, columns.len()));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let table = Table::new(lines, widths).header(Cells::new(titles).style(bold)).column_spacing(1);
    Widget::render(table, below, buffer);
}

/// As much of it as there is room for.
fn head<'a>(view: &View, history: &History, rows: &[&Row], width: u16) -> Line<'a> {
    let total = |count: fn(&Row) -> u64| short(rows.iter().map(|row| count(row)).sum::<u64>() as f64);
    let rate = |rate: fn(&Row) -> Option<f64>| {
        let known: Vec<f64> = rows.iter().filter_map(|row| rate(row)).collect();
        if known.is_empty() { "-".to_owned() } else { short(known.iter().sum()) }
    };
    let mut parts = vec![Span::raw(format!("gearhouse {}", history.version))];
    if view.is_stopped() {
        parts.push(Span::styled("stopped", Style::new().fg(Color::Yellow)));
    }
    if !view.filter.is_empty() {
        parts.push(Span::raw(format!("/{}", view.filter)));
    }
    let numbers = [
        format!("{} function{}", rows.len(), if rows.len() == 1 { "" } else { "s" }),
        format!("{} waiting", total(|row| row.waiting)),
        format!("{} running", total(|row| row.running)),
        format!("in {}/s", rate(|row| row.incoming)),
        format!("out {}/s", rate(|row| row.outgoing)),
    ];
    parts.extend(numbers.map(Span::raw));
    if history.has_more {
        parts.push(Span::raw("(more functions than are shown)"));
    }
    let mut end = 0;
    let fits = |part: &Span<'_>| {
        end += part.width() + 2;
        end <= usize::from(width) + 2
    };
    let parts = parts.into_iter().take_while(fits).flat_map(|part| [part, Span::raw("  ")]);
    Line::from(parts.collect::<Vec<_>>())
}

fn shown(row: &Row) -> String {
    let name = printable(&row.name);
    if row.is_paused { format!("{name} (paused)") } else { name }
}

fn cells<'a>(row: &Row, columns: usize) -> Cells<'a> {
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), short);
    let curve: Vec<f64> = row.curve.iter().map(|waiting| *waiting as f64).collect();
    let most = curve.iter().copied().fold(0.0, f64::max);
    let texts = [
        shown(row),
        short(row.workers as f64),
        short(row.waiting as f64),
        short(row.running as f64),
        row.oldest.map_or("-".to_owned(), |oldest| show::seconds(&oldest.into())),
        rate(row.incoming),
        rate(row.outgoing),
        row.failed.map_or("-".to_owned(), |failed| short(failed as f64)),
        sparkline(&curve, most),
    ];
    let style = match () {
        () if row.is_paused => Style::new().fg(Color::Yellow),
        () if row.waiting > 0 && row.workers == 0 => Style::new().fg(Color::Red),
        () => Style::new(),
    };
    let texts = texts.into_iter().take(columns).enumerate();
    Cells::new(texts.map(|(index, text)| Cell::from(aligned(index, text)))).style(style)
}

/// Numbers stand to the right of their column.
fn aligned(index: usize, text: String) -> Line<'static> {
    let line = Line::from(text);
    if matches!(index, 1..=7) { line.right_aligned() } else { line }
}

/// A number in at most five characters.
fn short(number: f64) -> String {
    match number {
        number if number < 10.0 && number.fract() > 0.0 => format!("{number:.1}"),
        number if number < 10_000.0 => format!("{number:.0}"),
        number if number < 99_950.0 => format!("{:.1}k", number / 1e3),
        number if number < 999_500.0 => format!("{:.0}k", number / 1e3),
        number if number < 99_950_000.0 => format!("{:.1}M", number / 1e6),
        number if number < 999_500_000.0 => format!("{:.0}M", number / 1e6),
        number => format!("{:.1}G", number / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(view: &View, history: &History, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw(view, history, area, &mut buffer);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    #[test]
    fn all_columns_and_keys_are_seen_in_80_columns() {
        let history = History::of(&[("a-function-with-a-long-name", 1_234_567), ("mail", 0)]);
        let lines = lines(&View::new(SortBy::Waiting), &history, 80, 10);
        for (title, _, _) in COLUMNS {
            assert!(lines[1].contains(title), "{title}: {}", lines[1]);
        }
        assert!(lines[2].starts_with("a-function-with") && lines[2].contains(" 1.2M "), "{}", lines[2]);
        assert!(lines[3].starts_with("mail "), "{}", lines[3]);
        assert_eq!(lines[9], KEYS);
    }

    #[test]
    fn in_a_narrow_terminal_whole_columns_are_left_out_from_the_right() {
        let history = History::of(&[("a-function-with-a-long-name", 1_234_567)]);
        let view = View::new(SortBy::Waiting);
        for width in 1..90 {
            let lines = lines(&view, &history, width, 4);
            let words: Vec<&str> = lines[1].split_whitespace().collect();
            assert!(
                width < 8 || COLUMNS.map(|(title, _, _)| title).starts_with(&words),
                "{width}: {}",
                lines[1]
            );
            let rest: Vec<&str> = lines[2].split_whitespace().skip(1).collect();
            assert!(["0", "1.2M", "0", "-", "-", "-", "-", "█"].starts_with(&rest), "{width}: {}", lines[2]);
            assert!(width < 80 || rest.len() == 8, "{width}: {}", lines[2]);
            let head = lines[0].split("  ").last().unwrap();
            assert!(
                head.is_empty()
                    || head.starts_with("gearhouse 1.2.3")
                    || ["1 function", "1.2M waiting", "0 running", "in -/s", "out -/s"].contains(&head),
                "{head}"
            );
        }
    }

    #[test]
    fn a_terminal_too_small_for_anything_is_no_reason_to_fail() {
        let history = History::of(&[("f", 1)]);
        for (width, height) in [(0, 0), (1, 1), (5, 2), (20, 3)] {
            lines(&View::new(SortBy::Waiting), &history, width, height);
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 9.0, 9999.0, 12_345.0, 123_456.0, 999_600.0, 5e6, 2e9].map(short);
        assert_eq!(shown, ["0", "0.2", "9", "9999", "12.3k", "123k", "1.0M", "5.0M", "2.0G"]);
    }
}
