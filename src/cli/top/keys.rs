//! What `top` is told by keys: the order, the filter, what is seen of a long list.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::sample::{History, Row, SortBy};

/// How the view is to look.
#[derive(Debug)]
pub(super) struct View {
    pub(super) sort: SortBy,
    pub(super) is_reversed: bool,
    /// A part of the names that are shown.
    pub(super) filter: String,
    /// Whether the filter is being typed.
    pub(super) is_typing: bool,
    pub(super) active_only: bool,
    pub(super) first: usize,
    is_stopped: bool,
    /// Why there is nothing new.
    pub(super) trouble: Option<String>,
}

/// What became of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    End,
    Something,
    Nothing,
}

/// A page of a long list: what most terminals show at least.
const PAGE: usize = 15;

impl View {
    pub(super) fn new(sort: SortBy) -> View {
        View {
            sort,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            active_only: false,
            first: 0,
            is_stopped: false,
            trouble: None,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The rows that are asked for, in the order that is.
    pub(super) fn rows<'a>(&self, history: &'a History) -> Vec<&'a Row> {
        let filter = self.filter.to_lowercase();
        let is_shown =
            |row: &&Row| (!self.active_only || row.is_active()) && row.name.to_lowercase().contains(&filter);
        let mut rows: Vec<&Row> = history.rows.iter().filter(is_shown).collect();
        rows.sort_by(|a, b| a.compare(b, self.sort));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    pub(super) fn hear(&mut self, key: KeyEvent) -> Heard {
        if key.kind == KeyEventKind::Release {
            return Heard::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Heard::End } else { Heard::Nothing };
        }
        if self.is_typing {
            return self.hear_filter(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Heard::End,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('x') => self.active_only = !self.active_only,
            KeyCode::Char(' ') => self.is_stopped = !self.is_stopped,
            KeyCode::Up => self.first = self.first.saturating_sub(1),
            KeyCode::Down => self.first = self.first.saturating_add(1),
            KeyCode::PageUp => self.first = self.first.saturating_sub(PAGE),
            KeyCode::PageDown => self.first = self.first.saturating_add(PAGE),
            KeyCode::Home => self.first = 0,
            KeyCode::End => self.first = usize::MAX,
            KeyCode::Char(letter) => match column(letter) {
                Some(sort) => {
                    self.is_reversed = self.sort == sort && !self.is_reversed;
                    (self.sort, self.first) = (sort, 0);
                }
                None => return Heard::Nothing,
            },
            _ => return Heard::Nothing,
        }
        Heard::Something
    }

    fn hear_filter(&mut self, key: KeyCode) -> Heard {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => return Heard::Nothing,
        }
        self.first = 0;
        Heard::Something
    }

    /// Keeps the last rows in sight when the list gets shorter or End is pressed.
    pub(super) fn first_of(&self, rows: usize, height: usize) -> usize {
        self.first.min(rows.saturating_sub(height))
    }
}

fn column(letter: char) -> Option<SortBy> {
    Some(match letter {
        'n' => SortBy::Name,
        'w' => SortBy::Workers,
        't' => SortBy::Waiting,
        'r' => SortBy::Running,
        'a' => SortBy::Age,
        'i' => SortBy::In,
        'o' => SortBy::Out,
        'f' => SortBy::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, keys: &str) -> Heard {
        keys.chars().fold(Heard::Nothing, |_, letter| {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            view.hear(KeyEvent::new(code, KeyModifiers::NONE))
        })
    }

    fn names(view: &View, history: &History) -> String {
        view.rows(history).iter().map(|row| &*row.name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_letter_sorts_and_the_same_again_turns_the_order_round() {
        let history = History::of(&[("b", 1), ("a", 2), ("c", 3)]);
        let mut view = View::new(SortBy::Waiting);
        assert_eq!(names(&view, &history), "c a b");
        press(&mut view, "t");
        assert_eq!(names(&view, &history), "b a c");
        press(&mut view, "n");
        assert_eq!(names(&view, &history), "a b c");
        press(&mut view, "nn");
        assert_eq!(names(&view, &history), "a b c");
    }

    #[test]
    fn a_filter_is_typed_and_letters_mean_columns_again_behind_it() {
        let history = History::of(&[("resize", 1), ("mail", 0), ("Mailq", 3)]);
        let mut view = View::new(SortBy::Name);
        assert_eq!(press(&mut view, "/mailq"), Heard::Something);
        assert_eq!(names(&view, &history), "Mailq");
        assert_eq!(press(&mut view, "\nx"), Heard::Something);
        assert!(view.active_only && view.filter == "mailq");
        press(&mut view, "\x1b");
        assert_eq!(names(&view, &history), "Mailq resize");
        assert_eq!(press(&mut view, "q"), Heard::End);
    }

    #[test]
    fn moving_ends_at_the_last_row() {
        let mut view = View::new(SortBy::Name);
        view.hear(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
        assert_eq!((view.first_of(100, 20), view.first_of(5, 20)), (80, 0));
    }
}
