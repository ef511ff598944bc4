//! Samples of what nodes say to each other about quotas, and the decoders of it.

use super::message::{Holdings, Reply, Said};
use crate::{
    corpus::{Sample, all, every},
    fuzz::Target,
    quota::{
        key::KeyId,
        samples::{ask, grant},
    },
    wire,
};

fn said() -> Vec<(&'static str, Said)> {
    every!(Said {
        Ask => Said::Ask(ask()),
        News => Said::News(grant()),
        Join => Said::Join { seat: Some(300) },
        Look => Said::Look(vec![KeyId([7; 16])]),
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
    every!(Reply {
        Granted => Reply::Granted(grant()),
        NotHere => Reply::NotHere { leader: Some("eu-west-1".into()) },
        Outlived => Reply::Outlived { known: 8 },
        Later => Reply::Later,
        Heard => Reply::Heard,
        Joined => Reply::Joined { seat: 300 },
        No => Reply::No("it has no vote".to_owned()),
        Standings => Reply::Standings(vec![Some(holdings), None]),
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
