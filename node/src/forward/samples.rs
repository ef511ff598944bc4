//! Samples of the frames of a forwarded request (`node/tests/corpus`), and their decoder against bytes that no
//! honest peer sends. CONTRIBUTING.md says how a frame is changed.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use meridian_fuzz::{
    Target,
    corpus::{Sample, compare, files, kebab},
    every, hunt_all, memory, replay_all,
};

use super::{
    frame::{Decoder, Frame, Harm, Why},
    head::{AnswerHead, RequestHead},
};

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// Changed frames tried with every run of the tests.
const INPUTS: u64 = 20_000;

/// The version of all frames so far.
const VERSION: u8 = 1;

fn request() -> RequestHead {
    RequestHead {
        service: "plant".into(),
        revision: 7,
        hop: 1,
        hold: true,
        length: Some(12),
        websocket: false,
        request_id: "0123456789abcdef".into(),
        zones: vec!["eu".into()],
        method: "POST".into(),
        target: "/v1/plants?x=1".into(),
        fields: vec![("accept".into(), b"*/*".to_vec())],
    }
}

fn answer() -> AnswerHead {
    AnswerHead {
        status: 201,
        fields: vec![("content-type".into(), b"application/json".to_vec())],
        endpoint: "10.0.0.1:80".into(),
        retries: 1,
        ended: false,
    }
}

fn frames() -> Vec<(String, Frame)> {
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let frames = every!(Frame {
        Request => Frame::Request(Box::new(request())),
        Ready => Frame::Ready,
        Go => Frame::Go,
        Answer => Frame::Answer(Box::new(answer())),
        Data => Frame::Data(Bytes::from_static(b"a piece of a body")),
        Trailers => Frame::Trailers(trailers),
        End => Frame::End,
        Refused => Frame::Refused(Why::NotHere),
        Failed => Frame::Failed(Harm::Reset),
    });
    let refusals = every!(Why {
        NotHere => Why::NotHere,
        Overloaded => Why::Overloaded,
        Unreachable => Why::Unreachable,
    });
    let failures = every!(Harm {
        Reset => Harm::Reset,
        Protocol => Harm::Protocol,
        Late => Harm::Late,
        Stalled => Harm::Stalled,
    });
    let frames = frames.into_iter();
    let refusals = refusals.into_iter();
    let failures = failures.into_iter();
    frames
        .map(|(name, frame)| (kebab(name), frame))
        .chain(
            refusals.map(|(name, why)| (format!("refused-{}", kebab(name)), Frame::Refused(why))),
        )
        .chain(
            failures.map(|(name, harm)| (format!("failed-{}", kebab(name)), Frame::Failed(harm))),
        )
        .collect()
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.encode_head(&mut bytes);
    if let Frame::Data(data) = frame {
        bytes.extend_from_slice(data);
    }
    bytes.to_vec()
}

fn samples() -> Vec<Sample> {
    let frames = frames().into_iter();
    frames
        .map(|(name, frame)| Sample {
            name: format!("frame-{name}"),
            version: VERSION,
            bytes: encoded(&frame),
            again: |bytes| {
                let mut decoder = Decoder::default();
                decoder.buffer().extend_from_slice(bytes);
                match decoder.next() {
                    Ok(Some(frame)) => Ok(encoded(&frame)),
                    Ok(None) => Err("it is cut short".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            },
        })
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn targets() -> Vec<Target> {
    let frames = Target::of("frame", |bytes| {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(bytes);
        while let Ok(Some(frame)) = decoder.next() {
            if let Frame::Request(head) = frame {
                let _ = head.parts();
            }
        }
    });
    // A stream carries many frames.
    let stream = samples().into_iter().flat_map(|sample| sample.bytes);
    let frames = frames.with([stream.collect()]);
    vec![frames.with_files(&files(&folder(), VERSION))]
}

#[test]
fn every_frame_is_in_the_corpus_and_reads_back_from_it() {
    compare(&folder(), VERSION, samples());
}

#[test]
fn every_frame_of_the_corpus_passes_through_the_decoder() {
    replay_all(&targets(), &files(&folder(), VERSION), &[]);
}

#[test]
fn changed_frames_neither_panic_nor_take_much_memory() {
    hunt_all(&targets(), INPUTS);
}
