//! Nodes, a ledger, and a network between them that is all that networks may be; discrete events.
//!
//! In: a [`Setup`], and what a driver adds: requests and faults. Out: its events one by one; what the ledger
//! and the nodes do at theirs.

use std::{collections::BTreeMap, time::Duration};

use super::{
    desk::{Desk, Voter},
    dice::Dice,
    micros,
    node::{Birth, Document, Node},
    oracle::Oracle,
};
use crate::quota::{
    key::KeyId,
    ledger::Standing,
    message::{Act, QuotaAsk, QuotaGrant},
    params::{Params, Planted},
};

/// What is planted in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bugs {
    pub(super) ledger: Planted,
    pub(super) node_ignores_its_deadline: bool,
    pub(super) slot_is_free_early: bool,
    pub(super) remains_are_forgotten: bool,
    pub(super) all_splits_fit: bool,
}

#[derive(Debug)]
pub(super) enum Event {
    /// The driver's: a request, or what breaks.
    Load(usize),
    Fault(usize),
    Wake(usize),
    Tick(usize, u64),
    /// A tick out of turn, because something ran low.
    Early(usize, u64),
    Ask(Vec<u8>),
    Flush(u64),
    Commit(u64),
    Grant(usize, Box<QuotaGrant>),
    Adopt(usize, u64),
    Restart(usize),
    Heal(usize),
    Elect,
    Look,
}

/// What messages are subject to.
#[derive(Debug, Clone)]
pub(super) enum Paths {
    /// In thousandths, how many are lost, doubled, late.
    Wild { loss: u64, doubled: u64, late: u64 },
    /// One way to the leader by node, and for an entry to be agreed on, in microseconds.
    Steady { ways: Vec<u64>, quorum: u64 },
}

pub(super) struct Setup {
    pub(super) params: Params,
    pub(super) nodes: Vec<Node>,
    pub(super) voters: Vec<Voter>,
    pub(super) seats: u16,
    pub(super) document: Document,
    pub(super) paths: Paths,
    /// How long a request waits.
    pub(super) wait: Duration,
    /// Of a thousand lives, so many ask by chance.
    pub(super) wild: u64,
    /// The leader's hints mean nothing.
    pub(super) hints: bool,
    pub(super) bugs: Bugs,
}

/// A run.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) params: Params,
    pub(super) now: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(super) nodes: Vec<Node>,
    pub(super) desk: Desk,
    pub(super) oracle: Oracle,
    pub(super) paths: Paths,
    wait: Duration,
    wild: u64,
    hints: bool,
    pub(super) calm: bool,
    bugs: Bugs,
    pub(super) counts: Counts,
    /// Until when a node has its tick out of turn.
    early: Vec<u64>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) splits: u64,
    /// Asks and grants that say something of a key.
    pub(super) messages: u64,
}

impl World {
    pub(super) fn new(setup: Setup, dice: Dice) -> Self {
        let mut oracle = Oracle::default();
        oracle.publish(setup.document);
        let mut world = Self {
            params: setup.params,
            now: 0,
            order: 0,
            events: BTreeMap::new(),
            desk: Desk::new(setup.params, setup.bugs.ledger, setup.voters),
            early: vec![0; setup.nodes.len()],
            nodes: setup.nodes,
            oracle,
            paths: setup.paths,
            wait: setup.wait,
            wild: setup.wild,
            hints: setup.hints,
            calm: false,
            bugs: setup.bugs,
            counts: Counts::default(),
            dice,
        };
        let seats = setup.seats;
        world.desk.propose(Act::Split { seats }, 0);
        world.desk.commit(0, &mut world.dice);
        for node in 0..world.nodes.len() {
            let delay = world.dice.below(300_000);
            world.after(delay, Event::Restart(node));
        }
        world.after(100_000, Event::Look);
        world
    }

    /// The next event until then.
    pub(super) fn next(&mut self, until: u64) -> Option<Event> {
        let (at, _) = *self.events.first_key_value()?.0;
        if at > until {
            return None;
        }
        self.now = at;
        self.counts.events += 1;
        self.events.pop_first().map(|(_, event)| event)
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), event);
    }

    /// What happens by itself; the driver's events are its own.
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Load(_) | Event::Fault(_) | Event::Wake(_) => {}
            Event::Tick(node, incarnation) => {
                if self.lives(node, incarnation) {
                    self.tick(node);
                    let tick = micros(self.params.tick);
                    self.after(tick, Event::Tick(node, incarnation));
                }
            }
            Event::Early(node, incarnation) => {
                if self.lives(node, incarnation) {
                    self.tick(node);
                }
            }
            Event::Ask(bytes) => self.hear(&bytes),
            Event::Flush(term) if term == self.desk.term => {
                for act in self.desk.flush(self.now) {
                    self.propose(act);
                }
            }
            Event::Commit(term) if term == self.desk.term => {
                for mut grant in self.desk.commit(self.now, &mut self.dice) {
                    self.desk.dress(&mut grant);
                    self.answer(grant);
                }
            }
            Event::Flush(_) | Event::Commit(_) => {}
            Event::Grant(node, grant) => {
                if !self.nodes[node].cut {
                    self.nodes[node].take(&grant, self.now);
                }
            }
            Event::Adopt(node, as_of) => {
                let document = self.oracle.document(as_of);
                self.nodes[node].adopt(as_of, document);
            }
            Event::Restart(node) => self.restart(node),
            Event::Heal(node) => self.nodes[node].cut = false,
            Event::Elect => self.desk.elect(self.now, &mut self.dice),
            Event::Look => self.look(),
        }
    }

    /// A node whose keys ran low does not wait for its next tick.
    pub(super) fn after_request(&mut self, node: usize) {
        if self.nodes[node].hungry() && self.early[node] <= self.now {
            self.early[node] = self.now + EARLY;
            let incarnation = self.nodes[node].incarnation;
            self.after(EARLY, Event::Early(node, incarnation));
        }
    }

    fn lives(&self, node: usize, incarnation: u64) -> bool {
        let node = &self.nodes[node];
        node.life.is_some() && node.incarnation == incarnation
    }

    fn tick(&mut self, node: usize) {
        let asks = self.nodes[node].tick(self.now, &mut self.dice);
        for ask in asks {
            self.send(node, &ask);
        }
    }

    pub(super) fn send(&mut self, from: usize, ask: &QuotaAsk) {
        self.counts.messages += u64::from(!ask.items.is_empty());
        if self.nodes[from].cut {
            return;
        }
        for delay in self.ways(from) {
            self.after(delay, Event::Ask(ask.encode()));
        }
    }

    fn answer(&mut self, mut grant: QuotaGrant) {
        let Some(to) = self.nodes.iter().position(|node| node.id == grant.node) else {
            return;
        };
        if self.hints {
            for item in &mut grant.items {
                let cap = u32::try_from(self.dice.below(100)).expect("small");
                item.cap = self.dice.chance(300).then_some(cap);
                item.pool = u32::try_from(self.dice.below(100)).expect("small");
                item.others_free = item.pool;
            }
        }
        self.counts.messages += u64::from(!grant.items.is_empty());
        if self.nodes[to].cut {
            return;
        }
        // As it is read by a node.
        let grant = QuotaGrant::decode(&grant.encode()).expect("a grant of ours reads back");
        for delay in self.ways(to) {
            self.after(delay, Event::Grant(to, Box::new(grant.clone())));
        }
    }

    /// When a message between a node and the leader arrives: not, once, or twice.
    fn ways(&mut self, node: usize) -> Vec<u64> {
        let (loss, doubled, late) = match &self.paths {
            Paths::Steady { ways, .. } => {
                let way = ways[node];
                return vec![self.dice.between(way, way + way / 20)];
            }
            Paths::Wild { .. } if self.calm => (0, 0, 0),
            Paths::Wild {
                loss,
                doubled,
                late,
            } => (*loss, *doubled, *late),
        };
        if self.dice.chance(loss) {
            return Vec::new();
        }
        let times = 1 + u64::from(self.dice.chance(doubled));
        (0..times)
            .map(|_| {
                let most = match self.dice.chance(late) {
                    true => 3_000_000,
                    false => 60_000,
                };
                self.dice.between(500, most)
            })
            .collect()
    }

    fn hear(&mut self, bytes: &[u8]) {
        let ask = QuotaAsk::decode(bytes).expect("a node's own message reads back");
        let from = self.nodes.iter().find(|node| node.id == ask.node);
        let Some(from) = from.filter(|node| !node.cut && self.desk.leader.is_some()) else {
            return;
        };
        let region = from.region.clone();
        if self.desk.hear(ask, &region, self.now) {
            let batch = self.desk.batch();
            self.after(batch, Event::Flush(self.desk.term));
        }
    }

    pub(super) fn propose(&mut self, act: Act) {
        self.desk.propose(act, self.now);
        let delay = match &self.paths {
            Paths::Steady { quorum, .. } => *quorum,
            Paths::Wild { .. } => self.dice.between(2000, 80_000),
        };
        self.after(delay, Event::Commit(self.desk.term));
    }

    fn restart(&mut self, at: usize) {
        let wild = self.dice.chance(self.wild);
        let delay = self.dice.below(2_000_000);
        let node = &mut self.nodes[at];
        if node.life.is_some() {
            return;
        }
        let mut params = self.params;
        if self.bugs.node_ignores_its_deadline {
            params.extra_lease_least = Duration::from_secs(100_000);
            params.base_lease_least = Duration::from_secs(100_000);
        }
        params.planted.slot_early = self.bugs.slot_is_free_early;
        params.planted.forgets_remains = self.bugs.remains_are_forgotten;
        params.planted.always_fits = self.bugs.all_splits_fit;
        let birth = Birth {
            document: self.oracle.document(node.as_of),
            params,
            wait: self.wait,
            wild,
        };
        node.begin(birth, self.now);
        let incarnation = node.incarnation;
        let newest = self.oracle.newest();
        self.after(delay, Event::Adopt(at, newest));
        self.after(1000, Event::Tick(at, incarnation));
    }

    fn look(&mut self) {
        self.after(300_000, Event::Look);
        if self.desk.leader.is_none() {
            return;
        }
        for act in self.desk.look(&mut self.dice) {
            self.counts.splits += u64::from(matches!(act, Act::Split { .. }));
            self.propose(act);
        }
        for recall in self.desk.recalls(self.now) {
            self.answer(recall);
        }
    }

    /// Tells a node what it holds of a key, though it has not asked.
    pub(super) fn tell(&mut self, node: usize, key: &KeyId) {
        let ledger = &self.desk.ledger;
        let node = self.nodes[node].id.clone();
        if let (Some(word), Some(incarnation)) = (ledger.word(&node, key), ledger.life(&node)) {
            let base = ledger.right(&node);
            self.answer(QuotaGrant {
                node,
                incarnation,
                index: self.desk.index,
                answers: None,
                base,
                items: vec![word],
                recalls: Vec::new(),
            });
        }
    }

    /// Documents in use: those of living nodes, and of keys' records.
    pub(super) fn note_documents(&mut self, standing: &[(KeyId, Standing)]) {
        let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        let lives = lives.map(|life| life.as_of);
        let records = standing.iter().map(|(_, standing)| standing.as_of);
        let mut oldest = lives.chain(records).min().unwrap_or(self.oracle.newest());
        for (_, standing) in standing {
            // A deficit means that tokens of an older limit are still about.
            if standing.pool < 0 {
                let span = standing.terms.window_ms() * 2000;
                oldest = oldest.min(self.oracle.oldest_within(span, self.now));
            }
        }
        self.oracle.uses(oldest, self.now);
    }

    /// How the keys of the newest document stand in the ledger.
    pub(super) fn standing(&self, keys: &[KeyId]) -> Vec<(KeyId, Standing)> {
        let standing = keys
            .iter()
            .filter_map(|key| Some((*key, self.desk.ledger.standing(key)?)));
        standing.collect()
    }

    /// No token is lost or made in the ledger or at a node, and none acts on more than is booked for it.
    pub(super) fn check(&self, standing: &[(KeyId, Standing)]) -> Result<(), String> {
        if let Some(why) = &self.desk.wrong {
            return Err(format!("{}: {why}", self.now));
        }
        for node in &self.nodes {
            let Some(life) = &node.life else {
                continue;
            };
            let known = self.desk.ledger.life(&node.id) == Some(node.incarnation);
            let now = crate::quota::clock::Clock::now(&node.clock(self.now));
            for holding in life.holder.holdings(now) {
                let (id, at) = (&node.id, self.now);
                let here = i64::from(holding.held.free) + i64::from(holding.held.cool);
                let due = i64::from(holding.base) + i64::from(holding.extra);
                if here != due {
                    return Err(format!("{at}: {id} has {here} and should have {due}"));
                }
                let booked = standing.iter().find(|(key, _)| *key == holding.key);
                let booked = booked.filter(|_| known).map_or(0, |(_, standing)| {
                    let row = standing.extra.iter().find(|(node, _)| node == id);
                    row.map_or(0, |(_, extra)| *extra)
                });
                let sure = holding.valid && !self.bugs.node_ignores_its_deadline;
                // What it has lent it has lent, in contact or not.
                let extra = i64::from(holding.extra);
                let (extra, booked) = match sure {
                    true => (extra, booked),
                    false => (extra.min(0), booked.min(0)),
                };
                if extra > booked {
                    return Err(format!(
                        "{at}: {id} holds {} of {:?} beyond base, and is booked {booked}",
                        holding.extra, holding.key
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A tick out of turn waits so long for more that runs low, in microseconds.
const EARLY: u64 = 10_000;
