//! What the ledger's leader remembers of nodes' wishes, beside what is agreed on. A core.
//!
//! In: asks, and the ledger as it has applied them. Out: what goes into the next entry, and news for nodes: their
//! caps, tokens that came later, recalls. Nothing here is replicated and no promise rests on it: a new leader
//! begins with nothing and knows it again from the next asks.

mod fair;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use meridian_config::name::{NodeId, RegionName};

use super::{
    key::KeyId,
    ledger::{Ledger, Standing},
    message::{AskItem, ITEMS, QuotaAsk, QuotaGrant, RECALLS, Recall, Wish},
    params::Params,
    rate::over,
    terms::Terms,
};

/// Keys that wishes are kept of at most: a further one is not remembered, and its node asks again.
const WISHED_MOST: usize = 16 * 1024;

/// Recalls that are remembered at most.
const RECALLED_MOST: usize = 64 * 1024;

/// A turn's least and greatest length, in ms of log time; a window, else.
const TURN_MS: (u64, u64) = (2000, 10_000);

/// How long requests wait that [fetch](AskItem::fetched) what they need, about, in ms.
const WAIT_MS: u64 = 500;

/// A leader's memory.
#[derive(Debug, Clone)]
pub struct Leader {
    params: Params,
    keys: BTreeMap<KeyId, BTreeMap<NodeId, Word>>,
    /// What was asked back, and until when that is not said again.
    recalled: BTreeMap<(KeyId, NodeId), u64>,
    /// Keys that were scarce, and until when nobody is given back what it has lent and does not use.
    scarce: BTreeMap<KeyId, u64>,
}

/// What a node has said of a key last.
#[derive(Debug, Clone)]
struct Word {
    incarnation: u64,
    region: RegionName,
    item: AskItem,
    /// A wish was proposed when it had been given so many.
    proposed: Option<u32>,
    /// Somebody waits for what is asked for, and nothing is kept at hand.
    fetched: bool,
    /// When, by the leader's own clock in ms.
    at_ms: u64,
}

impl Word {
    /// Whether it asks for one request that takes more than a token, and waits: what is kept for others at nodes where nobody
    /// asks is wanted now.
    fn is_for_one(&self) -> bool {
        self.item.fetched && self.item.unit > 1
    }

    /// For how long it is remembered, in ms. Whoever waited is gone then.
    fn lasts(&self, wish: u64) -> u64 {
        if self.fetched {
            WAIT_MS.min(wish)
        } else {
            wish
        }
    }
}

/// A key that its holders want more of than there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scarcity {
    /// How much each node should hold at most, base included.
    pub caps: BTreeMap<NodeId, u32>,
    /// How it stands.
    pub standing: Standing,
}

impl Leader {
    /// One that remembers nothing.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            keys: BTreeMap::new(),
            recalled: BTreeMap::new(),
            scarce: BTreeMap::new(),
        }
    }

    /// Takes note of an ask from a node in a region; `now_ms` is the leader's own clock.
    pub fn hear(&mut self, ask: &QuotaAsk, region: &RegionName, now_ms: u64) {
        for item in &ask.items {
            let known = self.keys.contains_key(&item.key);
            if item.terms.is_none() || idle(item) || !(known || self.keys.len() < WISHED_MOST) {
                continue;
            }
            let terms = item.terms.and_then(|at| ask.terms.get(usize::from(at)));
            let word = Word {
                fetched: item.fetched || terms.is_some_and(Terms::pooled),
                incarnation: ask.incarnation,
                region: region.clone(),
                item: item.clone(),
                proposed: None,
                at_ms: now_ms,
            };
            let words = self.keys.entry(item.key).or_default();
            words.insert(ask.node.clone(), word);
        }
    }

    /// Forgets what was said too long ago.
    pub fn forget(&mut self, now_ms: u64) {
        let wish = u64::try_from(self.params.wish.as_millis()).unwrap_or(u64::MAX);
        self.keys.retain(|_, words| {
            words.retain(|_, word| now_ms < word.at_ms.saturating_add(word.lasts(wish)));
            !words.is_empty()
        });
        self.recalled.retain(|_, until| now_ms < *until);
        self.scarce.retain(|_, until| now_ms < *until);
    }

    /// How a key is divided; none where there is enough for all that want more.
    pub fn scarcity(&self, key: &KeyId, ledger: &Ledger) -> Option<Scarcity> {
        let none = BTreeMap::new();
        let words = self.keys.get(key).unwrap_or(&none);
        let standing = ledger.standing(key)?;
        let missing: i64 = words
            .iter()
            .map(|(node, word)| i64::from(missing(node, word, ledger)))
            .sum();
        (missing > standing.pool).then(|| {
            let mut uses = uses(key, words, &standing, ledger);
            let there = match standing.pool < 0 {
                true => self.left_for_those_that_hear(key, &standing, &mut uses, ledger),
                false => standing.terms.limit(),
            };
            let turn = turn(&standing, ledger);
            let caps = match words.values().any(Word::is_for_one) {
                true => fair::parts(there, &uses, turn),
                false => fair::caps(there, standing.terms.window(), &uses, turn),
            };
            Scarcity { caps, standing }
        })
    }

    /// What there is of a key in deficit for nodes that can hand something back, which are left in `uses`: not what is
    /// nobody's to spend now, nor what is at nodes that do not hear. Nothing comes back from those.
    fn left_for_those_that_hear(
        &self,
        key: &KeyId,
        standing: &Standing,
        uses: &mut fair::Uses,
        ledger: &Ledger,
    ) -> u32 {
        let wish = u64::try_from(self.params.wish.as_millis()).unwrap_or(u64::MAX);
        let lately = ledger.now().log_ms.saturating_sub(wish);
        let silent = ledger.nodes().filter(|(_, _, contact)| *contact < lately);
        let silent: BTreeSet<&NodeId> = silent.map(|(node, ..)| node).collect();
        for nodes in uses.values_mut() {
            nodes.retain(|node, _| !silent.contains(node));
        }
        uses.retain(|_, nodes| !nodes.is_empty());
        let away = silent.iter().map(|node| u64::from(ledger.held(node, key)));
        let away = away.sum::<u64>() + standing.cooling + ledger.base_withheld(key);
        let away = u32::try_from(away).unwrap_or(u32::MAX);
        standing.terms.limit().saturating_sub(away)
    }

    /// Cuts what asks want of scarce keys to their caps, so that the order in a batch decides nothing.
    pub fn cut(&self, asks: &mut [QuotaAsk], ledger: &Ledger) {
        let items = asks.iter().flat_map(|ask| &ask.items);
        let keys: BTreeSet<KeyId> = items.map(|item| item.key).collect();
        let scarce: BTreeMap<KeyId, Scarcity> = keys
            .into_iter()
            .filter_map(|key| Some((key, self.scarcity(&key, ledger)?)))
            .collect();
        let pool = |(key, it): (&KeyId, &Scarcity)| (*key, pool(&it.standing));
        let mut pools: BTreeMap<KeyId, u32> = scarce.iter().map(pool).collect();
        for ask in asks {
            for item in &mut ask.items {
                if idle(item) && self.scarce.contains_key(&item.key) {
                    item.want = item.returned.wrapping_sub(item.lent);
                }
                let cap = scarce.get(&item.key);
                let cap = cap.and_then(|scarcity| scarcity.caps.get(&ask.node));
                if let (Some(cap), Some(pool)) = (cap, pools.get_mut(&item.key)) {
                    cut(item, &ask.node, *cap, pool, ledger);
                }
            }
        }
    }

    /// Wishes that can be met now, at least in part: for the next entry. The rest of one is proposed when something
    /// was given of it, or it would be proposed again before it is applied; or when its node asks again.
    pub(crate) fn wishes(&mut self, ledger: &Ledger) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let keys: Vec<KeyId> = self.keys.keys().copied().collect();
        for key in keys {
            if ledger
                .standing(&key)
                .is_none_or(|standing| standing.pool <= 0)
            {
                continue;
            }
            let scarcity = self.scarcity(&key, ledger);
            let mut pool = scarcity.as_ref().map_or(0, |it| pool(&it.standing));
            let Some(words) = self.keys.get_mut(&key) else {
                continue;
            };
            for (node, word) in words {
                let given = given(node, &word.item, ledger);
                if wishes.len() == ITEMS || word.proposed == Some(given) {
                    continue;
                }
                let mut item = word.item.clone();
                let caps = scarcity.as_ref().map(|scarcity| &scarcity.caps);
                if let Some(cap) = caps.and_then(|caps| caps.get(node)) {
                    cut(&mut item, node, *cap, &mut pool, ledger);
                }
                if short_of(item.want, given) == 0 {
                    continue;
                }
                word.proposed = Some(given);
                item.cooling.clear();
                item.rests = None;
                wishes.push(Wish {
                    node: node.clone(),
                    incarnation: word.incarnation,
                    item,
                });
            }
        }
        wishes
    }

    /// Puts the caps and what others have free into a grant.
    pub fn dress(&self, grant: &mut QuotaGrant, ledger: &Ledger) {
        for item in &mut grant.items {
            let scarcity = self.scarcity(&item.key, ledger);
            item.cap = scarcity.and_then(|scarcity| scarcity.caps.get(&grant.node).copied());
            let words = self.keys.get(&item.key);
            let word = |node: &NodeId| words.and_then(|words| words.get(node));
            let free = ledger.nodes().map(|(node, ..)| match word(node) {
                _ if *node == grant.node => 0,
                Some(word) => u64::from(word.item.free),
                None => u64::from(ledger.unsaid(node, &item.key)),
            });
            let free = free.sum::<u64>();
            item.others_free = u32::try_from(free).unwrap_or(u32::MAX);
        }
    }

    /// News for those that hold a tenth more of a scarce key than their cap, or more of one in deficit: they hand back what
    /// is free, and of one in deficit what cools off, though it is wanted there. A node that has never asked for the key has
    /// a base of it, too. The same is not said again for a while.
    pub fn recalls(&mut self, index: u64, ledger: &Ledger, now_ms: u64) -> Vec<QuotaGrant> {
        let mut news: BTreeMap<NodeId, QuotaGrant> = BTreeMap::new();
        let keys: BTreeSet<KeyId> = self.keys.keys().chain(ledger.shorts()).copied().collect();
        for key in keys {
            let Some(Scarcity { caps, standing }) = self.scarcity(&key, ledger) else {
                continue;
            };
            let owed = standing.pool < 0;
            let again = again_ms(&standing.terms);
            if self.scarce.len() < RECALLED_MOST {
                let calm = (standing.terms.window_ms() / 6).clamp(60_000, 600_000);
                self.scarce.insert(key, now_ms.saturating_add(calm));
            }
            for (node, cap) in caps {
                let held = ledger.held(&node, &key);
                let Some(incarnation) = ledger.life(&node) else {
                    continue;
                };
                let words = self.keys.get(&key);
                let word = words.and_then(|words| words.get(&node));
                let beyond = match owed || word.is_some_and(|word| word.item.unit > 1) {
                    true => held > cap,
                    false => over(held.into(), cap, standing.terms.window()),
                };
                let grant = news.get(&node);
                let full = grant.is_some_and(|grant| grant.recalls.len() >= RECALLS)
                    || self.recalled.len() >= RECALLED_MOST;
                if !beyond || full || self.recalled.contains_key(&(key, node.clone())) {
                    continue;
                }
                self.recalled
                    .insert((key, node.clone()), now_ms.saturating_add(again));
                let grant = news.entry(node.clone()).or_insert_with(|| QuotaGrant {
                    base: ledger.right(&node),
                    node: node.clone(),
                    incarnation,
                    index,
                    answers: None,
                    items: Vec::new(),
                    recalls: Vec::new(),
                });
                // What it was given may never have reached it.
                grant.items.extend(ledger.word(&node, &key));
                grant.recalls.push(Recall {
                    key,
                    terms: standing.terms,
                    as_of: standing.as_of,
                    cap,
                    owed,
                });
            }
        }
        news.into_values().collect()
    }
}

/// Whether a node does not use the key, and wants its base again.
fn idle(item: &AskItem) -> bool {
    item.lent > 0 && item.rate == 0
}

/// For how long a recall is not said again, in ms: until most of what cooled then is free.
fn again_ms(terms: &Terms) -> u64 {
    (terms.window_ms() / 60).clamp(1000, 60_000)
}

/// What a node misses of a key, as the ledger stands.
fn missing(node: &NodeId, word: &Word, ledger: &Ledger) -> u32 {
    short_of(word.item.want, given(node, &word.item, ledger))
}

/// What a node has been given of a key, by the ledger or its own word.
fn given(node: &NodeId, item: &AskItem, ledger: &Ledger) -> u32 {
    let row = ledger.word(node, &item.key);
    row.map_or(item.returned, |row| row.given)
}

fn short_of(want: u32, given: u32) -> u32 {
    want.wrapping_sub(given)
        .cast_signed()
        .max(0)
        .cast_unsigned()
}

/// Cuts a wish, so that its node would hold no more than its cap, and nothing that makes no whole request. What it is likely
/// to get is not in the pool any more.
fn cut(item: &mut AskItem, node: &NodeId, cap: u32, pool: &mut u32, ledger: &Ledger) {
    let given = given(node, item, ledger);
    let room = cap.saturating_sub(ledger.held(node, &item.key));
    let mut more = short_of(item.want, given).min(room);
    if item.unit > 1 {
        let there = item.free.saturating_add(more.min(*pool));
        more = (there - there % item.unit).saturating_sub(item.free);
    }
    *pool = pool.saturating_sub(more);
    item.want = given.wrapping_add(more);
}

/// What is there to give.
fn pool(standing: &Standing) -> u32 {
    u32::try_from(standing.pool.max(0)).unwrap_or(u32::MAX)
}

/// Counts whose turn it is to have what is too little for everybody's next request: long enough for tokens to be gathered.
fn turn(standing: &Standing, ledger: &Ledger) -> u64 {
    ledger.now().log_ms / standing.terms.window_ms().clamp(TURN_MS.0, TURN_MS.1)
}

/// What each node uses in a window, by the rate that it has said. One that has said nothing lately is taken to use
/// nothing: it hands back no more than it can spare.
fn uses(
    key: &KeyId,
    words: &BTreeMap<NodeId, Word>,
    standing: &Standing,
    ledger: &Ledger,
) -> fair::Uses {
    let window_ms = standing.terms.window_ms();
    let mut uses = fair::Uses::new();
    for (node, word) in words {
        let missing = u64::from(missing(node, word, ledger));
        let used = match word.is_for_one() {
            true => u64::from(ledger.held(node, key)) + missing,
            false => u64::from(word.item.rate).saturating_mul(window_ms) / 1_000_000,
        };
        let used = used.max(missing.min(1));
        // As whole requests, if any is possible.
        let unit = u64::from(word.item.unit.clamp(1, standing.terms.limit().max(1)));
        let used = used.next_multiple_of(unit);
        let used = used.min(standing.terms.limit().into());
        let base = ledger.base(node, key).into();
        let region = uses.entry(word.region.clone()).or_default();
        region.insert(node.clone(), fair::Use { used, unit, base });
    }
    for (node, _, _) in ledger.nodes() {
        if !words.contains_key(node) {
            let base = ledger.base(node, key).into();
            let region = uses.entry(RegionName::default()).or_default();
            region.insert(
                node.clone(),
                fair::Use {
                    used: 0,
                    unit: 1,
                    base,
                },
            );
        }
    }
    uses
}
