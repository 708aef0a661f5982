//! Lines of the text protocol, parsed (reference, section 4). What they answer is decided by the engine.

use bytes::Bytes;
use nom::bytes::complete::{take_till, take_while1};
use nom::multi::separated_list1;
use nom::{IResult, Parser};

/// One text command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// A command whose answer is a list that ends with a lone dot.
    List(Listing),
    /// `version`.
    Version,
    /// `verbose`.
    Verbose,
    /// `getpid`.
    GetPid,
    /// `ready`, Gearhouse's own.
    Ready,
    /// `help`.
    Help,
    /// `maxqueue FUNCTION …`.
    MaxQueue {
        /// The function's name.
        function: Bytes,
        /// Its new limits.
        limits: MaxQueue,
    },
    /// `create function FUNCTION`.
    CreateFunction(Bytes),
    /// `drop function FUNCTION`.
    DropFunction(Bytes),
    /// `cancel job HANDLE`.
    CancelJob(Bytes),
    /// `show unique FUNCTION UNIQUE`.
    ShowUnique {
        /// The function's name.
        function: Bytes,
        /// The unique id.
        unique: Bytes,
    },
    /// `shutdown` and `shutdown graceful`.
    Shutdown {
        /// Whether queued jobs are still handed out.
        drain: bool,
    },
    /// A command that needs more, or other, arguments.
    Incomplete(&'static str),
    /// `show` with something it cannot show.
    UnknownShow,
    /// `cancel` with something it cannot cancel.
    UnknownCancel,
    /// Anything else: the first word.
    Unknown(Bytes),
}

/// The lists that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// `status`: functions with their counts.
    Status,
    /// `prioritystatus`: functions with waiting jobs by priority.
    PriorityStatus,
    /// `workers`: connections with their functions.
    Workers,
    /// `show jobs`.
    Jobs,
    /// `show unique jobs`.
    UniqueJobs,
    /// `show schedules`.
    Schedules,
}

/// Most jobs of a function, compared with all its jobs when one of that priority is submitted: high, normal, low.
/// `None`: no limit.
pub type MaxQueue = [Option<u32>; 3];

impl Admin {
    /// Longest line in bytes, without its end. The reference closes the connection beyond 8192.
    pub const MAX_LINE: usize = 16 * 1024;

    /// Reads a line without its line end.
    pub fn parse(line: &Bytes) -> Admin {
        let fields: Vec<Bytes> = match fields(line.trim_ascii_end()) {
            Ok((_, fields)) => fields.into_iter().map(|field| line.slice_ref(until_nul(field))).collect(),
            Err(_) => Vec::new(),
        };
        let word = fields.first().cloned().unwrap_or_default();
        let arguments = fields.get(1..).unwrap_or_default();
        match word.to_ascii_lowercase().as_slice() {
            b"status" => Admin::List(Listing::Status),
            b"prioritystatus" => Admin::List(Listing::PriorityStatus),
            b"workers" => Admin::List(Listing::Workers),
            b"version" => Admin::Version,
            b"verbose" => Admin::Verbose,
            b"getpid" => Admin::GetPid,
            b"ready" => Admin::Ready,
            b"help" => Admin::Help,
            b"maxqueue" => max_queue(arguments),
            b"create" => match arguments {
                [what, name] if is(what, "function") => Admin::CreateFunction(name.clone()),
                _ => Admin::Incomplete("create"),
            },
            b"drop" => match arguments {
                [what, name] if is(what, "function") => Admin::DropFunction(name.clone()),
                _ => Admin::Incomplete("drop"),
            },
            b"show" if !arguments.is_empty() => show(arguments),
            b"cancel" if arguments.len() >= 2 => match arguments {
                [what, handle] if is(what, "job") => Admin::CancelJob(handle.clone()),
                _ => Admin::UnknownCancel,
            },
            b"shutdown" => match arguments {
                [] => Admin::Shutdown { drain: false },
                [how] if is(how, "graceful") => Admin::Shutdown { drain: true },
                _ => Admin::Incomplete("shutdown"),
            },
            _ => Admin::Unknown(word),
        }
    }
}

fn fields(line: &[u8]) -> IResult<&[u8], Vec<&[u8]>> {
    let is_space = |byte: u8| byte == b' ';
    separated_list1(take_while1(is_space), take_till(is_space)).parse(line)
}

/// A NUL byte ends a field, as it does in the reference.
fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn is(field: &[u8], word: &str) -> bool {
    field.eq_ignore_ascii_case(word.as_bytes())
}

fn show(arguments: &[Bytes]) -> Admin {
    match arguments {
        [what] if is(what, "jobs") => Admin::List(Listing::Jobs),
        [what] if is(what, "schedules") => Admin::List(Listing::Schedules),
        [unique, jobs] if is(unique, "unique") && is(jobs, "jobs") => Admin::List(Listing::UniqueJobs),
        [what, function, unique] if is(what, "unique") => {
            Admin::ShowUnique { function: function.clone(), unique: unique.clone() }
        }
        _ => Admin::UnknownShow,
    }
}

/// One number limits all priorities, two or three limit each; a missing, negative or unreadable one limits nothing.
fn max_queue(arguments: &[Bytes]) -> Admin {
    let limit = |index: usize| {
        let text = std::str::from_utf8(arguments.get(index)?).ok()?;
        text.parse().ok().filter(|limit| *limit > 0)
    };
    let limits = match arguments.len() {
        0 => return Admin::Incomplete("maxqueue"),
        2 => [limit(1); 3],
        _ => [limit(1), limit(2), limit(3)],
    };
    Admin::MaxQueue { function: arguments[0].clone(), limits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &'static str) -> Admin {
        Admin::parse(&Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn commands_are_found_in_any_case_and_with_blanks_around() {
        assert_eq!(parse("STATUS"), Admin::List(Listing::Status));
        assert_eq!(parse("status   "), Admin::List(Listing::Status));
        assert_eq!(parse("show  Unique   jobs"), Admin::List(Listing::UniqueJobs));
        assert_eq!(parse("create function Abc"), Admin::CreateFunction("Abc".into()));
        assert_eq!(parse(" status"), Admin::Unknown("".into()));
        assert_eq!(parse(""), Admin::Unknown("".into()));
        assert_eq!(parse("stat\0us"), Admin::Unknown("stat".into()));
    }

    #[test]
    fn maxqueue_takes_no_one_two_or_three_numbers() {
        let limits = |line| match parse(line) {
            Admin::MaxQueue { limits, .. } => limits,
            other => panic!("{other:?}"),
        };
        assert_eq!(limits("maxqueue f"), [None; 3]);
        assert_eq!(limits("maxqueue f 5"), [Some(5); 3]);
        assert_eq!(limits("maxqueue f 0 2"), [None, Some(2), None]);
        assert_eq!(limits("maxqueue f 3 2 1"), [Some(3), Some(2), Some(1)]);
        assert_eq!(limits("maxqueue f -1"), [None; 3]);
        assert_eq!(limits("maxqueue f many"), [None; 3]);
        assert_eq!(parse("maxqueue"), Admin::Incomplete("maxqueue"));
    }

    #[test]
    fn what_lacks_arguments_is_told_apart_from_what_is_unknown() {
        assert_eq!(parse("show"), Admin::Unknown("show".into()));
        assert_eq!(parse("show unique"), Admin::UnknownShow);
        assert_eq!(parse("show jobs extra"), Admin::UnknownShow);
        assert_eq!(parse("cancel job"), Admin::Unknown("cancel".into()));
        assert_eq!(parse("cancel job a b"), Admin::UnknownCancel);
        assert_eq!(parse("drop function"), Admin::Incomplete("drop"));
        assert_eq!(parse("create function a b"), Admin::Incomplete("create"));
    }
}
