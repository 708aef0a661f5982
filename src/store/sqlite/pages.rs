//! The rows of a damaged database, read past SQLite, which trusts what stands on a page and gives up when it cannot.
//!
//! A page of a table is found from two sides: from the page above it in the table's tree, and by SQLite's map of which
//! page is above which (its format has one, since our files can give back space). One of them is enough, so that a
//! page is lost only with itself. The format: <https://sqlite.org/fileformat2.html>, 1.5 to 1.8.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::wal::{self, Versions};

/// Bytes of a page: SQLite's default, and ours.
pub(super) const PAGE: usize = 4096;

/// No row of `job` takes less than this part of a page.
const MOST_ROWS: u64 = 124;

/// Page types, in a tree and in the map.
const INNER: u8 = 5;
const LEAF: u8 = 13;
const MAP_FREE: u8 = 2;
const MAP_FIRST_OVERFLOW: u8 = 3;
const MAP_OVERFLOW: u8 = 4;
const MAP_TREE: u8 = 5;

/// Tables that every format has; they come first.
const TABLES_OF_1: usize = 6;

/// Pages from one of the map to the next.
const MAPPED: u32 = PAGE as u32 / 5 + 1;

type Page = Box<[u8; PAGE]>;

/// Ids beyond the first and up to the second.
pub(super) type Range = (i64, i64);

/// All ids.
pub(super) const ALL: Range = (0, i64::MAX);

/// A database file with its write-ahead log.
pub(super) struct Pages {
    file: File,
    log: Option<File>,
    versions: Versions,
    /// Pages are sought up to this one.
    last: u32,
    /// What stands behind this one is of no matter, as far as that is known.
    end: u32,
    /// Pages that the file lacks.
    missing: u32,
}

/// The pages of one table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Each with the ids that it may hold.
    pub leaves: Vec<(u32, Range)>,
    /// Where rows stood that cannot be read.
    pub lost: Vec<Range>,
}

/// A row whose place could be read; its content is for others to judge.
#[derive(Debug)]
pub(super) struct Row {
    pub id: i64,
    /// The columns that hold bytes or text.
    pub columns: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Node {
    table: usize,
    page: u32,
    range: Range,
}

impl Pages {
    pub fn open(file: &Path, log: &Path) -> io::Result<Self> {
        let file = File::open(file)?;
        let versions = wal::versions(log)?;
        let whole = u32::try_from(file.metadata()?.len() / PAGE as u64).unwrap_or(u32::MAX);
        let log = File::open(log).ok();
        let mut pages = Self { file, log, last: whole, end: whole, missing: 0, versions };
        let told = pages.page(1).and_then(|first| word(&first[..], 28)).filter(|told| *told > 0);
        // A head that is damaged may tell anything.
        let told = told.map_or(whole, |told| told.min(whole.saturating_mul(64)));
        pages.end = pages.versions.pages.unwrap_or(told);
        pages.last = pages.end.max(whole);
        pages.missing = pages.end.saturating_sub(whole);
        Ok(pages)
    }

    /// Whether commits of the write-ahead log are lost.
    pub fn lost_of_log(&self) -> bool {
        !self.versions.lost.is_empty()
    }

    /// What is told of a page that cannot be read, `None`.
    fn page(&self, number: u32) -> Option<Page> {
        let mut page = Box::new([0; PAGE]);
        let read = match (&self.log, self.versions.places.get(&number)) {
            (Some(log), Some(place)) => log.read_exact_at(&mut page[..], *place),
            _ => self.file.read_exact_at(&mut page[..], u64::from(number.checked_sub(1)?) * PAGE as u64),
        };
        read.is_ok().then_some(page)
    }

    /// What the map says of a page: its type and the page above it.
    fn map(&self, cache: &mut HashMap<u32, Option<Page>>, number: u32) -> Option<(u8, u32)> {
        let map = number.checked_sub(2)? / MAPPED * MAPPED + 2;
        let at = (number - map).checked_sub(1)? as usize * 5;
        let page = cache.entry(map).or_insert_with(|| self.page(map)).as_ref()?;
        Some((page[at], word(&page[..], at + 1)?))
    }

    /// The pages of the tables with these roots; and how many rows of jobs there can have been on pages that cannot be
    /// read, or of which is not known whose they are.
    pub fn tables(&self, roots: &[u32]) -> (Vec<Table>, u64) {
        let mut walk = Walk {
            pages: self,
            map: HashMap::new(),
            seen: HashMap::new(),
            tables: roots.iter().map(|_| Table::default()).collect(),
            doubtful: Vec::new(),
        };
        for (table, root) in roots.iter().enumerate() {
            if table >= TABLES_OF_1 && walk.is_of_format_1(*root) {
                continue;
            }
            walk.down(Node { table, page: *root, range: ALL });
        }
        // Either the page above or the map is wrong: if it is the page, another one has claimed this by now.
        for node in std::mem::take(&mut walk.doubtful) {
            if walk.seen.contains_key(&node.page) {
                walk.tables[node.table].lost.push(node.range);
            } else {
                walk.down(node);
            }
        }
        while walk.orphans() {}
        // What could not be reached from above and was not found by the map either.
        for node in std::mem::take(&mut walk.doubtful) {
            walk.tables[node.table].lost.push(node.range);
        }
        for page in &self.versions.lost {
            match walk.seen.get(page) {
                Some(node) => walk.tables[node.table].lost.push(node.range),
                // A page of the map, or a number that is wrong itself.
                None => walk.tables.iter_mut().for_each(|table| table.lost.push(ALL)),
            }
        }
        let room = walk.count_unreadable().saturating_mul(MOST_ROWS);
        (walk.tables, room)
    }

    /// How many rows a leaf says it has.
    pub fn rows(&self, leaf: u32) -> u16 {
        self.page(leaf).map_or(0, |page| half(&page[..], 3).unwrap_or(0)).min(PAGE as u16 / 2)
    }

    /// A row of a leaf; without columns if only its id could be read.
    pub fn row(&self, leaf: u32, index: u16) -> Option<Row> {
        let page = self.page(leaf)?;
        let cell = Cell::of(&page[..], index)?;
        let columns = self.payload(&cell).and_then(|payload| columns(&payload));
        Some(Row { id: cell.id, columns: columns.unwrap_or_default() })
    }

    fn payload(&self, cell: &Cell<'_>) -> Option<Vec<u8>> {
        let len = usize::try_from(cell.len).ok().filter(|len| len / PAGE <= self.last as usize)?;
        let mut payload = cell.local.to_vec();
        let mut next = cell.overflow;
        while payload.len() < len {
            let page = self.page(next?)?;
            payload.extend_from_slice(&page[4..4 + (len - payload.len()).min(PAGE - 4)]);
            next = word(&page[..], 0);
        }
        Some(payload)
    }
}

struct Walk<'a> {
    pages: &'a Pages,
    map: HashMap<u32, Option<Page>>,
    /// Pages that belong to a table.
    seen: HashMap<u32, Node>,
    tables: Vec<Table>,
    /// Pages that the one above names and the map does not know there.
    doubtful: Vec<Node>,
}

impl Walk<'_> {
    /// Whether the file has less tables, and this page, where one of the others would begin, is another's.
    fn is_of_format_1(&mut self, root: u32) -> bool {
        match self.pages.page(1).and_then(|first| word(&first[..], 60)) {
            Some(1) => true,
            Some(2) => false,
            // The head is damaged: by the map, if that is not.
            _ => {
                matches!(self.pages.map(&mut self.map, root), Some((MAP_FREE..=MAP_TREE, _)))
            }
        }
    }

    fn down(&mut self, from: Node) {
        let mut nodes = vec![from];
        while let Some(node) = nodes.pop() {
            if self.seen.insert(node.page, node).is_some() {
                continue;
            }
            let page = self.pages.page(node.page);
            let lost = &mut self.tables[node.table].lost;
            match page {
                Some(page) if page[0] == LEAF => {
                    if !is_leaf_whole(&page[..]) {
                        lost.push(node.range);
                    }
                    self.tables[node.table].leaves.push((node.page, node.range));
                }
                Some(page) if page[0] == INNER => {
                    let (children, is_whole) = children(&page[..], node);
                    if !is_whole {
                        lost.push(node.range);
                    }
                    for child in children {
                        match self.pages.map(&mut self.map, child.page) {
                            Some((MAP_TREE, above)) if above == node.page => nodes.push(child),
                            _ if child.page < 3 || child.page > self.pages.last => {
                                self.tables[node.table].lost.push(child.range);
                            }
                            Some((MAP_FREE | MAP_FIRST_OVERFLOW, _)) => {
                                self.tables[node.table].lost.push(child.range);
                            }
                            _ => self.doubtful.push(child),
                        }
                    }
                }
                _ => lost.push(node.range),
            }
        }
    }

    fn count_unreadable(&mut self) -> u64 {
        let lost: usize = self.tables.iter().map(|table| table.lost.len()).sum();
        let mut count = lost as u64 + u64::from(self.pages.missing);
        let is_map = |page: u32| (page - 2).is_multiple_of(MAPPED);
        for page in (3..=self.pages.end).filter(|page| !is_map(*page) && !self.seen.contains_key(page)) {
            let found = self.pages.map(&mut self.map, page);
            count += u64::from(!matches!(found, Some((MAP_FREE | MAP_FIRST_OVERFLOW | MAP_OVERFLOW, _))));
        }
        count
    }

    /// Follows pages that only the map knows. Whether there were any.
    fn orphans(&mut self) -> bool {
        let mut found = Vec::new();
        for page in 3..=self.pages.end {
            if self.seen.contains_key(&page) {
                continue;
            }
            if let Some((MAP_TREE, above)) = self.pages.map(&mut self.map, page)
                && let Some(above) = self.seen.get(&above)
            {
                found.push(Node { page, ..*above });
            }
        }
        let is_any = !found.is_empty();
        found.into_iter().for_each(|node| self.down(node));
        is_any
    }
}

/// The pages below, with the ids that they hold; and whether all could be told.
fn children(page: &[u8], node: Node) -> (Vec<Node>, bool) {
    let (mut low, high) = node.range;
    let mut found = Vec::new();
    let mut is_whole = true;
    for index in 0..usize::from(half(page, 3).unwrap_or(0)) {
        let cell = half(page, 12 + 2 * index).map(usize::from);
        let child = cell.and_then(|at| Some((word(page, at)?, varint(page, at + 4)?.0.cast_signed())));
        match child {
            Some((page, key)) if key > low && key <= high => {
                found.push(Node { page, range: (low, key), ..node });
                low = key;
            }
            _ => is_whole = false,
        }
    }
    if let Some(page) = word(page, 8) {
        found.push(Node { page, range: (low, high), ..node });
    }
    (found, is_whole)
}

/// Whether each byte of a leaf is accounted for, as SQLite does when it checks a file: else rows may be missing.
fn is_leaf_whole(page: &[u8]) -> bool {
    let account = || {
        let count = half(page, 3)?;
        let start = match half(page, 5)? {
            0 => 65536,
            start => usize::from(start),
        };
        let mut used = start + usize::from(*page.get(7)?);
        for index in 0..count {
            used += Cell::of(page, index)?.size;
        }
        let mut free = usize::from(half(page, 1)?);
        while free != 0 {
            used += usize::from(half(page, free + 2)?);
            let next = usize::from(half(page, free)?);
            // Blocks are in their order.
            if next != 0 && next <= free {
                return None;
            }
            free = next;
        }
        Some(used == PAGE && start >= 8 + 2 * usize::from(count))
    };
    account().unwrap_or(false)
}

struct Cell<'a> {
    id: i64,
    /// Bytes of the row in all.
    len: u64,
    local: &'a [u8],
    overflow: Option<u32>,
    /// Bytes that it takes on its page.
    size: usize,
}

impl<'a> Cell<'a> {
    fn of(page: &'a [u8], index: u16) -> Option<Self> {
        const MOST: usize = PAGE - 35;
        const LEAST: usize = (PAGE - 12) * 32 / 255 - 23;
        let at = usize::from(half(page, 8 + 2 * usize::from(index))?);
        let (len, after) = varint(page, at)?;
        let (id, after) = varint(page, after)?;
        let whole = usize::try_from(len).ok()?;
        let local = if whole <= MOST {
            whole
        } else {
            let kept = LEAST + (whole - LEAST) % (PAGE - 4);
            if kept <= MOST { kept } else { LEAST }
        };
        let end = after.checked_add(local)?;
        let overflow = if local < whole { Some(word(page, end)?) } else { None };
        let size = (end - at + if local < whole { 4 } else { 0 }).max(4);
        Some(Self { id: id.cast_signed(), len, local: page.get(after..end)?, overflow, size })
    }
}

/// The columns of a record that hold bytes or text. Ours hold nothing else, but for ids, which stand elsewhere.
fn columns(record: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (head, mut at) = varint(record, 0)?;
    let mut content = usize::try_from(head).ok()?;
    let mut columns = Vec::new();
    while (at as u64) < head {
        let (kind, after) = varint(record, at)?;
        at = after;
        match kind {
            0 => {}
            12.. => {
                let end = content.checked_add(usize::try_from((kind - 12) / 2).ok()?)?;
                columns.push(record.get(content..end)?.to_vec());
                content = end;
            }
            _ => return None,
        }
    }
    Some(columns)
}

/// SQLite's variable-length number, and where what follows it begins.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        if index == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + index + 1));
        }
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
