//! Every decoder of what peers send, against bytes that no honest peer sends.
//!
//! In: the targets that each part of the crate lists, and the messages of [`crate::corpus`]. With every run of
//! the tests all messages are replayed and a bounded count of changed ones is tried; CONTRIBUTING.md says how
//! to hunt for hours.

pub(crate) use meridian_fuzz::Target;
use meridian_fuzz::{Budget, hunt, memory, replay};

use crate::{bootstrap, consensus, corpus, directory, fabric, facts, membership};

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// Changed messages tried of each target with every run of the tests.
const INPUTS: u64 = 10_000;

/// Files of the corpus that come from the node's own disk alone.
const ON_DISK: [&str; 3] = ["log-id", "log-vote", "revision"];

/// Whether a file's stem is of a target's messages.
fn is_of(stem: &str, target: &str) -> bool {
    let rest = stem.strip_prefix(target);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn targets() -> Vec<Target> {
    let mut targets = fabric::targets();
    targets.extend(membership::targets());
    targets.extend(consensus::targets());
    targets.extend(directory::targets());
    targets.extend(bootstrap::targets());
    targets.extend(facts::targets());
    let files = corpus::files();
    let with_files = |target: Target| {
        let own = files.iter().filter(|(path, _)| {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.is_some_and(|stem| is_of(stem, target.name))
        });
        let own: Vec<Vec<u8>> = own.map(|(_, bytes)| bytes.clone()).collect();
        target.with(own)
    };
    targets.into_iter().map(with_files).collect()
}

#[test]
fn every_message_of_the_corpus_belongs_to_a_target_and_passes_through_it() {
    let targets = targets();
    for path in corpus::files().keys() {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
        let mut names = targets.iter().map(|target| target.name).chain(ON_DISK);
        assert!(names.any(|name| is_of(stem, name)), "{stem} has no target");
    }
    for target in &targets {
        assert!(replay(target) > 1, "{}", target.name);
    }
}

#[test]
fn changed_messages_neither_panic_nor_take_much_memory() {
    let seed = std::env::var("MERIDIAN_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let targets = targets();
    let budget = Budget::of_environment(targets.len(), INPUTS);
    for target in &targets {
        let hunt = hunt(target, seed, budget);
        println!(
            "{}: {} inputs, {} of them new",
            target.name, hunt.inputs, hunt.novel
        );
    }
}
