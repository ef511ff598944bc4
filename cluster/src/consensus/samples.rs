//! Samples of what Raft peers say to each other, and the decoders of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::{
    EntryPayload, Membership,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
        TransferLeaderRequest, VoteRequest, VoteResponse,
    },
};

use super::{
    admission::{Era, decode_in, encode_in},
    message::{Answer, Ask, Question},
    transfer::{self, Gathering, Stamp, Step},
    types::{Id, LogId, Payload, RaftEntry, Seat, SnapshotMeta, StoredMembership, Vote},
};
use crate::{
    corpus::{Sample, all, every, first},
    fuzz::Target,
    host::GroupId,
    wire,
};

fn id(name: &str) -> Id {
    Id(name.into())
}

fn vote() -> Vote {
    Vote::new_committed(7, id("eu-west-1"))
}

fn log_id(index: u64) -> LogId {
    LogId::new(vote().leader_id, index)
}

fn membership() -> Membership<Id, Seat> {
    let voters: BTreeSet<Id> = ["ap-south-1", "eu-west-1", "us-east-1"].map(id).into();
    let seats = [
        ("ap-south-1", "ap-south"),
        ("eu-west-1", "eu-west"),
        ("us-east-1", "us-east"),
        ("us-east-2", "us-east"),
    ];
    let nodes: BTreeMap<Id, Seat> = seats
        .into_iter()
        .zip(0..)
        .map(|((node, region), number)| {
            let region = region.into();
            (id(node), Seat { region, number })
        })
        .collect();
    Membership::new(vec![voters], nodes).unwrap()
}

fn payload(words: &'static str) -> Payload {
    Payload(Bytes::from_static(words.as_bytes()))
}

fn entry(index: u64, payload: EntryPayload<Payload, Id, Seat>) -> RaftEntry {
    RaftEntry {
        log_id: log_id(index),
        payload,
    }
}

fn asks() -> Vec<Sample> {
    let entries = every!(EntryPayload<Payload, Id, Seat> {
        Blank => EntryPayload::Blank,
        Normal => EntryPayload::Normal(payload("a command")),
        Membership => EntryPayload::Membership(membership()),
    });
    let entries = entries.into_iter().zip(41..);
    let append = AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(log_id(40)),
        entries: entries
            .map(|((_, payload), index)| entry(index, payload))
            .collect(),
        leader_commit: Some(log_id(40)),
    };
    let questions = every!(Question {
        Append => Question::Append(append),
        Vote => Question::Vote(VoteRequest::new(vote(), Some(log_id(43)))),
        PreVote => Question::PreVote(VoteRequest::new(Vote::new(8, id("us-east-1")), None)),
        TransferLeader => Question::TransferLeader(TransferLeaderRequest::new(vote(), id("us-east-1"), Some(log_id(43)))),
    });
    let questions = questions.into_iter();
    let asks = questions.map(|(name, question)| {
        let group = GroupId::Directory;
        (name, Ask { group, question })
    });
    all("raft-ask", asks.collect())
}

fn answers() -> Vec<Sample> {
    let mut samples = all(
        "raft-answer",
        every!(Answer {
            Append => Answer::Append(AppendEntriesResponse::Success),
            Vote => Answer::Vote(VoteResponse::new(vote(), Some(log_id(43)), true)),
            TransferLeader => Answer::TransferLeader(Ok(())),
            Unavailable => Answer::Unavailable("Raft has stopped here".into()),
        }),
    );
    let outcomes = every!(AppendEntriesResponse<super::types::Types> {
        Success => AppendEntriesResponse::Success,
        PartialSuccess => AppendEntriesResponse::PartialSuccess(Some(log_id(41))),
        Conflict => AppendEntriesResponse::Conflict,
        HigherVote => AppendEntriesResponse::HigherVote(Vote::new(9, id("us-east-1"))),
    });
    let outcomes = outcomes.into_iter();
    let answers = outcomes.map(|(name, outcome)| (name, Answer::Append(outcome)));
    samples.extend(all("raft-answer-append", answers.collect()));
    let errors = every!(TransferLeaderError<super::types::Types> {
        VoteChanged => TransferLeaderError::VoteChanged { expected: vote(), actual: vote() },
        LogNotFlushed => TransferLeaderError::LogNotFlushed {
            expected: Some(log_id(43)),
            actual: None,
        },
    });
    let errors = errors.into_iter();
    let answers = errors.map(|(name, error)| (name, Answer::TransferLeader(Err(error))));
    samples.extend(all("raft-answer-transfer", answers.collect()));
    samples
}

fn stamp() -> Stamp {
    let last_membership = StoredMembership::new(Some(log_id(3)), membership());
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(43)),
        last_membership,
    };
    Stamp::of(meta, b"the state")
}

fn snapshots() -> Vec<Sample> {
    let bytes = payload("the state");
    let steps = every!(Step {
        Offer => Step::Offer,
        Part => Step::Part { number: 0, sum: *blake3::hash(&bytes.0).as_bytes(), bytes },
        Install => Step::Install,
    });
    let steps = steps.into_iter();
    let messages = steps.map(|(name, step)| {
        let message = transfer::Message {
            group: GroupId::Directory,
            vote: vote(),
            stamp: stamp(),
            step,
        };
        (name, message)
    });
    let mut samples = all("snapshot-message", messages.collect());
    samples.extend(all(
        "snapshot-answer",
        every!(transfer::Answer {
            Missing => transfer::Answer::Missing(vec![0, 5, 300]),
            Taken => transfer::Answer::Taken,
            Installed => transfer::Answer::Installed(SnapshotResponse::new(vote())),
            No => transfer::Answer::No("that snapshot is not coming in here; offer it first".into()),
        }),
    ));
    samples
}

/// The forms that a life of the group after a restore has.
fn in_an_era() -> Vec<Sample> {
    let era = Some(Era([9; 16]));
    let group = GroupId::Directory;
    let question = Question::Vote(VoteRequest::new(vote(), Some(log_id(43))));
    let message = transfer::Message {
        group,
        vote: vote(),
        stamp: stamp(),
        step: Step::Offer,
    };
    vec![
        Sample {
            name: "raft-ask-era".to_owned(),
            version: 2,
            bytes: encode_in(era, &Ask { group, question }),
            again: |bytes| {
                let (era, ask) = decode_in::<Ask>(bytes).map_err(|why| why.to_string())?;
                Ok(encode_in(era, &ask))
            },
        },
        Sample {
            name: "snapshot-message-era".to_owned(),
            version: 2,
            bytes: encode_in(era, &message),
            again: |bytes| {
                let read = decode_in::<transfer::Message>(bytes);
                let (era, message) = read.map_err(|why| why.to_string())?;
                Ok(encode_in(era, &message))
            },
        },
    ]
}

/// Raft's questions and answers, and snapshots on their way.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = asks();
    samples.extend(answers());
    samples.extend(snapshots());
    samples.extend(in_an_era());
    samples.push(first("log-vote", &vote()));
    samples.push(first("log-id", &log_id(40)));
    let entry = entry(41, EntryPayload::Normal(payload("a command")));
    samples.push(first("log-entry", &entry));
    samples
}

fn gather(bytes: &[u8]) {
    let Ok((_, message)) = decode_in::<transfer::Message>(bytes) else {
        return;
    };
    let Ok(mut gathering) = Gathering::new(message.stamp) else {
        return;
    };
    if let Step::Part { number, sum, bytes } = message.step {
        let _ = gathering.take(number, sum, bytes.0);
    }
    let _ = gathering.missing().len();
    let _ = gathering.assemble();
}

/// What a peer can send to Raft.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("raft-ask", |bytes| {
            if let Ok((_, ask)) = decode_in::<Ask>(bytes) {
                let _ = (ask.question.asker().clone(), ask.question.name());
            }
        }),
        Target::of("raft-answer", |bytes| {
            let _ = wire::decode::<Answer>(bytes);
        }),
        Target::of("snapshot-message", gather),
        Target::of("snapshot-answer", |bytes| {
            let _ = wire::decode::<transfer::Answer>(bytes);
        }),
        Target::of("log-entry", |bytes| {
            let _ = wire::decode::<RaftEntry>(bytes);
        }),
    ]
}
