//! What nodes say to each other, byte for byte: `cluster/tests/corpus` has a file for every kind of message and
//! version, and each part of the crate a sample of it, in its `samples`.
//!
//! [`crate::fuzz`] begins from the same files. CONTRIBUTING.md says how a message is added and changed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub(crate) use meridian_fuzz::{
    corpus::{Sample, kebab},
    every,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bootstrap, consensus, directory, fabric, facts, membership, quota,
    version::{FIRST, Versions},
    wire,
};

/// A message that only ever had one form, encoded by [`wire`].
pub(crate) fn first<T: Serialize + DeserializeOwned>(name: &str, value: &T) -> Sample {
    Sample {
        name: name.to_owned(),
        version: FIRST,
        bytes: wire::encode(value),
        again: |bytes| {
            let value = wire::decode::<T>(bytes).map_err(|why| why.to_string())?;
            Ok(wire::encode(&value))
        },
    }
}

/// Samples of every variant of an enum that only ever had one form.
pub(crate) fn all<T: Serialize + DeserializeOwned>(
    name: &str,
    variants: Vec<(&'static str, T)>,
) -> Vec<Sample> {
    let named = variants.into_iter();
    named
        .map(|(variant, value)| first(&format!("{name}-{}", kebab(variant)), &value))
        .collect()
}

fn samples() -> Vec<Sample> {
    let mut samples = fabric::samples();
    samples.extend(membership::samples());
    samples.extend(consensus::samples());
    samples.extend(directory::samples());
    samples.extend(bootstrap::samples());
    samples.extend(facts::samples());
    samples.extend(quota::samples());
    samples
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The files there are.
pub(crate) fn files() -> BTreeMap<PathBuf, Vec<u8>> {
    meridian_fuzz::corpus::files(&folder(), Versions::THIS_RELEASE.newest)
}

#[test]
fn every_kind_of_message_is_in_the_corpus_and_reads_back_from_it() {
    let newest = Versions::THIS_RELEASE.newest;
    meridian_fuzz::corpus::compare(&folder(), newest, samples());
}
