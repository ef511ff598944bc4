//! Certificates and keys that operators replace while a node runs.
//!
//! In: names of files, and what takes their new content in. Out: new content in force within seconds (at
//! once on SIGHUP), the last good one where the new cannot be used, and [`Standing`]s for probes and
//! metrics. The cores are `turn` (is it new, is it to be said?) and `expiry` (how near is the end?).
//!
//! Files are read again every few seconds: that works on every file system, for files that are mounted,
//! linked or renamed into place, and in a simulation.

mod expiry;
mod turn;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::host::{Host, blocking};

use expiry::{Life, life};
pub use expiry::{Stage, certificates_of, written};
use turn::{Turn, Turned};

/// Between two looks at the files. Nobody waits for a certificate more urgently, and a look costs a few
/// small reads.
const LOOK: Duration = Duration::from_secs(5);

/// What is in force of each set of files. Clones share it.
#[derive(Clone, Default)]
pub struct Renewals(Arc<Mutex<BTreeMap<String, Standing>>>);

/// What is in force of one set of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The files that hold certificates.
    pub files: Vec<FileStanding>,
    /// How near the first of them is to its end.
    pub stage: Stage,
    /// Why newer content of the files is not in force.
    pub fault: Option<String>,
}

/// What is in force of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStanding {
    /// The file, as the operator named it.
    pub file: PathBuf,
    /// Certificates in it.
    pub certificates: usize,
    /// When the first of them expires: seconds since the Unix epoch.
    pub expires: i64,
}

/// Takes the content of files in, in their order, or says why it cannot be used.
pub type Adopt = Box<dyn FnMut(&[Vec<u8>]) -> Result<(), String> + Send>;

/// A set of files that belong together, such as a certificate and its key.
pub struct Followed {
    /// What they are for, in a word or two: `fabric`, `edge api.example.com`.
    pub name: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Puts their content in force. It is called with the content that the node has started with as well.
    pub adopt: Adopt,
}

impl Renewals {
    /// Every set of files, by its name.
    pub fn standings(&self) -> BTreeMap<String, Standing> {
        self.lock().clone()
    }

    /// Keeps a set of files in force until `stop`.
    pub async fn follow(
        self,
        host: Arc<dyn Host>,
        mut followed: Followed,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = host.reload_asked();
        let mut turn = Turn::default();
        let mut life = Life::default();
        loop {
            let at_once = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = &mut asked => {
                    asked = host.reload_asked();
                    true
                }
                _ = ticks.tick() => false,
            };
            self.look(&host, &mut followed, &mut turn, at_once).await;
            self.warn(&followed.name, &mut life, host.unix_time());
        }
    }

    async fn look(
        &self,
        host: &Arc<dyn Host>,
        followed: &mut Followed,
        turn: &mut Turn,
        at_once: bool,
    ) {
        let (reader, files) = (Arc::clone(host), followed.files.clone());
        let read = blocking(&**host, move || read(&*reader, &files)).await;
        let turned = turn.see(read, at_once, |contents| (followed.adopt)(contents));
        let name = &followed.name;
        match turned {
            Turned::Same => self.change(name, |standing| standing.fault = None),
            Turned::Renewed { contents, first } => {
                let files = standing_of(&followed.files, &contents);
                if !first {
                    let until = files.iter().map(|file| file.expires).min().map(written);
                    tracing::info!(
                        name,
                        until,
                        "the new certificate files are in force; connections that stand go on"
                    );
                }
                self.change(name, |standing| {
                    standing.files = files;
                    standing.fault = None;
                });
            }
            Turned::Refused { why, say } => {
                if say {
                    tracing::warn!(
                        name,
                        "the certificate files cannot be used, and what they held before stays in force: {why}"
                    );
                }
                self.change(name, |standing| standing.fault = Some(why));
            }
        }
    }

    /// Renews the stage, and says when it has got worse.
    fn warn(&self, name: &str, said: &mut Life, now: Duration) {
        let standing = self.lock().get(name).cloned().unwrap_or_default();
        let Some(first) = standing.files.iter().min_by_key(|file| file.expires) else {
            return;
        };
        let stage = life(first.expires, now);
        self.change(name, |standing| standing.stage = stage);
        let (file, until) = (first.file.display(), written(first.expires));
        if said.worse(first.expires, stage) {
            match stage {
                Stage::Fresh => {}
                Stage::Soon | Stage::Last => tracing::warn!(
                    name, %file, until,
                    "a certificate expires soon; put a renewed one in its place, the node takes it in by itself"
                ),
                Stage::Over => tracing::error!(
                    name, %file, until,
                    "a certificate has expired: connections that stand go on, but no new one will be made with it; put a renewed one in its place"
                ),
            }
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Standing)) {
        change(self.lock().entry(name.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

fn read(host: &dyn Host, files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let one = |file: &PathBuf| {
        host.read_named(file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display()))
    };
    files.iter().map(one).collect()
}

fn standing_of(files: &[PathBuf], contents: &[Vec<u8>]) -> Vec<FileStanding> {
    let one = |(file, content): (&PathBuf, &Vec<u8>)| {
        let ends = certificates_of(content);
        Some(FileStanding {
            file: Path::to_owned(file),
            certificates: ends.len(),
            expires: ends.into_iter().min()?,
        })
    };
    files.iter().zip(contents).filter_map(one).collect()
}

#[cfg(test)]
mod tests;
