//! Who is turned away though everything else is in order: blocked addresses and revoked tokens.
//!
//! In: the fast lane's index and the clock. Out: for a request, a refusal ([`Bans`]); for an exchange that
//! goes on (a stream, a tunnel), the moment when it must end ([`Leave`], [`Vigil`]). Looking costs a few
//! atomic loads while nobody is banned, and takes no lock ever.

use std::{
    fmt,
    future::poll_fn,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use meridian_cluster::{
    facts::{Fact, FactId, Facts, Index, Presented},
    host::{BoxFuture, Host},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    exchange::Identity,
    problem::{Refusal, TokenFault},
};

/// Everybody who is turned away at this node. Clones share it.
#[derive(Clone)]
pub struct Bans(Arc<Shared>);

struct Shared {
    index: Arc<Index>,
    host: Arc<dyn Host>,
    /// The index's version, told at most every [`PAUSE`].
    told: watch::Receiver<u64>,
    /// What is known of a ban; none where only the index is there.
    facts: Option<Facts>,
}

/// Between two looks at all that goes on. A burst of revocations would otherwise have every stream look
/// once for each of them; a stream that has to end hears of it this much later at most.
const PAUSE: Duration = Duration::from_millis(100);

impl Bans {
    /// The bans of the fast lane, from now until `stop`.
    pub fn start(
        facts: &Facts,
        host: Arc<dyn Host>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let index = facts.index();
        let (tell, told) = watch::channel(index.version());
        tracker.spawn(follow(facts.changes(), index.clone(), tell, stop));
        Self(Arc::new(Shared {
            index,
            host,
            told,
            facts: Some(facts.clone()),
        }))
    }

    /// Bans by an index of which `told` says when it changed.
    pub fn of(index: Arc<Index>, host: Arc<dyn Host>, told: watch::Receiver<u64>) -> Self {
        Self(Arc::new(Shared {
            index,
            host,
            told,
            facts: None,
        }))
    }

    /// Nobody is banned, ever.
    pub fn none(host: Arc<dyn Host>) -> Self {
        let (_, told) = watch::channel(0);
        Self::of(Arc::default(), host, told)
    }

    /// Whether requests from this address are taken.
    pub fn admit(&self, client: IpAddr) -> Result<(), Refusal> {
        let index = &self.0.index;
        if index.is_empty() {
            return Ok(());
        }
        match index.blocks(client, self.now_ms()) {
            Some(fact) => Err(Refusal::Blocked(fact)),
            None => Ok(()),
        }
    }

    /// Whether the token that proved this identity still stands.
    pub fn stands(&self, identity: &Identity) -> Result<(), TokenFault> {
        let index = &self.0.index;
        if index.is_empty() {
            return Ok(());
        }
        let token = Presented {
            token_id: identity.token_id.as_deref(),
            subject: &identity.subject,
            issuer: &identity.issuer,
            tenant: &identity.tenant,
            issued: identity.issued,
        };
        match index.revokes(token, self.now_ms()) {
            Some(fact) => Err(TokenFault::Revoked(fact)),
            None => Ok(()),
        }
    }

    /// Counts changes: what is asked before an exchange's other steps, for its [`Leave`].
    pub fn version(&self) -> u64 {
        self.0.index.version()
    }

    /// What is known of a ban.
    pub fn fact(&self, id: &FactId) -> Option<Arc<Fact>> {
        self.0.facts.as_ref()?.get(id)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.host.unix_time().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Bans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bans")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// Tells of the index's changes, with a pause after each.
async fn follow(
    mut changes: watch::Receiver<u64>,
    index: Arc<Index>,
    tell: watch::Sender<u64>,
    stop: CancellationToken,
) {
    let telling = async {
        // The sender is the fast lane's, which lives as long as the node.
        while changes.changed().await.is_ok() {
            let version = index.version();
            let differs = |told: &mut u64| std::mem::replace(told, version) != version;
            if tell.send_if_modified(differs) {
                sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = telling => {}
    }
}

/// The leave of one exchange to go on: it was admitted, and may be sent away while it lasts.
#[derive(Debug, Clone)]
pub struct Leave {
    bans: Bans,
    client: IpAddr,
    identity: Option<Arc<Identity>>,
    /// The version at which it was admitted, or looked at since.
    seen: u64,
}

impl Leave {
    /// The leave of an exchange that was admitted at `seen`.
    pub fn new(bans: &Bans, seen: u64, client: IpAddr, identity: Option<Arc<Identity>>) -> Self {
        Self {
            bans: bans.clone(),
            client,
            identity,
            seen,
        }
    }

    /// Whether it may still go on. Costs an atomic load where nothing has changed since the last look.
    pub fn look(&mut self) -> Result<(), Refusal> {
        let version = self.bans.version();
        if version == self.seen {
            return Ok(());
        }
        self.bans.admit(self.client)?;
        if let Some(identity) = &self.identity {
            self.bans.stands(identity)?;
        }
        // What was refused once stays refused: the next look must find the same.
        self.seen = version;
        Ok(())
    }
}

/// Waits for a leave to be withdrawn.
pub struct Vigil {
    leave: Leave,
    change: Option<BoxFuture<'static, ()>>,
}

impl Vigil {
    /// Over this leave.
    pub fn over(leave: Leave) -> Self {
        Self {
            leave,
            change: None,
        }
    }

    /// See [`Leave::look`].
    pub fn look(&mut self) -> Result<(), Refusal> {
        self.leave.look()
    }

    /// Ready when the exchange must end.
    pub fn poll_withdrawn(&mut self, context: &mut Context<'_>) -> Poll<Refusal> {
        loop {
            if let Some(change) = &mut self.change {
                ready!(change.as_mut().poll(context));
            }
            let mut told = self.leave.bans.0.told.clone();
            // Marked before the look: what is told after it is not missed.
            told.mark_unchanged();
            if let Err(refusal) = self.leave.look() {
                self.change = None;
                return Poll::Ready(refusal);
            }
            self.change = Some(Box::pin(async move {
                if told.changed().await.is_err() {
                    // Nobody tells any more: the node stops.
                    std::future::pending::<()>().await;
                }
            }));
        }
    }

    /// Resolves when the exchange must end. Cancel-safe.
    pub async fn withdrawn(mut self) -> Refusal {
        poll_fn(|context| self.poll_withdrawn(context)).await
    }
}

impl fmt::Debug for Vigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vigil")
            .field("leave", &self.leave)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
