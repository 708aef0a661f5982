//! What the shim noted, as values. The format is described in `shim.c`.

use std::path::Path;

#[derive(Clone, Debug)]
pub enum Event {
    /// A process begins: descriptors count anew.
    Begin,
    Open {
        fd: u32,
        name: String,
        is_new: bool,
    },
    Write {
        fd: u32,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        fd: u32,
        length: u64,
    },
    Allocate {
        fd: u32,
        end: u64,
    },
    SyncBegins(u32),
    Synced(u32),
    SyncFailed(u32),
    Unlink(String),
    Rename(String, String),
    /// What the program itself says, one line each.
    Mark(String),
    /// Bytes that leave by a socket.
    Out {
        fd: u32,
        data: Vec<u8>,
    },
    Index,
}

pub fn read(path: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<24>() {
        let fd = u32::from_ne_bytes(head[4..8].try_into().unwrap());
        let number = u64::from_ne_bytes(head[8..16].try_into().unwrap());
        let length = u64::from_ne_bytes(head[16..24].try_into().unwrap()) as usize;
        // The last record may be cut, if the process was killed.
        let Some(data) = after.get(..length) else { break };
        rest = &after[length..];
        let text = || String::from_utf8(data.to_vec()).unwrap();
        match head[0] {
            b'N' => events.push(Event::Begin),
            b'C' | b'O' => events.push(Event::Open { fd, name: text(), is_new: head[0] == b'C' }),
            b'W' => events.push(Event::Write { fd, offset: number, data: data.to_vec() }),
            b'T' => events.push(Event::Truncate { fd, length: number }),
            b'A' => events.push(Event::Allocate { fd, end: number }),
            b'b' => events.push(Event::SyncBegins(fd)),
            b'e' => events.push(Event::Synced(fd)),
            b'f' => events.push(Event::SyncFailed(fd)),
            b'U' => events.push(Event::Unlink(text())),
            b'R' => {
                let both = text();
                let (from, to) = both.split_once('\0').unwrap();
                events.push(Event::Rename(from.to_owned(), to.to_owned()));
            }
            b'M' => events.extend(text().lines().map(|line| Event::Mark(line.to_owned()))),
            b'S' => events.push(Event::Out { fd, data: data.to_vec() }),
            b'm' => events.push(Event::Index),
            other => panic!("a trace with a record of kind {other}"),
        }
    }
    events
}

/// How many calls of these kinds a trace has, counted as the shim counts them to let one fail.
pub fn count(events: &[Event], kinds: &str) -> usize {
    let kind = |event: &Event| match event {
        Event::Open { is_new: true, .. } => 'C',
        Event::Write { .. } => 'W',
        Event::Truncate { .. } => 'T',
        Event::Allocate { .. } => 'A',
        Event::SyncBegins(_) => 'b',
        Event::Unlink(_) => 'U',
        Event::Index => 'm',
        _ => ' ',
    };
    events.iter().filter(|event| kinds.contains(kind(event))).count()
}
