//! Follows the directory: compiles each new revision and hands it to the workers.
//!
//! In: revisions as the directory applies them. Out: the [`Compiled`] that workers load, and what the node
//! announces of it. A revision that this node can't serve is refused with its reasons; the one before it
//! stays.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use meridian_cluster::directory::Revision;
use meridian_config::name::RegionName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Compiled, Draft, Surroundings};
use crate::{identity::Issuers, report::metrics::RequestPath, upstream::Upstreams};

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
    /// Whether plain `http:` issuers pass.
    pub dev: bool,
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
    /// Compiles a revision and lets the workers have it. Runs on the control runtime, where compiling
    /// holds up no request.
    pub fn offer(&self, revision: &Revision) -> Adoption {
        let number = revision.number;
        let draft = match Draft::read(&revision.files, self.dev) {
            Ok(draft) => draft,
            Err(mistakes) => {
                let reason = mistakes.join("; ");
                tracing::warn!(revision = number, %reason, "a revision cannot be served here; the one before it stays");
                tracing::trace!(target: "meridian::decision", revision = number, "revision rejected");
                return Adoption::Rejected { number, reason };
            }
        };
        // Before requests see the revision: an issuer or endpoint unknown here would be unavailable.
        self.issuers.adopt(&draft.document);
        let destinations = self.upstreams.adopt(&draft.document, number);
        let around = Surroundings {
            own_region: &self.own_region,
            destinations: &destinations,
            metrics: &self.metrics,
        };
        let compiled = Compiled::assemble(draft, revision, &around);
        if compiled.own_zone.is_none() {
            tracing::warn!(region = %self.own_region, revision = number, "the document does not list this node's region; tenants with residency are not served by it");
        }
        self.current.store(Some(Arc::new(compiled)));
        self.metrics.set_revision(number);
        tracing::info!(revision = number, author = %revision.author, "serving a new revision");
        tracing::trace!(target: "meridian::decision", revision = number, "revision served");
        Adoption::Served { number }
    }

    /// Offers each revision that the directory shows, until `stop`, and tells what became of it.
    pub async fn follow(
        self,
        mut revisions: watch::Receiver<Option<Arc<Revision>>>,
        announce: impl Fn(Adoption) + Send,
        stop: CancellationToken,
    ) {
        let mut last = 0;
        loop {
            let newest = revisions.borrow_and_update().clone();
            if let Some(revision) = newest
                && revision.number != last
            {
                last = revision.number;
                announce(self.offer(&revision));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
