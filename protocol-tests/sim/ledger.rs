//! What one connection may count on, whatever the model says: answers come in the order of the requests, one for
//! each; JOB_CREATED comes before anything else of that job; each foreground submit gets one last packet and nothing
//! after it; a background submit gets nothing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gearhouse::protocol::Kind;

use super::ask::{Admin, Ask};
use super::item::{Item, first_argument};

#[derive(Default)]
pub struct Ledger {
    due: VecDeque<Due>,
    /// Foreground submits by handle, and how many of them still lack their last packet.
    open: BTreeMap<Bytes, Open>,
    asleep: bool,
}

struct Open {
    submits: usize,
    is_ending: bool,
}

/// An answer that must come.
#[derive(Clone, Debug)]
enum Due {
    Created {
        foreground: bool,
    },
    Assignment,
    Packet(Kind, Bytes),
    OptionOrError,
    Error,
    /// Perhaps an ERROR, if the job is not this connection's.
    PerhapsError,
    Line,
    /// Lines until a lone dot.
    Lines,
}

impl Ledger {
    /// The connection sends a request.
    pub fn asks(&mut self, ask: &Ask) {
        self.due.push_back(match ask {
            Ask::Submit(submit) => Due::Created { foreground: submit.is_foreground() },
            Ask::Grab(_) => Due::Assignment,
            Ask::Work(_) => Due::PerhapsError,
            Ask::GetStatus(handle) => Due::Packet(Kind::StatusRes, first_argument(handle).0),
            Ask::GetStatusUnique(unique) => Due::Packet(Kind::StatusResUnique, unique.clone()),
            Ask::Option(_) => Due::OptionOrError,
            Ask::Echo(body) => Due::Packet(Kind::EchoRes, body.clone()),
            Ask::Admin(Admin::List(_)) => Due::Lines,
            Ask::Admin(_) => Due::Line,
            Ask::Nonsense { .. } | Ask::Breaking { is_answered: true, .. } => Due::Error,
            Ask::PreSleep => return self.asleep = true,
            Ask::CanDo { .. }
            | Ask::CantDo(_)
            | Ask::ResetAbilities
            | Ask::ClientId(_)
            | Ask::Breaking { .. } => return,
        });
    }

    /// Whether this, which comes next, acknowledges a job in the background.
    pub fn acknowledges(&self, item: &Item) -> bool {
        let next = self.due.iter().find(|due| !matches!(due, Due::PerhapsError));
        matches!(item, Item::Packet { kind: Kind::JobCreated, .. })
            && matches!(next, Some(Due::Created { foreground: false }))
    }

    /// The connection reads something.
    pub fn reads(&mut self, item: &Item) {
        match item {
            Item::Packet { kind: Kind::Noop, .. } => assert!(self.asleep, "a NOOP to one who never slept"),
            Item::Packet { kind, body } if is_of_a_job(*kind) => self.hears_of_job(*kind, body),
            Item::Packet { kind: Kind::Error, body } => self.is_refused(body),
            Item::Packet { kind, body } => self.is_answered(*kind, body),
            Item::Line(line) => match self.next_due() {
                Some(Due::Line) => {}
                Some(Due::Lines) if line == ".\n" => {}
                Some(Due::Lines) => self.due.push_front(Due::Lines),
                due => panic!("a line of text where {due:?} was due"),
            },
        }
    }

    /// All that was asked was carried out and all that was sent was read.
    pub fn is_settled(&mut self, awaited: usize) {
        let missing = self.next_due();
        assert!(missing.is_none(), "{missing:?} never came");
        let open: usize = self.open.values().map(|open| open.submits).sum();
        assert_eq!(open, awaited, "foreground submits without their last packet");
    }

    fn is_answered(&mut self, kind: Kind, body: &Bytes) {
        let due = self.next_due();
        let is_it = match (&due, kind) {
            (Some(Due::Created { foreground }), Kind::JobCreated) => {
                if *foreground {
                    let open = Open { submits: 0, is_ending: false };
                    self.open.entry(body.clone()).or_insert(open).submits += 1;
                }
                true
            }
            (
                Some(Due::Assignment),
                Kind::NoJob | Kind::JobAssign | Kind::JobAssignUniq | Kind::JobAssignAll,
            )
            | (Some(Due::OptionOrError), Kind::OptionRes) => true,
            (Some(Due::Packet(Kind::EchoRes, due)), Kind::EchoRes) => due == body,
            (Some(Due::Packet(due, name)), _) => *due == kind && first_argument(body).0 == *name,
            _ => false,
        };
        assert!(is_it, "{} where {due:?} was due", kind.name());
    }

    fn is_refused(&mut self, body: &Bytes) {
        let is_late = first_argument(body).0 == "JOB_NOT_FOUND";
        if is_late {
            assert!(
                matches!(self.due.pop_front(), Some(Due::PerhapsError)),
                "JOB_NOT_FOUND where something else was due"
            );
            return;
        }
        let due = self.next_due();
        assert!(
            matches!(due, Some(Due::Created { .. } | Due::OptionOrError | Due::Error)),
            "{} where {due:?} was due",
            body.escape_ascii()
        );
    }

    fn hears_of_job(&mut self, kind: Kind, body: &Bytes) {
        let handle = first_argument(body).0;
        let name = kind.name();
        let shown = handle.escape_ascii().to_string();
        let open = self.open.get_mut(&handle);
        let open = open.unwrap_or_else(|| panic!("{name} of {shown}, of which nothing may come"));
        let is_last = matches!(kind, Kind::WorkComplete | Kind::WorkFail | Kind::WorkException);
        assert!(is_last || !open.is_ending, "{name} of {shown} after its end");
        if is_last {
            open.is_ending = true;
            open.submits -= 1;
            if open.submits == 0 {
                self.open.remove(&handle);
            }
        }
    }

    /// The next answer that must come; those that need not come and did not are passed over.
    fn next_due(&mut self) -> Option<Due> {
        while let Some(due) = self.due.pop_front() {
            if !matches!(due, Due::PerhapsError) {
                return Some(due);
            }
        }
        None
    }
}

fn is_of_a_job(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::WorkData
            | Kind::WorkWarning
            | Kind::WorkStatus
            | Kind::WorkComplete
            | Kind::WorkFail
            | Kind::WorkException
    )
}
