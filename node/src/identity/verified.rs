//! Tokens that were verified before, by digest.
//!
//! In: a token's digest. Out: what came of verifying it. A core; [`super::identifier`] holds one for each
//! worker.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::{issuer::Slot, rules::Basis};
use crate::exchange::Identity;

/// BLAKE3 of a token's text: the cache never holds a token.
pub(super) type Digest = [u8; 32];

/// Verified tokens of one worker, the least recently used forgotten first.
#[derive(Debug)]
pub(super) struct Verified {
    tokens: LruCache<Digest, Entry>,
}

/// What a token was found to be, and under what.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) identity: Arc<Identity>,
    /// Seconds since the Unix epoch.
    pub(super) until: u64,
    /// The last revision whose rules it passed.
    pub(super) revision: u64,
    /// What those rules say of it.
    pub(super) basis: Arc<Basis>,
    /// Whose keys checked it.
    pub(super) slot: Arc<Slot>,
    /// The generation of those keys.
    pub(super) generation: u64,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self {
            tokens: LruCache::new(TOKENS_MAX),
        }
    }

    /// What this token was found to be. The caller checks that time, rules and keys still agree, and
    /// [`forget`](Self::forget)s it when they do not.
    pub(super) fn find(&mut self, digest: &Digest) -> Option<Entry> {
        self.tokens.get(digest).cloned()
    }

    pub(super) fn remember(&mut self, digest: Digest, entry: Entry) {
        self.tokens.put(digest, entry);
    }

    pub(super) fn forget(&mut self, digest: &Digest) {
        self.tokens.pop(digest);
    }
}

/// Tokens a worker remembers. An entry takes about a kilobyte, so 8 MB a worker; a client that finds its
/// token forgotten costs one signature check (30 to 100 µs), no more.
const TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");
