//! Bytes that no honest peer would send, for the decoders of what peers do send.
//!
//! In: targets, each a decoder and the messages of its corpus. Out: a file with the bytes that made one panic
//! or take more memory than the length of its input allows.
//!
//! It runs on a stable compiler, in the tests of the crate whose decoders it tries: [`replay`] with every run
//! of them, [`hunt`] for a bounded count with every run, and for as long as one likes by hand (CONTRIBUTING.md).
//! Compilers that tell a fuzzer where its input led are nightly ones; what leads it here is how often and how
//! much a decoder allocates, which differs as soon as it gets further ([`memory`]).

#![allow(
    clippy::disallowed_methods,
    reason = "it stands outside of a node and uses the operating system directly"
)]

pub mod corpus;
pub mod memory;
mod mutate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A decoder of foreign bytes.
pub struct Target {
    /// Its name, with which the names of its corpus files begin.
    pub name: &'static str,
    run: fn(&[u8]),
    seeds: Vec<Vec<u8>>,
    constant: usize,
}

/// What a decoder may take of memory at once whatever its input's length. A list whose length lies takes up
/// to 1 MiB before its elements turn out to be missing (serde's bound), and our messages nest three.
const CONSTANT: usize = 4 << 20;

/// What it may take beside for every byte of its input.
const FACTOR: usize = 64;

/// Inputs that did something new and are changed further; a full pool keeps what it has.
const POOL: usize = 4096;

impl Target {
    /// A decoder that takes no more than the usual memory.
    pub fn of(name: &'static str, run: fn(&[u8])) -> Self {
        Self {
            name,
            run,
            seeds: Vec::new(),
            constant: CONSTANT,
        }
    }

    /// The same with so much more memory, whatever the input's length.
    #[must_use]
    pub fn taking(self, bytes: usize) -> Self {
        let constant = self.constant + bytes;
        Self { constant, ..self }
    }

    /// The same with more messages to begin from.
    #[must_use]
    pub fn with(mut self, seeds: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// The same with the files of the corpus that are of its messages.
    #[must_use]
    pub fn with_files(self, files: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let name = self.name;
        let own = files.iter().filter(|(path, _)| is_of(path, name));
        self.with(own.map(|(_, bytes)| bytes.clone()))
    }

    /// Runs it on some bytes; what it did, as far as its memory tells.
    ///
    /// # Panics
    /// When the decoder does, or takes too much: after the bytes were written to a file.
    fn check(&self, bytes: &[u8]) -> memory::Taken {
        let (outcome, taken) =
            memory::measure(|| catch_unwind(AssertUnwindSafe(|| (self.run)(bytes))));
        let bound = self.constant + FACTOR * bytes.len();
        if outcome.is_err() {
            let file = self.keep(bytes);
            panic!("{} panics; its input is in {file}", self.name);
        }
        if taken.peak > bound {
            let file = self.keep(bytes);
            panic!(
                "{} takes {} bytes of memory for an input of {}, more than {bound}; its input is in {file}",
                self.name,
                taken.peak,
                bytes.len()
            );
        }
        taken
    }

    /// Writes an input to a file, to be looked at and added to the corpus.
    fn keep(&self, bytes: &[u8]) -> String {
        let digest = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let folder =
            std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = folder.join(format!("fuzz-{}-{digest:016x}.bin", self.name));
        match fs::write(&path, bytes) {
            Ok(()) => path.display().to_string(),
            Err(error) => bytes
                .iter()
                .fold(format!("(no file: {error}) "), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                }),
        }
    }
}

/// Whether a file of the corpus is of a target's messages: its name is the target's, or begins with it.
pub fn is_of(path: &Path, target: &str) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let rest = stem.and_then(|stem| stem.strip_prefix(target));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Runs a target on every message it begins from. How many there are.
///
/// # Panics
/// When the decoder panics or takes too much memory, or when it has nothing to begin from.
pub fn replay(target: &Target) -> usize {
    assert!(!target.seeds.is_empty(), "{} has no corpus", target.name);
    for seed in &target.seeds {
        target.check(seed);
    }
    target.check(&[]);
    target.seeds.len() + 1
}

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// For so many inputs.
    Inputs(u64),
    /// For so long.
    Time(Duration),
}

impl Budget {
    /// The time that `MERIDIAN_FUZZ_SECONDS` gives to all of so many targets together, or so many inputs each.
    ///
    /// # Panics
    /// When the variable is no number.
    pub fn of_environment(targets: usize, inputs: u64) -> Self {
        let Ok(seconds) = std::env::var("MERIDIAN_FUZZ_SECONDS") else {
            return Self::Inputs(inputs);
        };
        let seconds: u64 = seconds.parse().expect("MERIDIAN_FUZZ_SECONDS is a number");
        let targets = u32::try_from(targets.max(1)).unwrap_or(u32::MAX);
        Self::Time(Duration::from_secs(seconds) / targets)
    }
}

/// Replays every target's messages, and sees to it that each file of the corpus is some target's, or of a kind
/// that never comes from the network.
///
/// # Panics
/// When a file is nobody's, or as of [`replay`].
pub fn replay_all(targets: &[Target], files: &BTreeMap<PathBuf, Vec<u8>>, on_disk: &[&str]) {
    for path in files.keys() {
        let names = targets.iter().map(|target| target.name);
        let known = names.chain(on_disk.iter().copied());
        assert!(
            known.into_iter().any(|name| is_of(path, name)),
            "{} has no target",
            path.display()
        );
    }
    for target in targets {
        replay(target);
    }
}

/// Hunts through every target: so many inputs each, or for the time that the environment gives; prints what
/// each hunt did.
///
/// # Panics
/// As of [`hunt`].
pub fn hunt_all(targets: &[Target], inputs: u64) {
    let seed = std::env::var("MERIDIAN_FUZZ_SEED").map_or(1, |seed| {
        seed.parse().expect("MERIDIAN_FUZZ_SEED is a number")
    });
    let budget = Budget::of_environment(targets.len(), inputs);
    for target in targets {
        let hunt = hunt(target, seed, budget);
        println!(
            "{}: {} inputs, {} of them new",
            target.name, hunt.inputs, hunt.novel
        );
    }
}

/// What a hunt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hunt {
    /// Inputs tried.
    pub inputs: u64,
    /// Inputs that did something that none had done before.
    pub novel: usize,
}

/// Changes the messages of a target's corpus, and what comes of them, until the budget is spent. One seed
/// tries the same inputs again.
///
/// # Panics
/// When the decoder panics or takes too much memory.
pub fn hunt(target: &Target, seed: u64, budget: Budget) -> Hunt {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pool = target.seeds.clone();
    pool.push(Vec::new());
    let mut seen: BTreeSet<memory::Taken> = pool.iter().map(|seed| target.check(seed)).collect();
    let mut hunt = Hunt {
        inputs: 0,
        novel: 0,
    };
    let began = Instant::now();
    let spent = |inputs: u64| match budget {
        Budget::Inputs(most) => inputs >= most,
        Budget::Time(time) => inputs.is_multiple_of(256) && began.elapsed() >= time,
    };
    while !spent(hunt.inputs) {
        hunt.inputs += 1;
        let at = random.random_range(0..pool.len());
        let other = random.random_range(0..pool.len());
        let mut input = pool[at].clone();
        mutate::change(&mut input, &pool[other], &mut random);
        let taken = target.check(&input);
        if pool.len() < POOL && seen.insert(taken) {
            hunt.novel += 1;
            pool.push(input);
        }
    }
    hunt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static MEMORY: memory::Counting = memory::Counting;

    /// Three steps deep: what none of the seeds comes near.
    fn picky(bytes: &[u8]) {
        let [1, length, rest @ ..] = bytes else {
            return;
        };
        let Some(text) = rest.get(..usize::from(*length)) else {
            return;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        let rest = &rest[text.len().min(rest.len())..];
        if rest.first() == Some(&200) {
            let copied = rest.to_vec();
            assert!(copied.get(1) != Some(&255), "found");
        }
    }

    #[test]
    fn a_panic_behind_several_conditions_is_found() {
        let target = Target::of("picky", picky).with([vec![1, 3, b'a', b'b', b'c', 7, 7]]);
        assert_eq!(replay(&target), 2);
        let found = catch_unwind(|| hunt(&target, 1, Budget::Inputs(200_000)));
        let says = found.unwrap_err();
        let says = says.downcast_ref::<String>().unwrap();
        assert!(says.starts_with("picky panics"), "{says}");
    }

    #[test]
    fn memory_that_an_input_does_not_account_for_is_found() {
        let greedy = Target::of("greedy", |bytes| {
            if let [length, ..] = bytes {
                drop(Vec::<u8>::with_capacity(usize::from(*length) << 16));
            }
        });
        let target = greedy.with([vec![1]]);
        let found = catch_unwind(|| hunt(&target, 1, Budget::Inputs(10_000)));
        let says = found.unwrap_err();
        let says = says.downcast_ref::<String>().unwrap();
        assert!(says.contains("bytes of memory for an input of"), "{says}");
    }

    #[test]
    fn one_seed_tries_the_same_inputs() {
        let target = Target::of("copy", |bytes| drop(bytes.to_vec())).with([vec![1, 2, 3]]);
        let hunts = [7, 7].map(|seed| hunt(&target, seed, Budget::Inputs(2_000)));
        assert_eq!(hunts[0], hunts[1]);
        assert!(hunts[0].novel > 5, "{hunts:?}");
    }
}
