//! One issuer: its keys, and the task that keeps them fresh.
//!
//! In: what the document says of the issuer; tokens to check. Out: keys, verdicts, a status. The shell of
//! [`super::schedule`]: one task fetches, requests read the newest keys and wait for a fetch when a token
//! names a key that is not among them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use meridian_cluster::host::{Host, blocking};
use meridian_config::{document::Issuer, name::IssuerName};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    discovery::{self, DiscoveryError},
    fetch::{FetchError, Fetcher},
    keys::{Check, KeySet, KeysError},
    saved,
    schedule::{Schedule, WAIT_MAX, Want},
    token::Unverified,
};
use crate::problem::{Refusal, TokenFault};

/// One issuer's keys, shared by all workers of a node.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: IssuerName,
    pub(super) settings: Settings,
    /// The newest keys.
    keys: ArcSwapOption<KeySet>,
    schedule: Mutex<Schedule>,
    /// Wakes the task when a fetch became due earlier.
    hurry: Notify,
    /// Counts ends of fetches (and of the first load), well or not; what requests wait for.
    ended: watch::Sender<u64>,
    /// Why the last fetch failed; empty after one that did not.
    failure: Mutex<Option<String>>,
    /// Ends the task.
    pub(super) stop: CancellationToken,
}

/// What of the document's issuer matters for its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) url: String,
    refresh: Duration,
    max_stale: Duration,
}

/// An issuer's state, for health reports and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name in the document.
    pub name: IssuerName,
    /// Usable keys; 0 where none was ever had.
    pub keys: usize,
    /// Time since they were fetched.
    pub age: Option<Duration>,
    /// Whether they still serve: fetched less than the issuer's `max_stale` ago.
    pub usable: bool,
    /// Why the last fetch failed, if it did.
    pub failure: Option<String>,
}

impl From<&Issuer> for Settings {
    fn from(issuer: &Issuer) -> Self {
        Self {
            url: issuer.issuer.clone(),
            refresh: issuer.jwks_refresh,
            max_stale: issuer.jwks_max_stale,
        }
    }
}

impl Slot {
    /// An issuer without keys, or with those of a predecessor that had the same URL.
    pub(super) fn new(
        name: IssuerName,
        settings: Settings,
        keys: Option<Arc<KeySet>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            name,
            schedule: Mutex::new(Schedule::new(settings.refresh, Instant::now().into_std())),
            settings,
            keys: ArcSwapOption::new(keys),
            hurry: Notify::new(),
            ended: watch::Sender::new(0),
            failure: Mutex::new(None),
            stop,
        }
    }

    /// The newest keys, however old.
    pub(super) fn newest(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// The generation of the keys that serve now; none where there are none or they are too old.
    pub(super) fn generation(&self, unix: Duration) -> Option<u64> {
        let keys = self.keys.load();
        keys.as_ref()
            .filter(|keys| self.fresh(keys, unix))
            .map(|keys| keys.generation)
    }

    fn fresh(&self, keys: &KeySet, unix: Duration) -> bool {
        unix.saturating_sub(keys.fetched) < self.settings.max_stale
    }

    /// Checks a token's signature, waiting at most [`WAIT_MAX`] for keys. Gives the generation of the keys.
    ///
    /// A token is called forged or of an unknown key only by keys that could have known better; else its
    /// issuer is unavailable, and the same token may be good later. Cancel-safe.
    pub(super) async fn check(
        &self,
        host: &dyn Host,
        token: &Unverified<'_>,
        digest: [u8; 32],
    ) -> Result<u64, Refusal> {
        let deadline = Instant::now() + WAIT_MAX;
        // What a missing key is remembered by: its name, or the token where it names none.
        let key = token
            .key_id
            .as_ref()
            .map_or(digest, |id| blake3::hash(id.as_bytes()).into());
        let mut ended = self.ended.subscribe();
        loop {
            ended.borrow_and_update();
            let keys = self
                .newest()
                .filter(|keys| self.fresh(keys, host.unix_time()));
            if let Some(keys) = &keys {
                match keys.check(token) {
                    Check::Good => return Ok(keys.generation),
                    Check::Forged => return Err(TokenFault::Signature.into()),
                    Check::UnknownKey => {}
                }
            }
            let want = self.schedule().want(key, Instant::now().into_std());
            match want {
                Want::Nothing if keys.is_some() => return Err(TokenFault::Signature.into()),
                Want::Nothing | Want::TooLong => {
                    // The wish stands, so the task has to look at its schedule again.
                    self.hurry.notify_one();
                    return Err(Refusal::IssuerUnavailable);
                }
                Want::Fetch => self.hurry.notify_one(),
            }
            match timeout_at(deadline, ended.changed()).await {
                Ok(Ok(())) => {}
                // Out of time, or the issuer has left the document.
                Ok(Err(_)) | Err(_) => return Err(Refusal::IssuerUnavailable),
            }
        }
    }

    /// The issuer's state at a time since the Unix epoch.
    pub(super) fn status(&self, unix: Duration) -> IssuerStatus {
        let keys = self.newest();
        IssuerStatus {
            name: self.name.clone(),
            keys: keys.as_ref().map_or(0, |keys| keys.len()),
            age: keys.as_ref().map(|keys| unix.saturating_sub(keys.fetched)),
            usable: keys.is_some_and(|keys| self.fresh(&keys, unix)),
            failure: lock(&self.failure).clone(),
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    /// Keeps the keys fresh until the slot is stopped.
    pub(super) async fn keep(
        self: Arc<Self>,
        host: Arc<dyn Host>,
        fetcher: Arc<Fetcher>,
        dev: bool,
    ) {
        let mut random = StdRng::from_seed(host.entropy(&format!("jwks {}", self.name)));
        self.load(&*host).await;
        loop {
            let due = Instant::from_std(self.schedule().next());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.hurry.notified() => {}
                () = sleep_until(due) => {}
            }
            if !self.schedule().begin(Instant::now().into_std()) {
                continue;
            }
            let fetched = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                fetched = timeout(FETCH_MAX, self.fetch(&fetcher, dev)) => fetched,
            };
            let fetched = fetched.unwrap_or(Err(KeyFetchError::TimedOut));
            let well = fetched.is_ok();
            match &fetched {
                Ok(keys) => tracing::trace!(
                    target: "meridian::decision",
                    issuer = %self.name, keys = keys.len(), "keys fetched"
                ),
                Err(_) => tracing::trace!(
                    target: "meridian::decision",
                    issuer = %self.name, "keys not fetched"
                ),
            }
            let news = match fetched {
                Ok(keys) => Some(self.publish(keys, host.unix_time())),
                Err(error) => {
                    tracing::warn!(issuer = %self.name, %error, "cannot fetch the issuer's keys; those known serve on until they are too old");
                    *lock(&self.failure) = Some(error.to_string());
                    None
                }
            };
            self.schedule()
                .end(well, random.random(), Instant::now().into_std());
            self.ended.send_modify(|count| *count += 1);
            if let Some(keys) = news {
                self.save(&*host, &keys).await;
            }
        }
    }

    /// Discovery, then the keys. Discovery is repeated each time: an issuer may move its keys.
    async fn fetch(&self, fetcher: &Fetcher, dev: bool) -> Result<KeySet, KeyFetchError> {
        let url = &self.settings.url;
        let metadata = fetcher.fetch(&discovery::metadata_of(url, dev)?).await?;
        let keys = fetcher
            .fetch(&discovery::keys_of(&metadata, url, dev)?)
            .await?;
        Ok(KeySet::parse(&keys)?)
    }

    /// Makes these the keys that requests see.
    fn publish(&self, mut keys: KeySet, unix: Duration) -> Arc<KeySet> {
        let old = self.newest();
        keys.fetched = unix;
        // Equal keys keep their generation, and with it all tokens that were verified by them.
        keys.generation = old.map_or(1, |old| old.generation + u64::from(!old.same_keys(&keys)));
        let keys = Arc::new(keys);
        self.keys.store(Some(keys.clone()));
        *lock(&self.failure) = None;
        keys
    }

    /// Reads the saved keys, unless a predecessor left some.
    async fn load(&self, host: &dyn Host) {
        let name = saved::name(&self.name);
        let files = host.files();
        let read = blocking(host, move || files.read(&name)).await;
        if let Err(error) = &read {
            tracing::warn!(issuer = %self.name, %error, "cannot read the issuer's saved keys; they are fetched");
        }
        let unix = host.unix_time();
        if self.newest().is_none()
            && let Ok(Some(bytes)) = read
        {
            match saved::decode(&bytes, &self.settings.url, unix) {
                Some(mut keys) => {
                    keys.generation = 1;
                    self.keys.store(Some(Arc::new(keys)));
                }
                None => {
                    tracing::info!(issuer = %self.name, "the saved keys are not this issuer's; they are fetched")
                }
            }
        }
        let age = self.newest().map(|keys| unix.saturating_sub(keys.fetched));
        self.schedule().loaded(age, Instant::now().into_std());
        self.ended.send_modify(|count| *count += 1);
    }

    /// Saves the keys for the next start. A disk that cannot be written costs that start a fetch, no more.
    async fn save(&self, host: &dyn Host, keys: &KeySet) {
        let (files, name) = (host.files(), saved::name(&self.name));
        let bytes = saved::encode(&self.settings.url, keys);
        if let Err(error) = blocking(host, move || files.write(&name, &bytes)).await {
            tracing::warn!(issuer = %self.name, %error, "cannot save the issuer's keys");
        }
    }
}

/// Why an issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
enum KeyFetchError {
    #[error("it did not answer within {FETCH_MAX:?}")]
    TimedOut,
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// No code panics under these locks; if one ever did, what they guard is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For discovery and keys together. Requests wait less than half as long; the rest is for slow issuers
/// whose keys are wanted all the same.
const FETCH_MAX: Duration = Duration::from_secs(5);
