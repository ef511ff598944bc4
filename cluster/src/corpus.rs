//! What nodes say to each other, byte for byte: one file a kind of message and version, under
//! `cluster/tests/corpus`. The files of a version that was released are never written again.
//!
//! A part of the crate lists a sample of each of its kinds ([`Sample`]) where it can see them. The tests here
//! compare: every sample has its file, the file decodes to the sample, and the sample encodes to the file.
//! [`crate::fuzz`] begins from the same files.
//!
//! `MERIDIAN_BLESS=1 cargo nextest run -p meridian-cluster corpus` writes the files of new messages and of the
//! newest version; with `all` those of older versions too, which only a form that no release has had may need.

#![allow(
    clippy::disallowed_methods,
    reason = "the corpus lies in the repository, outside of any node"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bootstrap, consensus, directory, fabric, facts, membership,
    version::{FIRST, Versions},
    wire,
};

/// One kind of message in the form that one version gave it.
pub(crate) struct Sample {
    /// Its file: the part of the crate, the type, the variant.
    pub(crate) name: String,
    /// The version that gave it this form.
    pub(crate) version: u8,
    /// As it is encoded now.
    pub(crate) bytes: Vec<u8>,
    /// Decodes some bytes and encodes them again.
    pub(crate) again: fn(&[u8]) -> Result<Vec<u8>, String>,
}

impl Sample {
    /// A message that only ever had one form, encoded by [`wire`].
    pub(crate) fn first<T: Serialize + DeserializeOwned>(name: &str, value: &T) -> Self {
        Self {
            name: name.to_owned(),
            version: FIRST,
            bytes: wire::encode(value),
            again: |bytes| {
                let value = wire::decode::<T>(bytes).map_err(|why| why.to_string())?;
                Ok(wire::encode(&value))
            },
        }
    }
}

/// A list of (name of the variant, sample) for every variant of an enum. A variant without a sample does not
/// compile.
macro_rules! every {
    ($kind:ty { $($variant:ident => $sample:expr),+ $(,)? }) => {{
        type It = $kind;
        let _exhaustive = |value: &It| match value {
            $(It::$variant { .. } => {})+
        };
        let samples: Vec<(&'static str, $kind)> = vec![$((stringify!($variant), $sample)),+];
        samples
    }};
}
pub(crate) use every;

/// Samples of every variant of an enum that only ever had one form.
pub(crate) fn all<T: Serialize + DeserializeOwned>(
    name: &str,
    variants: Vec<(&'static str, T)>,
) -> Vec<Sample> {
    let named = variants.into_iter();
    named
        .map(|(variant, value)| Sample::first(&format!("{name}-{}", kebab(variant)), &value))
        .collect()
}

/// `AppendEntries` as a file's name has it.
pub(crate) fn kebab(variant: &str) -> String {
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Every kind of message, by the part of the crate that sends it.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = fabric::samples();
    samples.extend(membership::samples());
    samples.extend(consensus::samples());
    samples.extend(directory::samples());
    samples.extend(bootstrap::samples());
    samples.extend(facts::samples());
    samples
}

/// The file of a sample.
fn file(sample: &Sample) -> PathBuf {
    let name = format!("v{}/{}.bin", sample.version, sample.name);
    folder().join(name)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The files there are.
pub(crate) fn files() -> BTreeMap<PathBuf, Vec<u8>> {
    let versions = 1..=Versions::THIS_RELEASE.newest;
    let folders = versions.map(|version| folder().join(format!("v{version}")));
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok());
    let paths = entries.flatten().map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_kind_of_message_is_in_the_corpus_and_reads_back_from_it() {
    let bless = std::env::var("MERIDIAN_BLESS").unwrap_or_default();
    let mut known = files();
    for sample in samples() {
        let (name, path) = (&sample.name, file(&sample));
        let newest = Versions::THIS_RELEASE.newest;
        let writable = bless == "all" || sample.version == newest;
        let bytes = match known.remove(&path) {
            Some(bytes) if bless.is_empty() || !writable => bytes,
            _ if !bless.is_empty() => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &sample.bytes).unwrap();
                sample.bytes.clone()
            }
            _ => panic!(
                "{name} has no file {}; CONTRIBUTING.md says how a message is added",
                path.display()
            ),
        };
        assert!(
            bytes == sample.bytes,
            "{name} looks different from {}: nodes that run today would not read it; CONTRIBUTING.md says how a message is changed",
            path.display()
        );
        let again = (sample.again)(&bytes);
        assert_eq!(again.as_ref(), Ok(&bytes), "{name} reads back");
    }
    let left: Vec<_> = known.keys().collect();
    assert!(left.is_empty(), "no message has these files: {left:?}");
}
