//! One scene: three regions of three nodes, streams of requests that come to them, and what happens to them by a
//! script. Out: how much was admitted, beside what one limiter that knows all at once would have admitted of the
//! same requests.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use super::{
    desk::Voter,
    dice::Dice,
    ideal::Ideal,
    micros,
    node::{Decision, Node},
    whereabouts::Whereabouts,
    world::{Bugs, Event, Paths, Setup, World},
};
use crate::quota::{
    clock::Clock,
    holder::Parked,
    key::KeyId,
    ledger::Standing,
    message::Act,
    params::Params,
    terms::{Kind, OnLapse, Scope, Share, Terms},
};

const KEY: KeyId = KeyId([7; 16]);

/// Of 900 a day, in the scenes that [ask](Happening::Ask) for it.
const DAY: KeyId = KeyId([8; 16]);

/// Nodes of a scene: the first three are in the first region, and so on.
pub(super) const NODES: usize = 9;

/// One way between the regions, in microseconds: half of 80, 140 and 220 ms.
const WAYS: [[u64; 3]; 3] = [
    [250, 40_000, 110_000],
    [40_000, 250, 70_000],
    [110_000, 70_000, 250],
];

/// What happens in a scene.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    Cut(Vec<usize>),
    Heal(Vec<usize>),
    /// These stop at once.
    Crash(Vec<usize>),
    /// These stop in order.
    Leave(Vec<usize>),
    Start(Vec<usize>),
    /// An operator says that these are dead for good.
    Gone(Vec<usize>),
    /// Nobody leads.
    Leaderless,
    /// A voter of this region leads.
    Lead(usize),
    /// The document has another limit, or none.
    Publish(Option<u64>),
    /// A hundred requests of the day's limit come to this node.
    Ask(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) limit: u64,
    /// Of each request.
    pub(super) cost: u32,
    pub(super) window: Duration,
    pub(super) wait: Duration,
    pub(super) on_lapse: OnLapse,
    /// Into how many parts base is split at first: fewer than nodes, as when they come one by one.
    pub(super) seats: usize,
    pub(super) seconds: u64,
    /// By node: from which second on how many requests come a second.
    pub(super) streams: Vec<Vec<(u64, f64)>>,
    pub(super) script: Vec<(u64, Happening)>,
}

impl Scene {
    fn terms(&self) -> Terms {
        self.terms_of(self.limit)
    }

    /// Of a node.
    fn base(&self) -> u64 {
        let seats = u16::try_from(NODES).expect("few");
        self.terms().base(Share { seat: 0, seats }).into()
    }

    /// The document that all begin with.
    fn document(&self) -> BTreeMap<KeyId, Terms> {
        let asked = |(_, happening): &(u64, Happening)| matches!(happening, Happening::Ask(_));
        let day = Duration::from_secs(24 * 3600);
        let day = Terms::new(900, day, Kind::Sliding, self.on_lapse).expect("within bounds");
        let day = self.script.iter().any(asked).then_some((DAY, day));
        day.into_iter().chain([(KEY, self.terms())]).collect()
    }

    fn terms_of(&self, limit: u64) -> Terms {
        Terms::new(limit, self.window, Kind::Sliding, self.on_lapse).expect("within bounds")
    }
}

/// What came of a scene.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) came: u64,
    pub(super) admitted: u64,
    pub(super) ideal: u64,
    /// What the strict one admits: nobody can admit more and keep what is promised.
    pub(super) strict: u64,
    pub(super) messages: u64,
    pub(super) seconds: u64,
    /// Looks, three a second, at which a node that lives had no right to base of the limit.
    pub(super) without_base: u64,
    /// The same, of all limits that may be.
    pub(super) without_whole: u64,
    /// Where the tokens were in each third of it.
    pub(super) whereabouts: [Whereabouts; 3],
}

impl Outcome {
    pub(super) fn part(&self) -> f64 {
        self.admitted as f64 / self.ideal.max(1) as f64
    }

    /// Of what can be admitted at all.
    pub(super) fn strict_part(&self) -> f64 {
        self.admitted as f64 / self.strict.max(1) as f64
    }

    /// Another play of the scene.
    pub(super) fn add(&mut self, other: &Self) {
        self.came += other.came;
        self.admitted += other.admitted;
        self.ideal += other.ideal;
        self.strict += other.strict;
        self.messages += other.messages;
        self.seconds += other.seconds;
    }

    pub(super) fn messages_a_second(&self) -> f64 {
        self.messages as f64 / self.seconds as f64
    }
}

/// A request that waits.
struct Waiter {
    deadline: u64,
    parked: Pin<Box<Parked>>,
}

pub(super) struct Stage {
    scene: Scene,
    world: World,
    ideal: Ideal,
    strict: Ideal,
    waiting: BTreeMap<usize, Vec<Waiter>>,
    outcome: Outcome,
}

impl Stage {
    pub(super) fn new(scene: &Scene, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let params = Params::DEFAULT;
        let mut drift = || {
            let off = dice.between(0, 2 * u64::from(params.drift_ppm));
            i64::try_from(off).expect("small") - i64::from(params.drift_ppm)
        };
        let regions = ["eu", "us", "ap"];
        let nodes = (0..NODES).map(|at| Node::new(format!("n{at}"), regions[at / 3], drift(), 0));
        let nodes: Vec<_> = nodes.collect();
        let voters = (0..3).map(|number| Voter::new(number, drift(), 0));
        let voters = voters.collect();
        let setup = Setup {
            params,
            nodes,
            voters,
            seats: u16::try_from(scene.seats).expect("few"),
            document: scene.document(),
            paths: paths(0),
            wait: scene.wait,
            wild: 0,
            hints: false,
            bugs: Bugs::default(),
        };
        let mut world = World::new(setup, dice);
        for node in 0..NODES {
            world.after(0, Event::Load(node));
        }
        for (at, (second, _)) in scene.script.iter().enumerate() {
            world.after(second * 1_000_000, Event::Fault(at));
        }
        let window = micros(scene.window);
        Self {
            ideal: Ideal::new(scene.limit, window),
            strict: Ideal::new(scene.limit, window),
            scene: scene.clone(),
            world,
            waiting: BTreeMap::new(),
            outcome: Outcome {
                seconds: scene.seconds,
                ..Outcome::default()
            },
        }
    }

    pub(super) fn play(mut self) -> Result<Outcome, String> {
        while let Some(event) = self.world.next(self.scene.seconds * 1_000_000) {
            match event {
                Event::Load(node) => self.load(node)?,
                Event::Fault(at) => {
                    let (_, happening) = self.scene.script[at].clone();
                    self.happen(happening)?;
                }
                Event::Wake(node) => self.wake(node)?,
                Event::Grant(node, _) => {
                    self.world.happen(event);
                    self.wake(node)?;
                }
                Event::Look => {
                    let standing = self.world.standing(&[KEY, DAY]);
                    self.world.note_documents(&standing);
                    self.world.check(&standing)?;
                    self.look(&standing);
                    let terms = self.scene.terms();
                    let lacks =
                        |covers: &dyn Fn(Scope) -> bool| u64::from(self.is_one_without(covers));
                    let (base, whole) = (
                        lacks(&|scope| scope.covers(&terms)),
                        lacks(&|scope| scope.is_whole()),
                    );
                    self.outcome.without_base += base;
                    self.outcome.without_whole += whole;
                    self.world.happen(event);
                }
                event => self.world.happen(event),
            }
        }
        self.outcome.messages = self.world.counts.messages;
        Ok(self.outcome)
    }

    /// The next request of a node's stream.
    fn load(&mut self, node: usize) -> Result<(), String> {
        let now = self.world.now;
        let rates = &self.scene.streams[node];
        let second = now / 1_000_000;
        let rate = rates.iter().rfind(|(from, _)| *from <= second);
        let rate = rate.map_or(0.0, |(_, rate)| *rate);
        let change = rates.iter().find(|(from, _)| *from > second);
        let change = change.map_or(u64::MAX, |(from, _)| from * 1_000_000);
        let gap = self.world.dice.wait(rate);
        let next = now.saturating_add(gap);
        // Whether this is a request is in the one before: at a change of the rate nothing comes.
        if next >= change {
            if change < u64::MAX {
                self.world.after(change - now, Event::Load(node));
            }
        } else if next < self.scene.seconds * 1_000_000 {
            self.world.after(gap, Event::Load(node));
        }
        let begun = rates.iter().any(|(from, _)| from * 1_000_000 == now);
        if !begun && self.world.nodes[node].life.is_some() {
            self.request(node)?;
        }
        Ok(())
    }

    fn request(&mut self, node: usize) -> Result<(), String> {
        let now = self.world.now;
        self.outcome.came += 1;
        let cost = u64::from(self.scene.cost);
        self.outcome.ideal += u64::from(self.ideal.admits(node, cost, now));
        self.outcome.strict += u64::from(self.strict.admits(node, cost, now));
        match self.world.nodes[node].decide(KEY, self.scene.cost, now) {
            Decision::Pass { terms, window } => self.admit(KEY, &terms, window)?,
            Decision::Deny(key, denial) => {
                let clock = self.world.nodes[node].clock(now);
                if let Ok(parked) = key.park(clock.now(), &denial) {
                    let wait = u64::try_from(self.scene.wait.as_micros()).expect("short");
                    let deadline = now + wait;
                    let parked = Box::pin(parked);
                    let until = self.real(node, parked.until().0).min(deadline);
                    self.world.after(until - now, Event::Wake(node));
                    let waiting = self.waiting.entry(node).or_default();
                    waiting.push(Waiter { deadline, parked });
                }
            }
            Decision::Unlimited => {}
        }
        self.world.after_request(node);
        Ok(())
    }

    fn admit(&mut self, key: KeyId, terms: &Terms, window: u64) -> Result<(), String> {
        let (counts, cost) = match key == KEY {
            true => (1, self.scene.cost),
            false => (0, 1),
        };
        self.outcome.admitted += counts;
        let (now, params) = (self.world.now, self.world.params);
        let oracle = &mut self.world.oracle;
        oracle.admit(key, terms, cost, window, now, &params)
    }

    /// Those that wait at a node look again.
    fn wake(&mut self, node: usize) -> Result<(), String> {
        let now = self.world.now;
        let Some(waiting) = self.waiting.remove(&node) else {
            return Ok(());
        };
        let mut left = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        for mut waiter in waiting {
            let called = waiter.parked.as_mut().poll(&mut context).is_ready();
            let due = self
                .real(node, waiter.parked.until().0)
                .min(waiter.deadline)
                <= now;
            if !called && !due {
                left.push(waiter);
                continue;
            }
            match self.world.nodes[node].decide(KEY, self.scene.cost, now) {
                Decision::Pass { terms, window } => self.admit(KEY, &terms, window)?,
                Decision::Deny(key, denial) if now < waiter.deadline => {
                    let clock = self.world.nodes[node].clock(now);
                    // It gives up its place, and takes another.
                    drop(waiter.parked);
                    if let Ok(parked) = key.park(clock.now(), &denial) {
                        waiter.parked = Box::pin(parked);
                        let until = self.real(node, waiter.parked.until().0);
                        let until = until.clamp(now + 1, waiter.deadline.max(now + 1));
                        self.world.after(until - now, Event::Wake(node));
                        left.push(waiter);
                    }
                }
                Decision::Deny(..) | Decision::Unlimited => {}
            }
        }
        if !left.is_empty() {
            self.waiting.insert(node, left);
        }
        self.world.after_request(node);
        Ok(())
    }

    fn is_one_without(&self, covers: &dyn Fn(Scope) -> bool) -> bool {
        // Not as all begin.
        let begun = self.world.now > 5_000_000;
        let ledger = &self.world.desk.ledger;
        let mut living = self.world.nodes.iter().filter(|node| node.life.is_some());
        let lacks = |node: &Node| {
            !ledger
                .right(&node.id)
                .is_some_and(|right| covers(right.scope))
        };
        begun && living.any(lacks)
    }

    fn look(&mut self, standing: &[(KeyId, Standing)]) {
        let third = self.world.now * 3 / (self.scene.seconds * 1_000_000 + 1);
        let Some((_, standing)) = standing.iter().find(|(key, _)| *key == KEY) else {
            return;
        };
        let (mut free, mut used, mut base) = (0.0, 0.0, 0.0);
        for node in &self.world.nodes {
            let holdings = node.holdings(self.world.now);
            for holding in holdings.iter().filter(|holding| holding.key == KEY) {
                free += f64::from(holding.held.free);
                used += f64::from(holding.held.cool);
                base += f64::from(holding.base);
            }
        }
        let third = usize::try_from(third).expect("one of three");
        self.outcome.whereabouts[third].look(standing, free, used, base);
    }

    /// The true time at which a node's clock shows this.
    fn real(&self, node: usize, local: u64) -> u64 {
        let node = &self.world.nodes[node];
        let since = i128::from(local / 1000) - 1_000_000;
        let real = since * 1_000_000 / i128::from(1_000_000 + node.drift);
        node.born + u64::try_from(real).unwrap_or(0) + 2
    }

    fn ask(&mut self, node: usize) -> Result<(), String> {
        for _ in 0..100 {
            if let Decision::Pass { terms, window } =
                self.world.nodes[node].decide(DAY, 1, self.world.now)
            {
                self.admit(DAY, &terms, window)?;
            }
        }
        self.world.after_request(node);
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        let world = &mut self.world;
        match happening {
            Happening::Cut(nodes) => nodes.iter().for_each(|at| world.nodes[*at].cut = true),
            Happening::Heal(nodes) => nodes.iter().for_each(|at| world.nodes[*at].cut = false),
            Happening::Crash(nodes) => {
                let (window, now) = (self.scene.window, world.now);
                let promised = match self.scene.on_lapse {
                    OnLapse::Base => u64::MAX,
                    OnLapse::Deny => now + micros(world.params.base_lease(window) + window),
                };
                let base = self.scene.base();
                for at in nodes {
                    world.nodes[at].life = None;
                    self.waiting.remove(&at);
                    self.ideal.ends(at, 0, 0);
                    self.strict.ends(at, base, promised);
                }
            }
            Happening::Leave(nodes) => {
                for at in nodes {
                    self.waiting.remove(&at);
                    self.ideal.ends(at, 0, 0);
                    self.strict.ends(at, 0, 0);
                    for ask in world.nodes[at].leave(world.now) {
                        world.send(at, &ask);
                    }
                }
            }
            Happening::Start(nodes) => {
                for at in nodes {
                    self.strict.known(at, world.now);
                    world.after(0, Event::Restart(at));
                }
            }
            Happening::Gone(nodes) => {
                for at in nodes {
                    self.strict.known(at, world.now);
                    let node = &world.nodes[at];
                    let (node, incarnation) = (node.id.clone(), node.incarnation);
                    world.propose(Act::NodeGone { node, incarnation });
                }
            }
            Happening::Ask(node) => return self.ask(node),
            Happening::Leaderless => world.desk.leader = None,
            Happening::Lead(region) => {
                world.paths = paths(region);
                world.happen(Event::Elect);
            }
            Happening::Publish(limit) => {
                self.ideal.publish(limit);
                self.strict.publish(limit);
                let limits = limit.map(|limit| (KEY, self.scene.terms_of(limit)));
                let as_of = world.oracle.publish(limits.into_iter().collect());
                for at in 0..NODES {
                    let delay = match world.nodes[at].cut {
                        true => 60_000_000,
                        false => world.dice.below(1_000_000),
                    };
                    world.after(delay, Event::Adopt(at, as_of));
                }
            }
        }
        Ok(())
    }
}

/// With the leader in this region.
fn paths(leader: usize) -> Paths {
    let ways = (0..NODES).map(|node| WAYS[leader][node / 3]).collect();
    // A majority is it and its nearest, there and back; of the first two, each other.
    let others = (0..3).filter(|region| *region != leader);
    let nearest = others.map(|region| WAYS[leader][region]).min();
    Paths::Steady {
        ways,
        quorum: 2 * nearest.unwrap_or(0),
    }
}
