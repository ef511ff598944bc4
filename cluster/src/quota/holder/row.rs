//! What the keeper thinks of one key in use: how fast it goes, what to ask for, what to hand back.
//!
//! In: a look at the key each tick, and what the ledger grants. Out: whether there is something to say, and
//! what. A core. The rules are those of docs/quota.md, "Asking and handing back"; nothing here can make a
//! limit be passed, whatever it asks.

mod excess;
mod need;
mod surplus;
pub(super) mod unit;

use std::{collections::VecDeque, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    super::{
        cell::{Held, Traffic},
        clock::{Clock, Now},
        message::{AskItem, Recall},
        rate::{Rate, chance},
        terms::Kind,
    },
    base::Base,
    key::{DOUBTED, HUNGRY, IN_USE, Key, KeyHandle, UNKNOWN, VARIOUS},
};
use unit::Unit;

/// One key in use.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: KeyHandle,
    rate: Rate,
    unit: Unit,
    seen: Traffic,
    /// What waited then.
    waited: u32,
    /// When something was charged last, by the tick that saw it.
    used: u64,
    /// Since when more is free than it needs.
    spare_since: Option<u64>,
    wish: Option<Wish>,
    /// Not to hold more than so many, until then; of what is needed soon only if the leader knows of it.
    cap: Option<Cap>,
    /// Of the last grant that said something of it, or that could have.
    pub(super) index: u64,
    /// Of the last grant that was taken. In one entry a key may be spoken of several times: for an ask, and for a wish from
    /// earlier. What was given then only grows from one to the next.
    pub(super) taken: Option<u64>,
    /// A grant of at least this index says whether the ledger has taken the extra back.
    pub(super) doubted_at: Option<u64>,
    /// What was handed back is in no ask that was answered.
    unsaid: bool,
    /// When the leader said last how much is elsewhere.
    hinted: u64,
    /// Until when to think that others want more of it than there is.
    scarce_until: u64,
    /// How fast it went when that was said last.
    said_rate: f64,
    /// The last ask that it was in, and when.
    said: Option<(u64, u64)>,
    /// When it said last how what it holds cools, or when it came into use.
    rests_said: u64,
    /// Nobody uses it: it is to hold its base and nothing else.
    leaving: bool,
    /// How long to wait before it asks for what it has lent, while nobody uses it.
    pub(super) idle_pause: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Cap {
    most: u32,
    until: u64,
    /// It was set though the leader may not know what the key needs here.
    blind: bool,
    /// Nodes wait for what is beyond it, and may have no base of such windows till it comes.
    owed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    /// What `given` is to become.
    total: u32,
    /// How much of that was missing.
    missing: u32,
    /// When it was said last, and how long not to say it again.
    at: u64,
    pause: Duration,
}

/// What all rows of a tick have in common.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) now: Now,
    /// Since the last tick.
    pub(super) passed: Duration,
    pub(super) nodes: u32,
    /// From an ask to its grant, lately.
    pub(super) grant_time: Duration,
    /// Clients are to go elsewhere.
    pub(super) draining: bool,
    pub(super) base: &'a Base,
    /// Asks that were answered lately.
    pub(super) answered: &'a VecDeque<u64>,
}

impl Row {
    pub(super) fn new(key: KeyHandle, now: Now, index: u64) -> Self {
        Self {
            rate: Rate::known(key.0.form.window, key.0.cell.held().cool),
            unit: Unit::known(key.0.unit.load(Relaxed), key.0.form.window, now.monotonic.0),
            // What brought it into use counts: it is seen at the first tick.
            seen: Traffic::default(),
            waited: 0,
            used: now.monotonic.0,
            spare_since: None,
            wish: None,
            cap: None,
            index,
            taken: None,
            doubted_at: None,
            unsaid: false,
            said: None,
            hinted: now.monotonic.0,
            scarce_until: 0,
            said_rate: 0.0,
            rests_said: now.monotonic.0,
            leaving: false,
            idle_pause: IDLE_PAUSE,
            key,
        }
        .rested()
    }

    /// Of a key that comes into use again, what was spent before was counted then.
    fn rested(mut self) -> Self {
        let traffic = self.key.0.cell.traffic();
        self.seen.spent = self.key.0.counted.load(Relaxed);
        self.seen.denied = traffic.denied.wrapping_sub(u32::from(traffic.denied > 0));
        self
    }

    /// The same, of a key that was in use here before, by what is known of that.
    pub(super) fn going(self, rate: Rate) -> Self {
        Self { rate, ..self }
    }

    /// How fast the key went.
    pub(super) fn into_rate(self) -> Rate {
        self.rate
    }

    /// Looks at the key. True if there is something to say of it now.
    pub(super) fn tick(&mut self, around: &Surroundings<'_>, clock: &impl Clock) -> bool {
        let key = &self.key.0;
        key.cell.unmark(HUNGRY);
        key.cell.settle(key.form.pace, clock);
        follow_base(key, around.base, around.now);
        let traffic = key.cell.traffic();
        let denied = since(self.seen.denied, traffic.denied);
        let wanted = key.cell.take_wanted();
        let various = key.cell.marks() & VARIOUS != 0;
        if various {
            key.cell.unmark(VARIOUS);
        }
        let now = around.now.monotonic.0;
        self.unit.see(wanted.max(key.take_paid()), various, now);
        key.unit.store(self.unit.count(), Relaxed);
        let parked = key.parked();
        // Who waits was counted when it came, and not when it is served or sent away.
        let came = since(
            self.seen.all().wrapping_add(self.waited),
            traffic.all().wrapping_add(parked),
        );
        (self.seen, self.waited) = (traffic, parked);
        self.rate.count(came, around.passed);
        if came > 0 {
            self.used = around.now.monotonic.0;
            self.leaving = false;
            self.idle_pause = IDLE_PAUSE;
        }
        if let Some((seq, _)) = self.said
            && around.answered.contains(&seq)
        {
            self.unsaid = false;
        }
        let short = match denied.max(parked) {
            0 => 0,
            _ => wanted.max(came).max(parked),
        };
        if elapsed(self.hinted, around.now.monotonic.0) >= key.form.params.wish {
            key.pool.store(UNKNOWN, Relaxed);
            key.others.store(0, Relaxed);
        }
        let missing = self.missing(around, short);
        let yields = self.yield_excess(missing > 0, around.now);
        let asks = self.wish_for(missing, around);
        let returns = missing == 0 && self.hand_back(around);
        let repeats = self.unsaid && self.silent_for(around) >= again_after(around.grant_time);
        asks || yields
            || returns
            || repeats
            || self.slows_down(around)
            || self.rests_overdue(around)
    }

    /// Whether much less comes than was said, of a key that others want more of: they wait for what it is thought to
    /// need.
    fn slows_down(&self, around: &Surroundings<'_>) -> bool {
        let window = self.key.0.form.window;
        let (said, is) = (self.said_rate, self.rate.lasting());
        let fewer = (said - is) * window.as_secs_f64();
        let now = around.now.monotonic.0;
        now < self.scarce_until
            && is < said * 0.7
            && fewer > chance(said * window.as_secs_f64(), window)
            && self.silent_for(around) >= around.grant_time
    }

    /// Takes down what is missing. True if it is to be said now.
    fn wish_for(&mut self, missing: u32, around: &Surroundings<'_>) -> bool {
        let key = &self.key.0;
        let given = key.given.load(Relaxed);
        let parked = key.parked() > 0;
        if missing == 0 {
            // Whoever waits has asked, and is still there.
            if !parked {
                self.wish = None;
            }
            if self.wish.is_none() {
                return false;
            }
        }
        let now = around.now.monotonic.0;
        let params = key.form.params;
        let pause = (key.form.window / 4).clamp(params.tick, Duration::from_secs(1));
        let mut total = given.wrapping_add(missing);
        let Some(wish) = self.wish else {
            self.wish = Some(Wish {
                total,
                missing,
                at: now,
                pause,
            });
            return true;
        };
        let pending = since(given, wish.total);
        if parked && pending > missing {
            total = wish.total;
        }
        let grown = missing
            > wish
                .missing
                .saturating_add(wish.missing / 2)
                .saturating_add(1);
        if !grown && elapsed(wish.at, now) < wish.pause {
            return false;
        }
        // The leader keeps the wish, and tells when there is something: no use in asking on and on.
        let pause = match key.pool.load(Relaxed) {
            0 if pending > 0 => (wish.pause * 2).min(params.wish),
            _ => pause,
        };
        self.wish = Some(Wish {
            total,
            missing,
            at: now,
            pause,
        });
        true
    }

    /// What is said of it in the ask `seq`; where its terms stand there is the keeper's to say.
    pub(super) fn item(&mut self, seq: u64, around: &Surroundings<'_>) -> AskItem {
        self.said = Some((seq, around.now.monotonic.0));
        self.said_rate = self.rate.lasting();
        let rests = self.say_rests(around);
        let key = &self.key.0;
        let given = key.given.load(Relaxed);
        AskItem {
            key: key.id,
            terms: None,
            born: key.born,
            returned: key.returned.load(Relaxed),
            lent: key.lent.load(Relaxed),
            want: self.wish.map_or(given, |wish| wish.total),
            window: match key.form.kind {
                Kind::Sliding => 0,
                Kind::Fixed => key.cell.newest_window(),
            },
            rate: whole(self.rate.lasting() * 1000.0)
                .try_into()
                .unwrap_or(u32::MAX),
            free: u32::try_from(key.cell.held().free).unwrap_or(0),
            given,
            unit: self.unit(),
            waits_ms: match self.fetched() {
                true => u32::try_from(key.wait().as_millis()).map_or(u32::MAX, |ms| ms.max(1)),
                false => 0,
            },
            cooling: Vec::new(),
            rests,
        }
    }

    /// The ask that its item came to be in.
    pub(super) fn said_in(&mut self, seq: u64) {
        if let Some((said, _)) = &mut self.said {
            *said = seq;
        }
    }

    /// Something was granted or taken back.
    pub(super) fn granted(&mut self, cap: Option<u32>, now: Now) {
        self.hinted = now.monotonic.0;
        if cap.is_some() {
            self.know_scarce(now);
        }
        // What a deficit needs is not less because it is told what is fair beside.
        let owed = self
            .cap
            .filter(|cap| cap.owed && now.monotonic.0 < cap.until);
        self.cap = cap.map(|most| owed.unwrap_or_else(|| self.cap(most, false, now)));
        let given = self.key.0.given.load(Relaxed);
        if self.wish.is_some_and(|wish| since(given, wish.total) == 0) {
            self.wish = None;
        }
    }

    /// Others want more than there is.
    pub(super) fn recall(&mut self, recall: &Recall, now: Now) {
        let heard = self
            .said
            .is_some_and(|(_, at)| elapsed(at, now.monotonic.0) < self.key.0.form.params.wish);
        self.know_scarce(now);
        let mut cap = self.cap(recall.cap, !heard, now);
        if recall.owed {
            // It is said again before that is over.
            cap.until += cap.until - now.monotonic.0;
            cap.owed = true;
        }
        self.cap = Some(cap);
        if !heard {
            // So that the leader knows what is needed here.
            self.say_again();
        }
    }

    fn know_scarce(&mut self, now: Now) {
        // As long as the leader goes by what it was told.
        self.scarce_until = now.monotonic.0 + nanoseconds(self.key.0.form.params.wish);
    }

    fn cap(&self, most: u32, blind: bool, now: Now) -> Cap {
        let window = self.key.0.form.window;
        let lasts = (window / 60).clamp(Duration::from_secs(1), Duration::from_secs(60));
        Cap {
            most,
            until: now.monotonic.0 + nanoseconds(lasts),
            blind,
            owed: false,
        }
    }

    /// The ledger is to say whether it has taken the extra back, in a grant of at least this index.
    pub(super) fn doubt(&mut self, index: u64) {
        self.key.0.cell.mark(DOUBTED);
        self.doubted_at = Some(index);
        self.say_again();
    }

    /// The ledger is to be told what was handed back, and to say what it makes of it.
    pub(super) fn say_again(&mut self) {
        self.unsaid = true;
        self.said = None;
    }

    /// Whether nothing need be thought of it until it is charged again.
    pub(super) fn rests(&self, now: Now) -> bool {
        elapsed(self.used, now.monotonic.0) >= REST_AFTER
            && (self.leaving
                || self.wish.is_none() && self.cap.is_none() && self.spare_since.is_none())
            && self.doubted_at.is_none()
            && !self.unsaid
            && self.key.0.withheld.load(Relaxed) == 0
            && !(self.leaving && self.key.0.extra() > 0)
    }

    /// Nobody uses it: what it has beyond base it hands back, and what it has lent it wants again. It has waited so long
    /// for that, and will twice as long if it is in vain.
    pub(super) fn leave(&mut self, waited: Duration) {
        self.leaving = true;
        self.idle_pause = (waited * 2).min(IDLE_PAUSE_MOST);
        self.used = self.used.saturating_sub(nanoseconds(REST_AFTER));
    }

    /// Puts the key out of use, if nothing has come to it meanwhile.
    pub(super) fn rest(&self) -> bool {
        let cell = &self.key.0.cell;
        self.key.0.pool.store(UNKNOWN, Relaxed);
        self.key.0.others.store(0, Relaxed);
        self.key.0.counted.store(self.seen.spent, Relaxed);
        cell.unmark(IN_USE);
        // A charge before this saw the mark and told nobody.
        cell.traffic() == self.seen || !cell.mark(IN_USE)
    }

    /// How many tokens one request takes; 1 if it could never have as many.
    fn unit(&self) -> u32 {
        match self.unit.count() {
            unit if unit <= self.key.0.limit() => unit,
            _ => 1,
        }
    }

    fn silent_for(&self, around: &Surroundings<'_>) -> Duration {
        let now = around.now.monotonic.0;
        self.said.map_or(Duration::MAX, |(_, at)| elapsed(at, now))
    }
}

/// Gives a key the base that is its node's now.
pub(super) fn follow_base(key: &Key, base: &Base, now: Now) {
    while let Some((terms, as_of)) = key.terms() {
        key.owed.store(base.in_time(&terms), Relaxed);
        let (is, should) = (key.cell.base(), base.of(&key.id, &terms, now));
        let changed = is == should || key.cell.change_base(is, should);
        // A request may have come with newer terms meanwhile, and have found nothing to lower.
        if changed && key.terms().is_some_and(|(_, newest)| newest == as_of) {
            return;
        }
    }
}

fn all(held: Held) -> i64 {
    i64::from(held.free) + i64::from(held.cool)
}

/// How far a wrapping count went on; a step back is none.
pub(super) fn since(from: u32, to: u32) -> u32 {
    let ahead = to.wrapping_sub(from);
    if ahead.cast_signed() < 0 { 0 } else { ahead }
}

fn elapsed(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// After how long an ask that was not answered was lost.
pub(super) fn again_after(grant_time: Duration) -> Duration {
    (grant_time * 2).max(Duration::from_secs(1))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float that is cut at an integer's bounds is what is meant"
)]
fn whole(number: f64) -> i64 {
    number.ceil() as i64
}

/// A key that nobody uses asks for what it has lent after so long, and then ever half as often.
const IDLE_PAUSE: Duration = Duration::from_secs(60);

/// But not less often than this: four times in an hour are no load, and it is put away soon after.
const IDLE_PAUSE_MOST: Duration = Duration::from_secs(16 * 60);

/// A key that nobody has charged for so long, and of which nothing is to be said, costs no look each tick.
pub(super) const REST_AFTER: Duration = Duration::from_secs(10);
