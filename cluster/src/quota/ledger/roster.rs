//! Which nodes there are, which lives they lead, when they were last heard of, and whose the base is. A core.
//!
//! In: lives, contacts, ends, splits. Out: how many tokens of a key are booked as base, and a node's right to
//! spend its part.

use std::collections::BTreeMap;

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::book::{Book, Booked, offset_ms};
use crate::quota::{
    message::{BaseRight, Past, Stamp},
    params::Params,
    terms::{Kind, OnLapse, Scope, Share},
};

/// Seats at most.
const SEATS_MOST: u16 = 1024;

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    /// Of its last ask.
    pub(super) seq: u64,
    /// Log time of its last ask, or of its life's begin.
    pub(super) contact: u64,
    /// When its last ask was sent, in ms of its own clock: its leases count from no later moment.
    pub(super) sent_ms: u64,
    /// How far its document goes.
    pub(super) as_of: u64,
    /// Its life began here; none for a node's first, before which nobody spent its base.
    begun: Option<Stamp>,
    /// The life before: which, its last ask, and when that was, by log time.
    past: Option<(u64, u64, u64)>,
    /// When it was last given the right to base after a wait.
    waited: Option<Stamp>,
    pub(super) seat: Option<u16>,
    /// Of which keys it may spend base: no key with a window as long or shorter was in deficit at some moment since its part
    /// counts as taken.
    scope: Scope,
}

impl Member {
    /// Whether it waits for a moment without a deficit.
    fn waits(&self) -> bool {
        self.seat.is_some() && !self.scope.is_whole()
    }

    /// After so long without contact some of its base may be others'.
    fn doubt(&mut self, now: Stamp, params: &Params) {
        let lease = params.base_lease_least.as_millis();
        let lease = params.stretched_ms(lease.try_into().unwrap_or(u64::MAX));
        if now.log_ms >= self.contact.saturating_add(lease) {
            self.scope.firm_ms = 0;
        }
    }
}

/// The right to one part of all base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seat {
    holder: Option<u16>,
    /// The split its holder spends by.
    split: u16,
    /// When an earlier holder's spending ended; none: there was no other.
    vacated: Option<Left>,
    /// Coarser splits it was spent by, the oldest first.
    wider: Vec<Wider>,
}

/// A coarser split that a seat was spent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Wider {
    split: u16,
    left: Left,
}

/// When spending by a part of base ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    /// By the right to.
    until: Stamp,
    /// Of sliding windows, by what nodes have said; none: nothing was spent that is not another part's.
    spent: Option<Stamp>,
}

impl Left {
    fn at(now: Stamp) -> Self {
        Self {
            until: now,
            spent: Some(now),
        }
    }

    /// Nothing was spent since then. It is not known what was before.
    fn unspent_since(&mut self, then: Option<Stamp>) {
        self.spent = match (self.spent, then) {
            (Some(spent), Some(then)) if spent.log_ms <= then.log_ms => Some(spent),
            (Some(_), then) => then,
            (None, _) => None,
        };
    }

    fn later(self, other: Self) -> Self {
        Self {
            until: latest([self.until, other.until]).unwrap_or(self.until),
            spent: latest([self.spent, other.spent].into_iter().flatten()),
        }
    }

    /// Whether nothing cools of it any more.
    fn is_over(&self, book: &Book, now: Stamp, params: &Params) -> bool {
        let spent = match book.terms.kind() {
            Kind::Sliding => self.spent,
            Kind::Fixed => Some(self.until),
        };
        spent.is_none_or(|then| book.cooled(then, now, params))
    }
}

fn latest(stamps: impl IntoIterator<Item = Stamp>) -> Option<Stamp> {
    stamps.into_iter().max_by_key(|stamp| stamp.log_ms)
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roster {
    /// By number; a gone node's is used again.
    members: Vec<Option<Member>>,
    seats: Vec<Seat>,
    #[serde(skip)]
    numbers: BTreeMap<NodeId, u16>,
}

/// How long nothing was heard of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    /// By log time, between the entries with its asks.
    log_ms: u64,
    /// By its own clock, between their sendings.
    sent_ms: u64,
}

impl Silence {
    const NONE: Self = Self {
        log_ms: 0,
        sent_ms: 0,
    };

    /// Whether the ask that ends it was sent under a lease of so many ms and comes when that is over: what it says of tokens
    /// was said before the node had heard of all that the ledger gave, and took back since.
    pub(super) fn overtook(self, lease_ms: u64, params: &Params) -> bool {
        self.sent_ms < lease_ms && self.log_ms >= params.stretched_ms(lease_ms)
    }
}

impl Roster {
    /// Of what a snapshot holds.
    pub(super) fn indexed(mut self) -> Self {
        let numbered = (0..).zip(&self.members);
        self.numbers = numbered
            .filter_map(|(number, member)| Some((member.as_ref()?.node.clone(), number)))
            .collect();
        self
    }

    pub(super) fn find(&self, node: &NodeId) -> Option<u16> {
        self.numbers.get(node).copied()
    }

    pub(super) fn member(&self, number: u16) -> Option<&Member> {
        self.members.get(usize::from(number))?.as_ref()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }

    /// The numbers of all members.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u16> {
        self.numbers.values().copied()
    }

    fn member_mut(&mut self, number: u16) -> Option<&mut Member> {
        self.members.get_mut(usize::from(number))?.as_mut()
    }

    /// Begins a node's life. None: it is no new one. Else the node's number, whose earlier life is over.
    pub(super) fn begin(
        &mut self,
        node: &NodeId,
        incarnation: u64,
        now: Stamp,
        params: &Params,
    ) -> Option<u16> {
        if let Some(number) = self.find(node) {
            let member = self.member_mut(number)?;
            if incarnation <= member.incarnation {
                return None;
            }
            member.doubt(now, params);
            member.past = Some((member.incarnation, member.seq, member.contact));
            member.incarnation = incarnation;
            (member.seq, member.sent_ms) = (0, 0);
            member.contact = now.log_ms;
            member.begun = Some(now);
            return Some(number);
        }
        let vacant = self.members.iter().position(Option::is_none);
        let number = u16::try_from(vacant.unwrap_or(self.members.len())).ok()?;
        let member = Member {
            node: node.clone(),
            incarnation,
            seq: 0,
            contact: now.log_ms,
            sent_ms: 0,
            as_of: 0,
            begun: None,
            past: None,
            waited: None,
            seat: None,
            scope: Scope::AWAITED,
        };
        match vacant {
            Some(vacant) => self.members[vacant] = Some(member),
            None => self.members.push(Some(member)),
        }
        self.numbers.insert(node.clone(), number);
        self.take_seats();
        Some(number)
    }

    /// A life is over that had lent of its base, which the next one does not know: it has none of a key before no key with
    /// a window as long as that or shorter is in deficit.
    pub(super) fn unseat(&mut self, number: u16) {
        if let Some(member) = self.member_mut(number) {
            member.scope.within_ms = 0;
        }
    }

    /// Ends a node. None: it is not known by this life or an earlier one. Else its number.
    pub(super) fn end(&mut self, node: &NodeId, incarnation: u64, now: Stamp) -> Option<u16> {
        let number = self.find(node)?;
        if self.member(number)?.incarnation > incarnation {
            return None;
        }
        self.numbers.remove(node);
        self.members[usize::from(number)] = None;
        for seat in &mut self.seats {
            if seat.holder == Some(number) {
                seat.holder = None;
                seat.vacated = Some(Left::at(now));
            }
        }
        self.take_seats();
        Some(number)
    }

    /// How long nothing was heard of a node before an ask that was sent then.
    pub(super) fn silence(&self, number: u16, sent_ms: u64, now: Stamp) -> Silence {
        let member = self.member(number).filter(|member| member.sent_ms > 0);
        member.map_or(Silence::NONE, |member| Silence {
            log_ms: now.log_ms.saturating_sub(member.contact),
            sent_ms: sent_ms.saturating_sub(member.sent_ms),
        })
    }

    /// Notes an ask. False: it is of another life, or not newer than the last.
    pub(super) fn hear(&mut self, ask: Heard, now: Stamp, params: &Params) -> bool {
        let split = self.split();
        let Some(member) = self.member_mut(ask.number) else {
            return false;
        };
        let heard = ask.seq <= member.seq && !params.planted.heeds_repeats;
        if ask.incarnation != member.incarnation || heard {
            return false;
        }
        member.doubt(now, params);
        member.seq = ask.seq;
        member.contact = now.log_ms;
        member.sent_ms = member.sent_ms.max(ask.sent_ms);
        member.as_of = member.as_of.max(ask.as_of);
        let (seat, begun) = (member.seat, member.begun);
        let seat = seat.and_then(|seat| self.seats.get_mut(usize::from(seat)));
        let Some(seat) = seat.filter(|_| ask.seats == split) else {
            return true;
        };
        if seat.split < split {
            seat.wider.push(Wider {
                split: seat.split,
                left: Left::at(now),
            });
            seat.split = split;
        }
        if ask.fits {
            // It speaks of its life, and not of others that had the seat.
            let others = [begun, seat.vacated.and_then(|left| left.spent)];
            let others = latest(others.into_iter().flatten());
            for wider in &mut seat.wider {
                wider.left.unspent_since(others);
            }
        }
        true
    }

    /// Into how many parts base is split.
    pub(super) fn split(&self) -> u16 {
        u16::try_from(self.seats.len()).unwrap_or(SEATS_MOST)
    }

    pub(super) fn may_split(&self) -> bool {
        let split = self.split();
        self.seats.iter().all(|seat| seat.split == split)
    }

    /// Splits base at least twice as finely, if everybody has confirmed the last split: two splits together take
    /// all of a limit, a third would take more.
    pub(super) fn split_into(&mut self, seats: u16) {
        let before = self.split();
        let finer = before == 0 || seats / 2 >= before;
        if seats == 0 || seats > SEATS_MOST || !finer || !self.may_split() {
            return;
        }
        // The new seats' parts come of what the split before the last leaves.
        let wider = self.seats.iter().flat_map(|seat| &seat.wider);
        let left = wider.map(|wider| wider.left).reduce(Left::later);
        for seat in self.seats.iter_mut().filter(|seat| seat.holder.is_none()) {
            if let Some(vacated) = seat.vacated {
                seat.wider.push(Wider {
                    split: before,
                    left: vacated,
                });
            }
            seat.split = seats;
        }
        self.seats.resize(
            usize::from(seats),
            Seat {
                holder: None,
                split: seats,
                vacated: left,
                wider: Vec::new(),
            },
        );
        self.take_seats();
    }

    fn take_seats(&mut self) {
        let numbered = (0_u16..).zip(&mut self.members);
        let waiting = numbered.filter_map(|(number, member)| Some((number, member.as_mut()?)));
        let waiting = waiting.filter(|(_, member)| member.seat.is_none());
        let vacant = (0_u16..).zip(&mut self.seats);
        let vacant = vacant.filter(|(_, seat)| seat.holder.is_none());
        for ((number, member), (at, seat)) in waiting.zip(vacant) {
            seat.holder = Some(number);
            member.seat = Some(at);
            member.scope.within_ms = 0;
        }
    }

    /// Whether somebody waits for a moment without a deficit.
    pub(super) fn waiting(&self) -> bool {
        self.members().any(Member::waits)
    }

    /// No key with a window of at most so many ms is in deficit, with all base counted as taken: of these the waiting ones have
    /// base.
    ///
    /// `now`: something may have been held and spent of what they are given.
    pub(super) fn confirm(&mut self, within_ms: u64, now: Option<Stamp>) {
        let members = self.members.iter_mut().flatten();
        for member in members.filter(|member| member.waits()) {
            let scope = member.scope.and_within(within_ms);
            if scope != member.scope {
                member.scope = scope;
                member.waited = now.or(member.waited);
            }
        }
    }

    /// A node's right to base.
    pub(super) fn right(&self, number: u16, now: Stamp) -> Option<BaseRight> {
        let member = self.member(number)?;
        let at = member.seat.filter(|_| member.scope.within_ms > 0)?;
        let seat = self.seats.get(usize::from(at))?;
        let ago = |then: Option<Stamp>| {
            then.map_or(u64::MAX, |then| now.log_ms.saturating_sub(then.log_ms))
        };
        let spent = seat.vacated.and_then(|left| left.spent);
        let until = seat.vacated.map(|left| left.until);
        let since = latest([member.begun, spent].into_iter().flatten());
        let waited = latest([member.waited, until].into_iter().flatten());
        Some(BaseRight {
            share: Share {
                seat: at,
                seats: self.split(),
            },
            scope: member.scope,
            unspent_ms: ago(since),
            waited_ms: ago(waited),
            past: member.past.map(|(incarnation, seq, log_ms)| Past {
                incarnation,
                seq,
                ended_ms: now.log_ms.saturating_sub(log_ms),
            }),
        })
    }

    /// Tokens of a key that nodes may spend as base, or have spent as base and are cooling.
    pub(super) fn booked(&self, book: &Book, now: Stamp, params: &Params) -> Booked {
        let mut booked = Booked::default();
        if book.terms.pooled() {
            return booked;
        }
        let seats = (0_u16..).zip(&self.seats);
        let parts = seats.filter_map(|(at, seat)| {
            let over = |left: Left| left.is_over(book, now, params);
            // The coarsest that is not over is the greatest.
            let wider = seat.wider.iter();
            let wider = wider.filter(|wider| !wider.left.is_over(book, now, params));
            let split = match wider.map(|wider| wider.split).min() {
                Some(split) => split,
                None if seat
                    .holder
                    .is_some_and(|holder| self.keeps_base(holder, book, now, params)) =>
                {
                    seat.split
                }
                None if seat.vacated.is_some_and(|then| !over(then)) => seat.split,
                None => return None,
            };
            let share = Share {
                seat: at,
                seats: split,
            };
            Some((seat.holder, u64::from(book.terms.base(share))))
        });
        for (holder, part) in parts {
            booked.sum += part;
            if let Some(holder) = holder.filter(|holder| book.has_lent(*holder)) {
                booked.lenders.push((holder, part));
            }
        }
        booked
    }

    fn keeps_base(&self, holder: u16, book: &Book, now: Stamp, params: &Params) -> bool {
        match (book.terms.on_lapse(), self.member(holder)) {
            (OnLapse::Deny, Some(member)) => {
                let ms =
                    |span: std::time::Duration| span.as_millis().try_into().unwrap_or(u64::MAX);
                let lease = params.stretched_ms(ms(params.base_lease(book.terms.window())));
                // For a fixed window it is the next one by all clocks, too.
                let rest = params.stretched_ms(book.terms.window_ms() + 2 * offset_ms(params));
                let over = member.contact.saturating_add(lease).saturating_add(rest);
                now.log_ms < over
            }
            _ => true,
        }
    }
}

/// What the roster takes of an ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) number: u16,
    pub(super) incarnation: u64,
    pub(super) seq: u64,
    pub(super) sent_ms: u64,
    pub(super) as_of: u64,
    pub(super) seats: u16,
    pub(super) fits: bool,
}
