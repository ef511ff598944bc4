//! Fresh facts become agreed ones: the leader proposes what the directory does not keep yet.
//!
//! In: what is held here, and what the directory has applied. Out: batches for the log while this node
//! leads; facts that came by the log for the keeper. Every fact reaches the leader by the flood or the
//! digest, so that its maker may be gone by then, and quorum may come back hours later.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Shared, keeper::Source};
use crate::directory::Directory;

/// Facts of one command at most.
const BATCH: usize = 256;

/// Bytes of the facts of one command at most: an entry of the log goes to every node.
const BATCH_BYTES: usize = 256 << 10;

/// From the first fact of a batch to its command: what a burst brings goes along.
const GATHER: Duration = Duration::from_millis(20);

/// Between two looks where nothing has changed, and after a write that failed.
const LOOK: Duration = Duration::from_secs(1);

/// After the directory had no room.
const FULL_REST: Duration = Duration::from_secs(30);

/// Proposes what is not agreed on while this node leads.
pub(super) async fn propose(shared: Arc<Shared>, directory: Directory) {
    let mut changes = shared.changed.subscribe();
    loop {
        changes.mark_unchanged();
        let status = directory.status();
        let leads = status.quorum && status.leader.as_ref() == Some(&shared.own());
        let batch = if leads {
            shared.held().unsettled(BATCH, BATCH_BYTES)
        } else {
            Vec::new()
        };
        if batch.is_empty() {
            let look = Instant::now() + LOOK;
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => sleep(GATHER).await,
                () = sleep_until(look) => {}
            }
            continue;
        }
        match directory.keep_facts(batch.clone()).await {
            Ok(refused) => {
                let kept = batch.iter().filter(|fact| !refused.contains(&fact.id));
                shared.settle(kept.map(|fact| fact.id));
                if !refused.is_empty() {
                    shared.count_refused(refused.len() as u64);
                    sleep(FULL_REST).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "facts are not agreed on yet");
                sleep(LOOK).await;
            }
        }
    }
}

/// Gives the keeper what the directory has applied.
pub(super) async fn absorb(shared: Arc<Shared>, directory: Directory) {
    let mut applied = directory.applied_facts();
    loop {
        applied.mark_unchanged();
        let mut facts = directory.take_applied_facts();
        while !facts.is_empty() {
            let rest = facts.split_off(facts.len().min(BATCH));
            shared.take_in(facts, Source::Directory).await;
            facts = rest;
        }
        if applied.changed().await.is_err() {
            return;
        }
    }
}
