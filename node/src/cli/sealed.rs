//! A backup as a file: sealed to a key that the operator holds, so that who finds the file learns nothing.
//!
//! ```text
//! "meridian backup\n"  format(2)  length of the label(4)  length of the rest(8)
//! label (JSON, readable: what it is of, and the key it is sealed to)
//! encapsulated secret(32)  sealed state (RFC 9180, DHKEM X25519, HKDF-SHA256, AES-256-GCM)
//! BLAKE3 of all before(32)
//! ```
//! In: a state, a public key. Out: bytes, and with the secret key the state again; or what is wrong. A core
//! but for the random numbers of the seal. Numbers are big-endian; the label is authenticated with the state.

use std::fmt;

use meridian_cluster::directory::About;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use serde::{Deserialize, Serialize};

/// Whoever has it can seal backups, and not open them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey([u8; KEY]);

/// Opens backups.
pub(super) struct SecretKey {
    secret: HpkePrivateKey,
    public: PublicKey,
}

/// What a backup is of, readable without its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    /// What the node said of it.
    pub(super) about: About,
    /// Name of the key it is sealed to.
    pub(super) key: String,
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKey {
    #[error("this is no key of `meridian backup-key`; it begins with {0}")]
    Unlike(&'static str),
    #[error(
        "this is the secret key, and the public one is wanted here ({PUBLIC}…); keep the secret one away from the nodes"
    )]
    Secret,
    #[error("this is the public key, which only seals; opening takes the secret one ({SECRET}…)")]
    Public,
    #[error("the key has been changed or cut: its check digits do not fit; copy it again")]
    Mistyped,
}

/// Why a file is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOpened {
    #[error("it is no backup of `meridian backup`")]
    Unlike,
    #[error(
        "it is a backup in format {0}, and this release knows format {FORMAT}; use the release that wrote it, or a newer one"
    )]
    Format(u16),
    #[error(
        "it is cut off: {has} of {whole} bytes are there; copy it again from where it was whole"
    )]
    CutOff { has: usize, whole: u64 },
    #[error("it is damaged: its checksum does not fit; take another copy")]
    Damaged,
    #[error(
        "it is sealed to the key {sealed_to}, and this one is {given}; take the secret key that `meridian backup-key` made with {sealed_to}"
    )]
    OtherKey { sealed_to: String, given: String },
    #[error(
        "the key does not open it, though it has the right name: the key file or the backup was forged"
    )]
    Forged,
}

const MAGIC: &[u8; 16] = b"meridian backup\n";
const FORMAT: u16 = 1;
/// Magic, format, both lengths.
const HEAD: usize = 30;
const KEY: usize = 32;
const SUM: usize = 32;
/// Bytes of the check behind a key's text.
const CHECK: usize = 4;
/// A label names a cluster and a node; more is none of ours.
const LABEL_LIMIT: usize = 64 << 10;
const PUBLIC: &str = "mrdn_backup_public_";
const SECRET: &str = "mrdn_backup_secret_";
const INFO: &[u8] = b"meridian backup 1";
const SUITE: &dyn Hpke = DH_KEM_X25519_HKDF_SHA256_AES_256;

impl SecretKey {
    /// A new pair.
    pub(super) fn generate() -> Self {
        let (public, secret) = SUITE
            .generate_key_pair()
            .expect("the library makes keys of its own suite");
        let public = public.0.try_into().expect("an X25519 key has 32 bytes");
        Self {
            secret,
            public: PublicKey(public),
        }
    }

    /// As text, for its file alone.
    pub(super) fn reveal(&self) -> String {
        let both = [self.secret.secret_bytes(), &self.public.0].concat();
        written(SECRET, &both)
    }

    /// Reads what [`reveal`](Self::reveal) gave.
    pub(super) fn parse(text: &str) -> Result<Self, NoKey> {
        if text.trim().starts_with(PUBLIC) {
            return Err(NoKey::Public);
        }
        let both: [u8; 2 * KEY] = parsed(SECRET, text)?;
        let (secret, public) = both.split_at(KEY);
        let public = public.try_into().expect("half of it");
        Ok(Self {
            secret: HpkePrivateKey::from(secret.to_vec()),
            public: PublicKey(public),
        })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey([redacted] of {})", self.public.name())
    }
}

impl PublicKey {
    /// Reads what its `Display` gave.
    pub(super) fn parse(text: &str) -> Result<Self, NoKey> {
        if text.trim().starts_with(SECRET) {
            return Err(NoKey::Secret);
        }
        parsed(PUBLIC, text).map(Self)
    }

    /// A short name, to tell keys apart.
    pub(super) fn name(&self) -> String {
        let digest = blake3::hash(&self.0);
        digest.to_hex()[..16].to_owned()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(PUBLIC, &self.0))
    }
}

/// The file of a state.
pub(super) fn seal(about: About, state: &[u8], key: &PublicKey) -> Result<Vec<u8>, rustls::Error> {
    let label = Label {
        about,
        key: key.name(),
    };
    let label = serde_json::to_vec(&label).expect("our own types are valid JSON");
    let sealed = KEY + state.len() + TAG;
    let mut file = Vec::with_capacity(HEAD + label.len() + sealed + SUM);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&FORMAT.to_be_bytes());
    let length = u32::try_from(label.len()).expect("a label is short");
    file.extend_from_slice(&length.to_be_bytes());
    file.extend_from_slice(&(sealed as u64).to_be_bytes());
    file.extend_from_slice(&label);
    let (secret, text) = SUITE.seal(INFO, &file, state, &HpkePublicKey(key.0.to_vec()))?;
    file.extend_from_slice(&secret.0);
    file.extend_from_slice(&text);
    let sum = blake3::hash(&file);
    file.extend_from_slice(sum.as_bytes());
    Ok(file)
}

/// What AES-GCM adds to a text.
const TAG: usize = 16;

/// What a file is of, once all of it is there and undamaged.
pub(super) fn label(file: &[u8]) -> Result<Label, NotOpened> {
    parts(file).map(|parts| parts.label)
}

/// The state in a file.
pub(super) fn open(file: &[u8], key: &SecretKey) -> Result<Vec<u8>, NotOpened> {
    let parts = parts(file)?;
    let given = key.public.name();
    if parts.label.key != given {
        return Err(NotOpened::OtherKey {
            sealed_to: parts.label.key,
            given,
        });
    }
    let secret = EncapsulatedSecret(parts.secret.to_vec());
    SUITE
        .open(&secret, INFO, parts.head, parts.text, &key.secret)
        .map_err(|_| NotOpened::Forged)
}

struct Parts<'a> {
    label: Label,
    head: &'a [u8],
    secret: &'a [u8],
    text: &'a [u8],
}

fn parts(file: &[u8]) -> Result<Parts<'_>, NotOpened> {
    let start = file.len().min(MAGIC.len());
    if start == 0 || file[..start] != MAGIC[..start] {
        return Err(NotOpened::Unlike);
    }
    let Some((head, _)) = file.split_first_chunk::<HEAD>() else {
        return Err(NotOpened::CutOff {
            has: file.len(),
            whole: HEAD as u64,
        });
    };
    let format = u16::from_be_bytes([head[16], head[17]]);
    if format != FORMAT {
        return Err(NotOpened::Format(format));
    }
    let label = u32::from_be_bytes([head[18], head[19], head[20], head[21]]) as usize;
    let rest: [u8; 8] = head[22..].try_into().expect("eight bytes are left");
    let rest = u64::from_be_bytes(rest);
    let before = (HEAD + label + SUM) as u64;
    if label > LABEL_LIMIT || rest < (KEY + TAG) as u64 {
        return Err(NotOpened::Damaged);
    }
    let whole = before.saturating_add(rest);
    let has = file.len() as u64;
    if has < whole {
        return Err(NotOpened::CutOff {
            has: file.len(),
            whole,
        });
    }
    let (body, sum) = file
        .split_last_chunk::<SUM>()
        .expect("it is longer than that");
    if has > whole || blake3::hash(body) != *sum {
        return Err(NotOpened::Damaged);
    }
    let (head, sealed) = body.split_at(HEAD + label);
    let (secret, text) = sealed.split_at(KEY);
    let label = serde_json::from_slice(&head[HEAD..]).map_err(|_| NotOpened::Damaged)?;
    Ok(Parts {
        label,
        head,
        secret,
        text,
    })
}

/// A key's text: what it is, its bytes and a check of them in hex.
fn written(kind: &str, key: &[u8]) -> String {
    let mut text = kind.to_owned();
    for byte in key.iter().chain(&check(kind, key)) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn parsed<const LENGTH: usize>(kind: &'static str, text: &str) -> Result<[u8; LENGTH], NoKey> {
    let digits = text.trim().strip_prefix(kind).ok_or(NoKey::Unlike(kind))?;
    if digits.len() != 2 * (LENGTH + CHECK) || !digits.is_ascii() {
        return Err(NoKey::Mistyped);
    }
    let bytes: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect();
    let bytes = bytes.ok_or(NoKey::Mistyped)?;
    let (key, sum) = bytes.split_at(LENGTH);
    if *sum != check(kind, key) {
        return Err(NoKey::Mistyped);
    }
    key.try_into().map_err(|_| NoKey::Mistyped)
}

fn check(kind: &str, key: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes());
    hasher.update(key);
    let digest = hasher.finalize();
    *digest
        .as_bytes()
        .first_chunk()
        .expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static KEY_PAIR: LazyLock<SecretKey> = LazyLock::new(SecretKey::generate);

    fn about() -> About {
        About {
            cluster: "prod".to_owned(),
            cluster_id: "c0ffee".to_owned(),
            revision: 7,
            revisions: 3,
            facts: 2,
            index: 40,
            node: "eu-west-1".into(),
            unix_ms: 1_780_000_000_000,
            release: "0.1.0".to_owned(),
            stale: false,
        }
    }

    fn file() -> Vec<u8> {
        seal(about(), b"the state", KEY_PAIR.public()).unwrap()
    }

    #[test]
    fn what_is_sealed_to_a_key_is_opened_by_its_other_half_alone() {
        let file = file();
        assert_eq!(open(&file, &KEY_PAIR).unwrap(), b"the state");
        assert_eq!(label(&file).unwrap().about, about());
        let other = SecretKey::generate();
        assert_eq!(
            open(&file, &other),
            Err(NotOpened::OtherKey {
                sealed_to: KEY_PAIR.public().name(),
                given: other.public().name(),
            })
        );
        let secret = b"the state";
        assert!(!file.windows(secret.len()).any(|part| part == secret));
    }

    #[test]
    fn a_key_that_only_says_it_is_the_right_one_opens_nothing() {
        let pretender = SecretKey {
            secret: SecretKey::generate().secret,
            public: KEY_PAIR.public().clone(),
        };
        assert_eq!(open(&file(), &pretender), Err(NotOpened::Forged));
    }

    #[test]
    fn a_label_that_was_changed_with_its_checksum_is_a_forgery() {
        let mut file = file();
        let at = file.windows(4).position(|part| part == b"prod").unwrap();
        file[at] = b'q';
        let end = file.len() - SUM;
        let sum = blake3::hash(&file[..end]);
        file[end..].copy_from_slice(sum.as_bytes());
        assert_eq!(label(&file).unwrap().about.cluster, "qrod");
        assert_eq!(open(&file, &KEY_PAIR), Err(NotOpened::Forged));
    }

    #[test]
    fn another_format_and_another_file_are_told_apart() {
        let mut newer = file();
        newer[17] = 2;
        assert_eq!(open(&newer, &KEY_PAIR), Err(NotOpened::Format(2)));
        assert_eq!(open(b"meridian: 1\n", &KEY_PAIR), Err(NotOpened::Unlike));
        assert_eq!(open(b"", &KEY_PAIR), Err(NotOpened::Unlike));
        let mut longer = file();
        longer.push(0);
        assert_eq!(open(&longer, &KEY_PAIR), Err(NotOpened::Damaged));
    }

    #[test]
    fn keys_come_back_and_are_not_taken_for_each_other() {
        let public = KEY_PAIR.public();
        assert_eq!(
            PublicKey::parse(&format!("{public}\n")).as_ref(),
            Ok(public)
        );
        let secret = SecretKey::parse(&KEY_PAIR.reveal()).unwrap();
        assert_eq!(open(&file(), &secret).unwrap(), b"the state");
        assert_eq!(PublicKey::parse(&KEY_PAIR.reveal()), Err(NoKey::Secret));
        assert_eq!(
            SecretKey::parse(&public.to_string()).err(),
            Some(NoKey::Public)
        );
        assert_eq!(PublicKey::parse("age1xyz"), Err(NoKey::Unlike(PUBLIC)));
        assert!(!format!("{secret:?}").contains(&KEY_PAIR.reveal()[20..40]));
    }

    proptest! {
        #[test]
        fn a_mistyped_key_is_noticed(place in 0..72_usize, digit in 0..16_u32) {
            let mut text = KEY_PAIR.public().to_string().into_bytes();
            let digit = char::from_digit(digit, 16).unwrap() as u8;
            let place = PUBLIC.len() + place;
            prop_assume!(text[place] != digit);
            text[place] = digit;
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(PublicKey::parse(&text), Err(NoKey::Mistyped));
        }

        #[test]
        fn half_a_file_is_cut_off_wherever_it_ends(place: prop::sample::Index) {
            let whole = file();
            let place = 1 + place.index(whole.len() - 1);
            let opened = open(&whole[..place], &KEY_PAIR);
            prop_assert!(matches!(opened, Err(NotOpened::CutOff { .. })), "{:?}", opened);
        }

        #[test]
        fn a_flipped_bit_anywhere_is_noticed(place: prop::sample::Index, bit in 0..8_u8) {
            let mut file = file();
            let place = place.index(file.len());
            file[place] ^= 1 << bit;
            prop_assert!(open(&file, &KEY_PAIR).is_err());
        }

        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>, after: bool) {
            let file = if after { [&MAGIC[..], &bytes].concat() } else { bytes };
            prop_assert!(open(&file, &KEY_PAIR).is_err());
        }
    }
}
