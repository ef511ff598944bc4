//! What every [`LogStore`] promises, as one test that each implementation runs.
//!
//! In: a maker of empty stores. Out: nothing, or a panic that says which promise broke. It is not test
//! code of this crate alone: the simulator's twin runs the same suite, or it would prove nothing.

use std::sync::Arc;

use super::{Entry, GroupId, LogStore};

/// Opens one store again and again. The handle before is dropped first.
pub type Opener = Box<dyn Fn() -> Arc<dyn LogStore>>;

/// Checks a kind of store; `empty` makes a store with nothing in it and gives its opener.
///
/// # Panics
/// Where a promise does not hold.
pub fn check(empty: &dyn Fn() -> Opener) {
    an_empty_store_has_nothing(&empty());
    entries_come_back_in_order(&empty());
    a_read_of_a_range_gives_what_exists(&empty());
    an_append_replaces(&empty());
    truncate_takes_the_end(&empty());
    purge_takes_the_beginning(&empty());
    a_log_purged_whole_goes_on(&empty());
    markers_are_replaced(&empty());
    groups_lie_apart(&empty());
    large_and_empty_entries_pass(&empty());
    what_was_flushed_is_there_after_reopening(&empty());
    truncate_and_purge_last(&empty());
}

const GROUP: GroupId = GroupId::Directory;

fn entry(index: u64, text: &str) -> Entry {
    Entry {
        index,
        bytes: text.to_owned().into(),
    }
}

fn entries(indices: impl Iterator<Item = u64>) -> Vec<Entry> {
    indices
        .map(|index| entry(index, &format!("entry {index}")))
        .collect()
}

fn append(store: &dyn LogStore, entries: &[Entry]) {
    store.append(GROUP, entries).expect("append");
}

fn all(store: &dyn LogStore) -> Vec<Entry> {
    store.read(GROUP, 0..=u64::MAX).expect("read")
}

fn bounds(store: &dyn LogStore) -> Option<(u64, u64)> {
    store.bounds(GROUP).expect("bounds")
}

fn an_empty_store_has_nothing(open: &Opener) {
    let store = open();
    assert_eq!(all(&*store), []);
    assert_eq!(bounds(&*store), None);
    assert_eq!(store.marker(GROUP, "vote").expect("marker"), None);
    store.truncate(GROUP, 0).expect("truncate nothing");
    store.purge(GROUP, 9).expect("purge nothing");
    store.flush().expect("flush nothing");
}

fn entries_come_back_in_order(open: &Opener) {
    let store = open();
    // Past 255 an order of bytes and an order of numbers part, unless keys are big-endian.
    append(&*store, &entries(250..=260));
    append(&*store, &entries(261..=262));
    assert_eq!(all(&*store), entries(250..=262));
    assert_eq!(bounds(&*store), Some((250, 262)));
}

fn a_read_of_a_range_gives_what_exists(open: &Opener) {
    let store = open();
    append(&*store, &entries(5..=9));
    let read = |range| store.read(GROUP, range).expect("read");
    assert_eq!(read(6..=7), entries(6..=7));
    assert_eq!(read(0..=5), entries(5..=5));
    assert_eq!(read(9..=40), entries(9..=9));
    assert_eq!(read(10..=40), []);
    #[allow(
        clippy::reversed_empty_ranges,
        reason = "an empty range is a question too"
    )]
    let none = read(7..=6);
    assert_eq!(none, []);
}

fn an_append_replaces(open: &Opener) {
    let store = open();
    append(&*store, &[entry(1, &"long ".repeat(5000)), entry(2, "two")]);
    append(&*store, &[entry(1, "short")]);
    assert_eq!(all(&*store), [entry(1, "short"), entry(2, "two")]);
}

fn truncate_takes_the_end(open: &Opener) {
    let store = open();
    append(&*store, &entries(1..=9));
    store.truncate(GROUP, 7).expect("truncate");
    assert_eq!(all(&*store), entries(1..=6));
    assert_eq!(bounds(&*store), Some((1, 6)));
    append(&*store, &[entry(7, "another seven")]);
    assert_eq!(bounds(&*store), Some((1, 7)));
    store.truncate(GROUP, 0).expect("truncate all");
    assert_eq!(bounds(&*store), None);
}

fn purge_takes_the_beginning(open: &Opener) {
    let store = open();
    append(&*store, &entries(1..=9));
    store.purge(GROUP, 3).expect("purge");
    assert_eq!(all(&*store), entries(4..=9));
    assert_eq!(bounds(&*store), Some((4, 9)));
}

fn a_log_purged_whole_goes_on(open: &Opener) {
    let store = open();
    append(&*store, &entries(1..=4));
    store.purge(GROUP, 4).expect("purge");
    assert_eq!(bounds(&*store), None);
    append(&*store, &entries(5..=6));
    assert_eq!(bounds(&*store), Some((5, 6)));
}

fn markers_are_replaced(open: &Opener) {
    let store = open();
    store
        .set_marker(GROUP, "vote", b"term 1")
        .expect("set marker");
    store
        .set_marker(GROUP, "vote", b"term 2")
        .expect("set marker");
    store
        .set_marker(GROUP, "committed", b"")
        .expect("set marker");
    let marker = |name| store.marker(GROUP, name).expect("marker");
    assert_eq!(marker("vote").as_deref(), Some(&b"term 2"[..]));
    assert_eq!(marker("committed").as_deref(), Some(&b""[..]));
    assert_eq!(marker("vot"), None);
    assert_eq!(bounds(&*store), None, "a marker is no entry");
}

fn groups_lie_apart(open: &Opener) {
    let store = open();
    append(&*store, &entries(1..=4));
    let other = GroupId::Ledger;
    assert_eq!(store.bounds(other).expect("bounds"), None);
    store
        .append(other, &[entry(3, "other"), entry(4, "other")])
        .expect("append");
    store.set_marker(GROUP, "vote", b"a").expect("marker");
    store.set_marker(other, "vote", b"b").expect("marker");
    store.truncate(other, 4).expect("truncate");
    store.purge(GROUP, 2).expect("purge");
    store.flush().expect("flush");
    drop(store);
    let store = open();
    assert_eq!(bounds(&*store), Some((3, 4)));
    assert_eq!(store.bounds(other).expect("bounds"), Some((3, 3)));
    assert_eq!(all(&*store), entries(3..=4));
    let vote = |group| store.marker(group, "vote").expect("marker").expect("set");
    assert_eq!((&vote(GROUP)[..], &vote(other)[..]), (&b"a"[..], &b"b"[..]));
}

fn large_and_empty_entries_pass(open: &Opener) {
    let store = open();
    let large: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let written = [
        entry(1, ""),
        Entry {
            index: 2,
            bytes: large.into(),
        },
        entry(3, "after"),
    ];
    append(&*store, &written);
    assert_eq!(all(&*store), written);
    store.flush().expect("flush");
    drop(store);
    assert_eq!(all(&*open()), written);
}

fn what_was_flushed_is_there_after_reopening(open: &Opener) {
    for round in 0..4 {
        let store = open();
        assert_eq!(all(&*store), entries(0..round * 3));
        append(&*store, &entries(round * 3..round * 3 + 3));
        let name = format!("marker {round}");
        store
            .set_marker(GROUP, "vote", name.as_bytes())
            .expect("set marker");
        store.flush().expect("flush");
        drop(store);
        let vote = open().marker(GROUP, "vote").expect("marker");
        assert_eq!(vote.as_deref(), Some(name.as_bytes()));
    }
}

fn truncate_and_purge_last(open: &Opener) {
    let store = open();
    append(&*store, &entries(1..=20));
    store.flush().expect("flush");
    store.truncate(GROUP, 16).expect("truncate");
    store.purge(GROUP, 5).expect("purge");
    store.flush().expect("flush");
    drop(store);
    let store = open();
    assert_eq!(all(&*store), entries(6..=15));
    append(&*store, &[entry(16, "another sixteen")]);
    store.flush().expect("flush");
    drop(store);
    assert_eq!(bounds(&*open()), Some((6, 16)));
}
