//! What nodes say of their decisions, taken down for the oracle.
//!
//! In: a decision's text, as nodes trace it. Out: an entry of the history, or none.

use std::time::Duration;

use meridian_cluster::quota::{holder::Holding, key::KeyId};

use crate::{
    books::{self, Books, is_alone},
    workload::{
        Assumed, Charge, CommandSeen, DecisionSeen, DoubtSeen, History, Oracle, TokensDeed,
        TokensSeen,
    },
    world::Decision,
};

/// Takes down what a decision tells: charges, starts without a quorum, answers, commands that a node applied, doubts about
/// another node, and what the story of a run is made of.
///
/// Not called with the oracle's history locked.
pub fn note_decision(oracle: &Oracle, books: &Books, decision: &Decision<'_>) {
    let text = decision.text;
    match text {
        _ if text.starts_with("charged ") => charged(oracle, books, decision),
        _ if text.starts_with("refunded ") => refunded(oracle, books, decision),
        _ if text.starts_with("request ended ") => answered(oracle, decision),
        _ if text.starts_with("apply ") => applied(oracle, decision),
        _ if text.starts_with("base ") => base_is_assumed_or_agreed(oracle, decision),
        _ => {}
    }
    if STORY.iter().any(|begin| text.starts_with(begin)) && !text.contains(" question=append ") {
        oracle.history().keep(DecisionSeen {
            at: decision.at,
            node: decision.machine.to_owned(),
            says: text.to_owned(),
        });
    }
    if is_doubt(text) {
        oracle.history().doubts.push(DoubtSeen {
            at: decision.at,
            node: decision.machine.to_owned(),
            says: text.to_owned(),
        });
    }
}

/// What is said under a name: `name=value`, between blanks.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut fields = text.split(' ');
    fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

fn number(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.parse().ok()
}

/// Whether a node thinks that another may not be there.
fn is_doubt(text: &str) -> bool {
    match text {
        _ if text.starts_with("verdict ") => field(text, "liveness") != Some("Up"),
        _ if text.starts_with("raft asked ") => {
            matches!(field(text, "question"), Some("vote" | "pre-vote"))
        }
        _ => text.starts_with("raft unanswered "),
    }
}

fn charged(oracle: &Oracle, books: &Books, decision: &Decision<'_>) {
    let text = decision.text;
    let (Some(key), Some(cost), Some(amount), Some(span_ms)) = (
        field(text, "key"),
        number(text, "cost"),
        number(text, "amount"),
        number(text, "span_ms"),
    ) else {
        return;
    };
    let seen = match amount < books::FAR {
        true => held_after(books, decision, key),
        false => None,
    };
    let mut history = oracle.history();
    // One that has waited says what was so when it came: the node may have joined the others meanwhile.
    let holding = seen.and_then(|(_, seen)| seen).map(|(holding, _)| holding);
    let alone = holding.is_none_or(|holding| is_alone(&holding));
    if field(text, "alone") == Some("true") && alone {
        if history.counts_together {
            history
                .alone
                .push((decision.at, decision.machine.to_owned()));
        }
        return;
    }
    history.charges.push(Charge {
        at: decision.at,
        node: decision.machine.to_owned(),
        key: key.to_owned(),
        limit: field(text, "limit").unwrap_or_default().to_owned(),
        cost,
        amount,
        span: Duration::from_millis(span_ms),
        window: number(text, "window"),
        back: false,
    });
    note_charge(&mut history, decision, seen);
}

fn refunded(oracle: &Oracle, books: &Books, decision: &Decision<'_>) {
    let text = decision.text;
    let (Some(key), Some(cost)) = (field(text, "key"), number(text, "cost")) else {
        return;
    };
    let seen = held_after(books, decision, key);
    let mut history = oracle.history();
    // Which of equal charges of a slot it was makes no difference: the last one.
    let charges = history.charges.iter().rev();
    let charged = charges.take(LATELY).find(|charge| {
        let same = charge.node == decision.machine && charge.key == key;
        same && !charge.back && charge.cost >= cost
    });
    if let Some(charge) = charged.cloned() {
        history.charges.push(Charge {
            cost,
            back: true,
            ..charge.clone()
        });
        let seen = seen.filter(|_| charge.amount < books::FAR);
        note_charge(&mut history, decision, seen);
    }
}

fn base_is_assumed_or_agreed(oracle: &Oracle, decision: &Decision<'_>) {
    let mut history = oracle.history();
    if decision.text.starts_with("base assumed ") {
        let seats = field(decision.text, "seats").and_then(|seats| seats.parse().ok());
        history.assumed.push(Assumed {
            at: decision.at,
            node: decision.machine.to_owned(),
            agreed: None,
            seats: seats.unwrap_or(1),
        });
    }
    if decision.text.starts_with("base agreed") {
        let of_node = history.assumed.iter_mut();
        let open = of_node.filter(|start| start.agreed.is_none() && start.node == decision.machine);
        open.for_each(|start| start.agreed = Some(decision.at));
    }
}

fn answered(oracle: &Oracle, decision: &Decision<'_>) {
    let status = field(decision.text, "status").and_then(|status| status.parse().ok());
    if let Some(status) = status {
        let mut history = oracle.history();
        history.count_answer(decision.at, decision.machine, status);
    }
}

fn applied(oracle: &Oracle, decision: &Decision<'_>) {
    let text = decision.text;
    if let (Some(group), Some(index), Some(digest)) = (
        field(text, "group"),
        number(text, "index"),
        field(text, "digest"),
    ) {
        oracle.history().commands.push(CommandSeen {
            at: decision.at,
            node: decision.machine.to_owned(),
            group: group.to_owned(),
            index,
            digest: digest.to_owned(),
        });
    }
}

/// A key, and what its node holds of it now by its own clock.
type HeldAfter = Option<(KeyId, Option<(Holding, u64)>)>;

fn held_after(books: &Books, decision: &Decision<'_>, key: &str) -> HeldAfter {
    let key = books::key_of(key)?;
    Some((key, books.holding(decision.machine, key)))
}

/// Tells of the last charge what its node holds after it.
fn note_charge(history: &mut History, decision: &Decision<'_>, seen: HeldAfter) {
    let Some((key, seen)) = seen else { return };
    // Nobody looks on at this node.
    let Some((holding, clock_ms)) = seen else {
        return;
    };
    history.tokens.push(TokensSeen {
        at: decision.at,
        node: decision.machine.into(),
        what: TokensDeed::Charged {
            nth: history.charges.len() - 1,
            key,
            holding,
            clock_ms,
        },
    });
}

/// A charge that is given back is among so many of the last.
const LATELY: usize = 100_000;

/// Beginnings of the decisions that tell the story of a run: rare ones, not those of every request or heartbeat.
const STORY: [&str; 22] = [
    "a try at an upstream failed",
    "base agreed",
    "base assumed ",
    "bootstrap ",
    "dismissed ",
    "drained",
    "draining",
    "endpoint health changed",
    "fabric connects",
    "fabric loses",
    "fabric refuses",
    "keys ",
    "leadership handed over",
    "no upstream",
    "opens to clients",
    "raft asked ",
    "raft unanswered ",
    "revision ",
    "seats ",
    "snapshot ",
    "undrained",
    "verdict ",
];
