//! Follows the directory: compiles each new revision and hands it to the workers.
//!
//! In: revisions as the directory applies them, and the limits that operators set beside them. Out: the [`Compiled`] that workers load, and what the node
//! announces of it. A revision that this node can't serve is refused with its reasons; the one before it
//! stays. Nothing of it runs where requests do: tables are built, and old ones dropped, beside the runtimes.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use meridian_cluster::{
    directory::{Overrides, Revision},
    host::{Host, blocking},
};
use meridian_config::name::RegionName;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Compiled, Drafts, Settings, Surroundings, clashes};
use crate::{identity::Issuers, report::metrics::RequestPath, upstream::Upstreams};

/// How often it is looked whether the last request has let go of an old revision.
const LOOK: Duration = Duration::from_secs(1);

/// How often the clock is looked at while something that is set will be over: it may be set meanwhile.
const CLOCK: Duration = Duration::from_secs(60);

/// What became of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// It is served.
    Served {
        /// Its number.
        number: u64,
    },
    /// It is not; what was served before still is.
    Rejected {
        /// Its number.
        number: u64,
        /// Why, a sentence a mistake.
        reason: String,
    },
}

/// Makes revisions ready.
pub struct Adopter {
    /// This node's region.
    pub own_region: RegionName,
    /// Reads documents.
    pub drafts: Arc<Drafts>,
    /// Keys of token issuers.
    pub issuers: Issuers,
    /// Endpoints and their health.
    pub upstreams: Upstreams,
    /// Where counters come from.
    pub metrics: Arc<RequestPath>,
    /// What workers serve by.
    pub current: Arc<ArcSwapOption<Compiled>>,
}

impl Adopter {
    /// Compiles a revision and lets the workers have it, here and now.
    pub fn offer(&self, revision: &Revision, settings: Settings<'_>) -> Adoption {
        self.settle(revision, settings).0
    }

    /// Lets the workers have what operators have set by now, with the revision that they serve by; returns what they
    /// served by before.
    pub fn set(&self, settings: Settings<'_>) -> Option<Arc<Compiled>> {
        let current = self.current.load_full()?;
        let compiled = current.set(settings, &self.metrics);
        warn_of_clashes(&compiled, settings);
        tracing::info!(
            revision = compiled.number,
            as_of = compiled.as_of.map(|as_of| as_of.index),
            "the limits that are set for tenants have changed"
        );
        self.current.swap(Some(Arc::new(compiled)))
    }

    /// Offers each revision that the directory shows, until `stop`, and tells what became of it. Limits that are set
    /// for tenants come in as they are set, and go when they are over by this node's clock.
    pub async fn follow(
        self,
        host: Arc<dyn Host>,
        mut revisions: watch::Receiver<Option<Arc<Revision>>>,
        mut overrides: watch::Receiver<Arc<Overrides>>,
        announce: impl Fn(Adoption) + Send,
        stop: CancellationToken,
    ) {
        let this = Arc::new(self);
        let mut retired = Retired::default();
        let mut last = 0;
        // What is in the tables, and when the next of it is over.
        let mut shown: Option<Arc<Overrides>> = None;
        let mut next_over = None;
        loop {
            // First: of a revision that comes in between, it says nothing yet.
            let set = overrides.borrow_and_update().clone();
            let newest = revisions.borrow_and_update().clone();
            let unix_ms = u64::try_from(host.unix_time().as_millis()).unwrap_or(u64::MAX);
            let (this, theirs) = (this.clone(), set.clone());
            if let Some(revision) = newest
                && revision.number != last
            {
                last = revision.number;
                let settled = move || {
                    let overrides = &*theirs;
                    this.settle(&revision, Settings { overrides, unix_ms })
                };
                let (adoption, before) = blocking(&*host, settled).await;
                announce(adoption);
                retired.0.extend(before);
            } else if shown.as_ref().is_some_and(|shown| *shown != set)
                || next_over.is_some_and(|over| over <= unix_ms)
            {
                let set = move || {
                    let overrides = &*theirs;
                    this.set(Settings { overrides, unix_ms })
                };
                let before = blocking(&*host, set).await;
                retired.0.extend(before);
            }
            let expiries = set.all().values().filter_map(|set| set.expires_ms);
            next_over = expiries.filter(|over| *over > unix_ms).min();
            shown = Some(set);
            let until_over = next_over.map_or(Duration::ZERO, |over| {
                Duration::from_millis(over - unix_ms).min(CLOCK)
            });
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = overrides.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep(until_over), if next_over.is_some() => {}
                () = sleep(LOOK), if !retired.0.is_empty() => retired.bury(&*host).await,
            }
        }
    }

    /// What became of a revision, and what was served before it.
    fn settle(
        &self,
        revision: &Revision,
        settings: Settings<'_>,
    ) -> (Adoption, Option<Arc<Compiled>>) {
        let draft = match self.drafts.take(&revision.files) {
            Err(mistakes) => return (self.reject(revision, &mistakes), None),
            Ok(draft) => draft,
        };
        // Before requests see the revision: an issuer or endpoint unknown here would be unavailable.
        self.issuers.adopt(&draft.document);
        let destinations = self.upstreams.adopt(&draft.document, revision.number);
        let before = self.current.load_full();
        let around = Surroundings {
            before: before.as_deref(),
            own_region: &self.own_region,
            destinations: &destinations,
            metrics: &self.metrics,
            settings,
        };
        let compiled = Compiled::assemble(draft, revision, &around);
        warn_of_clashes(&compiled, settings);
        self.serve(compiled, revision)
    }

    fn reject(&self, revision: &Revision, mistakes: &[String]) -> Adoption {
        let number = revision.number;
        let reason = mistakes.join("; ");
        tracing::warn!(revision = number, %reason, "a revision cannot be served here; the one before it stays");
        tracing::trace!(target: "meridian::decision", revision = number, "revision rejected");
        self.metrics.set_rejected(number);
        Adoption::Rejected { number, reason }
    }

    fn serve(&self, compiled: Compiled, revision: &Revision) -> (Adoption, Option<Arc<Compiled>>) {
        let number = revision.number;
        if compiled.own_zone.is_none() {
            tracing::warn!(region = %self.own_region, revision = number, "the document does not list this node's region; tenants with residency are not served by it");
        }
        let before = self.current.swap(Some(Arc::new(compiled)));
        self.metrics.set_revision(number);
        tracing::info!(revision = number, author = %revision.author, "serving a new revision");
        tracing::trace!(target: "meridian::decision", revision = number, "revision served");
        (Adoption::Served { number }, before)
    }
}

/// Says what was set and applied at once, and does not fit: each alone was good. Requests pay such limits twice, or pass
/// none, until an operator has put it right.
fn warn_of_clashes(compiled: &Compiled, settings: Settings<'_>) {
    for clash in clashes(&compiled.document, settings) {
        tracing::warn!(revision = compiled.number, "{clash}");
    }
}

/// Revisions that are not served any more, each until the last request has let go of it: the tables of a
/// large document take milliseconds to drop, and no request shall be the one that does.
///
/// As many as running requests pin; without this list the same tables would be held by them alone.
#[derive(Default)]
struct Retired(Vec<Arc<Compiled>>);

impl Retired {
    /// Drops those that nobody else holds.
    async fn bury(&mut self, host: &dyn Host) {
        let (held, free): (Vec<_>, Vec<_>) = self
            .0
            .drain(..)
            .partition(|compiled| Arc::strong_count(compiled) > 1);
        self.0 = held;
        if !free.is_empty() {
            blocking(host, move || drop(free)).await;
        }
    }
}
