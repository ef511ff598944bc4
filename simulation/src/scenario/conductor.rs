//! Plays a scenario: boots the cluster, lets clients in, breaks things, calms down, and judges.
//!
//! ```text
//!   boot ─► first document ─► clients ─► all serve ─► faults and writes ─► calm ─► equal ─► last write ─► judge
//!                                        └──────── half with faults ───┘ └──── half without ────┘
//! ```
//!
//! In: a scenario, a seed. Out: a [`Finding`] and the [`History`] behind it, and word of how far the run is while it
//! goes on. A run that cannot even boot is a finding too.

mod operator;
mod repeats;
mod steady;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rand::rngs::StdRng;

use super::{
    Scenario,
    editors::{Editor, RACE},
    lookout::Lookout,
    sampler::Sampler,
    schedule::Schedule,
    stage::Stage,
};
use crate::{
    invariant::{self, Violation, Watch},
    notes::note_decision,
    report::Finding,
    workload::{History, Phase, Progress},
    world::{Ambient, Conditions, Seed, TICK, Trace},
};

/// Panics of this process since the run began. The binary's panic hook adds to it.
pub type Panics = Arc<Mutex<Vec<String>>>;

/// By this another thread ends a run before its time. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct CutShort(Arc<OnceLock<Violation>>);

impl CutShort {
    /// Ends the run at its next look around; the finding has a violation of this name. The first call counts.
    pub fn end(&self, name: &'static str, says: &str) {
        let says = says.to_owned();
        let invariant = name;
        let at = None;
        self.0.get_or_init(|| Violation {
            invariant,
            says,
            at,
        });
    }

    fn is_set(&self) -> bool {
        self.0.get().is_some()
    }
}

/// What a run leaves behind.
#[derive(Debug, Clone)]
pub struct Account {
    /// What it found.
    pub finding: Finding,
    /// All that was seen.
    pub history: History,
}

/// Plays a scenario on a seed; `told` hears how far it is. The thread and the process should be fresh.
pub fn play(
    scenario: &Scenario,
    seed: Seed,
    ambient: Box<dyn Ambient>,
    trace: &Trace,
    panics: &Panics,
    cut_short: &CutShort,
    told: &mut dyn FnMut(&Progress),
) -> Account {
    let mut stage = Stage::build(scenario, seed, ambient, trace.clone());
    let oracle = stage.oracle.clone();
    trace.listen({
        let (oracle, books) = (oracle.clone(), stage.books.clone());
        move |decision| note_decision(&oracle, &books, decision)
    });
    let mut play = Play {
        scenario,
        documents: 0,
        races: 0,
        lookout: Lookout::new(&stage),
        faults_told: (0, BTreeSet::new()),
        told,
        stage: &mut stage,
        cut_short,
        panics,
        watch: Watch::default(),
        next_look: Duration::ZERO,
        sampler: Sampler::new(scenario.revoke_every.and(scenario.request_every)),
        repeats: seed.stream("repeats"),
        trace,
    };
    let ended = play.through();
    let why = match &ended {
        Ok(()) => "the run is over",
        Err(End::Stuck(says)) => says,
        Err(End::Broken) => "a promise broke, or nobody wants more of it: the run ends here",
    };
    play.tell(Phase::Judged, why);
    let now = stage.world.now();
    stage.look_for_collapses();
    let simulated = stage.world.now();
    let counts = stage.world.network().counts();
    let (hash, lines) = trace.digest();
    let mut history = std::mem::take(&mut *oracle.history());
    for panic in panics
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        let says = format!("a task panicked: {panic}");
        history.collapses.push((now, says));
    }
    let mut violations = Vec::new();
    if let Err(End::Stuck(says)) = &ended {
        violations.push(Violation {
            invariant: invariant::PROGRESS,
            says: says.clone(),
            at: Some(now),
        });
    }
    let half = matches!(ended, Err(End::Broken));
    if half {
        // Half a history breaks no promise about how things end.
        violations.extend(cut_short.0.get().cloned());
        violations.extend(Watch::default().look(&history, Duration::MAX));
    } else {
        violations.extend(invariant::check(&history));
    }
    let judged = invariant::judge(&history, &mut violations, half, &scenario.holds);
    let finding = Finding::new(
        scenario, seed, simulated, counts, hash, lines, &history, judged, violations,
    );
    Account { finding, history }
}

struct Play<'a> {
    scenario: &'a Scenario,
    stage: &'a mut Stage,
    panics: &'a Panics,
    /// Documents the operators have written.
    documents: u64,
    cut_short: &'a CutShort,
    /// Races that operators have had.
    races: usize,
    watch: Watch,
    next_look: Duration,
    sampler: Sampler,
    /// Draws which messages are said again.
    repeats: StdRng,
    trace: &'a Trace,
    lookout: Lookout,
    /// How many faults were told to begin, and which of them to be over.
    faults_told: (usize, BTreeSet<usize>),
    told: &'a mut dyn FnMut(&Progress),
}

/// Why a scenario was not played to its end.
enum End {
    /// It waited in vain, for this.
    Stuck(String),
    /// An invariant broke, or somebody wants no more of it.
    Broken,
}

impl Play<'_> {
    /// The whole scenario; an error where it got stuck.
    fn through(&mut self) -> Result<(), End> {
        self.stage.switch_on();
        let (nodes, regions) = (self.stage.nodes.len(), self.stage.regions.len());
        let meets = format!("{nodes} nodes in {regions} regions look for each other");
        self.tell(Phase::Boot, meets);
        self.until(
            self.boot(),
            "every node saw every other one up",
            Stage::is_whole,
        )?;
        self.tell(
            Phase::Document,
            "all nodes see each other; the first document goes in",
        );
        self.first_document()?;
        if self.scenario.request_every.is_some() {
            self.tell(
                Phase::Clients,
                "every node shows the document; clients come in",
            );
            self.stage.start_clients(self.scenario.badge());
            self.settle()?;
        }
        let what = "every node spent what the ledger had given it";
        self.until(self.boot(), what, |stage| {
            let newest = stage.newest_common();
            let gateways = stage.gateways();
            let mut gateways = gateways.iter();
            gateways.all(|(_, node)| Some(node.level()) == newest && node.counts_together())
        })?;
        let serving = self.stage.world.now();
        {
            let mut history = self.stage.oracle.history();
            history.serving_since = Some(serving);
            history.counts_together = !self.scenario.release_before;
            history.only_floods = !self.scenario.faults.is_empty() && self.scenario.only_floods();
        }
        self.tell(
            Phase::Serving,
            "every kind of request succeeds everywhere; the half with faults begins",
        );
        if self.scenario.only_floods() {
            self.stage.ask_around();
        }
        self.stage.armed.set(true);
        self.break_things(serving)?;
        self.calm_down()
    }

    /// Says how far the run is, to who watches and to the oracle.
    fn tell(&mut self, phase: Phase, says: impl Into<String>) {
        let progress = Progress {
            at: self.stage.world.now(),
            phase,
            says: says.into(),
        };
        (self.told)(&progress);
        self.stage.oracle.history().progress.push(progress);
    }

    /// Says which faults have begun or ended since it was asked last.
    fn tell_faults(&mut self) {
        let (begun, over) = &self.faults_told;
        let mut news = Vec::new();
        for (index, fault) in self.stage.oracle.history().faults.iter().enumerate() {
            if index >= *begun {
                news.push((index, Phase::Fault, fault.what.clone()));
            }
            if let Some(ended) = fault.ended.filter(|_| !over.contains(&index)) {
                let (what, lasted) = (&fault.what, ended - fault.at);
                news.push((index, Phase::Over, format!("{what}: over after {lasted:?}")));
            }
        }
        for (index, phase, says) in news {
            if phase == Phase::Over {
                self.faults_told.1.insert(index);
            } else {
                self.faults_told.0 = index + 1;
            }
            self.tell(phase, says);
        }
    }

    /// How long each step of the cluster's birth may take.
    fn boot(&self) -> Duration {
        let nodes = u32::try_from(self.stage.nodes.len()).unwrap_or(u32::MAX);
        BOOT + BOOT_A_NODE * nodes
    }

    /// Applies the first document; a young cluster may refuse for a while.
    fn first_document(&mut self) -> Result<(), End> {
        let limit = self.stage.world.now() + self.boot();
        loop {
            let write = self.write(0);
            self.until(
                self.boot(),
                "the first document was answered",
                move |stage| stage.oracle.history().writes[write].done.is_some(),
            )?;
            let outcome = self.stage.oracle.history().writes[write].outcome.clone();
            match outcome {
                Some(Ok(_)) => break,
                Some(Err(why)) if self.stage.world.now() >= limit => {
                    let says = format!("the first document was not accepted: {why}");
                    return Err(End::Stuck(says));
                }
                _ => self.run_for(Duration::from_millis(200))?,
            }
        }
        self.until(
            self.boot(),
            "every node showed the first document",
            |stage| stage.gateways().iter().all(|(_, g)| g.revision() > 0),
        )
    }

    /// The half with faults.
    fn break_things(&mut self, serving: Duration) -> Result<(), End> {
        let mut schedule = Schedule::new(self.scenario);
        let mut next_write = serving + self.scenario.write_every;
        let mut next_race = serving + RACE;
        let mut next_revocation = self.scenario.revoke_every.map(|every| serving + every);
        let mut limits_set = 0;
        let mut next_repeat = self.scenario.repeat_every.map(|every| serving + every);
        if self.scenario.planted.leak {
            let process = std::process::id();
            self.trace.line(format_args!("played by process {process}"));
        }
        let sets = self.scenario.tenants.iter().flat_map(|tenant| &tenant.set);
        let sets: Vec<Duration> = sets.map(|set| set.at).collect();
        let last = sets.iter().max().copied().unwrap_or_default();
        let limit = serving + self.scenario.faults_end().max(last) + LEADER_WAIT;
        while !schedule.is_over() || limits_set < sets.len() {
            let now = self.stage.world.now();
            if now > limit {
                return Err(End::Stuck(
                    "the faults came to no end: one of the leader's region found no leader, or a node that was stopped did not end or did not come back".to_owned(),
                ));
            }
            schedule.advance(self.stage, self.scenario, now - serving);
            self.set_limits(now - serving, &mut limits_set);
            self.tell_faults();
            if now >= next_write {
                next_write += self.scenario.write_every;
                self.write_somewhere();
            }
            if now >= next_race {
                next_race += RACE;
                self.race();
            }
            if let (Some(next), Some(every)) = (&mut next_revocation, self.scenario.revoke_every)
                && now >= *next
            {
                *next += every;
                self.revoke_somewhere();
            }
            if let (Some(next), Some(every)) = (&mut next_repeat, self.scenario.repeat_every)
                && now >= *next
            {
                *next += every;
                self.repeat_something();
            }
            self.run_for(TICK)?;
        }
        Ok(())
    }

    /// The half without.
    fn calm_down(&mut self) -> Result<(), End> {
        self.stage.world.network().links(|links| {
            links.heal();
            links.set_conditions(Conditions::CALM);
        });
        self.stage.survey(&BTreeSet::new(), &[]);
        let calm = self.stage.world.now();
        self.stage.oracle.history().calm_since = Some(calm);
        self.tell(
            Phase::Calm,
            "the last fault is over, and the network is calm",
        );
        let equal = self.until(self.scenario.calm, "all nodes were equal", |stage| {
            let gateways = stage.gateways();
            let count = stage.members();
            let up = gateways.len() == count && gateways.iter().all(|(_, g)| g.sees_all_up(count));
            let agreed = gateways.iter().all(|(_, node)| {
                Some(node.level()) == stage.newest_common() && node.counts_together()
            });
            // Cheap to see, and different for most of the time: what follows unpacks every node's documents.
            let revisions = gateways.iter().map(|(_, gateway)| gateway.revision());
            if !(up && agreed && all_equal(revisions) && all_equal(stage.leaders())) {
                return false;
            }
            all_equal(stage.states().into_iter().map(|state| {
                let newest = state.revisions.last().cloned();
                (newest, state.leadership, state.facts)
            }))
        });
        if matches!(equal, Err(End::Broken)) {
            return equal;
        }
        if equal.is_ok() {
            let now = self.stage.world.now();
            self.stage.oracle.history().equal_at = Some(now);
            let took = now - calm;
            self.tell(
                Phase::Equal,
                format!("all nodes are equal, {took:?} after calm"),
            );
            // A cluster that has recovered also takes a write and shows it everywhere.
            let write = self.write(0);
            self.until(
                LAST_WRITE,
                "the last document was accepted and shown everywhere",
                move |stage| {
                    let outcome = stage.oracle.history().writes[write].outcome.clone();
                    let Some(Ok(number)) = outcome else {
                        return false;
                    };
                    stage.gateways().iter().all(|(_, g)| g.revision() >= number)
                },
            )?;
            // And what every node shows is the newest.
            self.race();
        }
        if equal.is_ok() && self.scenario.revoke_every.is_some() {
            // And one that everybody hears of at once, shown to everybody for the rest of the time.
            self.revoke_somewhere();
        }
        let end = calm + self.scenario.calm;
        while self.stage.world.now() < end {
            self.run_for(LOOK)?;
        }
        self.stage.oracle.history().ends = self.stage.states();
        // That they were not equal is convergence's to tell.
        Ok(())
    }

    fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&Stage) -> bool,
    ) -> Result<(), End> {
        let end = self.stage.world.now() + limit;
        while !done(self.stage) {
            if self.stage.world.now() >= end {
                let says = format!("waited {limit:?} in vain until {what}");
                return Err(End::Stuck(says));
            }
            self.run_for(LOOK)?;
        }
        Ok(())
    }

    /// Lets time pass; an error as soon as an invariant breaks, or somebody wants no more of it.
    fn run_for(&mut self, span: Duration) -> Result<(), End> {
        self.stage.world.run_for(span);
        self.stage.look_for_collapses();
        self.lookout.look(self.stage);
        let now = self.stage.world.now();
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK;
        self.sampler.look(self.stage);
        let panicked = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = self.watch.look(&self.stage.oracle.history(), now);
        if panicked.is_empty() && broken.is_empty() && !self.cut_short.is_set() {
            Ok(())
        } else {
            Err(End::Broken)
        }
    }
}

fn all_equal<T: PartialEq>(of: impl IntoIterator<Item = T>) -> bool {
    let mut of = of.into_iter();
    let first = of.next();
    of.all(|other| Some(other) == first)
}

/// Between two looks at what a run waits for.
const LOOK: Duration = Duration::from_millis(10);

/// For the nodes to find each other, found a cluster, and agree on the first document.
const BOOT: Duration = Duration::from_secs(30);

/// For each node beside, since members are taken in one after the other.
const BOOT_A_NODE: Duration = Duration::from_secs(1);

/// How long a fault of the leader's region waits for a leader.
const LEADER_WAIT: Duration = Duration::from_secs(20);

/// For the last write: well above one election (DESIGN section 7: writes go on in under 3 s).
const LAST_WRITE: Duration = Duration::from_secs(5);
