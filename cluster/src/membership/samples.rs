//! Samples of gossip, and the decoders of it.

use chitchat::{ChitchatMessage, Serializable};

use super::{
    announcement,
    message::{
        Reading,
        tests::{delta, greatest, key_value, node},
    },
};
use crate::{
    corpus::Sample,
    facts,
    fuzz::Target,
    version::{FIRST, Versions},
};

/// One of each kind of message. Their form is chitchat's, so these tell when a newer chitchat has another.
pub(crate) fn samples() -> Vec<Sample> {
    let refused = ChitchatMessage::BadCluster.serialize_to_vec();
    let digest = [
        &1_u16.to_le_bytes()[..],
        &node("eu-west-1")[1..],
        &9_u64.to_le_bytes(),
    ]
    .concat();
    let head = |kind| [&refused[..3], &[kind]].concat();
    let syn = [&head(0)[..], &digest, &[6, 0], b"plants"].concat();
    let ack = delta(&[&node("eu-west-1"), &key_value(1), &greatest(9)]);
    let syn_ack = [&head(1)[..], &digest, &ack[4..]].concat();
    let sample = |name: &str, bytes: Vec<u8>| Sample {
        name: format!("gossip-{name}"),
        version: FIRST,
        bytes,
        // chitchat does not write what it has read, so that it reads it is all there is to see.
        again: |bytes| match Reading::default().read(bytes) {
            Ok(_) => Ok(bytes.to_vec()),
            Err(why) => Err(why.to_string()),
        },
    };
    vec![
        sample("syn", syn),
        sample("syn-ack", syn_ack),
        sample("ack", ack),
        sample("bad-cluster", refused.clone()),
    ]
}

/// What a peer can gossip.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("gossip", |bytes| {
            let _ = Reading::default().read(bytes);
        })
        .taking(32 << 20),
        Target::of("announcement", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            announcement::read(pairs);
            let _ = text.parse::<Versions>();
            let _ = text.parse::<facts::Digest>();
        })
        .with(vec![
            b"revision=7\nrejected=8 it is bad\nload=3\ndraining=\nservice.plants=2\naddress.http=10.0.0.1:80\nlatency.us=40000\nversions=1-2".to_vec(),
            b"facts=7 0123456789abcdef0123456789abcdef".to_vec(),
            b"1-2".to_vec(),
        ]),
    ]
}
