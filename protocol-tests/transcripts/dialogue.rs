//! The recorded dialogues as data, and their little template language.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One recorded exchange.
#[derive(Deserialize)]
pub struct Dialogue {
    pub name: String,
    /// `golden`: must match. `wart`: gearmand is wrong here.
    pub class: String,
    pub server_flags: Vec<String>,
    pub steps: Vec<Step>,
    pub server_alive_after: bool,
}

/// One step; which fields are there says what kind of step it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub conn: Option<String>,
    /// Write this template.
    pub send: Option<String>,
    /// Read what matches this template.
    pub expect: Option<String>,
    /// The name of the packet expected, or `TEXT`.
    pub frame: Option<String>,
    pub within_ms: Option<u64>,
    #[serde(default)]
    pub unordered_lines: bool,
    /// Nothing arrives for this time.
    pub expect_nothing_ms: Option<u64>,
    /// The server closes.
    #[serde(default)]
    pub expect_close: bool,
    /// The tester closes.
    #[serde(default)]
    pub close: bool,
    /// The server gets time to take in what has no reply.
    pub settle_ms: Option<u64>,
    #[serde(rename = "bytes")]
    _recorded: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

/// What the variables of one replay stand for.
pub type Bindings = BTreeMap<String, Vec<u8>>;

/// How far the bytes that have come agree with a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    /// So many bytes are it.
    Whole(usize),
    /// More may come.
    Unfinished,
    /// Whatever comes, this is not it.
    Differs,
}

/// All recorded dialogues, in the order of the file.
pub fn all() -> Vec<Dialogue> {
    serde_json::from_str(include_str!("gearmand.json"))
        .expect("gearmand.json has the format of its description")
}

impl Dialogue {
    pub fn named(name: &str) -> Dialogue {
        let found = all().into_iter().find(|dialogue| dialogue.name == name);
        found.unwrap_or_else(|| panic!("no dialogue is called {name}"))
    }

    pub fn flags(&self) -> Vec<&str> {
        self.server_flags.iter().map(String::as_str).collect()
    }
}

/// The bytes of a template with its variables filled in.
pub fn fill(template: &str, bindings: &Bindings) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut size_at = None;
    for part in parse(template) {
        match part {
            Part::Bytes(literal) => bytes.extend(literal),
            Part::Variable(name) if name == "size" => {
                size_at = Some(bytes.len());
                bytes.extend([0; 4]);
            }
            Part::Variable(name) => match bindings.get(&name) {
                Some(value) => bytes.extend(value),
                None => panic!("{{{{{name}}}}} is sent before it was received"),
            },
        }
    }
    if let Some(at) = size_at {
        let size = u32::try_from(bytes.len() - at - 4).expect("a small packet");
        bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    bytes
}

/// Compares what has come with a template, and binds the variables it sees for the first time.
pub fn compare(template: &str, found: &[u8], bindings: &mut Bindings) -> Match {
    let parts = parse(template);
    let mut at = 0;
    let mut ends_at = None;
    let mut seen = bindings.clone();
    for (index, part) in parts.iter().enumerate() {
        let expected = match part {
            Part::Bytes(literal) => literal.clone(),
            Part::Variable(name) if name == "size" => {
                let Some(size) = found.get(at..at + 4) else { return Match::Unfinished };
                at += 4;
                ends_at = Some(at + u32::from_be_bytes(size.try_into().expect("four bytes")) as usize);
                continue;
            }
            Part::Variable(name) if seen.contains_key(name) => seen[name].clone(),
            Part::Variable(name) => {
                let Some(length) =
                    length_of_variable(parts.get(index + 1), &found[at..], ends_at.map(|end| end - at))
                else {
                    return Match::Unfinished;
                };
                let value = &found[at..at + length];
                if !may_stand_for(name, value, &seen) {
                    return Match::Differs;
                }
                if name != "ANY" {
                    seen.insert(name.clone(), value.to_vec());
                }
                at += length;
                continue;
            }
        };
        let rest = &found[at..];
        if !rest.starts_with(&expected) {
            return if expected.starts_with(rest) { Match::Unfinished } else { Match::Differs };
        }
        at += expected.len();
    }
    if ends_at.is_some_and(|end| end != at) {
        return Match::Differs;
    }
    *bindings = seen;
    Match::Whole(at)
}

/// A variable reaches to the literal that follows it, or to the end of the packet.
fn length_of_variable(next: Option<&Part>, rest: &[u8], left: Option<usize>) -> Option<usize> {
    match (next, left) {
        (Some(Part::Bytes(literal)), _) => rest.windows(literal.len()).position(|window| window == literal),
        (Some(Part::Variable(_)), _) => panic!("two variables side by side"),
        (None, Some(left)) => (rest.len() >= left).then_some(left),
        (None, None) => panic!("a variable at the end of a template without a size"),
    }
}

fn may_stand_for(name: &str, value: &[u8], bindings: &Bindings) -> bool {
    let is_handle = |name: &str| name.starts_with('H');
    match name {
        "ANY" | "PID" => !value.is_empty() && value.iter().all(u8::is_ascii_digit),
        "VERSION" | "LEVEL" => !value.is_empty() && value.iter().all(u8::is_ascii_graphic),
        // Different names stand for different jobs.
        _ if is_handle(name) => {
            !value.is_empty()
                && value.iter().all(u8::is_ascii_graphic)
                && !bindings.iter().any(|(other, bound)| is_handle(other) && bound == value)
        }
        _ => panic!("unknown variable {{{{{name}}}}}"),
    }
}

enum Part {
    Bytes(Vec<u8>),
    Variable(String),
}

/// Splits a template into literal bytes, with the escapes undone, and variables.
fn parse(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{") {
            let (name, after) = after.split_once("}}").expect("a variable ends in }}");
            if !literal.is_empty() {
                parts.push(Part::Bytes(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\x") {
            literal.push(u8::from_str_radix(&after[..2], 16).expect("two hexadecimal digits"));
            rest = &after[2..];
        } else if let Some(after) = rest.strip_prefix('\\') {
            literal.push(match after.as_bytes()[0] {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'\\' => b'\\',
                other => panic!("unknown escape \\{}", other as char),
            });
            rest = &after[1..];
        } else {
            assert!(matches!(first, ' '..='~'), "a template is printable ASCII: {template}");
            literal.push(first as u8);
            rest = &rest[1..];
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Bytes(literal));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(name: &str, value: &str) -> Bindings {
        Bindings::from([(name.to_owned(), value.as_bytes().to_vec())])
    }

    #[test]
    fn a_template_is_filled_with_the_size_of_what_follows() {
        let filled = fill("\\x00REQ\\x00\\x00\\x00\\x0e{{size}}{{H1}}\\x00\\n", &bound("H1", "H:x:12"));
        assert_eq!(filled, b"\0REQ\0\0\0\x0e\0\0\0\x08H:x:12\0\n");
    }

    #[test]
    fn a_first_handle_is_bound_and_must_be_the_same_later() {
        let mut bindings = Bindings::new();
        assert_eq!(compare("A{{size}}{{H1}}", b"A\0\0\0\x03abc", &mut bindings), Match::Whole(8));
        assert_eq!(bindings, bound("H1", "abc"));
        assert_eq!(compare("{{H1}}\\t1\\n", b"abc\t1\n", &mut bindings), Match::Whole(6));
        assert_eq!(compare("{{H1}}\\t1\\n", b"abd\t1\n", &mut bindings), Match::Differs);
    }

    #[test]
    fn two_names_never_stand_for_one_handle() {
        let found = b"A\0\0\0\x03abc";
        assert_eq!(compare("A{{size}}{{H2}}", found, &mut bound("H1", "abc")), Match::Differs);
    }

    #[test]
    fn what_may_still_come_is_told_from_what_is_wrong() {
        let mut bindings = Bindings::new();
        assert_eq!(compare("OK {{PID}}\\n", b"OK 12", &mut bindings), Match::Unfinished);
        assert_eq!(compare("OK {{PID}}\\n", b"OK twelve\n", &mut bindings), Match::Differs);
        assert_eq!(compare("A{{size}}xy", b"A\0\0\0\x03xyz", &mut bindings), Match::Differs);
        assert!(bindings.is_empty());
    }
}
