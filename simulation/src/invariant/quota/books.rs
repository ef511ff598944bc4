//! What the promises about tokens go by: the first replica of the ledger, contacts and spends of each node.
//!
//! In: what was seen, in order. Out: how it stood at the moment that is judged. A core.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use meridian_cluster::quota::{
    audit,
    holder::Holding,
    key::KeyId,
    ledger::Standing,
    params::Params,
    terms::{Kind, Terms},
};
use meridian_config::name::NodeId;

pub(super) use crate::books::is_alone;
use crate::workload::{AppliedSeen, Charge, History, TokensDeed, TokensSeen};

/// How tokens stand.
#[derive(Debug, Default)]
pub(super) struct Books {
    params: Params,
    nodes: BTreeMap<NodeId, AtNode>,
    standings: BTreeMap<KeyId, Standing>,
    /// Nodes' lives as the ledger knows them.
    lives: BTreeMap<NodeId, Life>,
    /// When the last answered ask of a life was sent.
    contacts: BTreeMap<(NodeId, u64), Sent>,
    /// What earlier lives have spent, and their bases in the end.
    former: BTreeMap<(NodeId, u64), (Spends, Bases)>,
}

/// What was spent of each key.
type Spends = BTreeMap<KeyId, Spent>;

/// The base of each key, as it was seen last.
type Bases = BTreeMap<KeyId, u32>;

/// What was spent of a key.
#[derive(Debug, Default)]
struct Spent {
    spends: VecDeque<Spend>,
}

impl Spent {
    fn after(&self, after: Option<Duration>) -> u64 {
        self.late(after).map(|spend| spend.cost).sum()
    }

    /// The same beyond the base of that time or now, the greatest where the limit was lowered or raised meanwhile.
    fn beyond_base(&self, after: Option<Duration>, now: u32) -> u64 {
        let base = self.late(after).map(|spend| spend.base).max();
        let base = base.unwrap_or(0).max(now);
        self.after(after).saturating_sub(u64::from(base))
    }

    fn late(&self, after: Option<Duration>) -> impl Iterator<Item = &Spend> {
        let spends = self.spends.iter();
        spends.filter(move |spend| after.is_none_or(|after| spend.at > after))
    }
}

/// What a charge has spent, and the base by then.
#[derive(Debug)]
struct Spend {
    at: Duration,
    cost: u64,
    base: u32,
}

/// A life that the ledger knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) number: u64,
    /// The ledger knew another one of the node before.
    pub(super) later: bool,
}

/// When an ask was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// By the world's clock.
    pub(super) at: Duration,
    /// By the node's, in ms.
    pub(super) clock_ms: u64,
}

#[derive(Debug, Default)]
struct AtNode {
    life: u64,
    begun: Duration,
    asks: BTreeMap<u64, Sent>,
    /// Its last tick, of those that were seen.
    ticked: Option<Sent>,
    bases: Bases,
    /// Since it holds what it holds.
    spends: Spends,
}

/// A charge, with what its node held after it.
#[derive(Debug)]
pub(super) struct Charged<'a> {
    pub(super) at: Duration,
    pub(super) node: &'a NodeId,
    pub(super) key: KeyId,
    pub(super) holding: &'a Holding,
    pub(super) terms: Terms,
    /// The node's clock, in ms.
    pub(super) clock_ms: u64,
    /// The node went on with the share that it had before its start, since no quorum could tell it better.
    pub(super) starts: Vec<Duration>,
}

impl<'a> Charged<'a> {
    /// None where the node counts alone: nothing of this is promised then.
    pub(super) fn of(history: &'a History, seen: &'a TokensSeen) -> Option<Self> {
        let TokensDeed::Charged {
            key,
            holding,
            clock_ms,
            ..
        } = &seen.what
        else {
            return None;
        };
        let terms = holding.terms.filter(|_| !is_alone(holding))?;
        let starts = history.assumed.iter();
        let starts = starts.filter(|start| start.node == seen.node.as_str());
        Some(Self {
            at: seen.at,
            node: &seen.node,
            key: *key,
            holding,
            terms,
            clock_ms: *clock_ms,
            starts: starts.map(|start| start.at).collect(),
        })
    }

    /// Whether its window slides: of a fixed one the clock that counts is the node's own.
    pub(super) fn slides(&self) -> bool {
        self.terms.kind() == Kind::Sliding
    }
}

impl Books {
    /// Takes in what was seen.
    pub(super) fn follow(&mut self, history: &History, seen: &TokensSeen) {
        self.params = history.quota;
        match &seen.what {
            TokensDeed::Begun { life } => {
                let at = self.nodes.entry(seen.node.clone()).or_default();
                if at.life != *life {
                    let left = (
                        std::mem::take(&mut at.spends),
                        std::mem::take(&mut at.bases),
                    );
                    self.former.insert((seen.node.clone(), at.life), left);
                }
                *at = AtNode {
                    life: *life,
                    begun: seen.at,
                    // An ask of this life may be answered yet.
                    asks: match at.life == *life {
                        true => std::mem::take(&mut at.asks),
                        false => BTreeMap::new(),
                    },
                    ticked: None,
                    bases: Bases::new(),
                    spends: Spends::new(),
                };
            }
            TokensDeed::Asked { seq, sent_ms } => {
                let at = self.nodes.entry(seen.node.clone()).or_default();
                let sent = Sent {
                    at: seen.at,
                    clock_ms: *sent_ms,
                };
                at.asks.insert(*seq, sent);
                if at.asks.len() > ASKS {
                    at.asks.pop_first();
                }
            }
            TokensDeed::Granted {
                life,
                answers: Some(seq),
                ..
            } => {
                let at = self.nodes.get(&seen.node);
                let at = at.filter(|at| at.life == *life);
                let Some(sent) = at.and_then(|at| at.asks.get(seq)).copied() else {
                    return;
                };
                let contact = self.contacts.entry((seen.node.clone(), *life));
                let contact = contact.or_insert(sent);
                if contact.at < sent.at {
                    *contact = sent;
                }
            }
            TokensDeed::Charged {
                nth, key, holding, ..
            } => self.charge(seen, *key, holding, &history.charges[*nth]),
            TokensDeed::Applied(applied) => self.apply(applied),
            TokensDeed::Holds {
                holdings,
                settled,
                clock_ms,
            } => {
                let at = self.nodes.entry(seen.node.clone()).or_default();
                if *settled {
                    at.ticked = Some(Sent {
                        at: seen.at,
                        clock_ms: *clock_ms,
                    });
                }
                at.bases = holdings.iter().map(|it| (it.key, it.base)).collect();
            }
            TokensDeed::Granted { .. } | TokensDeed::Apart { .. } => {}
        }
    }

    fn charge(&mut self, seen: &TokensSeen, key: KeyId, holding: &Holding, charge: &Charge) {
        let at = self.nodes.entry(seen.node.clone()).or_default();
        let spent = at.spends.entry(key).or_default();
        let spends = &mut spent.spends;
        if charge.back {
            let same = |spend: &Spend| spend.at == charge.at && spend.cost >= charge.cost;
            if let Some(nth) = spends.iter().rposition(same) {
                spends[nth].cost -= charge.cost;
            }
            return;
        }
        spends.push_back(Spend {
            at: charge.at,
            cost: charge.cost,
            base: holding.base,
        });
        let kept = rest_most(charge.span) + KEPT;
        while spends
            .front()
            .is_some_and(|spend| spend.at + kept < seen.at)
        {
            spends.pop_front();
        }
    }

    fn apply(&mut self, applied: &AppliedSeen) {
        for (key, standing) in &applied.changed {
            match standing {
                Some(standing) => self.standings.insert(*key, standing.clone()),
                None => self.standings.remove(key),
            };
        }
        if let Some(node) = &applied.gone {
            self.lives.remove(node);
        }
        if let Some((node, number)) = &applied.up {
            let known = self.lives.get(node);
            if known.is_none_or(|known| known.number < *number) {
                let life = Life {
                    number: *number,
                    later: known.is_some(),
                };
                self.lives.insert(node.clone(), life);
            }
        }
    }

    /// The life of a node that the ledger knows.
    pub(super) fn known(&self, node: &NodeId) -> Option<Life> {
        self.lives.get(node).copied()
    }

    /// The life that a node leads, and since when.
    pub(super) fn life(&self, node: &NodeId) -> Option<(u64, Duration)> {
        self.nodes.get(node).map(|at| (at.life, at.begun))
    }

    /// Whether the ledger knows the life that the node leads.
    pub(super) fn is_known(&self, node: &NodeId) -> bool {
        let known = self.known(node).map(|life| life.number);
        known.is_some() && known == self.life(node).map(|(life, _)| life)
    }

    /// When the last answered ask of a node's life was sent.
    pub(super) fn contact(&self, node: &NodeId, life: u64) -> Option<Sent> {
        self.contacts.get(&(node.clone(), life)).copied()
    }

    /// Whether a node's machine stood still since its last tick, or its last contact if that is later, and its clock with
    /// it: it finds out at its next tick, and is excused until then.
    pub(super) fn stood_still(&self, node: &NodeId, at: Duration, clock_ms: u64) -> bool {
        let life = self.life(node);
        let contact = life.and_then(|(life, _)| self.contact(node, life));
        let ticked = self.nodes.get(node).and_then(|at| at.ticked);
        let last = contact.into_iter().chain(ticked).max_by_key(|it| it.at);
        last.is_some_and(|last| {
            let counted = Duration::from_millis(clock_ms.saturating_sub(last.clock_ms));
            counted + STOOD_STILL < at.saturating_sub(last.at)
        })
    }

    /// How a key stands.
    pub(super) fn standing(&self, key: &KeyId) -> Option<&Standing> {
        self.standings.get(key)
    }

    /// What is booked for a node beyond its base, for the life that it leads.
    pub(super) fn booked(&self, node: &NodeId, key: &KeyId) -> i64 {
        let standing = self.standing(key).filter(|_| self.is_known(node));
        standing.map_or(0, |standing| audit::held(standing, node))
    }

    /// What a node has spent of a key after that moment, of what it holds; none of a key that nobody was charged for
    /// there.
    pub(super) fn spent(&self, node: &NodeId, key: &KeyId, after: Option<Duration>) -> Option<u64> {
        let spent = self.nodes.get(node)?.spends.get(key)?;
        Some(spent.after(after))
    }

    /// What a life of a node has spent of a key after that moment, less its base.
    pub(super) fn spent_beyond_base(
        &self,
        node: &NodeId,
        life: u64,
        key: &KeyId,
        after: Option<Duration>,
    ) -> u64 {
        let present = self.nodes.get(node).filter(|at| at.life == life);
        let (spends, bases) = match present {
            Some(at) => (Some(&at.spends), Some(&at.bases)),
            None => self
                .former
                .get(&(node.clone(), life))
                .map(|(spends, bases)| (spends, bases))
                .unzip(),
        };
        let base = bases.and_then(|bases| bases.get(key)).copied();
        let spent = spends.and_then(|spends| spends.get(key));
        spent.map_or(0, |spent| spent.beyond_base(after, base.unwrap_or(0)))
    }

    /// What earlier lives of a node than this one have spent of a key after that moment.
    pub(super) fn spent_before(
        &self,
        node: &NodeId,
        life: u64,
        key: &KeyId,
        after: Option<Duration>,
    ) -> u64 {
        let lives = self.former.range((node.clone(), 0)..(node.clone(), life));
        let spent = lives.filter_map(|(_, (spends, _))| spends.get(key));
        spent.map(|spent| spent.after(after)).sum()
    }

    /// What nodes and ledger go by.
    pub(super) fn params(&self) -> &Params {
        &self.params
    }

    /// How long extra is valid without contact.
    pub(super) fn lease(&self, terms: &Terms) -> Duration {
        self.params.extra_lease(terms.window())
    }

    /// What holders had of a key beyond base before an entry and do not have after it, and did not say themselves: whose,
    /// and how many.
    pub(super) fn taken_back(&self, applied: &AppliedSeen) -> Vec<(KeyId, Terms, NodeId, u64)> {
        let mut taken = Vec::new();
        for (key, after) in &applied.changed {
            let Some(before) = self.standing(key) else {
                continue;
            };
            for (node, had) in &before.extra {
                let has = after.as_ref().map_or(0, |after| audit::held(after, node));
                let less = u64::try_from(*had - has.max(0)).unwrap_or(0);
                if less > 0 && !applied.named.contains(&(node.clone(), *key)) {
                    taken.push((*key, before.terms, node.clone(), less));
                }
            }
        }
        taken
    }
}

/// Until when a token that was spent rests at its node at most: for the window, as much as clocks drift, and one of its
/// forty slots.
pub(super) fn rest_most(window: Duration) -> Duration {
    let slots = window * 41 / 40;
    slots + slots / 2000
}

/// By how much less than a window a node's clock may take it for: the grain of the world's timers, at both ends.
pub(super) const GRAIN: Duration = Duration::from_millis(2);

/// Clocks that differ by so much within a silence: the machine stood still. What nodes go by, too.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Spends are kept for so long beyond the time that they matter.
const KEPT: Duration = Duration::from_secs(1);

/// Asks of a life that may still be answered.
const ASKS: usize = 256;
