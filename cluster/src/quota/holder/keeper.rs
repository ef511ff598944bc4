//! The side of the ledger: each tick it looks at the keys in use and says what to ask; it takes in grants.
//!
//! In: ticks and grants, and the clock. Out: the asks to send. One for a node, used by one task.
//!
//! - [`grants`]: what the ledger says;
//! - [`asks`]: what is said to it;
//! - [`resting`]: keys that are not in use;
//! - [`farewell`]: a life's end in order.

mod asks;
mod farewell;
mod grants;
mod resting;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use meridian_config::name::NodeId;

use super::{
    super::{
        clock::{Clock, Monotonic, Now},
        key::KeyId,
        message::{GrantItem, QuotaAsk, QuotaGrant},
        rate::Rate,
        terms::Share,
    },
    base::Base,
    holding::Holder,
    key::KeyHandle,
    moves::gone,
    remains::Remains,
    row::{REST_AFTER, Row, Surroundings, again_after, follow_base, nanoseconds},
};
use asks::Fits;
pub use farewell::Farewell;
use resting::Resting;

/// Who holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The node.
    pub node: NodeId,
    /// Which of its lives: counts its starts.
    pub incarnation: u64,
}

/// What came of a tick.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// These are to be sent; often none.
    Ask(Vec<QuotaAsk>),
    /// The two clocks went on by times that differ by over a second: the machine was suspended, or a
    /// clock was set. What is held may not be right any more and has been given up. The node takes a new
    /// incarnation and begins with it: [`Keeper::begin`].
    Void,
}

/// Keeps a node's holding in step with the ledger.
#[derive(Debug)]
pub struct Keeper {
    holder: Arc<Holder>,
    who: Who,
    /// This life is over.
    over: bool,
    seq: u64,
    rows: BTreeMap<KeyId, Row>,
    /// Keys that are not in use, looked at in turn to be put away.
    resting: VecDeque<Resting>,
    /// Keys that are not here any more and of which the ledger thinks that something is held.
    strangers: BTreeMap<KeyId, Stranger>,
    /// How fast keys went when the node joined the others, until they are met again, or that moment, in nanoseconds.
    rates: BTreeMap<KeyId, Rate>,
    rates_until: u64,
    ticked: Option<Now>,
    sent: Option<u64>,
    grant_time: Duration,
    answered: VecDeque<u64>,
    base: Base,
    /// Whether what cools fits base as it is split now; none once the ledger knows that it does.
    fits: Option<Fits>,
    /// Of the last grant whose word on the base was taken.
    base_index: u64,
    /// Of the last grant that said something of a key that has no row any more, or that ended a silence.
    floor: u64,
}

/// A key that is not here, as the ledger has it.
#[derive(Debug)]
struct Stranger {
    item: GrantItem,
    /// The last ask that it was handed back in, and when.
    said: Option<(u64, u64)>,
}

impl Keeper {
    /// A keeper of what `holder` holds, for a node's life.
    #[must_use]
    pub fn new(holder: Arc<Holder>, who: Who) -> Self {
        Self {
            who,
            over: false,
            seq: 0,
            rows: BTreeMap::new(),
            resting: VecDeque::new(),
            strangers: BTreeMap::new(),
            rates: BTreeMap::new(),
            rates_until: 0,
            ticked: None,
            sent: None,
            grant_time: GRANT_TIME,
            answered: VecDeque::new(),
            base: Base::new(holder.params),
            fits: None,
            base_index: 0,
            floor: 0,
            holder,
        }
    }

    /// The same after a life that [ended in order](Self::farewell), and whose every word the ledger has answered.
    #[must_use]
    pub fn after(holder: Arc<Holder>, who: Who, remains: Remains) -> Self {
        let base = Base::after(holder.params, remains);
        Self {
            base,
            ..Self::new(holder, who)
        }
    }

    /// Gives up everything that is held, and begins another life.
    pub fn begin(&mut self, who: Who) {
        self.void();
        *self = Self::new(self.holder.clone(), who);
    }

    /// Has the holder spend all of every limit here, for a node that shares them with nobody. Nothing is to be sent of
    /// what ticks say until [`begin`](Self::begin).
    pub fn alone(&mut self, clock: &impl Clock) {
        // There is no lease that could be over.
        self.holder.lease.confirm(Monotonic(u64::MAX - 1));
        self.base = Base::whole(self.holder.params);
        self.follow_base_everywhere(clock);
    }

    /// An ask with nothing in it, to be told of the base while the holder counts alone.
    pub fn introduce(&mut self, clock: &impl Clock) -> QuotaAsk {
        let now = clock.now();
        self.ask(self.holder.as_of(), now)
    }

    /// The ledger has answered: from here on the holder spends what it is given, and no more all of every limit. What
    /// was asked of its keys it goes on to know, or it would hand back what the next requests need.
    pub fn join(&mut self, grant: &QuotaGrant, clock: &impl Clock) {
        let (seq, rows) = (self.seq, std::mem::take(&mut self.rows));
        self.begin(self.who.clone());
        self.seq = seq;
        let rates = rows.into_iter().map(|(key, row)| (key, row.into_rate()));
        self.rates = rates.collect();
        self.rates_until = clock.now().monotonic.0 + nanoseconds(REST_AFTER);
        self.grant(grant, clock);
    }

    /// No quorum can be asked since this life began: spends the base by the share that the node had before,
    /// of limits that say `on_lapse: base`. A limit may then be passed by that base, once for each such start.
    pub fn assume(&mut self, share: Share, clock: &impl Clock) {
        if self.base.kind().is_none() {
            self.base = self.base.clone().assumed(share, clock.now());
            self.follow_base_everywhere(clock);
        }
    }

    /// Looks at the keys in use. To be called each [`Params::tick`], and early when the holder is hungry.
    pub fn tick(&mut self, clock: &impl Clock) -> Turn {
        if self.over {
            return Turn::Void;
        }
        let now = clock.now();
        let passed = match self.ticked.replace(now) {
            Some(then) if apart(then, now) > GAP => {
                self.void();
                return Turn::Void;
            }
            Some(then) => Duration::from_nanos(now.monotonic.0.saturating_sub(then.monotonic.0)),
            None => self.holder.params.tick,
        };
        for key in self.holder.bell.take_used() {
            self.row(&key, now);
        }
        if now.monotonic.0 >= self.rates_until {
            self.rates.clear();
        }
        let around = Surroundings {
            now,
            passed,
            nodes: u32::from(self.base.seats()).max(1),
            grant_time: self.grant_time,
            draining: self.holder.draining(),
            base: &self.base,
            answered: &self.answered,
        };
        let mut items = Vec::new();
        let mut tired = Vec::new();
        for (id, row) in &mut self.rows {
            if row.tick(&around, clock) {
                let terms = row.key.0.terms();
                items.push((row.item(self.seq + 1, &around), terms));
            } else if row.rests(now) && !(around.draining && row.key.0.extra() > 0) {
                tired.push(*id);
            }
        }
        for id in tired {
            self.put_to_rest(id, now);
        }
        self.strangers.retain(|_, stranger| {
            let said = stranger.said.map(|(seq, _)| seq);
            said.is_none_or(|seq| !self.answered.contains(&seq))
        });
        for (id, stranger) in &mut self.strangers {
            let since = |at| Duration::from_nanos(now.monotonic.0.saturating_sub(at));
            let due = |at| since(at) >= again_after(self.grant_time);
            if stranger.said.is_none_or(|(_, at)| due(at)) {
                stranger.said = Some((self.seq + 1, now.monotonic.0));
                items.push((gone(*id, &stranger.item), None));
            }
        }
        self.look_at_resting(clock);
        // Without base it waits for a word on that.
        let heartbeat = match self.base.kind() {
            Some(_) => self.holder.params.heartbeat,
            None => self.holder.params.heartbeat / 4,
        };
        let silent = self
            .sent
            .is_none_or(|at| Duration::from_nanos(now.monotonic.0.saturating_sub(at)) >= heartbeat);
        if items.is_empty() && !silent {
            return Turn::Ask(Vec::new());
        }
        Turn::Ask(self.asks(items, now))
    }

    /// The share of every limit's base that this node has; none while it has none, or none of some.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.base.whole_share()
    }

    /// How many keys are in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.rows.len()
    }

    fn row(&mut self, key: &KeyHandle, now: Now) -> &mut Row {
        let floor = self.floor;
        let row = self.rows.entry(key.0.id).or_insert_with(|| {
            let row = Row::new(key.clone(), now, floor);
            match self.rates.remove(&key.0.id) {
                Some(rate) => row.going(rate),
                None => row,
            }
        });
        if row.key.0.born != key.0.born {
            *row = Row::new(key.clone(), now, floor);
        }
        row
    }

    fn follow_base_everywhere(&mut self, clock: &impl Clock) {
        // For keys that are met from now on, then for those that are there.
        self.holder.base.store(Arc::new(self.base.clone()));
        let now = clock.now();
        self.holder
            .for_each(|handle| follow_base(&handle.0, &self.base, now));
    }

    /// Gives up everything. Nothing is taken any more that this life may still be granted: keys that are met
    /// from here on know nothing of what it spent.
    fn void(&mut self) {
        self.over = true;
        self.base = Base::new(self.holder.params);
        self.holder.base.store(Arc::new(self.base.clone()));
        self.holder.lease.end();
        let mut all = Vec::new();
        self.holder.for_each(|handle| all.push(handle.clone()));
        for handle in all {
            handle.0.cell.void();
            self.holder.forget(&handle);
        }
        self.rows.clear();
        self.resting.clear();
        self.strangers.clear();
    }
}

/// By how much two clocks differ on how long something took.
fn apart(then: Now, now: Now) -> Duration {
    let monotonic = i128::from(now.monotonic.0) - i128::from(then.monotonic.0);
    let unix = i128::from(now.unix.0) - i128::from(then.unix.0);
    let apart = monotonic.abs_diff(unix);
    Duration::from_nanos(u64::try_from(apart).unwrap_or(u64::MAX))
}

/// Clocks that differ by more between two ticks were set, or one of them stood still.
const GAP: Duration = Duration::from_secs(1);

/// What a grant takes until one was seen: some round trips over oceans.
const GRANT_TIME: Duration = Duration::from_millis(300);
