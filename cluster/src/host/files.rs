//! Small files that are replaced whole or not at all.

use std::io;

/// A flat folder of small files, each written atomically and durably.
///
/// Names match `[a-z0-9._-]+`. All methods block: call them through [`super::blocking`].
pub trait Files: Send + Sync + 'static {
    /// The file's bytes, or `None` where there is no such file.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the file: temporary file, fsync, rename, fsync of the folder. On return it is durable;
    /// after a crash either the old or the new bytes are there.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes the file; a missing one is fine.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Names of all files that start with `prefix`, sorted.
    fn list(&self, prefix: &str) -> io::Result<Vec<String>>;
}
