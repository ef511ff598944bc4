//! Every decoder of what peers send, against bytes that no honest peer sends.
//!
//! In: the targets that each part of the crate lists, and the messages of [`crate::corpus`]. With every run of
//! the tests all messages are replayed and a bounded count of changed ones is tried; CONTRIBUTING.md says how
//! to hunt for hours.

pub(crate) use meridian_fuzz::Target;
use meridian_fuzz::{hunt_all, memory, replay_all};

use crate::{bootstrap, consensus, corpus, directory, fabric, facts, membership, quota};

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// Changed messages tried of each target with every run of the tests.
const INPUTS: u64 = 10_000;

/// Files of the corpus that come from the node's own disk alone.
const ON_DISK: [&str; 3] = ["log-id", "log-vote", "revision"];

fn targets() -> Vec<Target> {
    let mut targets = fabric::targets();
    targets.extend(membership::targets());
    targets.extend(consensus::targets());
    targets.extend(directory::targets());
    targets.extend(bootstrap::targets());
    targets.extend(facts::targets());
    targets.extend(quota::targets());
    let files = corpus::files();
    let targets = targets.into_iter();
    targets.map(|target| target.with_files(&files)).collect()
}

#[test]
fn every_message_of_the_corpus_belongs_to_a_target_and_passes_through_it() {
    replay_all(&targets(), &corpus::files(), &ON_DISK);
}

#[test]
fn changed_messages_neither_panic_nor_take_much_memory() {
    hunt_all(&targets(), INPUTS);
}
