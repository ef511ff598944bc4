//! An issuer's keys on disk, so that a node that restarts while the issuer is down still knows them.
//!
//! In: a key set, or the bytes of a file. Out: the bytes, or the key set. A core; [`super::issuer`] reads
//! and writes the file `jwks-NAME`.

use std::time::Duration;

use meridian_config::name::IssuerName;

use super::keys::KeySet;

/// The file's content. Versioned JSON: a later version reads or refuses it by its number.
#[derive(serde::Serialize, serde::Deserialize)]
struct File {
    version: u32,
    /// Keys of another URL under the same name are not this issuer's.
    issuer: String,
    /// Milliseconds since the Unix epoch.
    fetched: u64,
    jwks: serde_json::Value,
}

const VERSION: u32 = 1;

/// The file's name. A name that files cannot have is replaced by its digest.
pub(super) fn name(issuer: &IssuerName) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    let text = issuer.as_str();
    if text.len() <= 100 && text.bytes().all(plain) {
        format!("jwks-{text}")
    } else {
        format!("jwks-{}", blake3::hash(text.as_bytes()).to_hex())
    }
}

/// The bytes to save.
pub(super) fn encode(url: &str, keys: &KeySet) -> Vec<u8> {
    let file = File {
        version: VERSION,
        issuer: url.to_owned(),
        fetched: u64::try_from(keys.fetched.as_millis()).unwrap_or(u64::MAX),
        jwks: keys.document(),
    };
    serde_json::to_vec(&file).expect("strings, numbers and JSON values are JSON")
}

/// The keys in a saved file, if it is this issuer's and of a version we know. A time of fetching that lies
/// ahead is cut to now, or the keys would never be stale.
pub(super) fn decode(bytes: &[u8], url: &str, unix: Duration) -> Option<KeySet> {
    let file: File = serde_json::from_slice(bytes).ok()?;
    if file.version != VERSION || file.issuer != url {
        return None;
    }
    let mut keys = KeySet::parse(&serde_json::to_vec(&file.jwks).ok()?).ok()?;
    keys.fetched = Duration::from_millis(file.fetched).min(unix);
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::Signer;

    const URL: &str = "https://a.example";

    fn keys(fetched: u64) -> KeySet {
        let document = serde_json::json!({ "keys": [Signer::es256("k").jwk()] });
        let mut keys = KeySet::parse(document.to_string().as_bytes()).expect("one key");
        keys.fetched = Duration::from_secs(fetched);
        keys
    }

    #[test]
    fn what_was_saved_comes_back() {
        let keys = keys(1000);
        let back = decode(&encode(URL, &keys), URL, Duration::from_secs(2000)).expect("ours");
        assert!(back.same_keys(&keys));
        assert_eq!(back.fetched, keys.fetched);
    }

    #[test]
    fn keys_of_another_issuer_version_or_of_no_form_are_not_taken() {
        let saved = encode(URL, &keys(1000));
        let now = Duration::from_secs(2000);
        assert!(decode(&saved, "https://b.example", now).is_none());
        let newer = String::from_utf8(saved.clone())
            .expect("json")
            .replace("\"version\":1", "\"version\":2");
        assert!(decode(newer.as_bytes(), URL, now).is_none());
        assert!(decode(&saved[..saved.len() / 2], URL, now).is_none());
    }

    #[test]
    fn keys_from_the_future_are_as_old_as_now() {
        let back = decode(&encode(URL, &keys(9000)), URL, Duration::from_secs(2000)).expect("ours");
        assert_eq!(back.fetched, Duration::from_secs(2000));
    }

    #[test]
    fn a_name_that_files_cannot_have_is_replaced() {
        assert_eq!(name(&"auth0".into()), "jwks-auth0");
        let odd = name(&"Über/../x".into());
        assert_eq!(odd.len(), "jwks-".len() + 64);
        assert_ne!(odd, name(&"Über/../y".into()));
    }
}
