//! What may be on the disk after a power cut: all that was synced, and of the rest whatever the disk chose to write.
//!
//! For every sector that changed since its file's last sync, each content that it has had since then may be what is
//! found, whatever became of the other sectors; the same for names in the directory. That covers writes that are lost,
//! torn, out of order, or on disk long before anyone asked for it. Lengths change one after the other, as file systems
//! with a journal do it: bytes that were cut off do not come back in what was written behind the cut, nor the other way.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::trace::Event;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Files and their names as a running system shows them, and what is surely on disk.
#[derive(Clone, Default)]
pub struct PageCache {
    files: Vec<File>,
    /// Of the current process.
    open: HashMap<u32, Opened>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the directory was synced, in order.
    renamings: Vec<(usize, String, Option<usize>)>,
    syncs: HashMap<u32, usize>,
    now: usize,
    /// What becomes of changed sectors whose sync failed.
    after_failed_sync: AfterFailedSync,
}

/// A system may forget what it could not write, while it goes on showing it from memory.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum AfterFailedSync {
    #[default]
    StillDirty,
    Forgotten,
    /// Each sector one or the other.
    Mixed(u64),
}

#[derive(Clone, Copy)]
enum Opened {
    Folder,
    File(usize),
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    seen: Vec<u8>,
    /// Contents since the last sync, with the time of each.
    sectors: BTreeMap<usize, Vec<Content>>,
    lengths: Vec<Length>,
}

type Content = (usize, Box<[u8; SECTOR]>);

#[derive(Clone, Copy)]
struct Length {
    time: usize,
    bytes: usize,
    shrinks: bool,
}

/// How the disk treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Nothing,
    Everything,
    /// As it was at some moment.
    UpTo(usize),
    /// Only what was changed after some moment.
    Since(usize),
    /// Each sector for itself: old or new.
    Coin,
    /// Each sector for itself: any content it has had.
    Any,
    /// All but one sector in so many.
    Holes(u32),
}

impl PageCache {
    pub fn new(after_failed_sync: AfterFailedSync) -> Self {
        Self { after_failed_sync, ..Self::default() }
    }

    /// Starts from files that lie on a disk.
    pub fn from_disk(folder: &Path) -> Self {
        let mut cache = Self::default();
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let content = std::fs::read(entry.path()).unwrap();
            cache.names.insert(name, cache.files.len());
            cache.files.push(File { durable: content.clone(), seen: content, ..File::default() });
        }
        cache.durable_names = cache.names.clone();
        cache
    }

    pub fn apply(&mut self, event: &Event) {
        self.now += 1;
        let now = self.now;
        match event {
            Event::Begin => self.open.clear(),
            Event::Open { fd, name, .. } if name.is_empty() => {
                self.open.insert(*fd, Opened::Folder);
            }
            Event::Open { fd, name, .. } => {
                let file = match self.names.get(name) {
                    Some(file) => *file,
                    None => {
                        self.files.push(File::default());
                        self.rename(name, Some(self.files.len() - 1));
                        self.files.len() - 1
                    }
                };
                self.open.insert(*fd, Opened::File(file));
            }
            Event::Write { fd, offset, data } => self.file(*fd).write(now, *offset as usize, data),
            Event::Truncate { fd, length } => self.file(*fd).set_length(now, *length as usize),
            Event::Allocate { fd, end } => {
                let file = self.file(*fd);
                // The reserve: only its being there matters.
                let end = (*end as usize).min(file.seen.len().max(1 << 16));
                if end > file.seen.len() {
                    file.set_length(now, end);
                }
            }
            Event::SyncBegins(fd) => {
                self.syncs.insert(*fd, now);
            }
            Event::Synced(fd) => {
                let until = self.syncs[fd];
                match self.open[fd] {
                    Opened::File(file) => self.files[file].sync(until),
                    Opened::Folder => {
                        for (_, name, file) in self.renamings.extract_if(.., |(time, ..)| *time <= until) {
                            set(&mut self.durable_names, name, file);
                        }
                    }
                }
            }
            Event::SyncFailed(fd) => {
                let (until, treatment) = (self.syncs[fd], self.after_failed_sync);
                if let Opened::File(file) = self.open[fd] {
                    self.files[file].fail_sync(until, treatment);
                }
            }
            Event::Unlink(name) => self.rename(name, None),
            Event::Rename(from, to) => {
                let file = self.names.get(from).copied();
                self.rename(from, None);
                self.rename(to, file);
            }
            Event::Mark(_) | Event::Out { .. } | Event::Index => {}
        }
    }

    /// Lays down what one power cut leaves; a seed always the same. Says how the disk behaved.
    pub fn cut(&self, seed: u64, folder: &Path) -> String {
        let mut random = fastrand::Rng::with_seed(seed);
        let some_time = |random: &mut fastrand::Rng| self.now - random.usize(..self.now.min(400));
        let mood = match random.u32(..10) {
            0 => Mood::Nothing,
            1 => Mood::Everything,
            2 | 3 => Mood::UpTo(some_time(&mut random)),
            4 => Mood::Since(some_time(&mut random)),
            5 | 6 => Mood::Coin,
            7 | 8 => Mood::Any,
            _ => Mood::Holes(random.u32(2..200)),
        };
        let mut names = self.durable_names.clone();
        for (time, name, file) in &self.renamings {
            let happens = match mood {
                Mood::Nothing => false,
                Mood::Everything | Mood::Holes(_) => true,
                Mood::UpTo(moment) => *time <= moment,
                Mood::Since(moment) => *time > moment,
                Mood::Coin | Mood::Any => random.bool(),
            };
            if happens {
                set(&mut names, name.clone(), *file);
            }
        }
        for (name, file) in names {
            std::fs::write(folder.join(name), self.files[file].cut(mood, &mut random)).unwrap();
        }
        format!("{mood:?}")
    }

    /// Changed sectors, lengths and names that no sync covers.
    pub fn unsynced(&self) -> usize {
        let changed = |file: &File| file.sectors.len() + file.lengths.len();
        self.renamings.len() + self.files.iter().map(changed).sum::<usize>()
    }

    fn file(&mut self, fd: u32) -> &mut File {
        match self.open.get(&fd) {
            Some(Opened::File(file)) => &mut self.files[*file],
            _ => panic!("the trace writes to what is no open file"),
        }
    }

    fn rename(&mut self, name: &str, file: Option<usize>) {
        self.renamings.push((self.now, name.to_owned(), file));
        set(&mut self.names, name.to_owned(), file);
    }
}

fn set(names: &mut BTreeMap<String, usize>, name: String, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name, file),
        None => names.remove(&name),
    };
}

impl File {
    fn write(&mut self, now: usize, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.seen.len() {
            self.set_length(now, end);
        }
        self.seen[offset..end].copy_from_slice(data);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let mut content = Box::new([0; SECTOR]);
            let seen = &self.seen[sector * SECTOR..];
            let seen = &seen[..seen.len().min(SECTOR)];
            content[..seen.len()].copy_from_slice(seen);
            self.sectors.entry(sector).or_default().push((now, content));
        }
    }

    fn set_length(&mut self, now: usize, length: usize) {
        self.lengths.push(Length { time: now, bytes: length, shrinks: length < self.seen.len() });
        self.seen.resize(length, 0);
    }

    fn sync(&mut self, until: usize) {
        self.durable = self.settled(until, |contents| contents.iter().rev().find(|(time, _)| *time <= until));
        self.lengths.retain(|length| length.time > until);
        for contents in self.sectors.values_mut() {
            contents.retain(|(time, _)| *time > until);
        }
        self.sectors.retain(|_, contents| !contents.is_empty());
    }

    /// The file with all changes of its length up to a moment, and for each sector what is chosen among its contents
    /// that fit to those.
    fn settled<'a>(
        &'a self,
        until: usize,
        mut choose: impl FnMut(&'a [Content]) -> Option<&'a Content>,
    ) -> Vec<u8> {
        let mut content = self.durable.clone();
        for length in self.lengths.iter().filter(|length| length.time <= until) {
            content.resize(length.bytes, 0);
        }
        for (sector, contents) in &self.sectors {
            let cuts = self.lengths.iter().filter(|length| length.shrinks && length.bytes <= sector * SECTOR);
            let (done, undone): (Vec<usize>, Vec<usize>) =
                cuts.map(|length| length.time).partition(|time| *time <= until);
            let from = contents.partition_point(|(time, _)| done.last().is_some_and(|cut| time < cut));
            let to = contents.partition_point(|(time, _)| undone.first().is_none_or(|cut| time < cut));
            if let Some((_, bytes)) = choose(&contents[from..to.max(from)]) {
                put(&mut content, *sector, bytes);
            }
        }
        content
    }

    fn fail_sync(&mut self, until: usize, treatment: AfterFailedSync) {
        let mut random = match treatment {
            AfterFailedSync::StillDirty => return,
            AfterFailedSync::Forgotten => None,
            AfterFailedSync::Mixed(seed) => Some(fastrand::Rng::with_seed(seed ^ until as u64)),
        };
        for contents in self.sectors.values_mut() {
            if random.as_mut().is_none_or(fastrand::Rng::bool) {
                contents.retain(|(time, _)| *time > until);
            }
        }
        self.sectors.retain(|_, contents| !contents.is_empty());
    }

    fn cut(&self, mood: Mood, random: &mut fastrand::Rng) -> Vec<u8> {
        let until = match mood {
            Mood::Nothing => 0,
            Mood::Everything | Mood::Holes(_) | Mood::Since(_) => usize::MAX,
            Mood::UpTo(moment) => moment,
            Mood::Coin => [0, usize::MAX][random.usize(..2)],
            Mood::Any => random.choice(&self.lengths).map_or(0, |length| length.time),
        };
        self.settled(until, |contents| {
            let newest = contents.last();
            match mood {
                Mood::Nothing => None,
                Mood::Everything => newest,
                Mood::UpTo(moment) => contents.iter().rev().find(|(time, _)| *time <= moment),
                Mood::Since(moment) => newest.filter(|(time, _)| *time > moment),
                Mood::Coin => newest.filter(|_| random.bool()),
                Mood::Any => contents.get(random.usize(..=contents.len())),
                Mood::Holes(one_in) => newest.filter(|_| random.u32(..one_in) > 0),
            }
        })
    }
}

/// As much of a sector as the file is long.
fn put(content: &mut [u8], sector: usize, bytes: &[u8; SECTOR]) {
    let place = content.get_mut(sector * SECTOR..).unwrap_or_default();
    let length = place.len().min(SECTOR);
    place[..length].copy_from_slice(&bytes[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(cache: &PageCache) -> std::collections::BTreeSet<Vec<u8>> {
        (0..200)
            .map(|seed| {
                let folder = tempfile::tempdir().unwrap();
                cache.cut(seed, folder.path());
                std::fs::read(folder.path().join("f")).unwrap_or_default()
            })
            .collect()
    }

    #[test]
    fn only_what_was_not_synced_is_lost_and_every_mix_of_it_is_met() {
        let write = |offset, byte: u8| Event::Write { fd: 3, offset, data: vec![byte; SECTOR] };
        let mut cache = PageCache::default();
        cache.apply(&Event::Open { fd: 4, name: String::new(), is_new: false });
        cache.apply(&Event::Open { fd: 3, name: "f".into(), is_new: true });
        cache.apply(&write(0, 1));
        cache.apply(&write(SECTOR as u64, 1));
        for fd in [3, 4] {
            cache.apply(&Event::SyncBegins(fd));
            cache.apply(&Event::Synced(fd));
        }
        assert_eq!(contents(&cache).len(), 1);
        cache.apply(&write(0, 2));
        cache.apply(&write(SECTOR as u64, 3));
        let all = contents(&cache);
        let mix = |first: u8, second: u8| [[first; SECTOR], [second; SECTOR]].concat();
        assert_eq!(all, [mix(1, 1), mix(1, 3), mix(2, 1), mix(2, 3)].into());
        cache.apply(&Event::SyncBegins(3));
        cache.apply(&Event::Synced(3));
        assert_eq!(contents(&cache), [mix(2, 3)].into());
    }

    #[test]
    fn what_a_failed_sync_forgot_is_not_saved_by_the_next_one() {
        let mut cache = PageCache::new(AfterFailedSync::Forgotten);
        for event in [
            Event::Open { fd: 4, name: String::new(), is_new: false },
            Event::Open { fd: 3, name: "f".into(), is_new: true },
            Event::SyncBegins(4),
            Event::Synced(4),
            Event::Write { fd: 3, offset: 0, data: vec![7; SECTOR] },
            Event::SyncBegins(3),
            Event::SyncFailed(3),
            Event::SyncBegins(3),
            Event::Synced(3),
        ] {
            cache.apply(&event);
        }
        assert_eq!(contents(&cache), [vec![0; SECTOR]].into());
    }
}
