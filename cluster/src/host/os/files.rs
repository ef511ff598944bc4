//! Small atomic files in a folder of the operating system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::host::Files;

/// [`Files`] over a folder.
pub(super) struct OsFiles {
    folder: PathBuf,
}

/// Prefix of files that are being written; a crash may leave one behind, and the next write of the same
/// name replaces it.
const UNFINISHED: &str = ".unfinished-";

impl OsFiles {
    /// Opens the folder; creates it where it is missing, and proves that it can be written.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        create_private_folder(folder)?;
        let files = Self {
            folder: folder.to_owned(),
        };
        files.write("writable", b"this folder can be written\n")?;
        Ok(files)
    }

    fn place(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if plain {
            Ok(self.folder.join(name))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is not a name for a file of the node"),
            ))
        }
    }
}

impl Files for OsFiles {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.place(name)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(name)?;
        let unfinished = self.folder.join(format!("{UNFINISHED}{name}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &place)?;
        sync_folder(&self.folder)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.place(name)?) {
            Ok(()) => sync_folder(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.starts_with(prefix)
                && !name.starts_with(UNFINISHED)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Creates a folder that only its owner may enter, and makes its name durable.
pub(super) fn create_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    folder.parent().map_or(Ok(()), |parent| {
        if parent.as_os_str().is_empty() {
            Ok(())
        } else {
            sync_folder(parent)
        }
    })
}

/// Takes an exclusive lock on a file until the handle is dropped; `WouldBlock` where it is held.
pub(super) fn lock(place: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(place)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
