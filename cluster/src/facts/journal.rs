//! The facts in a node's own files, so that a node that restarts with nobody else alive heeds what it heeded.
//!
//! In: batches of new facts. Out: whether they are durable; after a restart, all of them. The shell around
//! [`segments`](super::segments), which knows what lies in the files.
//!
//! Files are replaced whole, so each batch becomes a small file of its own. When there are many of one size
//! they are merged to one of the next, as a log-structured merge tree does it: a fact is rewritten a few
//! times in its life, however many there are.

use std::{io, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::{
    fact::Fact,
    segments::{self, Done, Segments},
};
use crate::host::{BoxFuture, Host, blocking};

/// The node's files of facts.
pub(super) struct Journal {
    host: Arc<dyn Host>,
    segments: Segments,
    /// Heeded, but not in a file yet.
    unsaved: Vec<Arc<Fact>>,
    writing: Option<Writing>,
    merging: Option<Job>,
    /// The last merge failed: the next one waits until then.
    rest: Option<Instant>,
}

type Job = BoxFuture<'static, io::Result<Done>>;

/// A file on its way to the disk.
struct Writing {
    job: Job,
    facts: Vec<Arc<Fact>>,
}

/// After a merge that failed. What it would tidy up stays for so long, and does no harm.
const REST: Duration = Duration::from_secs(60);

impl Journal {
    /// Reads what an earlier life has left.
    ///
    /// Files that are damaged are named in the log, set aside and left out: the directory and the peers have
    /// their facts too.
    pub(super) async fn load(host: Arc<dyn Host>) -> io::Result<(Self, Vec<Arc<Fact>>)> {
        let files = host.files();
        let (segments, facts) = blocking(&*host, move || segments::read_all(&*files)).await?;
        let journal = Self {
            host,
            segments,
            unsaved: Vec::new(),
            writing: None,
            merging: None,
            rest: None,
        };
        Ok((journal, facts))
    }

    /// Makes facts durable, together with earlier ones that are not yet; waits for `patience` at most.
    ///
    /// `false`: the disk fails or is slow. The facts stay here and go along with the next batch.
    pub(super) async fn save(&mut self, facts: &[Arc<Fact>], patience: Duration) -> bool {
        self.unsaved.extend(facts.iter().cloned());
        let deadline = Instant::now() + patience;
        while self.is_behind() {
            let writing = match self.writing.take() {
                Some(writing) => writing,
                None => self.write(),
            };
            let writing = self.writing.insert(writing);
            let Ok(outcome) = timeout_at(deadline, &mut writing.job).await else {
                tracing::warn!(
                    "data_dir has not taken new facts within {patience:?}: they are heeded, but until it does they would not outlive a restart of this node"
                );
                return false;
            };
            let writing = self.writing.take().expect("it was put there above");
            match outcome {
                Ok(done) => self.segments.note(done),
                Err(error) => {
                    self.unsaved.splice(..0, writing.facts);
                    tracing::error!(
                        "data_dir does not take new facts: {error}; they are heeded, but would not outlive a restart of this node: free or mend its disk"
                    );
                    return false;
                }
            }
        }
        true
    }

    /// Whether something heeded is not in a file yet.
    pub(super) fn is_behind(&self) -> bool {
        self.writing.is_some() || !self.unsaved.is_empty()
    }

    /// Begins to merge files where that is due; `live` is what the facts take that are held.
    pub(super) fn tidy(&mut self, live: usize, now_ms: u64) {
        if self.merging.is_some() || self.rest.is_some_and(|rest| Instant::now() < rest) {
            return;
        }
        let Some(plan) = self.segments.plan(live) else {
            return;
        };
        let files = self.host.files();
        self.merging = Some(self.job(move || segments::merge(&*files, plan, now_ms)));
    }

    /// Resolves when the merge under way has ended; never where there is none. Cancel-safe.
    pub(super) async fn tidied(&mut self) {
        let Some(merging) = &mut self.merging else {
            return std::future::pending().await;
        };
        let outcome = merging.await;
        self.merging = None;
        match outcome {
            Ok(done) => self.segments.note(done),
            Err(error) => {
                tracing::warn!("files of facts could not be merged: {error}");
                self.rest = Some(Instant::now() + REST);
            }
        }
    }

    fn write(&mut self) -> Writing {
        let facts = std::mem::take(&mut self.unsaved);
        let plan = self.segments.reserve(&facts);
        let (files, batch) = (self.host.files(), facts.clone());
        let job = self.job(move || segments::write(&*files, plan, &batch));
        Writing { job, facts }
    }

    fn job(&self, work: impl FnOnce() -> io::Result<Done> + Send + 'static) -> Job {
        let host = Arc::clone(&self.host);
        async move { blocking(&*host, work).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fact::tests::revocation, *};
    use crate::host::memory::{Disk, MemoryHost};

    fn host(disk: &Disk) -> Arc<dyn Host> {
        Arc::new(MemoryHost::new(disk.clone(), 1))
    }

    fn facts(numbers: std::ops::Range<u64>) -> Vec<Arc<Fact>> {
        numbers.map(|n| Arc::new(revocation(n, 1000))).collect()
    }

    async fn reloaded(disk: &Disk) -> Vec<Arc<Fact>> {
        let (_, mut facts) = Journal::load(host(disk)).await.unwrap();
        facts.sort_by_key(|fact| fact.id);
        facts
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_saved_is_there_after_a_crash() {
        let disk = Disk::default();
        let (mut journal, none) = Journal::load(host(&disk)).await.unwrap();
        assert!(none.is_empty());
        assert!(journal.save(&facts(0..3), Duration::from_secs(1)).await);
        assert!(journal.save(&facts(3..5), Duration::from_secs(1)).await);
        assert!(!journal.is_behind());
        assert_eq!(reloaded(&disk.crash()).await, facts(0..5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_broken_disk_refused_goes_along_when_it_works_again() {
        let disk = Disk::default();
        let (mut journal, _) = Journal::load(host(&disk)).await.unwrap();
        disk.break_down();
        assert!(!journal.save(&facts(0..2), Duration::from_secs(1)).await);
        assert!(journal.is_behind());
        disk.mend();
        assert!(journal.save(&facts(2..3), Duration::from_secs(1)).await);
        assert_eq!(reloaded(&disk.crash()).await, facts(0..3));
    }

    #[tokio::test(start_paused = true)]
    async fn many_small_files_become_few_and_nothing_is_lost() {
        let disk = Disk::default();
        let (mut journal, _) = Journal::load(host(&disk)).await.unwrap();
        for number in 0..300 {
            assert!(
                journal
                    .save(&facts(number..number + 1), Duration::from_secs(1))
                    .await
            );
            journal.tidy(1 << 30, 0);
            if journal.merging.is_some() {
                journal.tidied().await;
            }
        }
        let count = disk.files.lock().unwrap().len();
        assert!(count < 40, "{count} files");
        assert_eq!(reloaded(&disk.crash()).await, facts(0..300));
    }
}
