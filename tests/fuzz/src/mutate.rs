//! Changes to a message, of the kinds that decoders trip over.
//!
//! In: a message, another one, randomness. Out: the message changed in one to four ways.

use rand::{RngExt, rngs::StdRng};

/// The longest input: more than any seed, less than makes a run slow.
const LONGEST: usize = 16 << 10;

/// Bytes that mean something to bincode (251 to 253 begin a longer number), to UTF-8, or to a sign.
const TELLING: [u8; 12] = [0, 1, 2, 3, 16, 127, 128, 192, 250, 251, 252, 253];

/// Lengths and counts just beside what fits.
const NUMBERS: [u64; 14] = [
    0,
    1,
    255,
    256,
    65_535,
    65_536,
    1 << 20,
    (8 << 20) + 1,
    (64 << 20) + 1,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Changes a message.
pub(crate) fn change(input: &mut Vec<u8>, other: &[u8], random: &mut StdRng) {
    let version = input.first().copied();
    for _ in 0..random.random_range(1..=4) {
        once(input, other, random);
    }
    input.truncate(LONGEST);
    // Most inputs keep the version in front, or none would get further.
    if random.random_ratio(15, 16)
        && let (Some(first), Some(version)) = (input.first_mut(), version)
    {
        *first = version;
    }
}

fn once(input: &mut Vec<u8>, other: &[u8], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..11) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.random();
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = TELLING[random.random_range(0..TELLING.len())];
            }
        }
        3 => {
            if let Some(byte) = input.get_mut(at) {
                let step: i8 = random.random_range(-4..=4);
                *byte = byte.wrapping_add_signed(step);
            }
        }
        4 => {
            let count = random.random_range(1..=8);
            let fresh: Vec<u8> = (0..count).map(|_| random.random()).collect();
            input.splice(at..at, fresh);
        }
        5 => {
            let end = (at + random.random_range(1..=16)).min(input.len());
            input.drain(at..end);
        }
        6 => {
            let end = (at + random.random_range(1..=32)).min(input.len());
            let again: Vec<u8> = input[at..end].to_vec();
            let times = random.random_range(1..=8);
            input.splice(at..at, again.repeat(times));
        }
        7 => {
            let from = random.random_range(0..=other.len());
            let end = (from + random.random_range(1..=64)).min(other.len());
            input.splice(at..at, other[from..end].iter().copied());
        }
        8 => {
            // The beginning of one, the end of the other.
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        9 => input.truncate(at),
        _ => number(input, at, random),
    }
}

/// Puts a number there in one of the ways that our formats write them, over what was there or before it.
fn number(input: &mut Vec<u8>, at: usize, random: &mut StdRng) {
    let number = NUMBERS[random.random_range(0..NUMBERS.len())];
    let all = number.to_le_bytes();
    let bytes = match random.random_range(0..6) {
        0 => [&[251], &all[..2]].concat(),
        1 => [&[252], &all[..4]].concat(),
        2 => [&[253], &all[..8]].concat(),
        3 => all[..2].to_vec(),
        4 => all[..4].to_vec(),
        _ => all[..8].to_vec(),
    };
    let over = if random.random() { 1 } else { bytes.len() };
    let end = (at + over).min(input.len());
    input.splice(at..end, bytes);
}
