//! What names a limit of a tenant in messages and in the ledger.
//!
//! In: the tenant, the limit's id, its shape, and the client where every client has a limit of its own. Out:
//! 16 bytes. A core.
//!
//! A key names what it is a limit of and not how high it is, so that a raise, a lowering, another plan or an
//! operator's override keep what is held and spent. Another window, kind or `on_lapse` is another key: that is
//! the limit's epoch, and needs no number.

use std::fmt;

use meridian_config::name::TenantId;
use serde::{Deserialize, Serialize};

use super::terms::{Kind, OnLapse, Shape};

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a key names.
#[derive(Debug, Clone, Copy)]
pub struct KeyName<'a> {
    /// Who is charged.
    pub tenant: &'a TenantId,
    /// The limit's id: its `name:`, or where it stands and its window.
    pub limit: &'a str,
    /// The terms that can't change under one key.
    pub shape: Shape,
    /// Which client of the tenant, for a limit that each has of its own.
    pub client: Option<Client<'a>>,
}

/// A client of a tenant, by what its limit is counted per. Clients choose some of these themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client<'a> {
    /// By the subject of its token.
    Subject(&'a str),
    /// By the name of its API key.
    ApiKey(&'a str),
    /// By its address, or the prefix that is counted as one.
    Address(&'a [u8]),
}

/// Makes keys: the same on every node of a cluster, and others in every other cluster.
#[derive(Clone)]
pub struct KeySpace {
    secret: [u8; 32],
}

impl fmt::Debug for KeySpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySpace")
    }
}

impl KeySpace {
    /// The keys of a cluster, by its id.
    ///
    /// Nobody makes a key that another has (BLAKE3 cut to 128 bits leaves 2^128 tries), and who doesn't know
    /// the id, which no client is told, can't even make two of his own that are equal.
    pub fn new(cluster_id: &str) -> Self {
        Self {
            secret: blake3::derive_key("meridian quota keys v1", cluster_id.as_bytes()),
        }
    }

    /// The key of a name. It is made with each request: the text is put together on the stack and hashed at once.
    pub fn key(&self, name: &KeyName<'_>) -> KeyId {
        let mut all = Text::default();
        // Lengths in front, so that no two names are one sequence of bytes.
        let mut text = |bytes: &[u8]| {
            all.push(&(bytes.len() as u64).to_le_bytes());
            all.push(bytes);
        };
        text(name.tenant.as_str().as_bytes());
        text(name.limit.as_bytes());
        let Shape {
            window_ms,
            kind,
            on_lapse,
            pooled,
        } = name.shape;
        text(&window_ms.to_le_bytes());
        let kind = match kind {
            Kind::Sliding => 0,
            Kind::Fixed => 1,
        };
        let on_lapse = match on_lapse {
            OnLapse::Base => 0,
            OnLapse::Deny => 1,
        };
        text(&[kind, on_lapse, u8::from(pooled)]);
        match name.client {
            None => {}
            Some(Client::Subject(subject)) => {
                text(b"subject");
                text(subject.as_bytes());
            }
            Some(Client::ApiKey(key)) => {
                text(b"api_key");
                text(key.as_bytes());
            }
            Some(Client::Address(address)) => {
                text(b"client_ip");
                text(address);
            }
        }
        let hash = blake3::keyed_hash(&self.secret, all.bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        KeyId(id)
    }
}

/// A text without an allocation, but for long ones.
#[derive(Debug)]
struct Text {
    short: [u8; SHORT],
    used: usize,
    /// All of it, if that is not empty.
    long: Vec<u8>,
}

/// Names of tenants, limits and clients are most often shorter together.
const SHORT: usize = 256;

impl Default for Text {
    fn default() -> Self {
        Self {
            short: [0; SHORT],
            used: 0,
            long: Vec::new(),
        }
    }
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        if self.long.is_empty() && end <= SHORT {
            self.short[self.used..end].copy_from_slice(bytes);
            self.used = end;
            return;
        }
        if self.long.is_empty() {
            self.long.extend_from_slice(&self.short[..self.used]);
        }
        self.long.extend_from_slice(bytes);
    }

    fn bytes(&self) -> &[u8] {
        match self.long.is_empty() {
            true => &self.short[..self.used],
            false => &self.long,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::quota::terms::Terms;

    fn terms(limit: u64, seconds: u64, kind: Kind) -> Terms {
        Terms::new(limit, Duration::from_secs(seconds), kind, OnLapse::Base).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_what_was_put_into_it(parts in proptest::collection::vec(
            proptest::collection::vec(0_u8.., 0..200), 0..6)) {
            let mut text = Text::default();
            parts.iter().for_each(|part| text.push(part));
            proptest::prop_assert_eq!(text.bytes(), parts.concat());
        }
    }

    /// What nodes of other releases make of it, too.
    #[test]
    fn a_key_is_the_hash_of_all_that_names_it() {
        let space = KeySpace::new("cluster-1");
        let mut hasher = blake3::Hasher::new_keyed(&space.secret);
        let tenant = TenantId::new("t".repeat(200));
        let subject = "s".repeat(150);
        let parts: [&[u8]; 6] = [
            tenant.as_str().as_bytes(),
            b"hourly",
            &3_600_000_u64.to_le_bytes(),
            &[0, 0, 0],
            b"subject",
            subject.as_bytes(),
        ];
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        let name = KeyName {
            tenant: &tenant,
            limit: "hourly",
            shape: terms(1000, 3600, Kind::Sliding).shape(),
            client: Some(Client::Subject(&subject)),
        };
        assert_eq!(space.key(&name), KeyId(id));
    }

    #[test]
    fn a_key_survives_another_amount_and_nothing_else() {
        let space = KeySpace::new("cluster-1");
        let (garden, park) = (TenantId::new("garden"), TenantId::new("park"));
        let hourly = terms(1000, 3600, Kind::Sliding);
        let name = KeyName {
            tenant: &garden,
            limit: "tenant-hour",
            shape: hourly.shape(),
            client: None,
        };
        let key = space.key(&name);
        let raised = terms(5000, 3600, Kind::Sliding).shape();
        assert_eq!(
            key,
            space.key(&KeyName {
                shape: raised,
                ..name
            })
        );

        let others = [
            KeyName {
                tenant: &park,
                ..name
            },
            KeyName {
                limit: "hour",
                ..name
            },
            KeyName {
                shape: terms(1000, 60, Kind::Sliding).shape(),
                ..name
            },
            KeyName {
                shape: terms(1000, 3600, Kind::Fixed).shape(),
                ..name
            },
            KeyName {
                shape: terms(10, 3600, Kind::Sliding).shape(),
                ..name
            },
            KeyName {
                client: Some(Client::Subject("a")),
                ..name
            },
            KeyName {
                client: Some(Client::ApiKey("a")),
                ..name
            },
            KeyName {
                client: Some(Client::Address(b"a")),
                ..name
            },
        ];
        let mut keys: BTreeSet<KeyId> = others.iter().map(|name| space.key(name)).collect();
        keys.insert(key);
        keys.insert(KeySpace::new("cluster-2").key(&name));
        assert_eq!(keys.len(), others.len() + 2);
    }
}
