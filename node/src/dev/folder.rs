//! The dev cluster's folder: what lies where, and `dev.json`, which tells others.
//!
//! In: the state of the cluster. Out: files. Written by [`super::parent`], read by every `dev` command
//! and, as a default address, by the admin commands.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::cli::{
    outcome::Failure,
    outside::{self, Readers},
};

/// The folder's name where none is given.
pub(crate) const DEFAULT: &str = ".meridian";

/// A dev cluster's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// `dev.json`: who runs and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevFile {
    /// The parent process; none once it has ended.
    pub(crate) pid: Option<u32>,
    /// The identity provider's URL: the tokens' `iss`.
    pub(crate) issuer: String,
    /// Every node, running or not.
    pub(crate) nodes: Vec<DevNode>,
    /// Every region's demo upstream.
    pub(crate) upstreams: Vec<DevUpstream>,
}

/// A node in `dev.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevNode {
    /// `REGION-N`.
    pub(crate) id: String,
    /// Its region.
    pub(crate) region: String,
    /// Its process; none while it is dead.
    pub(crate) pid: Option<u32>,
    /// Edge, HTTPS: a URL.
    pub(crate) https: String,
    /// Edge, plain HTTP: a URL.
    pub(crate) http: String,
    /// Admin API: a URL.
    pub(crate) admin: String,
    /// Control fabric: `host:port`, UDP.
    pub(crate) fabric: String,
    /// Bulk fabric: `host:port`, UDP.
    pub(crate) bulk: String,
}

/// A demo upstream in `dev.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevUpstream {
    /// Its region.
    pub(crate) region: String,
    /// Its process; none while it is dead.
    pub(crate) pid: Option<u32>,
    /// Its URL.
    pub(crate) url: String,
}

impl Folder {
    /// The folder at this path, whether or not it exists.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `dev.json`.
    pub(crate) fn dev_json(&self) -> PathBuf {
        self.root.join("dev.json")
    }

    /// Certificates that clients trust the edge by.
    pub(crate) fn edge_ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// The edge authority's key.
    pub(crate) fn edge_ca_key(&self) -> PathBuf {
        self.root.join("edge-ca.key")
    }

    /// The edge's certificate and key.
    pub(crate) fn edge_certificate(&self) -> (PathBuf, PathBuf) {
        (self.root.join("edge.pem"), self.root.join("edge.key"))
    }

    /// An admin token with the role `admin`.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    /// The nodes' token file.
    pub(crate) fn admin_tokens(&self) -> PathBuf {
        self.root.join("admin-tokens.yaml")
    }

    /// The document that was applied.
    pub(crate) fn document(&self) -> PathBuf {
        self.root.join("gateway.yaml")
    }

    /// The identity provider's key.
    pub(crate) fn issuer_key(&self) -> PathBuf {
        self.root.join("issuer.key")
    }

    /// The fabric's certificate authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// A node's own folder: `node.yaml`, certificate, key, data.
    pub(crate) fn node(&self, id: &str) -> PathBuf {
        self.root.join("nodes").join(id)
    }

    /// A process's log.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Where the parent listens for `dev kill` and its like.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Reads `dev.json`.
    pub(crate) fn read(&self) -> Result<DevFile, Failure> {
        let path = self.dev_json();
        let text = outside::read_text(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Failure::unreachable(format!(
                    "no dev cluster in {}; start one with `meridian dev`, or name its folder with --dir",
                    self.root.display()
                ))
            } else {
                Failure::failed(format!(
                    "{} cannot be read: {error}; check its permissions",
                    path.display()
                ))
            }
        })?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::failed(format!(
                "{} is damaged: {error}; start afresh with `meridian dev --reset`",
                path.display()
            ))
        })
    }

    /// Replaces `dev.json`.
    pub(crate) fn write(&self, file: &DevFile) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(file).expect("plain structs are valid JSON");
        text.push('\n');
        self.put(&self.dev_json(), text.as_bytes(), Readers::All)
    }

    /// Writes one of its files, making the folder of it where missing.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8], readers: Readers) -> Result<(), Failure> {
        path.parent()
            .map_or(Ok(()), outside::create_private_folder)
            .and_then(|()| outside::write(path, bytes, readers))
            .map_err(|error| {
                Failure::failed(format!(
                    "{} cannot be written: {error}; free the disk or choose another folder with --dir",
                    path.display()
                ))
            })
    }

    /// Creates the folder and takes it for this process; a second dev cluster in it is refused.
    pub(crate) fn occupy(&self) -> Result<File, Failure> {
        let unusable = |error: io::Error| {
            Failure::failed(format!(
                "the folder {} cannot be used: {error}; choose another with --dir",
                self.root.display()
            ))
        };
        outside::create_private_folder(&self.root).map_err(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.root.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(fs::TryLockError::WouldBlock) => {
                let pid = self.read().ok().and_then(|file| file.pid);
                let whose = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                Err(Failure::failed(format!(
                    "a dev cluster already runs in {}{whose}; stop it with Ctrl-C, or start this one with --dir",
                    self.root.display()
                )))
            }
            Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Removes everything a dev cluster writes, and nothing else that may lie there.
    pub(crate) fn reset(&self) -> Result<(), Failure> {
        for name in [
            "dev.json",
            "ca.pem",
            "edge-ca.key",
            "edge.pem",
            "edge.key",
            "admin.token",
            "admin-tokens.yaml",
            "gateway.yaml",
            "issuer.key",
            "control.sock",
        ] {
            self.forget(name, |path| fs::remove_file(path))?;
        }
        for name in ["ca", "nodes", "logs"] {
            self.forget(name, |path| fs::remove_dir_all(path))?;
        }
        Ok(())
    }

    fn forget(&self, name: &str, remove: impl Fn(&Path) -> io::Result<()>) -> Result<(), Failure> {
        let path = self.root.join(name);
        match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::failed(format!(
                "{} cannot be removed: {error}; remove it by hand",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_file() -> DevFile {
        DevFile {
            pid: Some(1),
            issuer: "http://127.0.0.1:7600".into(),
            nodes: Vec::new(),
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn a_written_file_reads_back() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("dev"));
        assert!(folder.read().unwrap_err().message.contains("meridian dev"));
        folder.write(&some_file()).unwrap();
        assert_eq!(folder.read().unwrap(), some_file());
    }

    #[test]
    fn a_second_cluster_in_the_folder_is_refused_with_the_first_ones_pid() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        folder.write(&some_file()).unwrap();
        let _held = folder.occupy().unwrap();
        let refusal = folder.occupy().unwrap_err();
        assert!(refusal.message.contains("process 1"), "{refusal}");
    }

    #[test]
    fn reset_keeps_what_is_not_ours() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        folder.write(&some_file()).unwrap();
        let mine = place.path().join("notes.txt");
        outside::write(&mine, b"keep me", Readers::All).unwrap();
        folder.reset().unwrap();
        assert!(mine.exists());
        assert!(!folder.dev_json().exists());
    }
}
