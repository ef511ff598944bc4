//! What a grant changes: leases, base, and each key that it speaks of. A core.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    super::{
        super::{
            clock::{Clock, Monotonic, Now},
            lease::Contact,
            message::{GrantItem, ITEMS, QuotaGrant, Recall},
        },
        key::{DOUBTED, IN_USE},
        moves::move_tokens,
        row::since,
    },
    Keeper, Stranger,
    asks::{Fits, LOOK},
};

impl Keeper {
    /// Takes in what the ledger's leader says. Of what is meant for another node or life, of an older index
    /// than was taken before, or of another cell of a key, nothing. Of how many keys it had extra that has run out since
    /// the last answer.
    pub fn grant(&mut self, grant: &QuotaGrant, clock: &impl Clock) -> usize {
        let mine = grant.node == self.who.node && grant.incarnation == self.who.incarnation;
        if !mine || self.over {
            return 0;
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
        let lapsed = match sent {
            Some(_) => {
                let silence = self.holder.lease.contact(now.monotonic);
                self.doubt_after(silence, grant.index, now)
            }
            None => 0,
        };
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
        lapsed
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
    /// say first what is left, and nothing counts that it gave before. Of how many it was not doubted yet.
    fn doubt_after(&mut self, silence: Contact, index: u64, now: Now) -> usize {
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
        let mut lapsed = 0;
        for handle in doubted {
            lapsed += usize::from(handle.0.cell.marks() & DOUBTED == 0);
            handle.0.cell.mark(IN_USE);
            self.row(&handle, now).doubt(index);
        }
        lapsed
    }
}

/// So many answered asks are remembered: ticks of some seconds, longer than an answer takes.
const ANSWERED: usize = 64;
