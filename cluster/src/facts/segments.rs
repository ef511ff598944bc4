//! What lies in a node's files of facts: batches, sealed, under names that say how often they were merged.
//!
//! In: batches to write, files to merge. Out: which files there are now. Facts are idempotent, so that a
//! crash in the middle of a merge, which leaves old and new files beside each other, does no harm.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    fact::{Fact, FactId},
    set::FactSet,
};
use crate::{host::Files, wire};

/// The files that there are.
#[derive(Debug, Default)]
pub(super) struct Segments {
    next: u64,
    files: BTreeMap<u64, Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// How often what is in it was merged.
    level: u8,
    bytes: usize,
}

/// What has become of the files.
#[derive(Debug, Default)]
pub(super) struct Done {
    made: Vec<(u64, Segment)>,
    unmade: Vec<u64>,
}

/// Where new files go.
#[derive(Debug)]
pub(super) struct Place {
    first: u64,
    level: u8,
}

/// Which files to merge.
#[derive(Debug)]
pub(super) struct Plan {
    old: Vec<(u64, Segment)>,
    place: Place,
}

/// Files of one level that are merged together: a fact is rewritten about log16(n) times.
const FAN: usize = 16;

/// A file is at least so long before another is begun, and then not merged for being one of many. Far below
/// the limit of what is decoded in one piece.
const FULL: usize = 2 << 20;

/// What may lie in the files without being held, beyond what is held.
const SLACK: usize = 1 << 20;

const PREFIX: &str = "facts-";

fn name(level: u8, number: u64) -> String {
    format!("{PREFIX}{level}-{number:020}")
}

fn read_name(name: &str) -> Option<(u8, u64)> {
    let (level, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((level.parse().ok()?, number.parse().ok()?))
}

impl Segments {
    pub(super) fn note(&mut self, done: Done) {
        for number in done.unmade {
            self.files.remove(&number);
        }
        self.files.extend(done.made);
    }

    /// Numbers for the files of a batch.
    pub(super) fn reserve(&mut self, facts: &[Arc<Fact>]) -> Place {
        let bytes: usize = facts.iter().map(|fact| fact.size()).sum();
        self.place(0, bytes)
    }

    /// What to merge next, where something is due. `live` is what the held facts take.
    pub(super) fn plan(&mut self, live: usize) -> Option<Plan> {
        let all: usize = self.files.values().map(|file| file.bytes).sum();
        let old: Vec<(u64, Segment)> = if all > 2 * live + SLACK {
            self.files.iter().map(|(n, file)| (*n, *file)).collect()
        } else {
            let small = |level: u8| {
                let files = self.files.iter();
                let small = files.filter(|(_, file)| file.level == level && file.bytes < FULL);
                small
                    .map(|(number, file)| (*number, *file))
                    .collect::<Vec<_>>()
            };
            let levels = self.files.values().map(|file| file.level);
            let levels: std::collections::BTreeSet<u8> = levels.collect();
            levels
                .into_iter()
                .map(small)
                .find(|files| files.len() >= FAN)?
        };
        let level = old.iter().map(|(_, file)| file.level).max().unwrap_or(0);
        let bytes = old.iter().map(|(_, file)| file.bytes).sum();
        Some(Plan {
            place: self.place(level.saturating_add(1), bytes),
            old,
        })
    }

    /// Each file but the last is full, so that there are at most so many and one.
    fn place(&mut self, level: u8, bytes: usize) -> Place {
        let first = self.next;
        self.next += (bytes / FULL) as u64 + 1;
        Place { first, level }
    }
}

/// Reads all facts there are. A file that cannot be read is set aside under another name.
pub(super) fn read_all(files: &dyn Files) -> io::Result<(Segments, Vec<Arc<Fact>>)> {
    let mut segments = Segments::default();
    let mut facts: BTreeMap<FactId, Arc<Fact>> = BTreeMap::new();
    for file in files.list(PREFIX)? {
        let Some((level, number)) = read_name(&file) else {
            continue;
        };
        segments.next = segments.next.max(number.saturating_add(1));
        let Some(bytes) = files.read(&file)? else {
            continue;
        };
        match wire::unseal::<Vec<Arc<Fact>>>(&bytes) {
            Ok(read) => {
                let bytes = read.iter().map(|fact| fact.size()).sum();
                segments.files.insert(number, Segment { level, bytes });
                facts.extend(read.into_iter().map(|fact| (fact.id, fact)));
            }
            Err(why) => {
                tracing::error!(
                    "the file {file} in data_dir is damaged and set aside as damaged-{file}: {why}; the facts in it come again from the cluster"
                );
                files.write(&format!("damaged-{file}"), &bytes)?;
                files.remove(&file)?;
            }
        }
    }
    Ok((segments, facts.into_values().collect()))
}

/// Writes a batch.
pub(super) fn write(files: &dyn Files, place: Place, facts: &[Arc<Fact>]) -> io::Result<Done> {
    let mut done = Done::default();
    let mut rest = facts;
    let mut number = place.first;
    while !rest.is_empty() {
        let mut bytes = 0;
        let full = |fact: &Arc<Fact>| {
            bytes += fact.size();
            bytes >= FULL
        };
        let end = rest.iter().position(full).map_or(rest.len(), |at| at + 1);
        let (now, later) = rest.split_at(end);
        let sealed = wire::seal(&now);
        files.write(&name(place.level, number), &sealed)?;
        let segment = Segment {
            level: place.level,
            // By the same measure as what is held: the two are compared.
            bytes: now.iter().map(|fact| fact.size()).sum(),
        };
        done.made.push((number, segment));
        (rest, number) = (later, number + 1);
    }
    Ok(done)
}

/// Merges files: what has expired, or is taken back within them, is left out.
pub(super) fn merge(files: &dyn Files, plan: Plan, now_ms: u64) -> io::Result<Done> {
    let mut all = Vec::new();
    let mut unmade = Vec::new();
    for (number, file) in &plan.old {
        if let Some(bytes) = files.read(&name(file.level, *number))? {
            let facts = wire::unseal::<Vec<Arc<Fact>>>(&bytes);
            // It was good when it was written or read; the start names it and sets it aside.
            all.extend(facts.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?);
        }
        unmade.push(*number);
    }
    let mut kept = FactSet::from(all);
    kept.expire(now_ms, usize::MAX);
    let facts: Vec<Arc<Fact>> = kept.into();
    let mut done = write(files, plan.place, &facts)?;
    for (number, file) in &plan.old {
        files.remove(&name(file.level, *number))?;
    }
    done.unmade = unmade;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::{super::fact::tests::*, *};
    use crate::host::{
        Host,
        memory::{Disk, MemoryHost},
    };

    fn files_of(disk: &Disk) -> Arc<dyn Files> {
        MemoryHost::new(disk.clone(), 1).files()
    }

    fn held(files: &dyn Files) -> Vec<Arc<Fact>> {
        read_all(files).unwrap().1
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_the_rest_is_read() {
        let disk = Disk::default();
        let files = files_of(&disk);
        let mut segments = Segments::default();
        for number in 0..2 {
            let facts = [Arc::new(revocation(number, 100))];
            let place = segments.reserve(&facts);
            segments.note(write(&*files, place, &facts).unwrap());
        }
        let broken = name(0, 0);
        disk.files.lock().unwrap().get_mut(&broken).unwrap()[40] ^= 1;
        assert_eq!(held(&*files), [Arc::new(revocation(1, 100))]);
        assert_eq!(files.list("damaged-").unwrap().len(), 1);
        assert_eq!(held(&*files).len(), 1);
    }

    #[test]
    fn a_merge_leaves_out_what_is_over_and_keeps_the_removals() {
        let disk = Disk::default();
        let files = files_of(&disk);
        let mut segments = Segments::default();
        let fact = revocation(1, 100);
        let batch: Vec<Arc<Fact>> = [fact.clone(), cancel(2, &fact), revocation(3, 50)]
            .map(Arc::new)
            .into();
        for fact in &batch {
            let one = [Arc::clone(fact)];
            let place = segments.reserve(&one);
            segments.note(write(&*files, place, &one).unwrap());
        }
        assert!(segments.plan(usize::MAX / 4).is_none());
        // As if a mebibyte and more of it were over.
        segments
            .files
            .values_mut()
            .for_each(|file| file.bytes = SLACK);
        let plan = segments.plan(0).unwrap();
        segments.note(merge(&*files, plan, 60).unwrap());
        assert_eq!(held(&*files), [Arc::clone(&batch[1])]);
        assert_eq!(segments.files.len(), 1);
    }

    #[test]
    fn a_large_batch_is_several_files_each_small_enough_to_decode() {
        let disk = Disk::default();
        let files = files_of(&disk);
        let mut segments = Segments::default();
        let facts: Vec<_> = (0..60_000).map(|n| Arc::new(revocation(n, 100))).collect();
        let place = segments.reserve(&facts);
        segments.note(write(&*files, place, &facts).unwrap());
        assert!(segments.files.len() > 1);
        assert!(segments.files.keys().all(|number| *number < segments.next));
        for bytes in disk.files.lock().unwrap().values() {
            assert!(bytes.len() < wire::LIMIT / 2);
        }
        assert_eq!(held(&*files).len(), 60_000);
    }

    #[test]
    fn names_that_are_not_ours_are_left_alone() {
        assert_eq!(read_name(&name(3, 7)), Some((3, 7)));
        for other in ["facts-", "facts-x-1", "last-revision", "facts-1"] {
            assert_eq!(read_name(other), None);
        }
    }
}
