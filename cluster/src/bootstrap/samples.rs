//! Samples of what nodes ask each other before they are one cluster, and the decoders of it.

use super::message::{Answer, Ask, Standing};
use crate::{
    consensus::{Era, decode_in, encode_in},
    corpus::{Sample, all, every},
    fuzz::Target,
    wire,
};

/// Questions and answers.
pub(crate) fn samples() -> Vec<Sample> {
    let founders = || {
        ["ap-south-1", "eu-west-1", "us-east-1"]
            .map(Into::into)
            .into()
    };
    let mut samples = all(
        "bootstrap-ask",
        every!(Ask {
            Standing => Ask::Standing,
            Begin => Ask::Begin { voters: founders() },
            Join => Ask::Join,
        }),
    );
    let standing = Standing {
        region: "eu-west".into(),
        bootstrap: founders(),
        cluster_id: Some("0123456789abcdef".into()),
        elsewhere: Some("us-east-1".into()),
        has_log: true,
    };
    samples.extend(all(
        "bootstrap-answer",
        every!(Answer {
            Standing => Answer::Standing(standing),
            Ready => Answer::Ready,
            Joined => Answer::Joined { cluster_id: "0123456789abcdef".into(), seat: 40 },
            Leader => Answer::Leader("us-east-1".into()),
            No => Answer::No("the cluster has no leader now".into()),
        }),
    ));
    let joined = Answer::Joined {
        cluster_id: "0123456789abcdef".into(),
        seat: 40,
    };
    samples.push(Sample {
        name: "bootstrap-answer-joined-era".to_owned(),
        version: 2,
        bytes: encode_in(Some(Era([9; 16])), &joined),
        again: |bytes| {
            let (era, answer) = decode_in::<Answer>(bytes).map_err(|why| why.to_string())?;
            Ok(encode_in(era, &answer))
        },
    });
    samples
}

/// What any node with a certificate can ask.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("bootstrap-ask", |bytes| {
            let _ = wire::decode::<Ask>(bytes);
        }),
        Target::of("bootstrap-answer", |bytes| {
            let _ = decode_in::<Answer>(bytes);
        }),
    ]
}
