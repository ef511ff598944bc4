//! Looks on at the tokens of every node, and tells the oracle.
//!
//! In: what nodes' keepers say, hear and hold, what their replicas of the ledger apply, what requests are charged. Out:
//! [`TokensSeen`] in the history, in order. Where no limit is in use there is next to nothing to look at.

mod heard;

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use heard::Heard;
use meridian_cluster::quota::{
    clock::Clock as _,
    holder::{Holder, Holding},
    key::KeyId,
    ledger::{Ledger, Standing},
    message::{Act, Entry, QuotaAsk, QuotaGrant},
    onlooker::Onlooker,
    service::NodeClock,
    terms::Terms,
};
use meridian_config::name::NodeId;

use crate::{
    workload::{AppliedSeen, Oracle, TokensDeed, TokensSeen},
    world::heap,
};

/// What is known of all nodes' tokens. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Books(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// The last entry that any replica has applied.
    newest: u64,
    /// How the keys stood after each entry.
    digests: BTreeMap<u64, u64>,
    standings: BTreeMap<KeyId, Standing>,
    nodes: BTreeMap<NodeId, AtNode>,
    /// Messages are kept, to be said again.
    repeats: bool,
    heard: VecDeque<Message>,
}

/// One process of a node.
#[derive(Debug, Default)]
struct AtNode {
    holder: Weak<Holder>,
    clock: Weak<NodeClock>,
    life: u64,
    /// What it holds beyond base, of what it was last seen to hold.
    extra: BTreeMap<KeyId, i32>,
    heard: Heard,
}

/// What a node has said or heard.
#[derive(Debug, Clone)]
pub enum Message {
    /// It said this to the ledger's leader.
    Ask(QuotaAsk),
    /// It heard this from there.
    Grant(QuotaGrant),
}

impl Books {
    /// Books that keep what nodes say and hear, to have it said again.
    pub fn with_repeats() -> Self {
        let books = Self::default();
        books.lock().repeats = true;
        books
    }

    /// Looks on at a process of a node.
    pub fn onlooker(&self, node: NodeId, oracle: Oracle) -> Arc<dyn Onlooker> {
        Arc::new(Looker {
            node,
            oracle,
            books: self.clone(),
        })
    }

    /// What a node holds of a key, and what its own clock shows, in ms. To be called in a task of the node.
    pub fn holding(&self, node: &str, key: KeyId) -> Option<(Holding, u64)> {
        let (holder, clock) = self.lock().nodes.get(node)?.doors()?;
        let now = clock.now();
        let holding = holder.holding(key, now)?;
        Some((holding, now.monotonic.0 / 1_000_000))
    }

    /// Of what was said and heard lately, the one that `pick` chooses of so many.
    pub fn recent(&self, pick: impl FnOnce(usize) -> usize) -> Option<Message> {
        let shared = self.lock();
        let count = shared.heard.len();
        (count > 0).then(|| shared.heard[pick(count) % count].clone())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AtNode {
    fn doors(&self) -> Option<(Arc<Holder>, Arc<NodeClock>)> {
        self.holder.upgrade().zip(self.clock.upgrade())
    }

    /// What it holds, and what its clock shows, in ms.
    fn holdings(&mut self) -> (Vec<Holding>, u64) {
        let Some((holder, clock)) = self.doors().filter(|(holder, _)| holder.keys() > 0) else {
            self.extra.clear();
            return (Vec::new(), 0);
        };
        let now = clock.now();
        let mut holdings = holder.holdings(now);
        holdings.retain(|it| it.terms.as_ref().is_none_or(is_looked_at));
        let extra = holdings.iter().map(|it| (it.key, it.extra));
        self.extra = extra.collect();
        (holdings, now.monotonic.0 / 1_000_000)
    }
}

impl Shared {
    fn keep(&mut self, message: Message) {
        if self.repeats {
            if self.heard.len() >= KEPT {
                self.heard.pop_front();
            }
            self.heard.push_back(message);
        }
    }
}

#[derive(Debug)]
struct Looker {
    node: NodeId,
    oracle: Oracle,
    books: Books,
}

impl Looker {
    fn tell(&self, what: TokensDeed) {
        let at = self.oracle.now();
        self.oracle.history().tokens.push(TokensSeen {
            at,
            node: self.node.clone(),
            what,
        });
    }

    fn tell_holdings(&self, (holdings, clock_ms): (Vec<Holding>, u64), settled: bool) {
        if !holdings.is_empty() {
            self.tell(TokensDeed::Holds {
                holdings,
                settled,
                clock_ms,
            });
        }
    }
}

impl Looker {
    fn note_begun(&self, life: u64, holder: &Arc<Holder>, clock: &Arc<NodeClock>) {
        {
            let mut shared = self.books.lock();
            let at = shared.nodes.entry(self.node.clone()).or_default();
            at.holder = Arc::downgrade(holder);
            at.clock = Arc::downgrade(clock);
            at.life = life;
            at.extra.clear();
        }
        self.tell(TokensDeed::Begun { life });
    }

    fn note_asked(&self, ask: &QuotaAsk) {
        self.books.lock().keep(Message::Ask(ask.clone()));
        self.tell(TokensDeed::Asked {
            seq: ask.seq,
            sent_ms: ask.sent_ms,
        });
    }

    fn note_granted(&self, grant: &QuotaGrant) {
        let (again, holdings) = {
            let mut shared = self.books.lock();
            let repeats = shared.repeats;
            let at = shared.nodes.entry(self.node.clone()).or_default();
            let before = std::mem::take(&mut at.extra);
            let holdings = at.holdings();
            let of_another_life = grant.incarnation != at.life;
            let digest = repeats.then(|| digest_of(&format!("{grant:?}")));
            let over = holdings.0.iter().filter(|it| !it.valid);
            let over = over.map(|it| it.key);
            let untaken = digest.and_then(|digest| at.heard.note(digest, over));
            let again = (of_another_life || untaken.is_some()).then(|| {
                let may = |key: &KeyId| {
                    let untaken = untaken.as_ref();
                    !of_another_life && untaken.is_some_and(|keys| keys.contains(key))
                };
                let now = holdings.0.iter().map(|it| (it.key, it.extra));
                let had = |key: &KeyId| before.get(key).copied().unwrap_or(0);
                let changes = now.map(|(key, extra)| (key, had(&key), extra));
                let changes = changes.filter(|(key, had, has)| had != has && !may(key));
                changes.collect()
            });
            shared.keep(Message::Grant(grant.clone()));
            (again, holdings)
        };
        self.tell(TokensDeed::Granted {
            life: grant.incarnation,
            answers: grant.answers.map(|echo| echo.seq),
            again,
        });
        self.tell_holdings(holdings, false);
    }

    fn note_ticked(&self) {
        let holdings = {
            let mut shared = self.books.lock();
            let at = shared.nodes.entry(self.node.clone()).or_default();
            at.holdings()
        };
        self.tell_holdings(holdings, true);
    }

    fn note_applied(&self, index: u64, entry: &Entry, grants: &[QuotaGrant], ledger: &Ledger) {
        let mut shared = self.books.lock();
        let standings: BTreeMap<KeyId, Standing> = ledger.standings(is_looked_at).collect();
        let digest = digest(&standings);
        if index <= shared.newest {
            let apart = shared.digests.get(&index).is_some_and(|it| *it != digest);
            drop(shared);
            if apart {
                self.tell(TokensDeed::Apart { index });
            }
            return;
        }
        let changed = changed(&shared.standings, &standings);
        shared.newest = index;
        shared.digests.insert(index, digest);
        shared.standings = standings;
        drop(shared);
        let mut seen = AppliedSeen {
            index,
            changed,
            ..AppliedSeen::default()
        };
        match &entry.act {
            Act::NodeUp { node, incarnation } if ledger.life(node) == Some(*incarnation) => {
                seen.up = Some((node.clone(), *incarnation));
            }
            Act::NodeGone { node, .. } if ledger.life(node).is_none() => {
                seen.gone = Some(node.clone());
            }
            Act::Batch { asks, wishes } => {
                let asked = asks.iter().flat_map(|ask| {
                    let items = ask.items.iter();
                    items.map(|item| (ask.node.clone(), item.key))
                });
                let wished = wishes.iter().map(|it| (it.node.clone(), it.item.key));
                seen.named = asked.chain(wished).collect();
            }
            Act::NodeUp { .. } | Act::NodeGone { .. } | Act::Expire | Act::Split { .. } => {}
        }
        let answered = grants.iter().filter_map(|grant| {
            let seq = grant.answers?.seq;
            Some((grant.node.clone(), grant.incarnation, seq))
        });
        seen.answered = answered.collect();
        self.tell(TokensDeed::Applied(Box::new(seen)));
    }
}

/// What is noted is the simulator's, and does not count to the node in whose task it is.
impl Onlooker for Looker {
    fn begun(&self, life: u64, holder: &Arc<Holder>, clock: &Arc<NodeClock>) {
        heap::outside(|| self.note_begun(life, holder, clock));
    }

    fn asked(&self, ask: &QuotaAsk) {
        heap::outside(|| self.note_asked(ask));
    }

    fn granted(&self, grant: &QuotaGrant) {
        heap::outside(|| self.note_granted(grant));
    }

    fn ticked(&self) {
        heap::outside(|| self.note_ticked());
    }

    fn applied(&self, index: u64, entry: &Entry, grants: &[QuotaGrant], ledger: &Ledger) {
        heap::outside(|| self.note_applied(index, entry, grants, ledger));
    }
}

fn changed(
    before: &BTreeMap<KeyId, Standing>,
    after: &BTreeMap<KeyId, Standing>,
) -> Vec<(KeyId, Option<Standing>)> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let gone = gone.map(|key| (*key, None));
    let news = after
        .iter()
        .filter(|(key, now)| before.get(key) != Some(*now));
    let news = news.map(|(key, now)| (*key, Some(now.clone())));
    gone.chain(news).collect()
}

fn digest(standings: &BTreeMap<KeyId, Standing>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, standing) in standings {
        let Standing {
            terms,
            as_of,
            pool,
            base,
            cooling,
            extra,
        } = standing;
        (key, terms, as_of, pool, base, cooling, extra).hash(&mut hasher);
    }
    hasher.finish()
}

fn digest_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A key as a node's decisions name it.
pub fn key_of(text: &str) -> Option<KeyId> {
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (text.len() == 32).then_some(KeyId(id))
}

/// Whether the holder has all of a limit: its node counts alone.
pub fn is_alone(holding: &Holding) -> bool {
    let limit = holding.terms.map(|terms| terms.limit());
    limit.is_some_and(|limit| holding.base >= limit)
}

/// Whether it is looked at tokens of such a limit. Tenants of a scenario without limits of their own have one that nobody
/// comes near, and what each of their requests does to it is not worth the time.
fn is_looked_at(terms: &Terms) -> bool {
    u64::from(terms.limit()) < FAR
}

/// Limits of so many are not looked at.
pub const FAR: u64 = 1_000_000;

/// Messages of so many are kept: some seconds' of nine nodes, and of lives before.
const KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_told() {
        let key = KeyId([0xa7; 16]);
        assert_eq!(key_of(&format!("{key:?}")), Some(key));
        for other in ["", "a7", &"a7".repeat(17), &"zz".repeat(16)] {
            assert_eq!(key_of(other), None);
        }
    }
}
