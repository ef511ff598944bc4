//! Subjects without their names, addresses without their ends.
//!
//! In: a node's key and what a token or connection says. Out: what the access log may hold. A core, but
//! for [`Key::load`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use meridian_cluster::host::{Files, Host, blocking};

use crate::transform::trace::hex;

/// Turns subjects into pseudonyms.
///
/// The key is this node's own, made at its first start: one subject has one pseudonym at one node, and
/// another at the next.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// A key from bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The node's key from its files; makes and stores one where there is none.
    pub async fn load(host: &Arc<dyn Host>) -> io::Result<Self> {
        let files: Arc<dyn Files> = host.files();
        let fresh = host.entropy("access-log-key");
        let bytes = blocking(host.as_ref(), move || -> io::Result<[u8; 32]> {
            if let Some(stored) = files.read(FILE)?
                && let Ok(key) = stored.try_into()
            {
                return Ok(key);
            }
            files.write(FILE, &fresh)?;
            Ok(fresh)
        })
        .await?;
        Ok(Self(bytes))
    }

    /// A subject's pseudonym: 32 hex digits of its keyed BLAKE3 hash, under its issuer, because two
    /// issuers' subjects of one name are two people.
    pub fn subject(&self, issuer: &str, subject: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(issuer.as_bytes());
        hasher.update(&[0]);
        hasher.update(subject.as_bytes());
        hex(&hasher.finalize().as_bytes()[..16])
    }
}

const FILE: &str = "access-log.key";

/// An address as the log may hold it: cut to /24 or /48, which names a network and no household.
pub fn truncated(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_pseudonym_under_one_key_and_issuer() {
        let key = Key::new([1; 32]);
        let ann = key.subject("auth0", "ann");
        assert_eq!(ann, key.subject("auth0", "ann"));
        assert_eq!(ann.len(), 32);
        assert_ne!(ann, key.subject("other", "ann"));
        assert_ne!(ann, Key::new([2; 32]).subject("auth0", "ann"));
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn addresses_lose_their_ends() {
        let cut = |text: &str| truncated(text.parse().expect("an address")).to_string();
        assert_eq!(cut("203.0.113.9"), "203.0.113.0");
        assert_eq!(cut("2001:db8:1:2:3::9"), "2001:db8:1::");
        assert_eq!(cut("::ffff:203.0.113.9"), "203.0.113.0");
    }
}
