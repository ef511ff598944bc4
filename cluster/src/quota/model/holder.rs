//! A plain holder: what a node has to keep to, and no more. It keeps every spend with its time.
//!
//! In: requests, grants, ticks, by the node's own clocks. Out: verdicts and asks.

use std::collections::{BTreeMap, VecDeque};

use meridian_config::name::NodeId;

use super::{dice::Dice, wants::Demand};
use crate::quota::{
    key::KeyId,
    message::{AskItem, BaseRight, GrantItem, QuotaAsk, QuotaGrant, Span},
    params::Params,
    terms::{Kind, OnLapse, Terms},
};

/// A node's clocks at one moment, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) local: u64,
    pub(super) unix: u64,
}

/// What is held of one key.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) terms: Terms,
    born: u32,
    pub(super) given: u32,
    /// As far as it may be spent now: what was given for a later fixed window comes on top.
    usable: u32,
    usable_from: u64,
    pub(super) returned: u32,
    /// When, and how much: local microseconds, or the fixed window.
    spends: VecDeque<(u64, u32)>,
    /// The newest fixed window counted in.
    window: u64,
    used: u64,
    /// The lease was over meanwhile: what it holds beyond base is not known before the ledger's next word on it.
    pub(super) stale: bool,
    cap: Option<u32>,
    pub(super) pool_hint: u32,
    pub(super) demand: Demand,
}

impl Cell {
    fn new(terms: Terms, born: u32, now: Now) -> Self {
        Self {
            terms,
            born,
            given: 0,
            usable: 0,
            usable_from: 0,
            returned: 0,
            spends: VecDeque::new(),
            window: 0,
            used: now.local,
            stale: false,
            cap: None,
            pool_hint: 0,
            demand: Demand::default(),
        }
    }

    /// Tokens beyond base; less than 0 while a return has overtaken what was taken back.
    pub(super) fn extra(&self) -> i64 {
        i64::from(self.given.wrapping_sub(self.returned).cast_signed())
    }

    fn usable_extra(&self) -> i64 {
        if self.stale {
            return 0;
        }
        i64::from(self.usable.wrapping_sub(self.returned).cast_signed())
    }

    fn roll(&mut self, now: Now, rest: u64) {
        match self.terms.kind() {
            Kind::Sliding => {
                while self
                    .spends
                    .front()
                    .is_some_and(|(at, _)| at + rest <= now.local)
                {
                    self.spends.pop_front();
                }
            }
            Kind::Fixed => {
                self.window = self.window.max(now.unix / 1000 / self.terms.window_ms());
                let window = self.window;
                self.spends.retain(|(spent, _)| *spent == window);
                if self.usable_from <= window {
                    self.usable = self.given;
                }
            }
        }
    }

    pub(super) fn cool(&self) -> i64 {
        self.spends.iter().map(|(_, cost)| i64::from(*cost)).sum()
    }

    fn take(&mut self, item: &GrantItem) {
        if item.born != self.born {
            return;
        }
        self.stale = false;
        let more = item.given.wrapping_sub(self.given).cast_signed() > 0;
        self.given = item.given;
        if more && self.terms.kind() == Kind::Fixed && item.window > self.window {
            // What it had stays usable, up to what it has now.
            self.usable_from = item.window;
            if self.usable.wrapping_sub(item.given).cast_signed() > 0 {
                self.usable = item.given;
            }
        } else if self.usable_from <= self.window
            || self.usable.wrapping_sub(item.given).cast_signed() > 0
        {
            self.usable = item.given;
        }
        self.cap = item.cap;
        self.pool_hint = item.pool;
    }
}

/// How a node makes up its mind; the safety of all others must not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mind {
    /// By its demand.
    Careful,
    /// By chance.
    Wild,
}

/// One life of a node.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    node: NodeId,
    pub(super) incarnation: u64,
    params: Params,
    mind: Mind,
    seq: u64,
    /// Sending of the last ask that was answered, local microseconds.
    confirmed: Option<u64>,
    newest: u64,
    right: Option<(BaseRight, u64)>,
    pub(super) as_of: u64,
    pub(super) terms: BTreeMap<KeyId, Terms>,
    pub(super) cells: BTreeMap<KeyId, Cell>,
    unknown: BTreeMap<KeyId, u32>,
    born: u32,
    last_sent: u64,
    /// A planted bug.
    pub(super) ignores_its_deadline: bool,
}

impl Holder {
    pub(super) fn new(node: NodeId, incarnation: u64, params: Params, mind: Mind) -> Self {
        Self {
            node,
            incarnation,
            params,
            mind,
            seq: 0,
            confirmed: None,
            newest: 0,
            right: None,
            as_of: 0,
            terms: BTreeMap::new(),
            cells: BTreeMap::new(),
            unknown: BTreeMap::new(),
            born: 0,
            last_sent: 0,
            ignores_its_deadline: false,
        }
    }

    /// Takes in a document: the limits it has, by key.
    pub(super) fn compile(&mut self, as_of: u64, terms: BTreeMap<KeyId, Terms>) {
        self.as_of = as_of;
        for (key, cell) in &mut self.cells {
            if let Some(terms) = terms.get(key) {
                cell.terms = *terms;
            }
        }
        self.terms = terms;
    }

    fn rest(&self, terms: &Terms) -> u64 {
        let window = terms.window_ms() * 1000;
        window + (window * u64::from(self.params.drift_ppm)).div_ceil(1_000_000)
    }

    /// Whether extra tokens of a key with these terms are still its own.
    pub(super) fn valid(&self, terms: &Terms, now: Now) -> bool {
        let lease = micros(self.params.extra_lease(terms.window()));
        self.confirmed
            .is_some_and(|sent| now.local < sent + lease || self.ignores_its_deadline)
    }

    /// Base that it may spend.
    fn base(&self, terms: &Terms, now: Now) -> i64 {
        let Some((right, told)) = self.right else {
            return 0;
        };
        let unspent = right.unspent_ms.saturating_add((now.local - told) / 1000);
        let enough = match terms.kind() {
            Kind::Sliding => unspent >= self.params.stretched_ms(terms.window_ms()),
            Kind::Fixed => {
                // Windows that began when nobody else was spending.
                let offset = 2 * micros(self.params.offset);
                let drift = unspent.saturating_mul(3 * u64::from(self.params.drift_ppm));
                let certain = unspent - drift.div_ceil(1_000_000).min(unspent);
                let then = now.unix.saturating_sub(certain.saturating_mul(1000)) + offset;
                let window = now.unix / 1000 / terms.window_ms();
                right.unspent_ms == u64::MAX || window > then / 1000 / terms.window_ms()
            }
        };
        let lapsed = terms.on_lapse() == OnLapse::Deny && {
            let lease = micros(self.params.base_lease(terms.window()));
            !right.firm || self.confirmed.is_none_or(|sent| now.local >= sent + lease)
        };
        if enough && !(lapsed && !(self.ignores_its_deadline && right.firm)) {
            i64::from(terms.base(right.share))
        } else {
            0
        }
    }

    /// Whether a request may pass. None: nothing limits it.
    pub(super) fn decide(&mut self, key: KeyId, cost: u32, now: Now) -> Option<bool> {
        let terms = *self.terms.get(&key)?;
        let (base, valid, rest) = (
            self.base(&terms, now),
            self.valid(&terms, now),
            self.rest(&terms),
        );
        let cell = self.cell(key, terms, now);
        cell.used = now.local;
        cell.roll(now, rest);
        let top = base
            + if valid {
                cell.usable_extra()
            } else {
                cell.usable_extra().min(0)
            };
        let passes = cell.cool() + i64::from(cost) <= top;
        cell.demand.arrive(cost, passes);
        if passes {
            let at = match terms.kind() {
                Kind::Sliding => now.local,
                Kind::Fixed => cell.window,
            };
            match cell.spends.back_mut() {
                Some((last, sum)) if *last == at => *sum += cost,
                _ => cell.spends.push_back((at, cost)),
            }
        }
        Some(passes)
    }

    /// The fixed window that a node counts a request in.
    pub(super) fn window(&self, key: &KeyId) -> u64 {
        self.cells.get(key).map_or(0, |cell| cell.window)
    }

    fn cell(&mut self, key: KeyId, terms: Terms, now: Now) -> &mut Cell {
        let born = &mut self.born;
        self.cells.entry(key).or_insert_with(|| {
            *born += 1;
            Cell::new(terms, *born, now)
        })
    }

    /// Takes the ledger's word.
    pub(super) fn take(&mut self, grant: &QuotaGrant, now: Now) {
        if grant.incarnation != self.incarnation || grant.index < self.newest {
            return;
        }
        self.newest = grant.index;
        if let Some(echo) = grant.answers {
            let lapsed: Vec<KeyId> = self
                .cells
                .iter()
                .filter(|(_, cell)| !self.valid(&cell.terms, now))
                .map(|(key, _)| *key)
                .collect();
            for key in lapsed {
                self.cells
                    .get_mut(&key)
                    .expect("it is one of its cells")
                    .stale = true;
            }
            self.confirmed = self.confirmed.max(Some(echo.sent_ms * 1000));
        }
        self.right = match (grant.base, self.right) {
            (Some(right), Some((before, told))) if right.share.seat == before.share.seat => {
                let counted = before.unspent_ms.saturating_add((now.local - told) / 1000);
                let unspent_ms = right.unspent_ms.max(counted);
                Some((
                    BaseRight {
                        unspent_ms,
                        ..right
                    },
                    now.local,
                ))
            }
            (right, _) => right.map(|right| (right, now.local)),
        };
        for item in &grant.items {
            match self.cells.get_mut(&item.key) {
                Some(cell) => {
                    let fixed_window = now.unix / 1000 / cell.terms.window_ms();
                    cell.window = match cell.terms.kind() {
                        Kind::Sliding => 0,
                        Kind::Fixed => cell.window.max(fixed_window),
                    };
                    cell.take(item);
                }
                None => {
                    self.born += 1;
                    self.unknown.insert(item.key, self.born);
                }
            }
        }
    }

    /// What it has to say now; none: nothing, and it was heard of a moment ago.
    pub(super) fn tick(&mut self, now: Now, dice: &mut Dice) -> Option<QuotaAsk> {
        let mut items = Vec::new();
        let mut gone = Vec::new();
        let keys: Vec<KeyId> = self.cells.keys().copied().collect();
        let mut terms_said: Vec<Terms> = Vec::new();
        for key in keys {
            let cell = &self.cells[&key];
            let terms = cell.terms;
            let known = self.terms.contains_key(&key);
            let (base, valid, rest) = (
                self.base(&terms, now),
                self.valid(&terms, now),
                self.rest(&terms),
            );
            let (mind, params) = (self.mind, self.params);
            let cell = self.cells.get_mut(&key).expect("it is one of its cells");
            cell.roll(now, rest);
            let cool = cell.cool();
            let free = base + cell.usable_extra() - cool;
            let soon = now.local + 300_000;
            let cooling_off: i64 = match terms.kind() {
                Kind::Sliding => {
                    let off = cell.spends.iter().filter(|(at, _)| at + rest <= soon);
                    off.map(|(_, cost)| i64::from(*cost)).sum()
                }
                Kind::Fixed => 0,
            };
            let spare = free.min(cell.usable_extra()).max(0);
            let plan = match mind {
                Mind::Careful => cell.demand.plan(
                    &terms,
                    &params,
                    now.local,
                    free,
                    cooling_off,
                    base,
                    cell.cap,
                    cell.pool_hint,
                ),
                Mind::Wild => super::wants::wild(&terms, dice),
            };
            let mut back = plan.hand_back.clamp(0, spare);
            let mut missing = plan.missing;
            if !known {
                (back, missing) = (spare, 0);
            }
            if !valid {
                back = 0;
            }
            let back = u32::try_from(back).expect("no more than it holds");
            cell.returned = cell.returned.wrapping_add(back);
            let quiet = cell.used + 2 * rest <= now.local;
            if quiet
                && !cell.stale
                && cell.spends.is_empty()
                && cell.extra() == 0
                && plan.missing == 0
            {
                gone.push(key);
            }
            let changed = cell.demand.changed(back, missing, now.local);
            let said = changed || cell.stale || (mind == Mind::Wild && dice.chance(300));
            if !said {
                continue;
            }
            let at = terms_said.iter().position(|said| *said == terms);
            let at = at.unwrap_or_else(|| {
                terms_said.push(terms);
                terms_said.len() - 1
            });
            items.push(AskItem {
                key,
                terms: known.then(|| u16::try_from(at).expect("few terms")),
                born: cell.born,
                returned: cell.returned,
                want: cell.given.wrapping_add(missing),
                window: cell.window,
                rate: cell.demand.rate_milli(),
                free: u32::try_from(free.max(0)).unwrap_or(u32::MAX),
                cooling: Vec::new(),
            });
        }
        for (key, born) in std::mem::take(&mut self.unknown) {
            items.push(AskItem {
                key,
                terms: None,
                born,
                returned: 0,
                want: 0,
                window: 0,
                rate: 0,
                free: 0,
                cooling: Vec::new(),
            });
        }
        for key in gone {
            // Its last item was heard, or there never was one; what was not heard the ledger finds unspent.
            if self.cells[&key].demand.quiet_since(now.local) {
                self.cells.remove(&key);
            }
        }
        let heard = micros(self.params.heartbeat);
        if items.is_empty() && now.local < self.last_sent + heard {
            return None;
        }
        Some(self.ask(items, terms_said, now))
    }

    /// Its last word: all it holds beyond base, with what is cooling of it.
    pub(super) fn leave(&mut self, now: Now) -> QuotaAsk {
        let mut items = Vec::new();
        let keys: Vec<KeyId> = self.cells.keys().copied().collect();
        for key in keys {
            let rest = self.rest(&self.cells[&key].terms);
            let cell = self.cells.get_mut(&key).expect("it is one of its cells");
            cell.roll(now, rest);
            let extra = if cell.stale { 0 } else { cell.extra().max(0) };
            // Base is spent last: all that cools is taken for extra as far as there is any.
            let mut left = extra;
            let mut cooling = Vec::new();
            for (at, cost) in cell.spends.iter().rev() {
                let count = i64::from(*cost).min(left);
                left -= count;
                if count == 0 {
                    break;
                }
                let ms = match cell.terms.kind() {
                    Kind::Sliding => (at + rest).saturating_sub(now.local).div_ceil(1000),
                    Kind::Fixed => 0,
                };
                let count = u32::try_from(count).expect("it was a cost");
                cooling.push(Span { ms, count });
            }
            if cooling.len() > crate::quota::message::SPANS {
                let ms = cooling.iter().map(|span| span.ms).max().unwrap_or(0);
                let count = cooling.iter().map(|span| span.count).sum();
                cooling = vec![Span { ms, count }];
            }
            let back = u32::try_from(extra).expect("it is not less than 0");
            cell.returned = cell.returned.wrapping_add(back);
            items.push(AskItem {
                key,
                terms: None,
                born: cell.born,
                returned: cell.returned,
                want: cell.given,
                window: cell.window,
                rate: 0,
                free: 0,
                cooling,
            });
        }
        self.ask(items, Vec::new(), now)
    }

    fn ask(&mut self, items: Vec<AskItem>, terms: Vec<Terms>, now: Now) -> QuotaAsk {
        self.seq += 1;
        self.last_sent = now.local;
        QuotaAsk {
            node: self.node.clone(),
            incarnation: self.incarnation,
            seq: self.seq,
            sent_ms: now.local / 1000,
            as_of: self.as_of,
            seats: self.right.map_or(0, |(right, _)| right.share.seats),
            terms,
            items,
        }
    }
}

pub(super) fn micros(span: std::time::Duration) -> u64 {
    span.as_micros().try_into().expect("a span of the model")
}
