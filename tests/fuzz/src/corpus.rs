//! What nodes say to each other, byte for byte: one file a kind of message and version.
//!
//! In: a sample of every kind, as it is encoded now, and a folder. Out: whether both are the same: every sample
//! has its file, the file decodes to the sample, and the sample encodes to the file. Files of a version that was
//! released are never written again.
//!
//! With `MERIDIAN_BLESS=1` the files of new messages and of the newest version are written; with `all` those of
//! older versions too, which only a form that no release has had may need.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// One kind of message in the form that one version gave it.
pub struct Sample {
    /// Its file: the type, the variant.
    pub name: String,
    /// The version that gave it this form.
    pub version: u8,
    /// As it is encoded now.
    pub bytes: Vec<u8>,
    /// Decodes some bytes and encodes them again.
    pub again: fn(&[u8]) -> Result<Vec<u8>, String>,
}

/// A list of (name of the variant, sample) for every variant of an enum. A variant without a sample does not
/// compile.
#[macro_export]
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

/// `AppendEntries` as a file's name has it.
pub fn kebab(variant: &str) -> String {
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The files in a folder with a folder for each version up to `newest`.
///
/// # Panics
/// When a file cannot be read.
pub fn files(folder: &Path, newest: u8) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = (1..=newest).map(|version| folder.join(format!("v{version}")));
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok());
    let paths = entries.flatten().map(|entry| match entry {
        Ok(entry) => entry.path(),
        Err(error) => panic!("{} cannot be listed: {error}", folder.display()),
    });
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => (path, bytes),
        Err(error) => panic!("{} cannot be read: {error}", path.display()),
    };
    paths.map(read).collect()
}

/// Compares samples with the files of a folder.
///
/// # Panics
/// When they differ, or a file has no sample.
pub fn compare(folder: &Path, newest: u8, samples: Vec<Sample>) {
    let bless = std::env::var("MERIDIAN_BLESS").unwrap_or_default();
    let mut known = files(folder, newest);
    for sample in samples {
        let name = &sample.name;
        let path = folder.join(format!("v{}/{name}.bin", sample.version));
        let writable = bless == "all" || sample.version == newest;
        let bytes = match known.remove(&path) {
            Some(bytes) if bless.is_empty() || !writable => bytes,
            _ if !bless.is_empty() => {
                write(&path, &sample.bytes);
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

fn write(path: &Path, bytes: &[u8]) {
    let folder = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes));
    if let Err(error) = written {
        panic!("{} cannot be written: {error}", path.display());
    }
}
