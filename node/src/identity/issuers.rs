//! All issuers of a node, across revisions.
//!
//! In: each document that the node is about to serve. Out: the issuers' keys for [`super::Identifier`].
//! An issuer that stays in the document keeps its keys; one that leaves it is no longer fetched.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use meridian_cluster::host::Host;
use meridian_config::{document::Document, name::IssuerName};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    discovery,
    fetch::Fetcher,
    issuer::{IssuerStatus, Settings, Slot},
    rules::algorithm,
};

/// All issuers of a node. A clone is another handle on the same.
#[derive(Clone)]
pub struct Issuers {
    shared: Arc<Shared>,
}

struct Shared {
    host: Arc<dyn Host>,
    fetcher: Arc<Fetcher>,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Where the issuers' tasks run: the runtime that started this, whoever adopts a document.
    runtime: Handle,
    dev: bool,
    slots: ArcSwap<Slots>,
    /// One document is adopted at a time.
    adopting: std::sync::Mutex<()>,
}

type Slots = BTreeMap<IssuerName, Arc<Slot>>;

impl Issuers {
    /// Starts without issuers: [`adopt`](Self::adopt) a document next. Tasks run on the present runtime,
    /// in `tracker`, until `stop`. With `dev` plain `http:` issuers are fetched.
    pub fn start(
        host: Arc<dyn Host>,
        tracker: TaskTracker,
        stop: CancellationToken,
        dev: bool,
    ) -> Self {
        let fetcher = Fetcher::new(host.clone());
        Self::with_fetcher(host, fetcher, tracker, stop, dev)
    }

    pub(super) fn with_fetcher(
        host: Arc<dyn Host>,
        fetcher: Fetcher,
        tracker: TaskTracker,
        stop: CancellationToken,
        dev: bool,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                host,
                fetcher: Arc::new(fetcher),
                tracker,
                stop,
                runtime: Handle::current(),
                dev,
                slots: ArcSwap::default(),
                adopting: std::sync::Mutex::default(),
            }),
        }
    }

    /// Whether this node can serve the document's issuers; the error says why it rejects the revision.
    pub fn check(document: &Document, dev: bool) -> Result<(), String> {
        let mut urls = BTreeMap::new();
        for (name, issuer) in &document.issuers {
            discovery::metadata_of(&issuer.issuer, dev)
                .map_err(|error| format!("issuers.{name}.issuer: {error}"))?;
            if let Some(odd) = issuer
                .algorithms
                .iter()
                .find(|name| algorithm(name).is_none())
            {
                return Err(format!(
                    "issuers.{name}.algorithms: this version cannot check {odd}; it can RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA"
                ));
            }
            if let Some(other) = urls.insert(&issuer.issuer, name) {
                return Err(format!(
                    "issuers.{name}.issuer: issuer {other} has the same URL; keep one of them and give it the audiences of both"
                ));
            }
        }
        Ok(())
    }

    /// Takes over the issuers of a document that is about to be served.
    ///
    /// To be called before requests see the revision: an issuer that is not known here yet is unavailable.
    pub fn adopt(&self, document: &Document) {
        let shared = &self.shared;
        let _one_at_a_time = shared
            .adopting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = shared.slots.load_full();
        let mut new = Slots::new();
        for (name, issuer) in &document.issuers {
            let settings = Settings::from(issuer);
            let slot = match old.get(name) {
                Some(slot) if slot.settings == settings => slot.clone(),
                Some(slot) if slot.settings.url == settings.url => {
                    self.open(name, settings, Some(slot))
                }
                _ => self.open(name, settings, None),
            };
            new.insert(name.clone(), slot);
        }
        for (name, slot) in &*old {
            if !new.get(name).is_some_and(|kept| Arc::ptr_eq(kept, slot)) {
                slot.stop.cancel();
            }
        }
        shared.slots.store(Arc::new(new));
    }

    /// The state of every issuer, by name.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let unix = self.shared.host.unix_time();
        self.shared
            .slots
            .load()
            .values()
            .map(|slot| slot.status(unix))
            .collect()
    }

    /// The issuer of this name, if the newest document has it.
    pub(super) fn slot(&self, name: &IssuerName) -> Option<Arc<Slot>> {
        self.shared.slots.load().get(name).cloned()
    }

    /// Makes a slot and starts its task.
    fn open(&self, name: &IssuerName, settings: Settings, before: Option<&Slot>) -> Arc<Slot> {
        let shared = &self.shared;
        let keys = before.and_then(Slot::newest);
        let slot = Arc::new(Slot::new(
            name.clone(),
            settings,
            keys,
            shared.stop.child_token(),
        ));
        let task = slot
            .clone()
            .keep(shared.host.clone(), shared.fetcher.clone(), shared.dev);
        shared.tracker.spawn_on(task, &shared.runtime);
        slot
    }
}
