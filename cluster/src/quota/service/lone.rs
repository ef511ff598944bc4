//! Lives that this node has begun without a quorum's word, and the share it had then.
//!
//! In: what the keeper does, and the file of earlier starts. Out: what others are told, and what the file is to say.

use std::sync::{Arc, Mutex, PoisonError};

use super::starts::{Alone, Starts};
use crate::{host::Host, quota::terms::Share};

/// What this node knows of lives that it has begun without a quorum's word, for all who ask.
pub(super) struct Lone {
    host: Arc<dyn Host>,
    known: Mutex<(Starts, Option<Share>)>,
}

impl Lone {
    pub(super) fn new(host: Arc<dyn Host>) -> Self {
        Self {
            host,
            known: Mutex::default(),
        }
    }

    /// What it tells others.
    pub(super) fn tell(&self) -> Alone {
        self.with(|starts, share, now_ms| starts.tell(*share, now_ms))
    }

    /// What the file of earlier starts says.
    pub(super) fn recall(&self, text: &str) {
        self.with(|starts, _, _| *starts = Starts::read(text));
    }

    /// The base share that it has now. One that it had counts on without another: lives were begun with it.
    pub(super) fn share(&self, share: Option<Share>) {
        self.with(|_, known, _| *known = share.or(*known));
    }

    /// A life begins so; what the file is to say.
    pub(super) fn begin(&self) -> String {
        self.with(|starts, _, now_ms| {
            starts.begin(now_ms);
            starts.text()
        })
    }

    /// The ledger has answered; what the file is to say, if that is news.
    pub(super) fn answer(&self) -> Option<String> {
        self.with(|starts, _, now_ms| starts.answer(now_ms).then(|| starts.text()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Starts, &mut Option<Share>, u64) -> T) -> T {
        let now_ms = u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (starts, share) = &mut *known;
        act(starts, share, now_ms)
    }
}
