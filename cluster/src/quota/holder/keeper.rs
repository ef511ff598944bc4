//! The side of the ledger: each tick it looks at the keys in use and says what to ask; it takes in grants.
//!
//! In: ticks and grants, and the clock. Out: the asks to send. One for a node, used by one task.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use meridian_config::name::NodeId;

use super::{
    super::{
        clock::{Clock, Monotonic, Now},
        key::KeyId,
        lease::Contact,
        message::{AskItem, GrantItem, ITEMS, Past, QuotaAsk, QuotaGrant, Recall, TERMS},
        rate::Rate,
        terms::{Kind, Share, Terms},
    },
    base::Base,
    holding::Holder,
    key::{DOUBTED, IN_USE, KeyHandle},
    moves::{gone, move_tokens, parting},
    remains::Remains,
    row::{REST_AFTER, Row, Surroundings, again_after, follow_base, nanoseconds, since},
};

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

/// The end of a life.
#[derive(Debug)]
pub struct Farewell {
    /// These are to be sent.
    pub asks: Vec<QuotaAsk>,
    /// What the node's next life is to know, if all of these were answered; none if this one had no base.
    pub remains: Option<Remains>,
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

/// What is known of whether what cools here fits a split that is new to this node.
#[derive(Debug, Clone, Copy)]
enum Fits {
    /// To be looked at then, in nanoseconds, and so much later if it does not.
    Look { at: u64, pause: Duration },
    /// It does, as was said first in this ask.
    Said(u64),
}

/// A key that is not in use.
#[derive(Debug)]
struct Resting {
    key: KeyHandle,
    /// Not to be looked at before that moment, in nanoseconds.
    due: u64,
    /// How long to wait before it asks for what it has lent.
    pause: Duration,
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
            base: &self.base,
            answered: &self.answered,
        };
        let mut items = Vec::new();
        let mut tired = Vec::new();
        for (id, row) in &mut self.rows {
            if row.tick(&around, clock) {
                let terms = row.key.0.terms();
                items.push((row.item(self.seq + 1, &around), terms));
            } else if row.rests(now) {
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

    /// Takes in what the ledger's leader says. Of what is meant for another node or life, of an older index
    /// than was taken before, or of another cell of a key, nothing.
    pub fn grant(&mut self, grant: &QuotaGrant, clock: &impl Clock) {
        let mine = grant.node == self.who.node && grant.incarnation == self.who.incarnation;
        if !mine || self.over {
            return;
        }
        let now = clock.now();
        if grant.index >= self.base_index {
            self.base_index = grant.index;
            let (before, seats) = (self.base.kind(), self.base.seats());
            self.base.told(grant.base, now);
            if self.base.seats() != seats {
                self.fits = Some(Fits::Look { at: 0, pause: LOOK });
            }
            if self.base.kind() == before {
                self.holder.base.store(Arc::new(self.base.clone()));
            } else {
                self.follow_base_everywhere(clock);
            }
        }
        let sent = grant
            .answers
            .map(|echo| Monotonic(echo.sent_ms.saturating_mul(1_000_000)));
        let sent = sent.filter(|sent| *sent <= now.monotonic);
        if sent.is_some() {
            self.doubt_after(self.holder.lease.contact(now.monotonic), grant.index, now);
        }
        // With this grant: it may be late itself.
        let contact = self.holder.lease.contact(now.monotonic);
        let contact = sent.map_or(contact, |sent| contact.or_since(sent, now.monotonic));
        for item in &grant.items {
            self.take(item, grant.index, contact, now, clock);
        }
        for recall in &grant.recalls {
            self.recall(recall, now, clock);
        }
        if let (Some(sent), Some(echo)) = (sent, grant.answers) {
            // After the doubts: see `Lease::contact`.
            self.holder.lease.confirm(sent);
            self.answered.push_back(echo.seq);
            if matches!(self.fits, Some(Fits::Said(seq)) if seq <= echo.seq) {
                self.fits = None;
            }
            if self.answered.len() > ANSWERED {
                self.answered.pop_front();
            }
            // An ask with nothing in it waits at the leader for others.
            if !grant.items.is_empty() {
                let took = Duration::from_nanos(now.monotonic.0 - sent.0);
                let took = took.clamp(Duration::from_millis(20), Duration::from_secs(3));
                self.grant_time = (self.grant_time * 7 + took) / 8;
            }
        }
    }

    /// Hands back everything, with when what cools is free: for a node that stops in order and has no requests
    /// any more. Nothing can be charged afterwards.
    pub fn farewell(&mut self, clock: &impl Clock) -> Farewell {
        let now = clock.now();
        let mut items = BTreeMap::new();
        let mut stays = Vec::new();
        self.holder.for_each(|handle| {
            let key = &handle.0;
            key.cell.settle(key.form.pace, clock);
            let cooling = key.cell.cooling(key.form.pace, now);
            let held = key.cell.void();
            let (goes, stay) = parting(key, cooling, held.cool);
            let terms = key.terms();
            if terms.is_some_and(|(terms, _)| Remains::tells_of(&terms, &self.holder.params)) {
                stays.push((key.id, stay));
            }
            if key.extra() <= 0 {
                return;
            }
            let given = key.given.load(Relaxed);
            key.returned.store(given, Relaxed);
            let item = AskItem {
                key: key.id,
                terms: None,
                born: key.born,
                returned: given,
                lent: 0,
                want: given,
                window: match key.form.kind {
                    Kind::Sliding => 0,
                    Kind::Fixed => key.cell.newest_window(),
                },
                rate: 0,
                free: 0,
                cooling: goes,
                rests: None,
            };
            items.insert(key.id, (item, terms));
        });
        let base = self.base.clone();
        self.rows.clear();
        self.resting.clear();
        // Keys that are met from here on have no base.
        self.base = Base::new(self.holder.params);
        self.holder.base.store(Arc::new(self.base.clone()));
        let asks = self.asks(items.into_values().collect(), now);
        let life = Past {
            incarnation: self.who.incarnation,
            seq: self.seq,
            ended_ms: 0,
        };
        let mut remains = base.remains(life, now);
        if let Some(remains) = &mut remains {
            for (key, spans) in stays {
                remains.add(key, spans);
            }
        }
        Farewell { asks, remains }
    }

    /// The share of every limit's base that this node has; none while it has none.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.base.kind().map(|(share, _)| share)
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

    fn take(
        &mut self,
        item: &GrantItem,
        index: u64,
        contact: Contact,
        now: Now,
        clock: &impl Clock,
    ) {
        let Some(handle) = self.holder.find(item.key) else {
            let known = self.strangers.get(&item.key);
            // The answer to what was handed back says the same again.
            let same = known.is_some_and(|known| {
                (known.item.born, known.item.given) == (item.born, item.given)
            });
            if !same && (known.is_some() || self.strangers.len() < ITEMS) {
                let item = item.clone();
                self.strangers
                    .insert(item.key, Stranger { item, said: None });
            }
            return;
        };
        let key = &handle.0;
        if key.born != item.born {
            return;
        }
        // The ledger may have taken back what it had given: it would be tokens of the base, too, that the node has lent, and
        // that the ledger takes for lent by what it has heard since.
        if !key.form.outlives(contact) {
            return;
        }
        key.cell.mark(IN_USE);
        let row = self.row(&handle, now);
        let lent = key.lent.load(Relaxed) > 0;
        // Of one entry, that more was given in it than an earlier word on it says.
        let overtaken = row.taken == Some(index) && since(key.given.load(Relaxed), item.given) == 0;
        if index < row.index || overtaken && key.given.load(Relaxed) != item.given {
            return;
        }
        if !move_tokens(key, item, now, clock) {
            return;
        }
        if lent && key.lent.load(Relaxed) == 0 {
            // The ledger keeps a record until it hears that this was seen.
            row.say_again();
        }
        row.index = index;
        row.taken = Some(index);
        row.granted(item.cap, now);
        if row.doubted_at.is_some_and(|doubted| doubted <= index) {
            row.doubted_at = None;
            key.cell.unmark(DOUBTED);
        }
        key.pool.store(item.pool, Relaxed);
        key.others.store(item.others_free, Relaxed);
        if key.cell.held().free > 0
            && let Some(waiting) = key.waiting.get()
        {
            waiting.call();
        }
    }

    /// Others want more of a key than there is. A key that was never met here has its base, too: it is met now, so that
    /// what is handed back of it is remembered.
    fn recall(&mut self, recall: &Recall, now: Now, clock: &impl Clock) {
        let (id, terms) = (recall.key, &recall.terms);
        let handle = match self.holder.find(id) {
            Some(handle) => handle,
            None if terms.pooled() => return,
            None => match self.holder.lend(id, terms, recall.as_of, clock) {
                Ok(handle) => handle,
                Err(_) => return,
            },
        };
        handle.0.cell.mark(IN_USE);
        self.row(&handle, now).recall(recall, now);
    }

    /// Contact is there again after such a silence: of keys whose extra did not outlive it, the ledger has to
    /// say first what is left, and nothing counts that it gave before.
    fn doubt_after(&mut self, silence: Contact, index: u64, now: Now) {
        if silence.outlasts(self.holder.params.extra_lease_least) {
            self.floor = self.floor.max(index);
            for row in self.rows.values_mut() {
                row.index = row.index.max(index);
            }
        }
        let mut doubted = Vec::new();
        self.holder.for_each(|handle| {
            let key = &handle.0;
            if key.extra() > 0 && !key.form.outlives(silence) {
                doubted.push(handle.clone());
            }
        });
        for handle in doubted {
            handle.0.cell.mark(IN_USE);
            self.row(&handle, now).doubt(index);
        }
    }

    fn follow_base_everywhere(&mut self, clock: &impl Clock) {
        // For keys that are met from now on, then for those that are there.
        self.holder.base.store(Arc::new(self.base.clone()));
        let now = clock.now();
        self.holder
            .for_each(|handle| follow_base(&handle.0, &self.base, now));
    }

    fn put_to_rest(&mut self, id: KeyId, now: Now) {
        let Some(row) = self.rows.get(&id) else {
            return;
        };
        if row.rest() {
            self.floor = self.floor.max(row.index);
            let due = match row.key.0.extra() < 0 {
                // It has asked for what it has lent.
                true => now.monotonic.0.saturating_add(nanoseconds(row.idle_pause)),
                false => 0,
            };
            self.resting.push_back(Resting {
                key: row.key.clone(),
                due,
                pause: row.idle_pause,
            });
            self.rows.remove(&id);
        }
    }

    /// Looks at some of the keys that rest, so that each is looked at once a minute.
    fn look_at_resting(&mut self, clock: &impl Clock) {
        let now = clock.now();
        for _ in 0..self.resting.len().div_ceil(TICKS_A_ROUND) {
            let Some(resting) = self.resting.pop_front() else {
                return;
            };
            let handle = resting.key.clone();
            let key = &handle.0;
            if key.cell.marks() & IN_USE != 0 {
                continue;
            }
            key.cell.settle(key.form.pace, clock);
            follow_base(key, &self.base, now);
            if key.cell.held().cool > 0 || resting.due > now.monotonic.0 {
                self.resting.push_back(resting);
            } else if key.extra() != 0 {
                key.cell.mark(IN_USE);
                let row = self.row(&handle, now);
                row.leave(resting.pause);
            } else if key.cell.retire(key.cell.base()) {
                self.holder.forget(&handle);
            } else {
                self.resting.push_back(Resting { due: 0, ..resting });
            }
        }
    }

    /// Puts items into as many asks as it takes, at least one. An ask has terms of one document.
    fn asks(&mut self, mut items: Vec<Said>, now: Now) -> Vec<QuotaAsk> {
        self.sent = Some(now.monotonic.0);
        let newest = self.holder.as_of();
        let document = |terms: &Option<(Terms, u64)>| terms.map_or(newest, |(_, as_of)| as_of);
        items.sort_by_key(|(_, terms)| document(terms));
        let first = items.first().map_or(newest, |(_, terms)| document(terms));
        let mut asks = vec![self.ask(first, now)];
        let mut table: BTreeMap<Terms, u16> = BTreeMap::new();
        for (mut item, terms) in items {
            let as_of = document(&terms);
            let full = asks.last().is_none_or(|ask| {
                ask.items.len() >= ITEMS_OF_AN_ASK || table.len() >= TERMS || ask.as_of != as_of
            });
            if full {
                table.clear();
                asks.push(self.ask(as_of, now));
            }
            let Some(ask) = asks.last_mut() else {
                break;
            };
            item.terms = terms.map(|(terms, _)| {
                *table.entry(terms).or_insert_with(|| {
                    ask.terms.push(terms);
                    u16::try_from(ask.terms.len() - 1).unwrap_or(u16::MAX)
                })
            });
            ask.items.push(item);
        }
        // An item counts as answered with the last of them.
        let first = asks.first().map_or(self.seq, |ask| ask.seq);
        if let Some(rows) = (self.seq > first).then_some(&mut self.rows) {
            for ask in &asks {
                for item in &ask.items {
                    if let Some(row) = rows.get_mut(&item.key) {
                        row.said_in(ask.seq);
                    }
                    if let Some(stranger) = self.strangers.get_mut(&item.key) {
                        stranger.said = Some((ask.seq, now.monotonic.0));
                    }
                }
            }
        }
        asks
    }

    fn ask(&mut self, as_of: u64, now: Now) -> QuotaAsk {
        self.seq += 1;
        let fits = self.fits(now);
        QuotaAsk {
            node: self.who.node.clone(),
            incarnation: self.who.incarnation,
            seq: self.seq,
            sent_ms: now.monotonic.0 / 1_000_000,
            as_of,
            seats: self.base.seats(),
            fits,
            terms: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Whether of every key no more cools than base and what is held beyond; false once that was said and heard.
    fn fits(&mut self, now: Now) -> bool {
        let (at, pause) = match self.fits {
            None => return false,
            Some(Fits::Said(_)) => return true,
            Some(Fits::Look { at, pause }) => (at, pause),
        };
        if now.monotonic.0 < at {
            return false;
        }
        let mut fits = true;
        self.holder.for_each(|handle| {
            let key = &handle.0;
            let holds = i64::from(key.cell.base()) + i64::from(key.extra());
            fits &= i64::from(key.cell.held().cool) <= holds;
        });
        let fits = fits || self.holder.params.planted.always_fits;
        self.fits = Some(match fits {
            true => Fits::Said(self.seq),
            false => Fits::Look {
                at: now.monotonic.0 + nanoseconds(pause),
                pause: (pause * 2).min(LOOK_MOST),
            },
        });
        fits
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

/// An item, and of what is known here its terms and the document that they are from.
type Said = (AskItem, Option<(Terms, u64)>);

/// By how much two clocks differ on how long something took.
fn apart(then: Now, now: Now) -> Duration {
    let monotonic = i128::from(now.monotonic.0) - i128::from(then.monotonic.0);
    let unix = i128::from(now.unix.0) - i128::from(then.unix.0);
    let apart = monotonic.abs_diff(unix);
    Duration::from_nanos(u64::try_from(apart).unwrap_or(u64::MAX))
}

/// Clocks that differ by more between two ticks were set, or one of them stood still.
const GAP: Duration = Duration::from_secs(1);

/// All keys are looked at for whether they fit a new split again so much later, then twice as late each time.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_MOST: Duration = Duration::from_secs(60);

/// What a grant takes until one was seen: some round trips over oceans.
const GRANT_TIME: Duration = Duration::from_millis(300);

/// So many answered asks are remembered: ticks of some seconds, longer than an answer takes.
const ANSWERED: usize = 64;

/// Keys that rest are looked at in so many ticks: a minute of them.
const TICKS_A_ROUND: usize = 600;

/// Items of an ask: half of what a message takes at most, since an item may have many spans.
const ITEMS_OF_AN_ASK: usize = ITEMS / 2;
