//! One request charged to several limits: by all of them, or by none.
//!
//! In: the accounts and what each is to pay, the lease, the clock. Out: [`Answer`]. No lock, no allocation,
//! no I/O. The clock is read twice: a thread may stand still in between for any time, and the token it has
//! taken may have been spent by another just before it was taken. So what is booked is the second reading,
//! and the lease is judged by it.

use std::time::Duration;

use super::{
    cell::{Bound, Cell, Reach, Short},
    clock::{Clock, Now},
    lease::{Lease, Standing, Validity},
    pace::Pace,
};

/// Whose tokens a charge takes: a key of the holder.
pub trait Account {
    /// Its tokens here.
    fn cell(&self) -> &Cell;

    /// How its window moves.
    fn pace(&self) -> Pace;

    /// For how long what is held is good without contact.
    fn validity(&self) -> Validity;

    /// Whether tokens of this limit are known to be free elsewhere.
    fn free_elsewhere(&self) -> bool;

    /// `cost` of it has been spent, and `left` is free now.
    fn spent(&self, cost: u32, left: i32);

    /// `cost` was asked for and not there.
    fn denied(&self, cost: u32);
}

/// What came of a charge.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every account has paid.
    Admit(Receipt),
    /// Some account could not, and none has paid.
    Deny(Denial),
    /// A key was put away after it was looked up, and none has paid: look them up again.
    Again,
}

/// What a charge is given back by, once: so it is no copy.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When it was booked: the second reading of the clock.
    spent: Now,
}

impl Receipt {
    /// When the charge was booked.
    #[must_use]
    pub fn spent(&self) -> Now {
        self.spent
    }
}

/// Why a charge was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Which of the items, by its place in the slice.
    pub which: usize,
    /// Why.
    pub why: Why,
    /// When what cools here is enough, if nobody else takes it; none if it never is.
    pub cools_in: Option<Duration>,
    /// What was asked for.
    pub cost: u32,
}

/// Why there was nothing. For logs and metrics; a client is told only that, and when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The limit is used up, as far as this node knows.
    Limit,
    /// Other nodes or the pool have tokens, this node has not.
    Local,
    /// This node has been out of contact, and may not spend what it holds.
    Lapsed,
    /// This node is overloaded, and spends a part of what it holds.
    Overload,
}

/// What bounds every charge at a node.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Until when what is held may be spent.
    pub lease: &'a Lease,
    /// The part of what is held that is spent under overload, in 1/65 536; [`super::cell::WHOLE`] for all.
    pub share: u32,
}

/// Charges every item its cost, or none. Items with the shortest windows are tried first, as the likeliest
/// to deny; cheapest if they come in that order.
pub fn charge<A: Account>(items: &[(&A, u32)], bounds: Bounds<'_>, clock: &impl Clock) -> Answer {
    let window = |item: &(&A, u32)| item.0.pace().window();
    if items.is_sorted_by_key(window) || items.len() > MOST_SORTED {
        return settle(items, |nth| nth, bounds, clock);
    }
    let mut order = [0; MOST_SORTED];
    let order = &mut order[..items.len()];
    for (nth, which) in order.iter_mut().enumerate() {
        *which = nth;
    }
    order.sort_unstable_by_key(|&which| window(&items[which]));
    settle(items, |nth| order[nth], bounds, clock)
}

/// Gives back what a charge took, for a request that has reached nothing. Per account: only while the slot
/// it was booked in is the newest (at the same instant, for limits of a few tokens); otherwise the spend
/// stands. How many came back of each, in their order.
pub fn refund<A: Account>(items: &[(&A, u32)], receipt: Receipt) -> Vec<u32> {
    let back = |(account, cost): &(&A, u32)| {
        let (cell, pace) = (account.cell(), account.pace());
        cell.refund(pace, *cost, receipt.spent)
    };
    items.iter().map(back).collect()
}

fn settle<A: Account>(
    items: &[(&A, u32)],
    order: impl Fn(usize) -> usize,
    bounds: Bounds<'_>,
    clock: &impl Clock,
) -> Answer {
    let now = clock.now();
    let reach = |account: &A, now: Now| {
        // In this order: see `Lease::contact`.
        let contact = bounds.lease.contact(now.monotonic);
        match contact.standing(account.validity()) {
            Standing::Valid => Reach::Held,
            Standing::BaseOnly => Reach::Base,
            Standing::Lapsed => Reach::Nothing,
        }
    };
    let deny = |which: usize, short: Short, now: Now| {
        let (account, cost) = items[which];
        let (cell, pace) = (account.cell(), account.pace());
        let (why, cools_in) = match short {
            Short::Retired => return Answer::Again,
            Short::Empty if account.free_elsewhere() => (Why::Local, cell.until(pace, cost, now)),
            Short::Empty => (Why::Limit, cell.until(pace, cost, now)),
            Short::Lapsed => (Why::Lapsed, cell.until_cooled(pace, cost, now)),
            Short::Overloaded => (Why::Overload, cell.until_cooled(pace, cost, now)),
        };
        account.denied(cost);
        Answer::Deny(Denial {
            which,
            why,
            cools_in,
            cost,
        })
    };
    let undo = |taken: usize| {
        for nth in 0..taken {
            let (account, cost) = items[order(nth)];
            account.cell().undo(cost);
        }
    };
    for nth in 0..items.len() {
        let which = order(nth);
        let (account, cost) = items[which];
        let bound = Bound {
            reach: reach(account, now),
            share: bounds.share,
        };
        let cell = account.cell();
        if let Err(short) = cell.take(account.pace(), cost, bound, now, clock) {
            undo(nth);
            return deny(which, short, now);
        }
    }
    // The tokens are ours from before this reading on: a thread that stood still books late, never early.
    let spent = clock.now();
    let over = items
        .iter()
        .position(|(account, _)| !account.cell().within(reach(account, spent)));
    if let Some(which) = over {
        undo(items.len());
        return deny(which, Short::Lapsed, spent);
    }
    for (account, cost) in items {
        let cell = account.cell();
        cell.book(account.pace(), *cost, spent, clock);
        account.spent(*cost, cell.held().free);
    }
    Answer::Admit(Receipt { spent })
}

/// So many limits of one request are put in order; of more, the order is the caller's. It changes only which
/// of several limits denies.
const MOST_SORTED: usize = 128;
