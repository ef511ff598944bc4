//! What a disk keeps and loses, and what it does while something is wrong with it.

use super::*;
use crate::world::Seed;

const GROUP: GroupId = GroupId::Directory;

fn entry(index: u64) -> Entry {
    Entry {
        index,
        bytes: Bytes::from(index.to_string()),
    }
}

#[test]
fn a_crash_keeps_what_was_synced_and_some_prefix_of_the_rest() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = Disk::default();
        disk.append(GROUP, &[entry(1), entry(2)]).unwrap();
        disk.flush().unwrap();
        for index in 3..=6 {
            disk.append(GROUP, &[entry(index)]).unwrap();
        }
        disk.crash(&mut Seed(seed).stream("disk"));
        let (first, last) = disk.bounds(GROUP).unwrap().unwrap();
        assert_eq!(first, 1);
        assert_eq!(disk.lost(), 6 - last);
        let entries = LogStore::read(&disk, GROUP, 0..=u64::MAX).unwrap();
        assert_eq!(entries, (1..=last).map(entry).collect::<Vec<_>>());
        kept.insert(last);
    }
    assert_eq!(kept, (2..=6).collect());
}

/// What a crash may leave of a log of 1 to 6 with a change that was not synced: first and last entry.
fn left_of(change: impl Fn(&Disk)) -> std::collections::BTreeSet<(u64, u64)> {
    let left = |seed| {
        let disk = Disk::default();
        let all: Vec<Entry> = (1..=6).map(entry).collect();
        disk.append(GROUP, &all).unwrap();
        disk.flush().unwrap();
        change(&disk);
        disk.crash(&mut Seed(seed).stream("disk"));
        let (first, last) = disk.bounds(GROUP).unwrap().unwrap();
        let entries = LogStore::read(&disk, GROUP, 0..=u64::MAX).unwrap();
        let whole: Vec<Entry> = (first..=last).map(entry).collect();
        assert_eq!(entries, whole, "there is a hole");
        (first, last)
    };
    (0..100).map(left).collect()
}

#[test]
fn a_crash_in_the_middle_of_a_write_leaves_a_part_of_it_and_no_hole() {
    let appended = left_of(|disk| disk.append(GROUP, &[entry(7), entry(8), entry(9)]).unwrap());
    assert_eq!(appended, [(1, 6), (1, 7), (1, 8), (1, 9)].into());
    let truncated = left_of(|disk| disk.truncate(GROUP, 4).unwrap());
    assert_eq!(truncated, [(1, 3), (1, 4), (1, 5), (1, 6)].into());
    let purged = left_of(|disk| disk.purge(GROUP, 3).unwrap());
    assert_eq!(purged, [(1, 6), (2, 6), (3, 6), (4, 6)].into());
}

#[test]
fn a_full_disk_refuses_writes_and_still_reads() {
    let disk = Disk::default();
    disk.set_marker(GROUP, "vote", b"1").unwrap();
    disk.set_trouble(DiskTrouble {
        full: true,
        ..DiskTrouble::default()
    });
    assert!(disk.set_marker(GROUP, "vote", b"2").is_err());
    assert!(disk.write("incarnation", b"2").is_err());
    let vote = disk.marker(GROUP, "vote").unwrap();
    assert_eq!(vote.as_deref(), Some(&b"1"[..]));
    assert_eq!(disk.touched().refused, 2);
}

#[test]
fn an_unreadable_disk_fails_every_read_and_is_no_damaged_one() {
    let disk = Disk::default();
    disk.set_marker(GROUP, "vote", b"1").unwrap();
    disk.set_trouble(DiskTrouble {
        unreadable: true,
        ..DiskTrouble::default()
    });
    assert!(matches!(disk.open().err(), Some(StoreError::Io { .. })));
    assert!(disk.marker(GROUP, "vote").is_err());
    assert!(LogStore::read(&disk, GROUP, 0..=1).is_err());
    assert!(Files::read(&disk, "incarnation").is_err());
    assert_eq!(disk.touched().failed, 4);
}

#[test]
fn a_flipped_bit_of_the_log_is_found_when_it_is_opened_and_the_log_can_be_set_aside() {
    let disk = Disk::default();
    let mut random = Seed(1).stream("disk");
    assert_eq!(disk.flip_a_bit(Part::Log, &mut random), None);
    disk.append(GROUP, &[entry(1)]).unwrap();
    disk.flush().unwrap();
    assert!(disk.open().is_ok());
    assert!(disk.flip_a_bit(Part::Log, &mut random).is_some());
    let found = disk.open().err();
    assert!(
        matches!(found, Some(StoreError::Damaged { .. })),
        "{found:?}"
    );
    assert!(disk.set_log_aside().ends_with("log.damaged-1"));
    assert_eq!(disk.open().unwrap().bounds(GROUP).unwrap(), None);
}

#[test]
fn a_flipped_bit_of_a_file_is_one_bit() {
    let disk = Disk::default();
    let mut random = Seed(1).stream("disk");
    assert_eq!(disk.flip_a_bit(Part::Files, &mut random), None);
    disk.write("identity", &[0; 9]).unwrap();
    disk.write("empty", &[]).unwrap();
    let what = disk.flip_a_bit(Part::Files, &mut random);
    assert_eq!(what.as_deref(), Some("a bit of identity"));
    let bytes = Files::read(&disk, "identity").unwrap().unwrap();
    let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(flipped, 1);
    assert!(disk.open().is_ok());
}

#[test]
fn truncate_and_purge_take_their_side_of_the_index() {
    let disk = Disk::default();
    let entries: Vec<Entry> = (1..=9).map(entry).collect();
    disk.append(GROUP, &entries).unwrap();
    disk.truncate(GROUP, 8).unwrap();
    disk.purge(GROUP, 3).unwrap();
    assert_eq!(disk.bounds(GROUP).unwrap(), Some((4, 7)));
}
