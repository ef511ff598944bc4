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
    ledger::{Ledger, Level},
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

/// How long an ask is on its way, about, in ms.
const WAY_MS: u64 = 100;

/// A leader's memory.
#[derive(Debug, Clone)]
pub struct Leader {
    params: Params,
    keys: BTreeMap<KeyId, BTreeMap<NodeId, Word>>,
    /// Those of them of which somebody missed something when that was looked at last, or has said so since.
    wanting: BTreeSet<KeyId>,
    /// What was asked back, and until when that is not said again.
    recalled: BTreeMap<(KeyId, NodeId), u64>,
    /// Keys that were scarce, and until when nobody is given back what it has lent and does not use.
    scarce: BTreeMap<KeyId, u64>,
}

/// What a node has said of a key last.
#[derive(Debug, Clone)]
struct Word {
    incarnation: u64,
    /// The ask that it was in.
    seq: u64,
    region: RegionName,
    item: AskItem,
    /// A wish was proposed when it had been given so many.
    proposed: Option<u32>,
    /// When, by the leader's own clock in ms.
    at_ms: u64,
}

impl Word {
    /// Whether it asks for one request that takes more than a token, and waits: what is kept for others at nodes where nobody
    /// asks is wanted now.
    fn is_for_one(&self) -> bool {
        self.item.waits_ms > 0 && self.item.unit > 1
    }

    /// For how long it is remembered, in ms: where somebody waits for it, little longer than that.
    fn lasts(&self, wish: u64) -> u64 {
        match self.item.waits_ms {
            0 => wish,
            waits => wish.min(u64::from(waits) + WAY_MS),
        }
    }
}

/// A key that its holders want more of than there is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scarcity {
    /// How much each node should hold at most, base included.
    caps: BTreeMap<NodeId, u32>,
    /// How it stands.
    level: Level,
}

impl Leader {
    /// One that remembers nothing.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            keys: BTreeMap::new(),
            wanting: BTreeSet::new(),
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
            let word = Word {
                incarnation: ask.incarnation,
                seq: ask.seq,
                region: region.clone(),
                item: item.clone(),
                proposed: None,
                at_ms: now_ms,
            };
            let words = self.keys.entry(item.key).or_default();
            words.insert(ask.node.clone(), word);
            self.wanting.insert(item.key);
        }
    }

    /// Forgets what was said too long ago.
    pub fn forget(&mut self, now_ms: u64) {
        let wish = u64::try_from(self.params.wish.as_millis()).unwrap_or(u64::MAX);
        self.keys.retain(|_, words| {
            words.retain(|_, word| now_ms < word.at_ms.saturating_add(word.lasts(wish)));
            !words.is_empty()
        });
        self.wanting.retain(|key| self.keys.contains_key(key));
        self.recalled.retain(|_, until| now_ms < *until);
        self.scarce.retain(|_, until| now_ms < *until);
    }

    /// How a key is divided; none where there is enough for all that want more.
    fn scarcity(&self, key: &KeyId, ledger: &Ledger) -> Option<Scarcity> {
        let none = BTreeMap::new();
        let words = self.keys.get(key).unwrap_or(&none);
        let level = ledger.level(key)?;
        let missing: i64 = words
            .iter()
            .map(|(node, word)| i64::from(missing(node, word, ledger)))
            .sum();
        (missing > level.pool).then(|| {
            let mut uses = uses(key, words, &level, ledger);
            let there = match level.pool < 0 {
                true => self.left_for_those_that_hear(key, &level, &mut uses, ledger),
                false => level.terms.limit(),
            };
            let turn = turn(&level, ledger);
            let caps = match words.values().any(Word::is_for_one) {
                true => fair::parts(there, &uses, turn),
                false => fair::caps(there, level.terms.window(), &uses, turn),
            };
            Scarcity { caps, level }
        })
    }

    /// What there is of a key in deficit for nodes that can hand something back, which are left in `uses`: not what is
    /// nobody's to spend now, nor what is at nodes that do not hear. Nothing comes back from those.
    fn left_for_those_that_hear(
        &self,
        key: &KeyId,
        level: &Level,
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
        let away = away.sum::<u64>() + level.cooling + ledger.base_withheld(key);
        let away = u32::try_from(away).unwrap_or(u32::MAX);
        level.terms.limit().saturating_sub(away)
    }

    /// Cuts what asks want of scarce keys to their caps, so that the order in a batch decides no more than who has what is too little
    /// for two requests.
    pub fn cut(&self, asks: &mut [QuotaAsk], ledger: &Ledger) {
        let items = asks.iter().flat_map(|ask| &ask.items);
        let keys: BTreeSet<KeyId> = items.map(|item| item.key).collect();
        let scarce: BTreeMap<KeyId, Scarcity> = keys
            .into_iter()
            .filter_map(|key| Some((key, self.scarcity(&key, ledger)?)))
            .collect();
        let pool = |(key, it): (&KeyId, &Scarcity)| (*key, pool(&it.level));
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
    pub fn wishes(&mut self, ledger: &Ledger) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let keys: Vec<KeyId> = self.wanting.iter().copied().collect();
        for key in keys {
            let Some(words) = self.keys.get(&key) else {
                continue;
            };
            if words
                .iter()
                .all(|(node, word)| missing(node, word, ledger) == 0)
            {
                self.wanting.remove(&key);
                continue;
            }
            if ledger.level(&key).is_none_or(|level| level.pool <= 0) {
                continue;
            }
            let scarcity = self.scarcity(&key, ledger);
            let mut pool = scarcity.as_ref().map_or(0, |it| pool(&it.level));
            let Some(words) = self.keys.get_mut(&key) else {
                continue;
            };
            for (node, word) in words {
                let given = given(node, &word.item, ledger);
                // What its ask wanted is in an entry that is not applied yet.
                let asked = ledger.heard(node) < Some((word.incarnation, word.seq));
                if wishes.len() == ITEMS || word.proposed == Some(given) || asked {
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

    /// Puts the caps and what others have free into the grants of an entry.
    pub fn dress(&self, grants: &mut [QuotaGrant], ledger: &Ledger) {
        let mut known = BTreeMap::new();
        for grant in grants {
            for item in &mut grant.items {
                let key = item.key;
                let (caps, free) = known.entry(key).or_insert_with(|| {
                    let caps = self.scarcity(&key, ledger).map(|scarcity| scarcity.caps);
                    (caps, self.free(&key, ledger))
                });
                let others = free.iter().filter(|(node, _)| **node != grant.node);
                let others: u64 = others.map(|(_, free)| free).sum();
                item.cap = caps
                    .as_ref()
                    .and_then(|caps| caps.get(&grant.node).copied());
                item.others_free = u32::try_from(others).unwrap_or(u32::MAX);
            }
        }
    }

    /// What nodes have free of a key, as far as they have said or the ledger can tell.
    fn free<'a>(&self, key: &KeyId, ledger: &'a Ledger) -> Vec<(&'a NodeId, u64)> {
        let words = self.keys.get(key);
        let free = |node| match words.and_then(|words| words.get(node)) {
            Some(word) => u64::from(word.item.free),
            None => u64::from(ledger.unsaid(node, key)),
        };
        let nodes = ledger.nodes().map(|(node, ..)| (node, free(node)));
        nodes.filter(|(_, free)| *free > 0).collect()
    }

    /// News for those that hold a tenth more of a scarce key than their cap, or more of one in deficit: they hand back what
    /// is free, and of one in deficit what cools off, though it is wanted there. A node that has never asked for the key has
    /// a base of it, too. The same is not said again for a while.
    pub fn recalls(&mut self, index: u64, ledger: &Ledger, now_ms: u64) -> Vec<QuotaGrant> {
        let mut news: BTreeMap<NodeId, QuotaGrant> = BTreeMap::new();
        let in_deficit = |key: &&KeyId| ledger.level(key).is_some_and(|level| level.pool < 0);
        let known = self.keys.keys().filter(|key| !self.wanting.contains(key));
        let short = known.filter(in_deficit).chain(ledger.shorts());
        let keys: BTreeSet<KeyId> = short.chain(&self.wanting).copied().collect();
        for key in keys {
            let Some(Scarcity { caps, level }) = self.scarcity(&key, ledger) else {
                continue;
            };
            let owed = level.pool < 0;
            let again = again_ms(&level.terms);
            if self.scarce.len() < RECALLED_MOST {
                let calm = (level.terms.window_ms() / 6).clamp(60_000, 600_000);
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
                    false => over(held.into(), cap, level.terms.window()),
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
                    terms: level.terms,
                    as_of: level.as_of,
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
    ledger.given(node, &item.key).unwrap_or(item.returned)
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
        let free = item.free.saturating_add(short_of(given, item.given));
        let there = free.saturating_add(more.min(*pool));
        more = (there - there % item.unit).saturating_sub(free);
    }
    *pool = pool.saturating_sub(more);
    item.want = given.wrapping_add(more);
}

/// What is there to give.
fn pool(level: &Level) -> u32 {
    u32::try_from(level.pool.max(0)).unwrap_or(u32::MAX)
}

/// Counts whose turn it is to have what is too little for everybody's next request: long enough for tokens to be gathered.
fn turn(level: &Level, ledger: &Ledger) -> u64 {
    ledger.now().log_ms / level.terms.window_ms().clamp(TURN_MS.0, TURN_MS.1)
}

/// What each node uses in a window, by the rate that it has said. One that has said nothing lately is taken to use
/// nothing: it hands back no more than it can spare.
fn uses(key: &KeyId, words: &BTreeMap<NodeId, Word>, level: &Level, ledger: &Ledger) -> fair::Uses {
    let window_ms = level.terms.window_ms();
    let mut uses = fair::Uses::new();
    for (node, word) in words {
        let missing = u64::from(missing(node, word, ledger));
        let used = match word.is_for_one() {
            true => u64::from(ledger.held(node, key)) + missing,
            false => u64::from(word.item.rate).saturating_mul(window_ms) / 1_000_000,
        };
        let used = used.max(missing.min(1));
        // As whole requests, if any is possible.
        let unit = u64::from(word.item.unit.clamp(1, level.terms.limit().max(1)));
        let used = used.next_multiple_of(unit);
        let used = used.min(level.terms.limit().into());
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
