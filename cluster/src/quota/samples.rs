//! Samples of what nodes and the ledger say to each other, and the decoders of it.

use std::time::Duration;

use super::{
    holder::Remains,
    key::KeyId,
    message::{
        Act, AskItem, BaseRight, Echo, Entry, GrantItem, Line, Past, QuotaAsk, QuotaGrant, Recall,
        Rests, Span, Stamp, Wish,
    },
    terms::{Kind, OnLapse, Scope, Share, Terms},
};
use crate::{
    corpus::{Sample, all, every, first},
    fuzz::Target,
};

/// An ask with an item of each sort.
pub(super) fn ask() -> QuotaAsk {
    let terms = |limit, seconds, kind, on_lapse| {
        Terms::new(limit, Duration::from_secs(seconds), kind, on_lapse).unwrap()
    };
    let item = AskItem {
        key: KeyId([7; 16]),
        terms: Some(0),
        born: 3,
        returned: 40,
        lent: 7,
        want: 300,
        window: 0,
        rate: 12_500,
        free: 9,
        given: 40,
        unit: 7,
        waits_ms: 0,
        cooling: Vec::new(),
        rests: None,
    };
    QuotaAsk {
        node: "eu-west-1".into(),
        incarnation: 1_780_000_000_000,
        seq: 70,
        sent_ms: 123_456,
        as_of: 41,
        seats: 9,
        fits: true,
        terms: vec![
            terms(1000, 3600, Kind::Sliding, OnLapse::Base),
            terms(200, 60, Kind::Fixed, OnLapse::Deny),
        ],
        items: vec![
            AskItem {
                key: KeyId([8; 16]),
                terms: Some(1),
                window: 29_666_666,
                cooling: vec![Span {
                    ms: 30_000,
                    count: 12,
                }],
                ..item.clone()
            },
            AskItem {
                key: KeyId([9; 16]),
                terms: None,
                rests: Some(Rests {
                    given: 300,
                    spans: vec![Span {
                        ms: 900_000,
                        count: 21,
                    }],
                }),
                ..item.clone()
            },
            item,
        ],
    }
}

/// An answer.
pub(super) fn grant() -> QuotaGrant {
    QuotaGrant {
        node: "eu-west-1".into(),
        incarnation: 1_780_000_000_000,
        index: 900,
        answers: Some(Echo {
            seq: 70,
            sent_ms: 123_456,
        }),
        base: Some(BaseRight {
            share: Share { seat: 2, seats: 9 },
            scope: Scope::WHOLE,
            unspent_ms: u64::MAX,
            waited_ms: 70_000,
            past: Some(Past {
                incarnation: 1_779_999_000_000,
                seq: 4000,
                ended_ms: 72_000,
            }),
        }),
        items: vec![GrantItem {
            key: KeyId([7; 16]),
            born: 3,
            given: 300,
            window: 0,
            cap: Some(400),
            pool: 17,
            others_free: 5,
        }],
        recalls: vec![Recall {
            key: KeyId([9; 16]),
            terms: ask().terms[0],
            as_of: 41,
            cap: 12,
            owed: true,
        }],
    }
}

/// What a life leaves for the next one.
fn remains() -> Remains {
    let past = Past {
        incarnation: 1_780_000_000_000,
        seq: 70,
        ended_ms: 0,
    };
    let mut remains = Remains::new(past, 2, Duration::from_secs(900));
    let span = |ms, count| Span { ms, count };
    remains.add(KeyId([7; 16]), vec![span(90_000, 21), span(1_800_000, 4)]);
    remains
}

/// Messages and entries.
pub(crate) fn samples() -> Vec<Sample> {
    let entry = |act| Entry {
        stamp: Stamp {
            log_ms: 3_600_000,
            unix_ms: 1_780_000_000_000,
        },
        line: Line {
            by: "eu-west-1".into(),
            after: 4711,
        },
        act,
    };
    let node = || "eu-west-1".into();
    let acts = every!(Act {
        Batch => Act::Batch {
            asks: vec![ask()],
            wishes: vec![Wish {
                node: node(),
                incarnation: 7,
                item: ask().items[2].clone(),
            }],
        },
        Expire => Act::Expire,
        NodeUp => Act::NodeUp { node: node(), incarnation: 7 },
        NodeGone => Act::NodeGone { node: node(), incarnation: 7 },
        Split => Act::Split { seats: 9 },
    });
    let entries = acts.into_iter().map(|(name, act)| (name, entry(act)));
    let mut samples = all("quota-entry", entries.collect());
    samples.push(first("quota-ask", &ask()));
    samples.push(first("quota-grant", &grant()));
    samples.push(first("quota-remains", &remains()));
    samples.extend(super::service::samples());
    samples
}

/// What a peer can say about quotas.
pub(crate) fn targets() -> Vec<Target> {
    let mut targets = vec![
        Target::of("quota-ask", |bytes| {
            let _ = QuotaAsk::decode(bytes);
        }),
        Target::of("quota-grant", |bytes| {
            let _ = QuotaGrant::decode(bytes);
        }),
        Target::of("quota-remains", |bytes| {
            let _ = Remains::decode(bytes);
        }),
        Target::of("quota-entry", |bytes| {
            let _ = Entry::decode(bytes);
        }),
    ];
    targets.extend(super::service::targets());
    targets
}
