//! The ledger's side of the model: voters, a leader with its memory, a log, and the real ledger.

use std::collections::{BTreeMap, VecDeque};

use meridian_config::name::{NodeId, RegionName};

use super::{
    dice::Dice,
    micros,
    node::{UNIX, local},
};
use crate::quota::{
    audit,
    key::KeyId,
    leader::Leader,
    ledger::{Ledger, Standing, clock::LogClock},
    message::{Act, Entry, Line, QuotaAsk, QuotaGrant, Stamp},
    params::{Params, Planted},
};

#[derive(Debug, Clone)]
pub(super) struct Voter {
    pub(super) drift: i64,
    pub(super) offset: i64,
    pub(super) clock: LogClock,
    /// Entries that it has not applied yet, by index: line and log time.
    pub(super) behind: Vec<(u64, Line, u64)>,
}

impl Voter {
    pub(super) fn new(number: u64, drift: i64, offset: i64) -> Self {
        Self {
            drift,
            offset,
            clock: LogClock::new(NodeId::new(format!("voter-{number}"))),
            behind: Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Desk {
    params: Params,
    pub(super) ledger: Ledger,
    pub(super) index: u64,
    voters: Vec<Voter>,
    pub(super) leader: Option<usize>,
    pub(super) term: u64,
    waiting: Vec<QuotaAsk>,
    proposed: VecDeque<Entry>,
    memory: Leader,
    /// Leases that ran out.
    pub(super) lapses: u64,
    /// Entries that counted for nothing: their leader had not applied all before them.
    pub(super) void: u64,
    /// What was wrong first with the ledger's sums.
    pub(super) wrong: Option<String>,
}

impl Desk {
    pub(super) fn new(params: Params, planted: Planted, voters: Vec<Voter>) -> Self {
        let params = Params { planted, ..params };
        Self {
            params,
            ledger: Ledger::new(params),
            index: 0,
            voters,
            leader: Some(0),
            term: 1,
            waiting: Vec::new(),
            proposed: VecDeque::new(),
            memory: Leader::new(params),
            lapses: 0,
            void: 0,
            wrong: None,
        }
    }

    /// Takes an ask as it came over the network. True if a batch begins with it.
    pub(super) fn hear(&mut self, ask: QuotaAsk, region: &RegionName, now: u64) -> bool {
        self.memory.hear(&ask, region, now / 1000);
        self.waiting.push(ask);
        self.waiting.len() == 1
    }

    /// What a batch's end proposes.
    pub(super) fn flush(&mut self, now: u64) -> Vec<Act> {
        let mut asks = std::mem::take(&mut self.waiting);
        let mut acts = Vec::new();
        self.memory.forget(now / 1000);
        self.memory.cut(&mut asks, &self.ledger);
        for ask in &asks {
            let known = self.ledger.life(&ask.node);
            if known.is_none_or(|known| known < ask.incarnation) {
                acts.push(Act::NodeUp {
                    node: ask.node.clone(),
                    incarnation: ask.incarnation,
                });
            }
        }
        let wishes = self.memory.wishes(&self.ledger);
        acts.push(Act::Batch { asks, wishes });
        acts
    }

    pub(super) fn propose(&mut self, act: Act, now: u64) {
        let voter = &self.voters[self.leader.unwrap_or(0)];
        let stamp = Stamp {
            log_ms: voter.clock.read(local(voter.drift, now) / 1000),
            unix_ms: (UNIX + now).saturating_add_signed(voter.offset) / 1000,
        };
        // As it comes out of another voter's log.
        let line = voter.clock.line().clone();
        let bytes = Entry { stamp, line, act }.encode();
        let entry = Entry::decode(&bytes).expect("an entry of ours reads back");
        self.proposed.push_back(entry);
    }

    /// Applies the oldest proposed entry.
    pub(super) fn commit(&mut self, now: u64, dice: &mut Dice) -> Vec<QuotaGrant> {
        let Some(entry) = self.proposed.pop_front() else {
            return Vec::new();
        };
        self.index += 1;
        let rows = self.ledger.rows();
        let compared = self.index.is_multiple_of(16);
        let before = compared.then(|| self.ledger.encode());
        let stood = self.standings();
        let grants = self.ledger.apply(self.index, &entry);
        self.audit(&stood);
        if matches!(entry.act, Act::Expire) && self.ledger.rows() != rows {
            self.lapses += 1;
        }
        if let Some(before) = before {
            // A voter that was sent a snapshot is where the others are.
            let mut other = Ledger::decode(&before, self.params).expect("a snapshot reads back");
            assert_eq!(
                other.apply(self.index, &entry),
                grants,
                "replicas answer alike"
            );
            assert_eq!(other.encode(), self.ledger.encode(), "replicas stay alike");
            self.ledger = other;
        }
        let counts = self.ledger.last() == self.index;
        self.void += u64::from(!counts);
        for (at, voter) in self.voters.iter_mut().enumerate() {
            let (delay, lags) = match Some(at) == self.leader {
                true => (0, false),
                false => (dice.below(300_000), dice.chance(100)),
            };
            if counts {
                let line = entry.line.clone();
                voter.behind.push((self.index, line, entry.stamp.log_ms));
            }
            if lags {
                continue;
            }
            let received = local(voter.drift, now + delay) / 1000;
            for (index, line, log_ms) in voter.behind.drain(..) {
                voter.clock.advance(&line, index, log_ms, received);
            }
        }
        check_answers(&entry, &grants);
        grants
    }

    fn standings(&self) -> BTreeMap<KeyId, Standing> {
        self.ledger.standings(|_| true).collect()
    }

    /// Compares how each key stands with how it stood before the entry.
    fn audit(&mut self, before: &BTreeMap<KeyId, Standing>) {
        let sound = self.standings().into_iter().try_for_each(|(key, after)| {
            let told = |why| format!("after entry {} of the ledger, {key:?}: {why}", self.index);
            audit::sums_up(&after).map_err(told)?;
            audit::gives_what_is_there(before.get(&key), &after).map_err(told)
        });
        if self.wrong.is_none() {
            self.wrong = sound.err();
        }
    }

    /// Puts the leader's hints into a grant.
    pub(super) fn dress(&self, grant: &mut QuotaGrant) {
        self.memory.dress(std::slice::from_mut(grant), &self.ledger);
    }

    /// Another leader: what a majority has stays, the rest is lost; nobody is answered.
    pub(super) fn elect(&mut self, now: u64, dice: &mut Dice) {
        self.term += 1;
        let leader = dice.below(self.voters.len() as u64);
        self.leader = Some(usize::try_from(leader).expect("few"));
        let stays = dice.below(self.proposed.len() as u64 + 1);
        for _ in 0..stays {
            self.commit(now, dice);
        }
        self.proposed.clear();
        self.waiting.clear();
        self.memory = Leader::new(self.params);
    }

    /// What the leader proposes now and then.
    pub(super) fn look(&self, dice: &mut Dice) -> Vec<Act> {
        let mut acts = Vec::new();
        if self.ledger.next_lapse().is_some() || dice.chance(200) {
            acts.push(Act::Expire);
        }
        if self.ledger.unseated() > 0 && self.ledger.may_split() {
            let seats = self.ledger.seats().max(1) * 2;
            acts.push(Act::Split { seats });
        }
        acts
    }

    pub(super) fn recalls(&mut self, now: u64) -> Vec<QuotaGrant> {
        self.memory.recalls(self.index, &self.ledger, now / 1000)
    }

    /// How long a batch is gathered, in microseconds.
    pub(super) fn batch(&self) -> u64 {
        micros(self.params.batch)
    }
}

/// Who asks for something is told something of it, but for what was said under a lease and comes after its end; and is
/// told nothing else.
fn check_answers(entry: &Entry, grants: &[QuotaGrant]) {
    let Act::Batch { asks, .. } = &entry.act else {
        return;
    };
    for grant in grants {
        let Some(echo) = grant.answers else {
            continue;
        };
        let mut asks = asks.iter();
        let life = |ask: &QuotaAsk| ask.node == grant.node && ask.incarnation == grant.incarnation;
        let ask = asks.find(|ask| life(ask) && ask.seq == echo.seq);
        let ask = ask.expect("an answer answers an ask");
        let mut asked = ask.items.iter().map(|item| (item.key, item.born));
        let mut told = grant.items.iter().map(|item| (item.key, item.born));
        let answers = told.all(|item| asked.any(|it| it == item));
        assert!(answers, "items are answered in order");
    }
}
