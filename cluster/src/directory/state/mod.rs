//! The directory's state and the meaning of its commands.
//!
//! In: commands in the log's order. Out: an [`Outcome`] each. A core: every replica that applies the same
//! commands has the same state. Shell: [`super::machine`].
//!
//! One part for each thing that is agreed on, in a file of its own: [`documents`], [`audit`],
//! [`marks`](super::marks) and [`overrides`](super::overrides). `State`
//! settles a proposal once, hands its action to the part that it changes, and has the audit record it.

mod audit;
mod documents;

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

pub use audit::AuditEntry;
pub use documents::Summary;

use super::{
    command::{Action, Command, Outcome, ProposalId},
    founders::Founders,
    marks::{Mark, Marks},
    overrides::{Overrides, Set},
};
use crate::{
    consensus::ERAS,
    facts::{Fact, FactSet, Taken},
    version::{FIRST, Versions},
    wire::{self, Unreadable},
};
use audit::Audit;
pub(crate) use documents::Kept;
use documents::{Documents, Maker};

/// Proposals whose outcome is remembered. A proposal is sent again within seconds, while few others come.
const SETTLED: usize = 1024;

/// How long facts are kept beyond their expiry. A fact is over when a node's own clock says so; here that
/// only makes room, so late by the greatest clock seen that one which runs ahead forgets nothing in force.
const FACTS_LINGER_MS: u64 = 3600 * 1000;

/// The replicated state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    cluster_id: Option<String>,
    log_time: u64,
    unix_ms: u64,
    /// In a snapshot it stands before the state, and only from version 2 on.
    #[serde(skip)]
    level: Level,
    /// As the level.
    #[serde(skip)]
    since_two: SinceTwo,
    settled: VecDeque<(ProposalId, Outcome)>,
    /// The document.
    pub(crate) documents: Documents,
    /// Who did what.
    pub(crate) audit: Audit,
    /// Revocations and blocks.
    pub(crate) facts: FactSet,
    /// What operators have decided about nodes.
    pub(crate) marks: Marks,
}

/// What version 2 brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SinceTwo {
    /// Who founds the quota's ledger.
    founders: Option<Founders>,
    /// What operators have set in place of plans' limits.
    overrides: Overrides,
}

/// The version of what is replicated, that every member reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level(u8);

impl Default for Level {
    fn default() -> Self {
        Self(Versions::THIS_RELEASE.oldest)
    }
}

impl State {
    /// The state as a snapshot, in the form of its level: whoever gets it reads that.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self.level.0 {
            FIRST => wire::encode(self),
            level => wire::encode_as(2, &(level, &self.since_two, self)),
        }
    }

    /// Reads a snapshot as a node does that reads these versions.
    pub(crate) fn decode(bytes: &[u8], versions: Versions) -> Result<Self, Unreadable> {
        let (found, known) = (wire::version_of(bytes)?, versions.newest);
        match found {
            FIRST => wire::decode_state(FIRST, bytes),
            2 if known >= 2 => {
                let (level, since_two, state): (u8, SinceTwo, Self) = wire::decode_state(2, bytes)?;
                if level < 2 {
                    let why = format!("level {level} has another form");
                    return Err(Unreadable::Malformed(why));
                }
                if level > known {
                    return Err(Unreadable::Version {
                        found: level,
                        known,
                    });
                }
                Ok(Self {
                    level: Level(level),
                    since_two,
                    ..state
                })
            }
            _ => Err(Unreadable::Version { found, known }),
        }
    }

    /// Applies the command at `index`.
    pub(crate) fn apply(&mut self, index: u64, command: Command) -> Outcome {
        self.log_time = self.log_time.max(command.log_time);
        self.unix_ms = self.unix_ms.max(command.unix_ms);
        // It was sent again because its answer was lost: the answer is the same.
        if let Some((_, outcome)) = self.settled.iter().find(|(id, _)| *id == command.id) {
            return outcome.clone();
        }
        let Command {
            id,
            unix_ms,
            actor,
            node,
            action,
            log_time: _,
        } = command;
        let act = action.act(unix_ms);
        let before = self.documents.newest_number();
        let maker = Maker {
            index,
            author: &actor.name,
            unix_ms,
        };
        let mut refused = None;
        let outcome = match action {
            Action::Found { cluster_id } => Outcome::Founded {
                cluster_id: self.cluster_id.get_or_insert(cluster_id).clone(),
            },
            Action::Apply(apply) => self.documents.apply(maker, apply),
            Action::Rollback(back) => self.documents.roll_back(maker, back),
            Action::Acknowledge(said) => self.documents.acknowledge(index, said),
            Action::Note(note) => {
                refused = note.refused;
                Outcome::Done { index }
            }
            Action::KeepFacts(facts) => self.keep_facts(index, facts),
            Action::Mark { node, decision } => {
                let mark = Mark {
                    index,
                    by: actor.name.clone(),
                    unix_ms,
                };
                self.marks.apply(decision, node, mark);
                Outcome::Done { index }
            }
            Action::Raise { level } => {
                self.level = Level(self.level.0.max(level));
                Outcome::Done { index }
            }
            Action::FoundLedger(founders) => {
                self.since_two.founders.get_or_insert(founders);
                Outcome::Done { index }
            }
            Action::SetQuota(wish) => {
                let set = Set {
                    index,
                    by: &actor.name,
                    unix_ms,
                };
                let overrides = &mut self.since_two.overrides;
                overrides
                    .set(wish, set, self.unix_ms)
                    .map_or_else(Outcome::Unset, |()| Outcome::Done { index })
            }
            Action::ClearQuota { tenant } => {
                let overrides = &mut self.since_two.overrides;
                overrides
                    .clear(&tenant, index, self.unix_ms)
                    .map_or_else(Outcome::Unset, |()| Outcome::Done { index })
            }
        };
        let newest = self.documents.newest_number();
        // A state of the first version has no place for it: who got that as a snapshot would not know.
        if self.level.0 > FIRST && self.since_two.overrides.version().0 != newest {
            self.since_two.overrides.revised(newest, index);
        }
        if let Some(act) = act {
            self.audit.record(AuditEntry {
                index,
                unix_ms,
                actor,
                node,
                act: act.name,
                target: act.target,
                before,
                after: self.documents.newest_number(),
                refused: refused.or_else(|| outcome.refusal()),
            });
        }
        if self.settled.len() == SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back((id, outcome.clone()));
        outcome
    }

    fn keep_facts(&mut self, index: u64, facts: Vec<Arc<Fact>>) -> Outcome {
        let over = self.unix_ms.saturating_sub(FACTS_LINGER_MS);
        self.facts.expire(over, usize::MAX);
        let newest = self.documents.newest_number();
        let mut refused = Vec::new();
        for fact in facts {
            let (taken, put_out) = self.facts.take(Arc::clone(&fact), over);
            match taken {
                Taken::Full => refused.push(fact.id),
                Taken::New => {
                    let (act, target) = fact.act(put_out.as_deref());
                    self.audit.record(AuditEntry {
                        index,
                        unix_ms: fact.made_ms,
                        actor: fact.actor.clone(),
                        node: fact.node.clone(),
                        act: act.to_owned(),
                        target,
                        before: newest,
                        after: newest,
                        refused: None,
                    });
                }
                Taken::Known | Taken::Cancelled | Taken::Expired => {}
            }
        }
        Outcome::FactsKept { refused }
    }

    /// The state that a new cluster begins with, restored from a backup of this one: all it held, but not
    /// what was decided about nodes that are no more, nor proposals that nobody can send again.
    pub(crate) fn restored(self, cluster_id: String) -> Self {
        Self {
            cluster_id: Some(cluster_id),
            settled: VecDeque::new(),
            marks: Marks::default(),
            // Its members read eras: those of the first version are refused.
            level: Level(self.level.0.max(ERAS)),
            since_two: SinceTwo {
                // The ledger of the cluster that was is lost with it.
                founders: None,
                overrides: self.since_two.overrides,
            },
            ..self
        }
    }

    /// The cluster's id, once it has one.
    pub(crate) fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// Who founds the quota's ledger, once that is settled.
    pub(crate) fn founders(&self) -> Option<&Founders> {
        self.since_two.founders.as_ref()
    }

    /// What operators have set in place of plans' limits.
    pub(crate) fn overrides(&self) -> &Overrides {
        &self.since_two.overrides
    }

    /// The version of what is replicated.
    pub(crate) fn level(&self) -> u8 {
        self.level.0
    }

    /// The greatest leader's time applied.
    pub(crate) fn log_time(&self) -> u64 {
        self.log_time
    }
}

#[cfg(test)]
mod tests;
