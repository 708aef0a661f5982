//! Words to flags with their values, by gearmand's rules. What a value means is decided in [`super::plan`]; here
//! only its form is checked.
//!
//! The two sources differ: on the command line a word that is no flag is an error and names are written out;
//! in the configuration file such words are passed over and a name may be cut where that leaves no doubt.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::flags::{self, Flag, LEVELS, Takes};

/// Where words come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    CommandLine,
    File,
}

/// Why words are not a valid command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("unrecognised option '{0}'")]
    Unknown(String),
    #[error("option '{word}' is ambiguous and matches {candidates}")]
    Ambiguous { word: String, candidates: String },
    #[error("the required argument for option '--{0}' is missing")]
    Missing(&'static str),
    #[error("the argument for option '{0}' should follow immediately after the equal sign")]
    Empty(String),
    #[error("option '--{0}' does not take any arguments")]
    Unwanted(&'static str),
    #[error("option '--{0}' cannot be specified more than once")]
    Repeated(&'static str),
    #[error("the argument ('{value}') for option '--{flag}' is invalid: {expected}")]
    Invalid { flag: &'static str, value: String, expected: String },
}

/// The flags that were given, each with its value; a flag that takes none has an empty one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given(BTreeMap<&'static str, OsString>);

impl Given {
    /// Reads words from the left to the right; the first mistake ends it.
    pub(super) fn parse(
        words: impl IntoIterator<Item = OsString>,
        source: Source,
    ) -> Result<Self, UsageError> {
        let mut given = Self::default();
        let mut words = words.into_iter().peekable();
        let mut flags_ended = false;
        while let Some(word) = words.next() {
            match Word::of(&word) {
                Word::End if !flags_ended => flags_ended = true,
                Word::Long { name, value } if !flags_ended => {
                    if value.is_some_and(<[u8]>::is_empty) {
                        return Err(UsageError::Empty(format!("--{}", lossy(name))));
                    }
                    let flag = long_flag(name, &word, source)?;
                    given.add(flag, value, &mut words)?;
                }
                Word::Short(letters) if !flags_ended => given.add_letters(letters, &word, &mut words)?,
                _ if source == Source::File => {}
                _ => return Err(UsageError::Unknown(lossy(word.as_bytes()))),
            }
        }
        Ok(given)
    }

    /// Takes over what `other` has and this one has not.
    pub(super) fn or(mut self, other: Given) -> Self {
        for (name, value) in other.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// Whether the flag was given.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.value(name).is_some()
    }

    /// The flag's value. An empty one counts as not given, so that `--user="$USER"` does no harm when unset.
    pub(super) fn text(&self, name: &'static str) -> Option<&OsStr> {
        self.value(name).filter(|value| !value.is_empty())
    }

    /// The number a flag was given, sign and all.
    pub(super) fn number(&self, name: &'static str) -> Option<i128> {
        self.value(name).and_then(|value| whole_number(value.as_bytes()))
    }

    fn value(&self, name: &'static str) -> Option<&OsStr> {
        debug_assert!(flags::all().any(|flag| flag.name == name), "no flag is called {name}");
        self.0.get(name).map(OsString::as_os_str)
    }

    /// `-dRp 4731`, `-dRp4731`: letters that take no value may stand together, the last may take one.
    fn add_letters(
        &mut self,
        letters: &[u8],
        word: &OsStr,
        words: &mut Words<impl Iterator<Item = OsString>>,
    ) -> Result<(), UsageError> {
        let unknown = || UsageError::Unknown(lossy(word.as_bytes()));
        let mut rest = letters;
        while let Some((&letter, behind)) = rest.split_first() {
            let flag = flags::by_letter(letter).ok_or_else(unknown)?;
            if flag.takes == Takes::Nothing {
                self.add(flag, None, words)?;
                rest = behind;
            } else {
                let value = (!behind.is_empty()).then_some(behind);
                return self.add(flag, value, words);
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        flag: &'static Flag,
        attached: Option<&[u8]>,
        words: &mut Words<impl Iterator<Item = OsString>>,
    ) -> Result<(), UsageError> {
        let value = match (flag.takes, attached) {
            (Takes::Nothing, None) => OsString::new(),
            (Takes::Nothing, Some(_)) => return Err(UsageError::Unwanted(flag.name)),
            (_, Some(value)) => OsString::from_vec(value.to_vec()),
            // Any word may be a value, `--` and `-1` too, but for one that is exactly a flag's short form.
            (_, None) => words.next_if(|next| !is_short_form(next)).ok_or(UsageError::Missing(flag.name))?,
        };
        check(flag, &value)?;
        if self.0.insert(flag.name, value).is_some() {
            return Err(UsageError::Repeated(flag.name));
        }
        Ok(())
    }
}

type Words<I> = std::iter::Peekable<I>;

enum Word<'a> {
    Long { name: &'a [u8], value: Option<&'a [u8]> },
    Short(&'a [u8]),
    End,
    Bare,
}

impl<'a> Word<'a> {
    fn of(word: &'a OsStr) -> Self {
        match word.as_bytes() {
            b"--" => Word::End,
            [b'-', b'-', long @ ..] => match long.iter().position(|&byte| byte == b'=') {
                Some(at) => Word::Long { name: &long[..at], value: Some(&long[at + 1..]) },
                None => Word::Long { name: long, value: None },
            },
            [b'-', letters @ ..] if !letters.is_empty() => Word::Short(letters),
            _ => Word::Bare,
        }
    }
}

fn long_flag(name: &[u8], word: &OsStr, source: Source) -> Result<&'static Flag, UsageError> {
    // A file is no place to ask whether a command line is right.
    let known = || flags::all().filter(|flag| source == Source::CommandLine || flag.name != "check-args");
    if let Some(flag) = known().find(|flag| flag.name.as_bytes() == name) {
        return Ok(flag);
    }
    let word = || lossy(word.as_bytes());
    if source == Source::CommandLine || name.is_empty() {
        return Err(UsageError::Unknown(word()));
    }
    let candidates: Vec<_> = known().filter(|flag| flag.name.as_bytes().starts_with(name)).collect();
    match candidates[..] {
        [] => Err(UsageError::Unknown(word())),
        [flag] => Ok(flag),
        _ => {
            let names: Vec<_> = candidates.iter().map(|flag| format!("'--{}'", flag.name)).collect();
            Err(UsageError::Ambiguous { word: word(), candidates: names.join(", ") })
        }
    }
}

fn is_short_form(word: &OsStr) -> bool {
    matches!(*word.as_bytes(), [b'-', letter] if flags::by_letter(letter).is_some())
}

fn check(flag: &'static Flag, value: &OsStr) -> Result<(), UsageError> {
    let bytes = value.as_bytes();
    let expected = match flag.takes {
        Takes::Number(least, most) => match whole_number(bytes) {
            Some(number) if (least..=most).contains(&number) => return Ok(()),
            _ => format!("it must be a whole number from {} to {most}", least.max(i128::from(i32::MIN))),
        },
        Takes::NonZero(most) => match whole_number(bytes) {
            Some(number) if number != 0 && number.abs() <= most => return Ok(()),
            _ => format!("it must be a whole number from 1 to {most}"),
        },
        Takes::Level if LEVELS.iter().any(|level| level.as_bytes() == bytes) => return Ok(()),
        Takes::Level => format!("it must be one of {}", LEVELS.join(", ")),
        Takes::Nothing | Takes::Text => return Ok(()),
    };
    Err(UsageError::Invalid { flag: flag.name, value: lossy(bytes), expected })
}

/// Digits, with a sign if need be; nothing else, no blanks.
fn whole_number(text: &[u8]) -> Option<i128> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, source: Source) -> Result<Given, UsageError> {
        Given::parse(line.split(' ').map(OsString::from), source)
    }

    fn given(pairs: &[(&'static str, &str)]) -> Given {
        Given(pairs.iter().map(|&(name, value)| (name, OsString::from(value))).collect())
    }

    #[test]
    fn all_forms_of_a_value_mean_the_same() {
        for line in ["--port=4731", "--port 4731", "-p 4731", "-p4731"] {
            assert_eq!(parse(line, Source::CommandLine), Ok(given(&[("port", "4731")])), "{line}");
        }
    }

    #[test]
    fn letters_without_values_may_stand_together_before_one_with() {
        let expected = given(&[("daemon", ""), ("round-robin", ""), ("port", "4731")]);
        assert_eq!(parse("-dRp4731", Source::CommandLine).as_ref(), Ok(&expected));
        assert_eq!(parse("-dRp 4731", Source::CommandLine).as_ref(), Ok(&expected));
    }

    #[test]
    fn a_flags_short_form_is_no_value_but_any_other_word_is() {
        assert_eq!(parse("--port -d", Source::CommandLine), Err(UsageError::Missing("port")));
        for word in ["--daemon", "-dR", "-1", "--", "-", "-Z"] {
            assert_eq!(
                parse(&format!("--port {word}"), Source::CommandLine),
                Ok(given(&[("port", word)])),
                "{word}"
            );
        }
    }

    #[test]
    fn in_a_file_names_may_be_cut_and_bare_words_mean_nothing() {
        let line = "# note --rou foo --por 4731 - -- --daemon";
        assert_eq!(parse(line, Source::File), Ok(given(&[("round-robin", ""), ("port", "4731")])));
        assert_eq!(parse("--rou", Source::CommandLine), Err(UsageError::Unknown("--rou".into())));
        assert_eq!(parse("note", Source::CommandLine), Err(UsageError::Unknown("note".into())));
    }

    #[test]
    fn in_a_file_a_name_cut_too_short_and_an_unknown_one_are_refused() {
        assert!(matches!(parse("--keep", Source::File), Err(UsageError::Ambiguous { .. })));
        assert_eq!(parse("--unheard=3", Source::File), Err(UsageError::Unknown("--unheard=3".into())));
        assert_eq!(parse("--check-args", Source::File), Err(UsageError::Unknown("--check-args".into())));
        // A whole name is never ambiguous, though others begin with it.
        assert_eq!(parse("--keepalive", Source::File), Ok(given(&[("keepalive", "")])));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let line = parse("--port=1", Source::CommandLine).unwrap();
        let file = parse("--port=2 --daemon", Source::File).unwrap();
        assert_eq!(line.or(file), given(&[("port", "1"), ("daemon", "")]));
    }
}
