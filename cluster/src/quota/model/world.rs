//! Nodes, a ledger, and a network between them that is all that networks may be; discrete events on one seed.

use std::collections::{BTreeMap, VecDeque};

use meridian_config::name::{NodeId, RegionName};

use super::{
    dice::Dice,
    holder::{Holder, Mind, Now, micros},
    oracle::Oracle,
};
use crate::quota::{
    key::KeyId,
    leader::Leader,
    ledger::{Ledger, Planted, clock::LogClock},
    message::{Act, Entry, QuotaAsk, QuotaGrant, Stamp},
    params::Params,
    terms::{Kind, OnLapse, Terms},
};

/// What is planted in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bugs {
    pub(super) ledger: Planted,
    pub(super) node_ignores_its_deadline: bool,
}

/// What a run has seen, so that a test can tell that it saw anything.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) events: u64,
    pub(super) admitted: u64,
    pub(super) lapses: u64,
    pub(super) crashes: u64,
    pub(super) leaders: u64,
    pub(super) documents: u64,
    pub(super) gone: u64,
    pub(super) splits: u64,
    pub(super) left: u64,
    pub(super) full_windows: bool,
}

#[derive(Debug)]
enum Event {
    Request,
    Tick(usize, u64),
    Ask(Vec<u8>),
    Flush(u64),
    Commit(u64),
    Grant(usize, Box<QuotaGrant>),
    Adopt(usize, u64),
    Restart(usize),
    Heal(usize),
    Elect,
    Fault,
    Look,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    /// How fast its monotonic clock runs, in millionths off.
    drift: i64,
    offset: i64,
    born: u64,
    incarnation: u64,
    /// The document on its disk.
    as_of: u64,
    cut: bool,
    holder: Option<Holder>,
}

impl Node {
    fn now(&self, real: u64) -> Now {
        Now {
            local: local(self.drift, real - self.born) + 1_000_000,
            unix: (1_000_000_000_000 + real).saturating_add_signed(self.offset),
        }
    }
}

fn local(drift: i64, real: u64) -> u64 {
    let off = i128::from(real) * i128::from(drift) / 1_000_000;
    u64::try_from(i128::from(real) + off).expect("drift is small")
}

#[derive(Debug, Clone)]
struct Voter {
    drift: i64,
    offset: i64,
    clock: LogClock,
}

/// A run.
pub(super) struct World {
    dice: Dice,
    params: Params,
    now: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    keys: Vec<KeyId>,
    pub(super) ledger: Ledger,
    index: u64,
    voters: Vec<Voter>,
    leader: Option<usize>,
    term: u64,
    waiting: Vec<QuotaAsk>,
    flushing: bool,
    proposed: VecDeque<Entry>,
    memory: Leader,
    oracle: Oracle,
    loss: u64,
    doubling: u64,
    late: u64,
    hints: bool,
    calm: bool,
    bugs: Bugs,
    seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64, bugs: Bugs) -> Self {
        let mut dice = Dice::new(seed);
        let ms = std::time::Duration::from_millis;
        let params = Params {
            extra_lease_least: ms(dice.between(400, 3000)),
            base_lease_least: ms(dice.between(1000, 6000)),
            drift_ppm: u32::try_from(*dice.pick(&[200, 2000, 20_000])).expect("small"),
            offset: ms(dice.between(0, 250)),
            heartbeat: ms(200),
            ..Params::DEFAULT
        };
        let mut ledger = Ledger::new(params);
        ledger.planted = bugs.ledger;
        let rho = i64::from(params.drift_ppm);
        let drift = |dice: &mut Dice| {
            let off = i64::try_from(dice.below(params.drift_ppm.into())).expect("small");
            *dice.pick(&[off, -off, rho, -rho])
        };
        let offset = |dice: &mut Dice| {
            let most = micros(params.offset);
            i64::try_from(dice.between(0, 2 * most)).expect("small") - most.cast_signed()
        };
        let count = dice.between(2, 5);
        let nodes = (0..count).map(|number| Node {
            id: NodeId::new(format!("n{number}")),
            drift: drift(&mut dice),
            offset: offset(&mut dice),
            born: 0,
            incarnation: 0,
            as_of: 1,
            cut: false,
            holder: None,
        });
        let nodes = nodes.collect();
        let voters = (0..3).map(|_| Voter {
            drift: drift(&mut dice),
            offset: offset(&mut dice),
            clock: LogClock::default(),
        });
        let voters = voters.collect();
        let keys = (0..dice.between(1, 3)).map(|number| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            KeyId(id)
        });
        let keys = keys.collect();
        let (loss, doubling, late) = (dice.below(100), dice.below(100), dice.below(60));
        let mut world = Self {
            params,
            now: 0,
            order: 0,
            events: BTreeMap::new(),
            nodes,
            keys,
            ledger,
            index: 0,
            voters,
            leader: Some(0),
            term: 1,
            waiting: Vec::new(),
            flushing: false,
            proposed: VecDeque::new(),
            memory: Leader::new(params),
            oracle: Oracle::default(),
            loss,
            doubling,
            late,
            hints: dice.chance(500),
            calm: false,
            bugs,
            seen: Seen::default(),
            dice,
        };
        world.found();
        world
    }

    fn found(&mut self) {
        let limits = self.keys.clone().into_iter().map(|key| {
            let window = *self.dice.pick(&[200, 500, 1000, 2500]);
            let kind = *self.dice.pick(&[Kind::Sliding, Kind::Sliding, Kind::Fixed]);
            let on_lapse = *self.dice.pick(&[OnLapse::Base, OnLapse::Deny]);
            let limit = *self.dice.pick(&[1, 3, 20, 64, 65, 70, 100, 300]);
            let window = std::time::Duration::from_millis(window);
            let terms = Terms::new(limit, window, kind, on_lapse).expect("within bounds");
            (key, terms)
        });
        let limits = limits.collect();
        self.oracle.publish(limits);
        let seats = self.dice.between(1, self.nodes.len() as u64 + 1);
        let seats = u16::try_from(seats).expect("few");
        self.proposed.push_back(Entry {
            stamp: Stamp::default(),
            act: Act::Split { seats },
        });
        self.commit();
        for node in 0..self.nodes.len() {
            let delay = self.dice.below(300_000);
            self.after(delay, Event::Restart(node));
        }
        self.after(10_000, Event::Request);
        self.after(500_000, Event::Fault);
        self.after(100_000, Event::Look);
    }

    /// Plays so long; in its last part nothing breaks any more.
    pub(super) fn play(&mut self, span: u64) -> Result<Seen, String> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > span {
                break;
            }
            self.now = at;
            self.calm = at > span - span / 4;
            self.seen.events += 1;
            self.happen(event)?;
        }
        self.seen.admitted = self.oracle.admitted;
        self.seen.full_windows = self.oracle.most_used > 0.9;
        Ok(self.seen)
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), event);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Request => self.request()?,
            Event::Tick(node, incarnation) => self.tick(node, incarnation),
            Event::Ask(bytes) => self.hear(&bytes),
            Event::Flush(term) if term == self.term => self.flush(),
            Event::Commit(term) if term == self.term => {
                for grant in self.commit() {
                    self.answer(grant);
                }
            }
            Event::Flush(_) | Event::Commit(_) => {}
            Event::Grant(node, grant) => {
                let at = &mut self.nodes[node];
                let now = at.now(self.now);
                if let Some(holder) = at.holder.as_mut().filter(|_| !at.cut) {
                    holder.take(&grant, now);
                }
            }
            Event::Adopt(node, as_of) => self.adopt(node, as_of),
            Event::Restart(node) => self.restart(node),
            Event::Heal(node) => self.nodes[node].cut = false,
            Event::Elect => self.elect(),
            Event::Fault => self.fault(),
            Event::Look => self.look(),
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), String> {
        // Documents in use: those of living nodes, and of keys' records.
        let nodes = self.nodes.iter().filter_map(|node| node.holder.as_ref());
        let nodes = nodes.map(|holder| holder.as_of);
        let standing: Vec<_> = self
            .keys
            .iter()
            .filter_map(|key| Some((key, self.ledger.standing(key)?)))
            .collect();
        let records = standing.iter().map(|(_, standing)| standing.as_of);
        let mut oldest = nodes.chain(records).min().unwrap_or(self.oracle.newest());
        for (_, standing) in &standing {
            // A deficit means that tokens of an older limit are still about.
            if standing.pool < 0 {
                let span = standing.terms.window_ms() * 2000;
                oldest = oldest.min(self.oracle.oldest_within(span, self.now));
            }
        }
        self.oracle.uses(oldest, self.now);

        for node in &self.nodes {
            let Some(holder) = &node.holder else {
                continue;
            };
            let now = node.now(self.now);
            for (key, cell) in &holder.cells {
                if !holder.valid(&cell.terms, now) || cell.stale || holder.ignores_its_deadline {
                    continue;
                }
                let booked = standing.iter().find(|(other, _)| *other == key);
                let booked = booked.map_or(0, |(_, standing)| {
                    let row = standing.extra.iter().find(|(id, _)| *id == node.id);
                    row.map_or(0, |(_, extra)| i64::from(*extra))
                });
                if cell.extra() > booked {
                    return Err(format!(
                        "{}: {} holds {} of {key:?} beyond base, and is booked {booked}",
                        self.now,
                        node.id,
                        cell.extra()
                    ));
                }
            }
        }
        Ok(())
    }

    fn request(&mut self) -> Result<(), String> {
        let gap = self.dice.between(500, 12_000);
        self.after(gap, Event::Request);
        let burst = if self.dice.chance(100) {
            self.dice.between(5, 60)
        } else {
            1
        };
        let at = self.dice.below(self.nodes.len() as u64);
        let node = &mut self.nodes[usize::try_from(at).expect("few")];
        let key = *self.dice.pick(&self.keys);
        let now = node.now(self.now);
        for _ in 0..burst {
            let cost = u32::try_from(self.dice.between(1, 4)).expect("small");
            let Some(holder) = &mut node.holder else {
                break;
            };
            if holder.decide(key, cost, now) == Some(true) {
                let terms = holder.terms[&key];
                let window = holder.window(&key);
                self.oracle
                    .admit(key, &terms, cost, window, self.now, &self.params)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, at: usize, incarnation: u64) {
        let node = &mut self.nodes[at];
        let now = node.now(self.now);
        let Some(holder) = node
            .holder
            .as_mut()
            .filter(|holder| holder.incarnation == incarnation)
        else {
            return;
        };
        let ask = holder.tick(now, &mut self.dice);
        self.after(micros(self.params.tick), Event::Tick(at, incarnation));
        if let Some(ask) = ask {
            self.send_ask(at, &ask);
        }
    }

    fn send_ask(&mut self, from: usize, ask: &QuotaAsk) {
        if self.nodes[from].cut {
            return;
        }
        for delay in self.ways() {
            self.after(delay, Event::Ask(ask.encode()));
        }
    }

    /// When a message arrives: not, once, or twice.
    fn ways(&mut self) -> Vec<u64> {
        let (loss, doubling, late) = if self.calm {
            (0, 0, 0)
        } else {
            (self.loss, self.doubling, self.late)
        };
        if self.dice.chance(loss) {
            return Vec::new();
        }
        let times = 1 + u64::from(self.dice.chance(doubling));
        (0..times)
            .map(|_| {
                let most = if self.dice.chance(late) {
                    3_000_000
                } else {
                    60_000
                };
                self.dice.between(500, most)
            })
            .collect()
    }

    fn hear(&mut self, bytes: &[u8]) {
        let ask = QuotaAsk::decode(bytes).expect("a node's own message reads back");
        let from = self.nodes.iter().find(|node| node.id == ask.node);
        if self.leader.is_none() || from.is_none_or(|node| node.cut) {
            return;
        }
        let region = RegionName::new(if ask.node.as_str() < "n2" { "eu" } else { "us" });
        self.memory.hear(&ask, &region, self.now / 1000);
        self.waiting.push(ask);
        if !self.flushing {
            self.flushing = true;
            let batch = micros(self.params.batch);
            self.after(batch, Event::Flush(self.term));
        }
    }

    fn stamp(&self) -> Stamp {
        let voter = &self.voters[self.leader.unwrap_or(0)];
        Stamp {
            log_ms: voter.clock.read(local(voter.drift, self.now) / 1000),
            unix_ms: (1_000_000_000_000 + self.now).saturating_add_signed(voter.offset) / 1000,
        }
    }

    fn propose(&mut self, act: Act) {
        let entry = Entry {
            stamp: self.stamp(),
            act,
        };
        // As it comes out of another voter's log.
        let entry = Entry::decode(&entry.encode()).expect("an entry of ours reads back");
        self.proposed.push_back(entry);
        let delay = self.dice.between(2000, 80_000);
        self.after(delay, Event::Commit(self.term));
    }

    fn flush(&mut self) {
        self.flushing = false;
        let mut asks = std::mem::take(&mut self.waiting);
        self.memory.forget(self.now / 1000);
        self.memory.cut(&mut asks, &self.ledger);
        for ask in &asks {
            let known = self.ledger.life(&ask.node);
            if known.is_none_or(|known| known < ask.incarnation) {
                self.propose(Act::NodeUp {
                    node: ask.node.clone(),
                    incarnation: ask.incarnation,
                });
            }
        }
        let wishes = self.memory.wishes(&self.ledger);
        self.propose(Act::Batch { asks, wishes });
    }

    /// Applies the oldest proposed entry.
    fn commit(&mut self) -> Vec<QuotaGrant> {
        let Some(entry) = self.proposed.pop_front() else {
            return Vec::new();
        };
        self.index += 1;
        let rows = self.ledger.rows();
        let before = self.ledger.encode();
        let grants = self.ledger.apply(self.index, &entry);
        if matches!(entry.act, Act::Expire) && self.ledger.rows() != rows {
            self.seen.lapses += 1;
        }
        if self.index.is_multiple_of(16) {
            // A voter that was sent a snapshot is where the others are.
            let mut other = Ledger::decode(&before, self.params).expect("a snapshot reads back");
            other.planted = self.bugs.ledger;
            assert_eq!(
                other.apply(self.index, &entry),
                grants,
                "replicas answer alike"
            );
            assert_eq!(other.encode(), self.ledger.encode(), "replicas stay alike");
            self.ledger = other;
        }
        let leader = self.leader;
        for at in 0..self.voters.len() {
            let delay = if Some(at) == leader {
                0
            } else {
                self.dice.below(300_000)
            };
            let voter = &mut self.voters[at];
            let received = local(voter.drift, self.now + delay) / 1000;
            voter.clock.advance(entry.stamp.log_ms, received);
        }
        grants
    }

    fn answer(&mut self, mut grant: QuotaGrant) {
        let Some(to) = self.nodes.iter().position(|node| node.id == grant.node) else {
            return;
        };
        self.memory.dress(&mut grant, &self.ledger);
        if self.hints {
            for item in &mut grant.items {
                let cap = u32::try_from(self.dice.below(100)).expect("small");
                item.cap = self.dice.chance(300).then_some(cap);
                item.pool = u32::try_from(self.dice.below(100)).expect("small");
                item.others_free = item.pool;
            }
        }
        if self.nodes[to].cut {
            return;
        }
        for delay in self.ways() {
            self.after(delay, Event::Grant(to, Box::new(grant.clone())));
        }
    }

    fn adopt(&mut self, at: usize, as_of: u64) {
        let node = &mut self.nodes[at];
        if as_of > node.as_of {
            node.as_of = as_of;
            if let Some(holder) = &mut node.holder {
                holder.compile(as_of, self.oracle.document(as_of));
            }
        }
    }

    fn restart(&mut self, at: usize) {
        let as_of = self.nodes[at].as_of;
        let document = self.oracle.document(as_of);
        let mind = if self.dice.chance(600) {
            Mind::Wild
        } else {
            Mind::Careful
        };
        let node = &mut self.nodes[at];
        if node.holder.is_some() {
            return;
        }
        node.incarnation += 1;
        node.born = self.now;
        let mut holder = Holder::new(node.id.clone(), node.incarnation, self.params, mind);
        holder.ignores_its_deadline = self.bugs.node_ignores_its_deadline;
        holder.compile(as_of, document);
        node.holder = Some(holder);
        let incarnation = node.incarnation;
        let newest = self.oracle.newest();
        let delay = self.dice.below(2_000_000);
        self.after(delay, Event::Adopt(at, newest));
        self.after(1000, Event::Tick(at, incarnation));
    }

    fn elect(&mut self) {
        self.term += 1;
        self.seen.leaders += 1;
        let leader = self.dice.below(self.voters.len() as u64);
        self.leader = Some(usize::try_from(leader).expect("few"));
        // What a majority has stays, the rest is lost; nobody is answered.
        let stays = self.dice.below(self.proposed.len() as u64 + 1);
        for _ in 0..stays {
            self.commit();
        }
        self.proposed.clear();
        self.waiting.clear();
        self.memory = Leader::new(self.params);
        self.flushing = false;
    }

    fn look(&mut self) {
        self.after(300_000, Event::Look);
        if self.leader.is_none() {
            return;
        }
        let due = self.ledger.next_lapse();
        if due.is_some() || self.dice.chance(200) {
            self.propose(Act::Expire);
        }
        if self.ledger.unseated() > 0 && self.ledger.may_split() {
            let seats = self.ledger.seats().max(1) * 2;
            self.propose(Act::Split { seats });
            self.seen.splits += 1;
        }
        for recall in self.memory.recalls(self.index, &self.ledger) {
            self.answer(recall);
        }
        // News: what a node holds, of a key that it may have forgotten.
        let key = *self.dice.pick(&self.keys);
        let at = self.dice.below(self.nodes.len() as u64);
        let node = self.nodes[usize::try_from(at).expect("few")].id.clone();
        if let (Some(word), Some(incarnation)) =
            (self.ledger.word(&node, &key), self.ledger.life(&node))
        {
            let base = self.ledger.right(&node);
            self.answer(QuotaGrant {
                node,
                incarnation,
                index: self.index,
                answers: None,
                base,
                items: vec![word],
            });
        }
    }

    fn fault(&mut self) {
        let next = self.dice.between(100_000, 900_000);
        self.after(next, Event::Fault);
        if self.calm {
            return;
        }
        let at = usize::try_from(self.dice.below(self.nodes.len() as u64)).expect("few");
        match self.dice.below(100) {
            0..25 => {
                self.nodes[at].cut = true;
                let span = *self.dice.pick(&[300_000, 1_500_000, 6_000_000]);
                self.after(span, Event::Heal(at));
            }
            25..45 => {
                self.seen.crashes += 1;
                self.nodes[at].holder = None;
                let span = *self.dice.pick(&[1000, 100_000, 1_500_000]);
                self.after(span, Event::Restart(at));
            }
            45..55 => {
                // Half of the nodes and the leader.
                self.leader = None;
                let half = self.nodes.len() / 2;
                for at in 0..half {
                    self.nodes[at].holder = None;
                    let span = self.dice.between(100_000, 3_000_000);
                    self.after(span, Event::Restart(at));
                }
                let span = self.dice.between(100_000, 3_000_000);
                self.after(span, Event::Elect);
            }
            55..68 => {
                self.leader = None;
                let span = self.dice.between(1000, 1_500_000);
                self.after(span, Event::Elect);
            }
            68..85 => self.publish(),
            85..93 => {
                // An orderly end, and a new life.
                let node = &mut self.nodes[at];
                let now = node.now(self.now);
                if let Some(mut holder) = node.holder.take() {
                    self.seen.left += 1;
                    let ask = holder.leave(now);
                    self.send_ask(at, &ask);
                    let span = *self.dice.pick(&[1000, 100_000, 1_500_000]);
                    self.after(span, Event::Restart(at));
                }
            }
            _ => {
                // Gone for good, for now: it comes back as somebody new.
                if self.leader.is_some() {
                    self.seen.gone += 1;
                    let node = &mut self.nodes[at];
                    node.holder = None;
                    let (node, incarnation) = (node.id.clone(), node.incarnation);
                    self.propose(Act::NodeGone { node, incarnation });
                    let span = self.dice.between(500_000, 3_000_000);
                    self.after(span, Event::Restart(at));
                }
            }
        }
    }

    fn publish(&mut self) {
        self.seen.documents += 1;
        let mut limits = self.oracle.document(self.oracle.newest());
        let key = *self.dice.pick(&self.keys);
        let first = self.oracle.document(1)[&key];
        if limits.contains_key(&key) && self.dice.chance(300) {
            limits.remove(&key);
        } else {
            // Across 64 it would be another key.
            let amounts: &[u64] = if first.pooled() {
                &[1, 2, 5, 30, 64]
            } else {
                &[65, 66, 71, 90, 150, 400]
            };
            let amount = *self.dice.pick(amounts);
            let terms = Terms::new(amount, first.window(), first.kind(), first.on_lapse());
            limits.insert(key, terms.expect("within bounds"));
        }
        let as_of = self.oracle.publish(limits);
        for at in 0..self.nodes.len() {
            let most = *self.dice.pick(&[100_000, 1_000_000, 5_000_000]);
            let delay = self.dice.below(most);
            self.after(delay, Event::Adopt(at, as_of));
        }
    }
}
