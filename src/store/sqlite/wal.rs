//! Tells a write-ahead log that a power cut left from one that was damaged later.
//!
//! SQLite reads such a log up to the first frame that is not as it was written, and says nothing of what stands behind
//! it. After a power cut that is the one commit that was under way: nobody was told of it. But if a later commit stands
//! there too, the earlier one had been synced and acknowledged; to go on would be to lose it without a word.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Bytes of the log's head.
const HEAD: usize = 32;

/// Bytes of a frame before its page.
const FRAME: usize = 24;

/// Bytes of a page of ours.
const PAGE: usize = super::pages::PAGE;

/// What is wrong, and where; `None` if nothing is. The format is SQLite's: <https://sqlite.org/fileformat2.html>, 4.
pub(super) fn damage(path: &Path) -> io::Result<Option<String>> {
    let mut log = match File::open(path) {
        Ok(file) => BufReader::with_capacity(1 << 18, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut head = [0; HEAD];
    if !read_whole(&mut log, &mut head)? {
        return Ok(None);
    }
    let Some(head) = Head::read(&head) else {
        // The head is synced before anything follows it.
        let is_followed = log.bytes().find(|byte| !matches!(byte, Ok(0))).transpose()?.is_some();
        return Ok(is_followed.then(|| "its head is not as it was written".into()));
    };
    let mut frame = vec![0; FRAME + head.page];
    let (mut sum, mut first_bad, mut index) = (head.sum, None, 0_u64);
    // Of the frame before: its checksum if it ended a commit of this log.
    let mut ended: Option<Sum> = None;
    while read_whole(&mut log, &mut frame)? {
        let is_ours = frame[8..16] == head.salts;
        let stored = Sum(word(&frame[16..20], true), word(&frame[20..24], true));
        let chained = |sum: Sum| sum.over(&frame[..8], head.is_big).over(&frame[FRAME..], head.is_big);
        if first_bad.is_none() && is_ours && chained(sum) == stored {
            sum = stored;
        } else {
            let (bad, _) = *first_bad.get_or_insert((index, sum));
            if is_ours && ended.is_some_and(|before| chained(before) == stored) {
                let at = HEAD as u64 + bad * frame.len() as u64;
                return Ok(Some(format!(
                    "frame {} at byte {at} is not as it was written, and commits follow",
                    bad + 1
                )));
            }
        }
        let is_end = is_ours && word(&frame[4..8], true) != 0;
        ended = (is_end && first_bad.is_some()).then_some(stored);
        index += 1;
    }
    Ok(None)
}

/// What a log holds of each page, whatever is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Where the newest whole version of a page begins, in bytes.
    pub places: HashMap<u32, u64>,
    /// Pages of which a newer version was committed, and is lost.
    pub lost: BTreeSet<u32>,
    /// Pages of the database after the last commit; `None` if there is none.
    pub pages: Option<u32>,
}

/// Reads on behind frames that are not as they were written: a frame holds its own checksum, made from that of the one
/// before, so that one that is bad costs itself and at most the next.
pub(super) fn versions(path: &Path) -> io::Result<Versions> {
    let mut versions = Versions::default();
    let mut log = match File::open(path) {
        Ok(file) => BufReader::with_capacity(1 << 18, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(versions),
        Err(error) => return Err(error),
    };
    let mut head = [0; HEAD];
    if !read_whole(&mut log, &mut head)? {
        return Ok(versions);
    }
    let head = Head::read(&head);
    let is_big = head.as_ref().map_or(cfg!(target_endian = "big"), |head| head.is_big);
    let mut salts = head.as_ref().map(|head| head.salts);
    let mut before = head.as_ref().map(|head| head.sum);
    let mut frame = vec![0; FRAME + head.map_or(PAGE, |head| head.page)];
    // Of the commit that has not ended yet.
    let mut gathered: Vec<(u32, Option<u64>)> = Vec::new();
    let mut at = HEAD as u64;
    while read_whole(&mut log, &mut frame)? {
        // Without a head, the first frame says which ones belong to this log: it is written from its start again.
        let of_frame: [u8; 8] = std::array::from_fn(|index| frame[8 + index]);
        let is_ours = of_frame == *salts.get_or_insert(of_frame);
        let stored = Sum(word(&frame[16..20], true), word(&frame[20..24], true));
        let chained = |sum: Sum| sum.over(&frame[..8], is_big).over(&frame[FRAME..], is_big);
        let is_whole = is_ours && before.is_some_and(|before| chained(before) == stored);
        before = Some(stored);
        gathered.push((word(&frame[..4], true), is_whole.then_some(at + FRAME as u64)));
        let pages = word(&frame[4..8], true);
        if is_whole && pages != 0 {
            versions.pages = Some(pages);
            for (page, place) in gathered.drain(..) {
                match place {
                    Some(place) => {
                        versions.places.insert(page, place);
                        versions.lost.remove(&page);
                    }
                    None => {
                        versions.lost.insert(page);
                    }
                }
            }
        }
        at += frame.len() as u64;
    }
    Ok(versions)
}

struct Head {
    is_big: bool,
    page: usize,
    salts: [u8; 8],
    sum: Sum,
}

impl Head {
    fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let magic = word(&bytes[..4], true);
        let is_big = magic & 1 == 1;
        let sum = Sum(word(&bytes[24..28], true), word(&bytes[28..], true));
        let is_whole = magic & !1 == 0x377f_0682 && Sum(0, 0).over(&bytes[..24], is_big) == sum;
        let page = word(&bytes[8..12], true) as usize;
        let salts = bytes[16..24].try_into().ok()?;
        (is_whole && (512..=65536).contains(&page)).then_some(Self { is_big, page, salts, sum })
    }
}

/// SQLite's checksum, which goes on from frame to frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sum(u32, u32);

impl Sum {
    fn over(self, bytes: &[u8], is_big: bool) -> Sum {
        let mut sum = self;
        for pair in bytes.chunks_exact(8) {
            sum.0 = sum.0.wrapping_add(word(&pair[..4], is_big)).wrapping_add(sum.1);
            sum.1 = sum.1.wrapping_add(word(&pair[4..], is_big)).wrapping_add(sum.0);
        }
        sum
    }
}

fn word(bytes: &[u8], is_big: bool) -> u32 {
    let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// Whether there was enough to fill it.
fn read_whole(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}
