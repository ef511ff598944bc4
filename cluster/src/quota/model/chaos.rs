//! Everything that may happen, by chance: a world of two to five nodes with short windows and leases.

use std::time::Duration;

use super::{
    desk::Voter,
    dice::Dice,
    micros,
    node::{Decision, Node},
    world::{Bugs, Event, Paths, Setup, World},
};
use crate::quota::{
    key::KeyId,
    message::Act,
    params::Params,
    terms::{Kind, OnLapse, Terms},
};

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
    pub(super) void: u64,
    pub(super) full_windows: bool,
}

pub(super) struct Chaos {
    world: World,
    keys: Vec<KeyId>,
    /// The node that most requests come to now.
    busy: usize,
    /// Nodes end in order most of the time.
    orderly: bool,
    seen: Seen,
}

impl Chaos {
    pub(super) fn new(seed: u64, bugs: Bugs) -> Self {
        let mut dice = Dice::new(seed);
        let ms = Duration::from_millis;
        // In every third run much shorter than all windows, and all limits are such that what nodes say of how tokens cool
        // matters; in every other one of these, nodes end in order most of the time.
        let told = seed.is_multiple_of(3);
        let orderly = told && !seed.is_multiple_of(6);
        let extra = dice.between(400, 3000) / if told { 8 } else { 1 };
        let params = Params {
            extra_lease_least: ms(extra),
            // Never the shorter one.
            base_lease_least: ms(dice.between(1000, 6000).max(extra)),
            drift_ppm: u32::try_from(*dice.pick(&[200, 2000, 20_000])).expect("small"),
            offset: ms(dice.between(0, 250)),
            heartbeat: ms(200),
            ..Params::DEFAULT
        };
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
        let nodes = (0..count).map(|number| {
            let region = if number < 2 { "eu" } else { "us" };
            let (drift, offset) = (drift(&mut dice), offset(&mut dice));
            Node::new(format!("n{number}"), region, drift, offset)
        });
        let nodes: Vec<_> = nodes.collect();
        let voters = (0..3).map(|number| {
            let (drift, offset) = (drift(&mut dice), offset(&mut dice));
            Voter::new(number, drift, offset)
        });
        let voters = voters.collect();
        let keys = (0..dice.between(1, 3)).map(|number| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            KeyId(id)
        });
        let keys: Vec<_> = keys.collect();
        let document = keys
            .iter()
            .map(|key| (*key, terms(&mut dice, told)))
            .collect();
        let setup = Setup {
            params,
            seats: u16::try_from(dice.between(1, count + 1)).expect("few"),
            nodes,
            voters,
            document,
            paths: Paths::Wild {
                // Who ends in order is to be heard.
                loss: dice.below(100) / if orderly { 10 } else { 1 },
                doubled: dice.below(100),
                late: dice.below(60) / if orderly { 10 } else { 1 },
            },
            // In another third.
            wait: ms(if seed % 3 == 1 { 400 } else { 0 }),
            wild: 400,
            hints: dice.chance(500) && !told,
            bugs,
        };
        let mut world = World::new(setup, dice);
        world.after(10_000, Event::Load(0));
        world.after(500_000, Event::Fault(0));
        Self {
            world,
            keys,
            busy: 0,
            orderly,
            seen: Seen::default(),
        }
    }

    /// Plays so long; in its last part nothing breaks any more.
    pub(super) fn play(&mut self, span: u64) -> Result<Seen, String> {
        while let Some(event) = self.world.next(span) {
            self.world.calm = self.world.now > span - span / 4;
            match event {
                Event::Load(_) => self.request()?,
                Event::Fault(_) => self.fault(),
                Event::Elect => {
                    self.seen.leaders += 1;
                    self.world.happen(event);
                }
                Event::Look => {
                    // News that nobody has asked for, of a key that the node may have forgotten.
                    let (node, key) = (self.some_node(), *self.world.dice.pick(&self.keys));
                    self.world.tell(node, &key);
                    self.world.happen(event);
                }
                event => self.world.happen(event),
            }
            let standing = self.world.standing(&self.keys);
            self.world.note_documents(&standing);
            self.world.check(&standing)?;
        }
        self.seen.events = self.world.counts.events;
        self.seen.splits = self.world.counts.splits;
        self.seen.lapses = self.world.desk.lapses;
        self.seen.void = self.world.desk.void;
        self.seen.admitted = self.world.oracle.admitted;
        self.seen.full_windows = self.world.oracle.most_used > 0.9;
        Ok(self.seen)
    }

    fn some_node(&mut self) -> usize {
        let at = self.world.dice.below(self.world.nodes.len() as u64);
        usize::try_from(at).expect("few")
    }

    fn request(&mut self) -> Result<(), String> {
        let gap = self.world.dice.between(500, 12_000);
        self.world.after(gap, Event::Load(0));
        let dice = &mut self.world.dice;
        let burst = match dice.chance(100) {
            true => dice.between(5, 60),
            false => 1,
        };
        let key = *dice.pick(&self.keys);
        if dice.chance(5) {
            self.busy = self.some_node();
        }
        let at = match self.world.dice.chance(500) {
            true => self.busy,
            false => self.some_node(),
        };
        for _ in 0..burst {
            let cost = u32::try_from(self.world.dice.between(1, 4)).expect("small");
            let now = self.world.now;
            let decision = self.world.nodes[at].decide(key, cost, now);
            if let Decision::Pass { terms, window } = decision {
                let params = self.world.params;
                let oracle = &mut self.world.oracle;
                oracle.admit(key, &terms, cost, window, now, &params)?;
            }
        }
        self.world.after_request(at);
        Ok(())
    }

    fn fault(&mut self) {
        let next = self.world.dice.between(100_000, 900_000);
        self.world.after(next, Event::Fault(0));
        if self.world.calm {
            return;
        }
        let at = self.some_node();
        let what = match self.orderly && self.world.dice.chance(600) {
            true => LEAVE,
            false => self.world.dice.below(100),
        };
        match what {
            0..25 => {
                self.world.nodes[at].cut = true;
                self.within(&[300_000, 1_500_000, 6_000_000], Event::Heal(at));
            }
            25..45 => {
                self.seen.crashes += 1;
                self.world.nodes[at].life = None;
                self.within(&[1000, 100_000, 1_500_000], Event::Restart(at));
            }
            45..55 => {
                // Half of the nodes and the leader.
                self.world.desk.leader = None;
                for at in 0..self.world.nodes.len() / 2 {
                    self.world.nodes[at].life = None;
                    self.between(100_000, 3_000_000, Event::Restart(at));
                }
                self.between(100_000, 3_000_000, Event::Elect);
            }
            55..68 => {
                self.world.desk.leader = None;
                self.between(1000, 1_500_000, Event::Elect);
            }
            68..85 => self.publish(),
            LEAVE..93 => {
                // An orderly end, and a new life.
                let asks = self.world.nodes[at].leave(self.world.now);
                self.seen.left += u64::from(!asks.is_empty());
                for ask in asks {
                    self.world.send(at, &ask);
                }
                self.within(&[1000, 100_000, 1_500_000], Event::Restart(at));
            }
            _ => {
                // Gone for good, for now: it comes back as somebody new.
                if self.world.desk.leader.is_some() {
                    self.seen.gone += 1;
                    let node = &mut self.world.nodes[at];
                    node.life = None;
                    let (node, incarnation) = (node.id.clone(), node.incarnation);
                    self.world.propose(Act::NodeGone { node, incarnation });
                    self.between(500_000, 3_000_000, Event::Restart(at));
                }
            }
        }
    }

    fn within(&mut self, spans: &[u64], event: Event) {
        let span = *self.world.dice.pick(spans);
        self.world.after(span, event);
    }

    fn between(&mut self, least: u64, most: u64, event: Event) {
        let span = self.world.dice.between(least, most);
        self.world.after(span, event);
    }

    fn publish(&mut self) {
        self.seen.documents += 1;
        let mut limits = self.world.oracle.document(self.world.oracle.newest());
        let dice = &mut self.world.dice;
        let key = *dice.pick(&self.keys);
        let first = self.world.oracle.document(1)[&key];
        if limits.contains_key(&key) && dice.chance(300) {
            limits.remove(&key);
        } else {
            // Across 64 it would be another key.
            let amounts: &[u64] = if first.pooled() {
                &[1, 2, 5, 30, 64]
            } else {
                &[65, 66, 71, 90, 150, 400]
            };
            let amount = *dice.pick(amounts);
            let terms = Terms::new(amount, first.window(), first.kind(), first.on_lapse());
            limits.insert(key, terms.expect("within bounds"));
        }
        let as_of = self.world.oracle.publish(limits);
        for at in 0..self.world.nodes.len() {
            let most = *self.world.dice.pick(&[100_000, 1_000_000, 5_000_000]);
            let delay = self.world.dice.below(most);
            self.world.after(delay, Event::Adopt(at, as_of));
        }
    }
}

/// Of a hundred faults, the number from which on a node ends in order.
const LEAVE: u64 = 85;

/// `told`: of which nodes say how they cool.
fn terms(dice: &mut Dice, told: bool) -> Terms {
    let windows: &[u64] = match told {
        true => &[1000, 2500],
        false => &[200, 500, 1000, 2500],
    };
    let limits: &[u64] = match told {
        true => &[65, 70, 100, 300],
        false => &[1, 3, 20, 64, 65, 70, 100, 300],
    };
    let window = *dice.pick(windows);
    let kind = match told {
        true => Kind::Sliding,
        false => *dice.pick(&[Kind::Sliding, Kind::Sliding, Kind::Fixed]),
    };
    let on_lapse = *dice.pick(&[OnLapse::Base, OnLapse::Deny]);
    let limit = *dice.pick(limits);
    let window = Duration::from_millis(window);
    Terms::new(limit, window, kind, on_lapse).expect("within bounds")
}
