//! How log entries lie in sled: keys in order, values in chunks that stay small.
//!
//! In: entries. Out: keys and values, and entries again. Shell: [`super::store::SledStore`].
//!
//! ```text
//! GROUP 0 'e' index(8, big-endian) chunk(4, big-endian)   chunk 0: count(4) bytes; others: bytes
//! GROUP 0 'm' NAME                                        the marker's value
//! 0 "flushes"                                             how often it was flushed(8)
//! ```
//! Chunk 0 is the head: written last and removed first, so that an entry exists whole or not at all
//! wherever a crash cuts the sequence of writes.

use std::{cmp::Reverse, ops::RangeInclusive};

use bytes::BytesMut;

use crate::host::{Entry, GroupId};

/// The most bytes of an entry in one value.
///
/// A value of over 128 KiB, or a leaf of sled's tree over that, becomes a blob, a file of its own that
/// sled never syncs. A leaf is split above 16 values and may gain a few more by a merge: 24 values of
/// this size are 96 KiB.
pub(super) const CHUNK: usize = 4096;

/// How often the store was flushed; no group's name begins so.
pub(super) const FLUSHES: &[u8] = b"\0flushes";

/// An entry whose head promises more chunks than are there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("log entry {index} has lost a part")]
pub(super) struct Torn {
    index: u64,
}

/// Keys and values of an entry, the head first.
pub(super) fn chunks(group: GroupId, entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut parts: Vec<&[u8]> = entry.bytes.chunks(CHUNK).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let count = u32::try_from(parts.len()).expect("an entry is far below 16 TiB");
    (0..count)
        .zip(parts)
        .map(|(number, part)| {
            let mut value = Vec::with_capacity(4 + part.len());
            if number == 0 {
                value.extend_from_slice(&count.to_be_bytes());
            }
            value.extend_from_slice(part);
            (entry_key(group, entry.index, number), value)
        })
        .collect()
}

/// The keys of all chunks of the entries `first` to `last`.
pub(super) fn entry_range(group: GroupId, first: u64, last: u64) -> RangeInclusive<Vec<u8>> {
    entry_key(group, first, 0)..=entry_key(group, last, u32::MAX)
}

/// The key of a marker.
pub(super) fn marker(group: GroupId, name: &str) -> Vec<u8> {
    let mut key = prefix(group, b'm');
    key.extend_from_slice(name.as_bytes());
    key
}

/// The index of the entry whose head this key is; `None` for its other chunks.
pub(super) fn head_index(key: &[u8]) -> Option<u64> {
    match place(key) {
        (index, 0) => Some(index),
        _ => None,
    }
}

/// Orders the keys of entries for their removal from the end backward, so that a crash in between leaves no
/// hole; of each entry the head first, so that it leaves none torn.
pub(super) fn order_for_truncation<K: AsRef<[u8]>>(keys: &mut [K]) {
    keys.sort_by_key(|key| {
        let (index, chunk) = place(key.as_ref());
        (Reverse(index), chunk)
    });
}

/// Entries out of records in the order of their keys. Chunks without a head are skipped.
pub(super) fn assemble<K, V>(records: impl IntoIterator<Item = (K, V)>) -> Result<Vec<Entry>, Torn>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut entries = Vec::new();
    let mut records = records.into_iter().peekable();
    while let Some((key, value)) = records.next() {
        let (index, 0) = place(key.as_ref()) else {
            continue;
        };
        let (count, part) = value
            .as_ref()
            .split_first_chunk::<4>()
            .ok_or(Torn { index })?;
        let count = u32::from_be_bytes(*count);
        let mut bytes = BytesMut::from(part);
        for number in 1..count {
            let (_, part) = records
                .next_if(|(key, _)| place(key.as_ref()) == (index, number))
                .ok_or(Torn { index })?;
            bytes.extend_from_slice(part.as_ref());
        }
        entries.push(Entry {
            index,
            bytes: bytes.freeze(),
        });
    }
    Ok(entries)
}

fn prefix(group: GroupId, kind: u8) -> Vec<u8> {
    let mut key = group.name().as_bytes().to_vec();
    key.extend_from_slice(&[0, kind]);
    key
}

fn entry_key(group: GroupId, index: u64, chunk: u32) -> Vec<u8> {
    let mut key = prefix(group, b'e');
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Index and chunk number of an entry's key.
fn place(key: &[u8]) -> (u64, u32) {
    let (rest, chunk) = key
        .split_last_chunk::<4>()
        .expect("only keys made by entry_key come here");
    let (_, index) = rest
        .split_last_chunk::<8>()
        .expect("only keys made by entry_key come here");
    (u64::from_be_bytes(*index), u32::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn entry(index: u64, bytes: Vec<u8>) -> Entry {
        Entry {
            index,
            bytes: Bytes::from(bytes),
        }
    }

    #[test]
    fn a_lost_chunk_is_reported() {
        let mut records = chunks(GroupId::Directory, &entry(3, vec![1; CHUNK * 2]));
        records.pop();
        assert_eq!(assemble(records), Err(Torn { index: 3 }));
    }

    #[test]
    fn chunks_without_a_head_are_no_entry() {
        let mut records = chunks(GroupId::Directory, &entry(3, vec![1; CHUNK * 2]));
        records.remove(0);
        records.extend(chunks(GroupId::Directory, &entry(4, vec![2])));
        assert_eq!(assemble(records), Ok(vec![entry(4, vec![2])]));
    }

    proptest! {
        #[test]
        fn a_truncation_cut_anywhere_leaves_a_beginning_of_the_entries(
            lengths in prop::collection::vec(0..3 * CHUNK, 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let entries: Vec<Entry> = (1..)
                .zip(lengths)
                .map(|(index, length)| entry(index, vec![7; length]))
                .collect();
            let mut records: std::collections::BTreeMap<_, _> = entries
                .iter()
                .flat_map(|entry| chunks(GroupId::Directory, entry))
                .collect();
            let mut keys: Vec<_> = records.keys().cloned().collect();
            order_for_truncation(&mut keys);
            for key in &keys[..cut.index(keys.len())] {
                records.remove(key);
            }
            let left = assemble(records).unwrap();
            prop_assert_eq!(&left[..], &entries[..left.len()]);
        }

        #[test]
        fn entries_come_back_as_they_went(
            entries in prop::collection::btree_map(any::<u64>(), 0..3 * CHUNK, 0..5),
        ) {
            let entries: Vec<Entry> = entries
                .into_iter()
                .map(|(index, length)| entry(index, vec![index.to_be_bytes()[7]; length]))
                .collect();
            let records: Vec<_> = entries
                .iter()
                .flat_map(|entry| chunks(GroupId::Directory, entry))
                .collect();
            prop_assert!(records.is_sorted());
            prop_assert!(records.iter().all(|(_, value)| value.len() <= CHUNK + 4));
            prop_assert_eq!(assemble(records), Ok(entries));
        }
    }
}
