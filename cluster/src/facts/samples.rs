//! Samples of what nodes say to each other about facts, and the decoders of it.

use std::sync::Arc;

use super::{
    Digest, FactId,
    fact::{Claim, Fact, Revocation},
    message::{Ack, Message, Reply},
    set::Taken,
};
use crate::{
    corpus::{Sample, all, every},
    directory::Actor,
    fuzz::Target,
    wire,
};

/// A block.
pub(crate) fn fact() -> Fact {
    saying(Claim::Block("198.51.100.0/24".parse().unwrap()))
}

fn saying(claim: Claim) -> Fact {
    Fact {
        id: FactId::new(1_780_000_000_000, [9; 10]),
        claim,
        expires_ms: 1_780_003_600_000,
        made_ms: 1_780_000_000_000,
        node: "eu-west-1".into(),
        actor: Actor::new("ada", "security", None),
        reason: "a flood".into(),
    }
}

fn claims() -> Vec<Sample> {
    let revocations = every!(Revocation {
        TokenId => Revocation::TokenId("token-7".into()),
        Subject => Revocation::Subject {
            subject: "alice".into(),
            issuer: Some("demo".into()),
            issued_before: Some(1_780_000_000),
        },
        Tenant => Revocation::Tenant { tenant: "garden".into(), issued_before: 1_780_000_000 },
    });
    let claims = every!(Claim {
        Revoke => Claim::Revoke(Revocation::TokenId("token-7".into())),
        Block => fact().claim,
        Cancel => Claim::Cancel(fact().id),
    });
    let mut samples = Vec::new();
    for (name, claim) in claims {
        samples.push((name, heed(saying(claim))));
    }
    for (name, revocation) in revocations {
        samples.push((name, heed(saying(Claim::Revoke(revocation)))));
    }
    all("facts-message-heed", samples)
}

fn heed(fact: Fact) -> Message {
    Message::Heed(vec![Arc::new(fact)])
}

fn ack(taken: Taken) -> Ack {
    Ack { taken, saved: true }
}

/// Messages and replies.
pub(crate) fn samples() -> Vec<Sample> {
    let acks = every!(Taken {
        New => Taken::New,
        Known => Taken::Known,
        Cancelled => Taken::Cancelled,
        Expired => Taken::Expired,
        Full => Taken::Full,
    });
    let acks: Vec<Ack> = acks.into_iter().map(|(_, taken)| ack(taken)).collect();
    let digest: Digest = format!("7 {}", fact().id).parse().unwrap();
    let mut samples = all(
        "facts-message",
        every!(Message {
            Heed => heed(fact()),
            Applied => Message::Applied {
                node: "eu-west-1".into(),
                facts: vec![(fact().id, ack(Taken::New))],
            },
            Digests => Message::Digests,
            Ids => Message::Ids(vec![0, 9, 255]),
            Fetch => Message::Fetch(vec![fact().id]),
        }),
    );
    samples.extend(all(
        "facts-reply",
        every!(Reply {
            Acks => Reply::Acks(acks),
            Noted => Reply::Noted,
            Digests => Reply::Digests(vec![Digest::default(), digest]),
            Ids => Reply::Ids(vec![(9, vec![fact().id])]),
            Facts => Reply::Facts(vec![Arc::new(fact())]),
        }),
    ));
    samples.extend(claims());
    samples
}

/// What a peer can say of facts.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("facts-message", |bytes| {
            if let Ok(Message::Heed(facts)) = wire::decode(bytes) {
                for fact in facts {
                    let _ = (fact.check(), fact.claim.to_string(), fact.act(None));
                }
            }
        }),
        Target::of("facts-reply", |bytes| {
            let _ = wire::decode::<Reply>(bytes);
        }),
    ]
}
