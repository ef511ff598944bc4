//! What an entry of the log does to the ledger.
//!
//! In: an entry. Out: a grant for each ask that was new, computed here: the entry has none, so that no leader
//! can give what another has given.

use std::{
    collections::btree_map,
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use meridian_config::name::NodeId;

use super::{
    KEYS_MOST, Ledger, ROWS_MOST,
    book::{Book, Row},
    roster::{Heard, Roster},
};
use crate::quota::{
    message::{Act, AskItem, Echo, Entry, GrantItem, QuotaAsk, QuotaGrant, Stamp, Wish},
    params::Params,
    terms::Kind,
};

/// Keys that every batch looks at for what is over, whoever asks: a pass over all keys takes a while and
/// costs no entry.
const SWEPT: usize = 64;

/// How often all keys are searched for a deficit, in ms of log time.
const SCAN_MS: u64 = 1000;

/// How what is held cools is taken down while no more rows and spans are kept: it costs none who asks for tokens.
const RESTS_ROOM: usize = ROWS_MOST / 2;

impl Ledger {
    /// Applies the entry at `index`. One whose log time does not follow from the entries before it counts for nothing:
    /// its leader had not applied all of them yet, and what another has said of time since it had not heard.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Vec<QuotaGrant> {
        if entry.line != self.line && entry.line.after != self.last {
            return Vec::new();
        }
        (self.line, self.last) = (entry.line.clone(), index);
        self.now = Stamp {
            log_ms: self.now.log_ms.max(entry.stamp.log_ms),
            unix_ms: entry.stamp.unix_ms,
        };
        let mut grants = Vec::new();
        match &entry.act {
            Act::Batch { asks, wishes } => {
                for ask in asks {
                    grants.extend(self.hear(index, ask));
                }
                for wish in wishes {
                    grants.extend(self.remember(index, wish));
                }
                self.sweep(SWEPT.max(self.books.len() / 256));
            }
            Act::Expire => self.sweep(usize::MAX),
            Act::NodeUp { node, incarnation } => self.begin(node, *incarnation),
            Act::NodeGone { node, incarnation } => {
                let sent_ms = self.sent_ms(node);
                if let Some(number) = self.roster.end(node, *incarnation, self.now) {
                    self.end_life(number, sent_ms);
                }
            }
            Act::Split { seats } => {
                self.roster.split_into(*seats);
                self.scanned = None;
            }
        }
        self.confirm();
        grants
    }

    /// Lets nodes spend base that wait for a moment without a deficit. It takes a look at every key, so once a
    /// second and when a node has begun a life.
    fn confirm(&mut self) {
        let due = self
            .scanned
            .is_none_or(|then| self.now.log_ms >= then + SCAN_MS);
        if due && self.roster.waiting() {
            self.scanned = Some(self.now.log_ms);
            let shorts = self.search_shorts();
            let shorter = u64::from(!self.params.planted.base_in_deficit);
            let within_ms = shorts
                .first()
                .map_or(u64::MAX, |(window_ms, _)| window_ms.saturating_sub(shorter));
            let held = !self.books.is_empty();
            self.roster.confirm(within_ms, held.then_some(self.now));
            self.shorts = shorts.into_iter().map(|(_, key)| key).collect();
        }
    }

    fn begin(&mut self, node: &NodeId, incarnation: u64) {
        let sent_ms = self.sent_ms(node);
        let begun = self.roster.begin(node, incarnation, self.now, &self.params);
        if let Some(number) = begun {
            if self.books.values().any(|book| book.has_lent(number)) {
                self.roster.unseat(number);
            }
            self.end_life(number, sent_ms);
            self.scanned = None;
        }
    }

    /// When a node's last ask was sent, by its clock.
    fn sent_ms(&self, node: &NodeId) -> u64 {
        let number = self.roster.find(node);
        let member = number.and_then(|number| self.roster.member(number));
        member.map_or(0, |member| member.sent_ms)
    }

    /// What a life that is over held goes to the pool, a window later at most. Its last ask was sent then.
    fn end_life(&mut self, number: u16, sent_ms: u64) {
        let (now, params) = (self.now, self.params);
        for book in self.books.values_mut() {
            let Ok(at) = book.rows.binary_search_by_key(&number, |row| row.holder) else {
                continue;
            };
            let before = book.size();
            let row = book.rows.remove(at);
            if !params.planted.crash_without_cooling {
                let deadline = sent_ms.saturating_add(lease_ms(book.terms.window(), &params));
                book.take_back(row, deadline, now, &params);
            }
            book.forget(number);
            self.rows = self.rows + book.size() - before;
        }
    }

    fn hear(&mut self, index: u64, ask: &QuotaAsk) -> Option<QuotaGrant> {
        let number = self.roster.find(&ask.node)?;
        let heard = Heard {
            number,
            incarnation: ask.incarnation,
            seq: ask.seq,
            sent_ms: ask.sent_ms,
            as_of: ask.as_of,
            seats: ask.seats,
            fits: ask.fits,
        };
        let silence = self.roster.silence(number, ask.sent_ms, self.now);
        if !self.roster.hear(heard, self.now, &self.params) {
            return None;
        }
        let mut items = Vec::with_capacity(ask.items.len());
        for item in &ask.items {
            // Of a key whose lease was over meanwhile nothing is taken, and nothing told: the node says it again.
            let overtaken = self.window(ask, item).is_some_and(|window| {
                silence.overtook(lease_ms(window, &self.params), &self.params)
            });
            if !overtaken {
                items.push(self.take(number, Some(ask), item));
            }
        }
        Some(QuotaGrant {
            node: ask.node.clone(),
            incarnation: ask.incarnation,
            index,
            answers: Some(Echo {
                seq: ask.seq,
                sent_ms: ask.sent_ms,
            }),
            base: self.roster.right(number, self.now),
            items,
            recalls: Vec::new(),
        })
    }

    /// The window of a key that is spoken of.
    fn window(&self, ask: &QuotaAsk, item: &AskItem) -> Option<Duration> {
        let booked = self.books.get(&item.key).map(|book| book.terms);
        let said = || ask.terms.get(usize::from(item.terms?)).copied();
        Some(booked.or_else(said)?.window())
    }

    /// Gives what was asked for earlier, if the node still lives that life.
    fn remember(&mut self, index: u64, wish: &Wish) -> Option<QuotaGrant> {
        let number = self.roster.find(&wish.node)?;
        let member = self.roster.member(number)?;
        let book = self.books.get(&wish.item.key)?;
        if member.incarnation != wish.incarnation {
            return None;
        }
        // Its ask may not have been applied yet, or never will be: what that handed back and lent would be taken for base
        // that the node has.
        let row = book.rows.iter().find(|row| row.holder == number);
        let unheard = match row {
            None => wish.item.lent > 0,
            Some(row) => row.born != wish.item.born || newer(wish.item.returned, row.returned),
        };
        if unheard {
            return None;
        }
        // What it had lent when it said so it may have had again since.
        let item = AskItem {
            lent: 0,
            ..wish.item.clone()
        };
        let item = self.take(number, None, &item);
        Some(QuotaGrant {
            node: wish.node.clone(),
            incarnation: wish.incarnation,
            index,
            answers: None,
            base: self.roster.right(number, self.now),
            items: vec![item],
            recalls: Vec::new(),
        })
    }

    /// Takes a node's word on a key, said in this ask; none: earlier. Whatever it says, it is told what it holds
    /// then: it may wait for that.
    fn take(&mut self, number: u16, ask: Option<&QuotaAsk>, item: &AskItem) -> GrantItem {
        let (now, params, cools) = (self.now, self.params, self.lapse_cools());
        let full = self.books.len() >= KEYS_MOST;
        let terms = ask.and_then(|ask| {
            let terms = ask.terms.get(usize::from(item.terms?))?;
            Some((*terms, ask.as_of))
        });
        let book = match (self.books.entry(item.key), terms) {
            (btree_map::Entry::Occupied(entry), _) => entry.into_mut(),
            (btree_map::Entry::Vacant(entry), Some((terms, as_of))) if !full => {
                entry.insert(Book::new(terms, as_of))
            }
            // It holds nothing here, and is told so.
            (btree_map::Entry::Vacant(_), _) => return nothing(item),
        };
        let before = book.size();
        if let Some((terms, as_of)) = terms {
            if terms.shape() != book.terms.shape() {
                return nothing(item);
            }
            if as_of > book.as_of {
                (book.terms, book.as_of) = (terms, as_of);
            }
        }
        book.touched = now.log_ms;
        book.reach(item.window);
        settle(book, &self.roster, now, &params, cools);

        let found = book.rows.binary_search_by_key(&number, |row| row.holder);
        let mut row = match found {
            Ok(at) => book.rows[at],
            Err(_) => fresh(item, number),
        };
        if row.born != item.born {
            if newer(row.born, item.born) {
                return nothing(item);
            }
            // The cell before was forgotten, which held nothing any more: what it had not seen of what it was
            // given, and what it handed back unheard, is unspent.
            row = fresh(item, number);
            book.forget(number);
        }
        hand_back(&mut row, item, book, now, &params);
        if ask.is_some() {
            row.lent = item.lent > 0;
        }
        // Of tokens that were taken back, and it has not heard of that, it may hold more than is booked.
        if let (Some(ask), Some(rests)) = (ask, &item.rests)
            && !newer(rests.given, row.given)
            && self.rows < RESTS_ROOM
        {
            book.note(number, rests, ask.sent_ms, now);
        }

        // What it holds now counts, so that the pool is what all leave.
        let room = found.is_ok() || self.rows < ROWS_MOST;
        if found.is_err() && !room && row.extra() < 0 {
            // It has its base again.
            row.given = row.returned;
        }
        let at = match found {
            Ok(at) => at,
            Err(at) => {
                book.rows.reserve_exact(1);
                book.rows.insert(at, row);
                at
            }
        };
        book.rows[at] = row;
        let base = self.roster.booked(book, now, &params);
        let pool = u32::try_from(book.pool(&base, now).max(0)).unwrap_or(u32::MAX);
        let missing = if room && newer(item.want, row.given) {
            item.want.wrapping_sub(row.given)
        } else {
            0
        };
        let given = match params.planted.gives_beyond_pool {
            true => missing,
            false => missing.min(pool),
        };
        row.given = row.given.wrapping_add(given);
        // A node that has not seen that it has all again will say once more that it has lent; what it said earlier
        // tells nothing of that.
        let seen = match ask {
            Some(_) => item.lent == 0,
            None => found.is_err(),
        };
        if row.extra() == 0 && seen {
            book.rows.remove(at);
        } else {
            book.rows[at] = row;
        }
        if row.extra() <= 0 {
            book.forget(number);
        }
        self.rows = self.rows + book.size() - before;
        GrantItem {
            key: item.key,
            born: item.born,
            given: row.given,
            window: book.window,
            cap: None,
            pool: pool.saturating_sub(given),
            others_free: 0,
        }
    }

    /// Looks at so many keys for what is over, after the ones that were looked at last.
    fn sweep(&mut self, count: usize) {
        let (now, params, cools) = (self.now, self.params, self.lapse_cools());
        let mut idle = Vec::new();
        let from = self.swept.map_or(Unbounded, Excluded);
        let mut last = None;
        let mut looked = 0;
        for (key, book) in self.books.range_mut((from, Unbounded)).take(count) {
            let before = book.size();
            settle(book, &self.roster, now, &params, cools);
            self.rows = self.rows + book.size() - before;
            if book.idle(now, &params) {
                idle.push(*key);
            }
            last = Some(*key);
            looked += 1;
        }
        for key in idle {
            self.books.remove(&key);
        }
        // At the end it begins anew.
        self.swept = last.filter(|_| looked == count);
        if count == usize::MAX && from != Unbounded {
            self.swept = None;
            self.sweep(count);
        }
    }

    fn lapse_cools(&self) -> bool {
        !self.params.planted.lapse_without_cooling
    }
}

/// Frees what has cooled, and takes back what is held under leases that are over.
fn settle(book: &mut Book, roster: &Roster, now: Stamp, params: &Params, cools: bool) {
    book.free(now);
    let lease = lease_ms(book.terms.window(), params);
    let stretched = params.stretched_ms(lease);
    let mut at = 0;
    while let Some(row) = book.rows.get(at).copied() {
        let member = roster.member(row.holder);
        let (contact, sent_ms) = member.map_or((0, 0), |member| (member.contact, member.sent_ms));
        let over = contact.saturating_add(stretched);
        if row.extra() < 0 || over > now.log_ms {
            // What a node has lent is not its own again because it is out of contact.
            at += 1;
            continue;
        }
        if row.lent {
            // What it said before it saw that it has its base again may still arrive.
            book.rows[at].given = row.returned;
            at += 1;
        } else {
            book.rows.remove(at);
        }
        let then = match book.terms.kind() {
            Kind::Sliding => Stamp {
                log_ms: over,
                ..now
            },
            // When it was by the wall clock is not known any more; it was before now.
            Kind::Fixed => now,
        };
        if cools {
            book.take_back(row, sent_ms.saturating_add(lease), then, params);
        }
        book.forget(row.holder);
    }
    book.free(now);
}

/// For how long a node spends what it holds of a key beyond its base, by its own clock.
fn lease_ms(window: Duration, params: &Params) -> u64 {
    let lease = params.extra_lease(window);
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)
}

/// The row of a node that has none: it holds its base, but for what it says it has lent. Other tokens that it
/// thinks it has were taken back when a lease was over.
fn fresh(item: &AskItem, holder: u16) -> Row {
    Row {
        given: item.returned.wrapping_sub(item.lent),
        returned: item.returned,
        born: item.born,
        holder,
        lent: item.lent > 0,
    }
}

/// Takes what a node has handed back.
fn hand_back(row: &mut Row, item: &AskItem, book: &mut Book, now: Stamp, params: &Params) {
    if !newer(item.returned, row.returned) {
        return;
    }
    let held = u32::try_from(row.extra()).unwrap_or(0);
    let back = item.returned.wrapping_sub(row.returned);
    row.returned = item.returned;
    if row.extra() < -i64::from(item.lent) {
        // A lease's end took it back before this arrived: it is cooling here already.
        row.given = item.returned.wrapping_sub(item.lent);
    }
    // What cools is of the extra: base is handed back only if it is free.
    let mut left = back.min(held);
    for span in &item.cooling {
        let count = span.count.min(left);
        left -= count;
        match book.terms.kind() {
            Kind::Sliding => {
                let when = now.log_ms.saturating_add(params.stretched_ms(span.ms));
                book.cool_until(count, when);
            }
            Kind::Fixed => book.cool(count, now, params),
        }
    }
}

/// For a key without a record, or a cell that was forgotten: the node holds nothing beyond base.
fn nothing(item: &AskItem) -> GrantItem {
    GrantItem {
        key: item.key,
        born: item.born,
        given: item.returned,
        window: item.window,
        cap: None,
        pool: 0,
        others_free: 0,
    }
}

/// Whether a total that wraps is beyond another.
fn newer(this: u32, other: u32) -> bool {
    let ahead = this.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 31
}
