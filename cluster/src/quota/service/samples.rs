//! Samples of what nodes say to each other about quotas, and the decoders of it.

use super::{
    message::{Holdings, Reading, Reply, Said, Told},
    starts::{Alone, Life},
};
use crate::{
    corpus::{Sample, all, every},
    fuzz::Target,
    quota::{
        key::KeyId,
        samples::{ask, grant},
        terms::Share,
    },
    wire,
};

fn said() -> Vec<(&'static str, Said)> {
    every!(Said {
        Ask => Said::Ask(ask()),
        News => Said::News(grant()),
        Join => Said::Join { seat: Some(300) },
        Look => Said::Look(vec![KeyId([7; 16])]),
        Tell => Said::Tell(vec![KeyId([7; 16])]),
    })
}

fn replies() -> Vec<(&'static str, Reply)> {
    let holdings = Holdings {
        limit: 5000,
        pool: -3,
        base: 2500,
        cooling: 40,
        holders: vec![("eu-west-1".into(), 300)],
    };
    let alone = Alone {
        share: Some(Share { seat: 2, seats: 9 }),
        lives: vec![Life {
            begun_ms: 90_000,
            answered_ms: Some(300),
            count: 2,
        }],
    };
    every!(Reply {
        Granted => Reply::Granted { grant: grant(), clock: Reading { unix_ms: 1_800_000_000_000, held_ms: 150 } },
        NotHere => Reply::NotHere { leader: Some("eu-west-1".into()) },
        Outlived => Reply::Outlived { known: 8 },
        Later => Reply::Later,
        Heard => Reply::Heard,
        Joined => Reply::Joined { seat: 300 },
        No => Reply::No("it has no vote".to_owned()),
        Standings => Reply::Standings(vec![Some(holdings), None]),
        Told => Reply::Told(Told { alone, spent: vec![300, 0] }),
    })
}

/// A sample of each message.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = all("quota-said", said());
    samples.extend(all("quota-reply", replies()));
    samples
}

/// What a peer can say.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("quota-said", |bytes| {
            if let Ok(Said::Ask(ask)) = wire::decode(bytes) {
                let _ = ask.check();
            }
        }),
        Target::of("quota-reply", |bytes| {
            let _ = wire::decode::<Reply>(bytes);
        }),
    ]
}
