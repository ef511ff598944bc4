//! Samples of what the directory replicates and says, and the decoders of it.

use std::sync::Arc;

use super::{
    SourceFile,
    actor::Actor,
    changes::Changes,
    command::{Ack, Acknowledge, Action, Apply, Command, Note, Outcome, ProposalId, Rollback},
    forward::{self, Write},
    founders::{Founder, Founders},
    marks::{Decision, MarkError},
    overrides::{SetQuota, Unset},
    packed::{Packed, digest},
    read,
    revision::Revision,
    state::State,
};
use crate::{
    corpus::{Sample, all, every, first, kebab},
    facts::samples::fact,
    fuzz::Target,
    version::Versions,
    wire,
};

const NOW: Versions = Versions::THIS_RELEASE;

fn files() -> Vec<SourceFile> {
    let file = |name: &str, text: &str| SourceFile {
        name: name.into(),
        text: text.into(),
    };
    vec![
        file("gateway.yaml", "version: 1\nservices: {}\n"),
        file("tenants/a.yaml", "tenants: { a: {} }\n"),
    ]
}

fn actor() -> Actor {
    Actor::new("ada", "operator", Some("192.0.2.7:51000".parse().unwrap()))
}

fn changes() -> Changes {
    Changes {
        base: 6,
        added: 2,
        replaced: 1,
        removed: 300,
        lines: vec!["+ tenants.a".into(), "~ services.plants".into()],
        left_out: 301,
    }
}

fn founders() -> Founders {
    let founder = |region: &str, seat| Founder {
        region: region.into(),
        seat,
    };
    Founders(
        [
            ("eu-west-1".into(), founder("eu-west", 0)),
            ("us-east-2".into(), founder("us-east", 300)),
        ]
        .into(),
    )
}

fn actions() -> Vec<(String, Action)> {
    // Packed in the memory of this process: compression may change with its library, the form does not.
    let packed: Packed = wire::decode(&[1, 3, b'z', b's', b't']).unwrap();
    let apply = Apply {
        files: packed,
        digest: digest(&files()),
        message: "more plants".into(),
        expect: Some(6),
        changes: changes(),
    };
    let rollback = Rollback {
        revision: 5,
        message: "back".into(),
        expect: None,
        changes: Changes::default(),
    };
    let ack = |rejected: Option<&str>| Ack {
        unix_ms: 1_780_000_000_300,
        rejected: rejected.map(Into::into),
    };
    let acknowledge = Acknowledge {
        revision: 1,
        acks: [
            ("eu-west-1".into(), ack(None)),
            ("us-east-1".into(), ack(Some("a file is missing"))),
        ]
        .into(),
    };
    let note = Note {
        act: "backup".into(),
        target: "cluster".into(),
        refused: Some("the disk is full".into()),
    };
    let mark = |decision| Action::Mark {
        node: "us-east-2".into(),
        decision,
    };
    let actions = every!(Action {
        Found => Action::Found { cluster_id: "0123456789abcdef".into() },
        Apply => Action::Apply(apply),
        Rollback => Action::Rollback(rollback),
        Note => Action::Note(note),
        KeepFacts => Action::KeepFacts(vec![Arc::new(fact())]),
        Mark => mark(Decision::Drain),
        Acknowledge => Action::Acknowledge(acknowledge),
        Raise => Action::Raise { level: 2 },
        FoundLedger => Action::FoundLedger(founders()),
        SetQuota => Action::SetQuota(SetQuota {
            tenant: "acme".into(),
            limits: vec!["9000/hour".into(), "{ rate: 90/second, window: fixed }".into()],
            expires_ms: Some(1_780_000_007_200),
            reason: "launch day".into(),
        }),
        ClearQuota => Action::ClearQuota { tenant: "globex".into() },
    });
    let decisions = every!(Decision {
        Drain => Decision::Drain,
        Undrain => Decision::Undrain,
        Remove => Decision::Remove,
    });
    let actions = actions.into_iter();
    let decisions = decisions.into_iter();
    actions
        .map(|(name, action)| (kebab(name), action))
        .chain(decisions.map(|(name, decision)| (format!("mark-{}", kebab(name)), mark(decision))))
        .collect()
}

fn command(action: Action) -> Command {
    Command {
        id: ProposalId([7; 16]),
        log_time: 1_780_000_000_100,
        unix_ms: 1_780_000_000_000,
        actor: actor(),
        node: "eu-west-1".into(),
        action,
    }
}

fn commands() -> Vec<Sample> {
    let actions = actions().into_iter();
    actions
        .map(|(name, action)| Sample {
            name: format!("command-{name}"),
            version: action.since(),
            bytes: command(action).encode(),
            again: |bytes| {
                let command = Command::decode(bytes, NOW).map_err(|why| why.to_string())?;
                Ok(command.encode())
            },
        })
        .collect()
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    every!(Outcome {
        Founded => Outcome::Founded { cluster_id: "0123456789abcdef".into() },
        Applied => Outcome::Applied { revision: 7, index: 43 },
        Conflict => Outcome::Conflict { current: 7, author: "ada".into() },
        NotKept => Outcome::NotKept,
        Done => Outcome::Done { index: 43 },
        FactsKept => Outcome::FactsKept { refused: vec![fact().id] },
        Unset => Outcome::Unset(Unset::NotThere),
    })
}

fn verdicts() -> Vec<Sample> {
    use forward::Verdict;
    let mut samples = all(
        "verdict",
        every!(Verdict {
            Settled => Verdict::Settled(Outcome::NotKept),
            NotLeader => Verdict::NotLeader,
            Unknown => Verdict::Unknown,
            Invalid => Verdict::Invalid(vec!["gateway.yaml is bad".into()]),
            Stopped => Verdict::Stopped("its disk failed".into()),
            Mark => Verdict::Mark(MarkError::Unknown("us-east-9".into())),
        }),
    );
    let errors = every!(MarkError {
        Unknown => MarkError::Unknown("us-east-9".into()),
        Serving => MarkError::Serving("us-east-2".into()),
        Only => MarkError::Only("us-east-2".into()),
        LastVoter => MarkError::LastVoter("us-east-2".into()),
    });
    let errors = errors.into_iter();
    let marked = errors.map(|(name, error)| (name, Verdict::Mark(error)));
    samples.extend(all("verdict-mark", marked.collect()));
    samples
}

/// A state that every command has had a part in.
fn state(level: u8) -> State {
    let mut state = State::default();
    // Later actions take no place in the log of the first version, whose file stays as it is.
    let actions = actions().into_iter();
    let actions = actions
        .filter(|(_, action)| action.since() <= level || matches!(action, Action::Raise { .. }));
    for (index, (_, action)) in (1..).zip(actions) {
        if action.since() > level {
            continue;
        }
        let unlike = u8::try_from(index).unwrap();
        let command = Command {
            id: ProposalId([unlike; 16]),
            ..command(action)
        };
        state.apply(index, command);
    }
    state
}

fn states() -> Vec<Sample> {
    let sample = |version| Sample {
        name: "state".into(),
        version,
        bytes: state(version).encode(),
        again: |bytes| {
            let state = State::decode(bytes, NOW).map_err(|why| why.to_string())?;
            Ok(state.encode())
        },
    };
    vec![sample(1), sample(2)]
}

/// Commands and what comes of them, states, and forwarded writes.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = commands();
    samples.extend(all("outcome", outcomes()));
    samples.extend(verdicts());
    samples.extend(states());
    let write = Write {
        id: ProposalId([7; 16]),
        unix_ms: 1_780_000_000_000,
        actor: actor(),
        action: Action::Found {
            cluster_id: "0123456789abcdef".into(),
        },
    };
    samples.push(first("write", &write));
    samples.extend(all(
        "read-index",
        every!(read::Verdict {
            Index => read::Verdict::Index(43),
            NotNow => read::Verdict::NotNow,
        }),
    ));
    samples.push(first("document", &files()));
    let revision = Revision {
        number: 7,
        files: files().into(),
        digest: digest(&files()),
        author: "ada".into(),
        message: "more plants".into(),
        unix_ms: 1_780_000_000_000,
    };
    samples.push(first("revision", &revision));
    samples
}

/// What a peer can send to the directory, through its log too.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("command", |bytes| {
            let _ = Command::decode(bytes, Versions::RELEASE_BEFORE);
            if let Ok(command) = Command::decode(bytes, NOW) {
                let mut state = State::default();
                state.apply(1, command.clone());
                state.apply(2, command);
            }
        }),
        Target::of("state", |bytes| {
            let _ = State::decode(bytes, Versions::RELEASE_BEFORE);
            let _ = State::decode(bytes, NOW);
        }),
        Target::of("outcome", |bytes| {
            let _ = wire::decode::<Outcome>(bytes);
        }),
        Target::of("write", |bytes| {
            let _ = wire::decode::<Write>(bytes);
        }),
        Target::of("verdict", |bytes| {
            let _ = wire::decode::<forward::Verdict>(bytes);
        }),
        Target::of("read-index", |bytes| {
            let _ = wire::decode::<read::Verdict>(bytes);
        }),
        Target::of("document", |bytes| {
            let _ = Packed::of(bytes).unpack();
        })
        .with(vec![Packed::new(&files()).unwrap().bytes().to_vec()])
        .taking(wire::LIMIT),
    ]
}
