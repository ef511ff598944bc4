//! A fact: something that must be known everywhere soon, and only for a while.
//!
//! In: what an operator wants stopped, or a peer's bytes. Out: a [`Fact`] that is sound, or why it is not. A
//! core.

use std::{fmt, str::FromStr};

use ipnet::IpNet;
use meridian_config::name::{IssuerName, NodeId, TenantId};
use serde::{Deserialize, Serialize};

use crate::directory::Actor;

/// Tells a fact from every other: when it was made, in ms, and 80 random bits. In order of ids facts are in
/// order of time, as far as clocks agree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FactId(pub(super) [u8; 16]);

impl FactId {
    /// An id of that moment.
    pub(super) fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        // 48 bits last until the year 10889.
        bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The least id: before every fact.
    pub const FIRST: Self = Self([0; 16]);
    /// The greatest id: after every fact.
    pub const LAST: Self = Self([0xff; 16]);
}

impl fmt::Display for FactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no fact's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hex digits, as the list shows it")]
pub struct NoFactId;

impl FromStr for FactId {
    type Err = NoFactId;

    fn from_str(text: &str) -> Result<Self, NoFactId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoFactId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NoFactId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Something that every node must know until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Which fact it is.
    pub id: FactId,
    /// What it says.
    pub claim: Claim,
    /// Until when: ms since the Unix epoch. Each node stops heeding it then, by its own clock.
    pub expires_ms: u64,
    /// When it was made: ms since the Unix epoch, by the clock of `node`.
    pub made_ms: u64,
    /// Where it was made.
    pub node: NodeId,
    /// Who made it.
    pub actor: Actor,
    /// Why, in the author's words; may be empty.
    pub reason: String,
}

/// What a fact says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// These tokens are good no more.
    Revoke(Revocation),
    /// Clients with these addresses are turned away.
    Block(IpNet),
    /// The fact of that id never was.
    Cancel(FactId),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoke(Revocation::TokenId(token)) => write!(f, "token id {token}"),
            Self::Revoke(Revocation::Subject {
                subject,
                issuer,
                issued_before,
            }) => {
                write!(f, "subject {subject}")?;
                if let Some(issuer) = issuer {
                    write!(f, " of issuer {issuer}")?;
                }
                issued_before.map_or(Ok(()), |before| write!(f, " issued before {before}"))
            }
            Self::Revoke(Revocation::Tenant {
                tenant,
                issued_before,
            }) => write!(f, "tenant {tenant} issued before {issued_before}"),
            Self::Block(net) => write!(f, "{net}"),
            Self::Cancel(id) => write!(f, "{id} taken back"),
        }
    }
}

/// Which tokens are good no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// The token with this `jti`.
    TokenId(String),
    /// The tokens with this `sub`.
    Subject {
        /// The subject.
        subject: String,
        /// Of this issuer only; none: of any.
        issuer: Option<IssuerName>,
        /// Issued before this second since the Unix epoch; none: whenever.
        issued_before: Option<u64>,
    },
    /// The tokens of a tenant.
    Tenant {
        /// The tenant.
        tenant: TenantId,
        /// Issued before this second since the Unix epoch.
        issued_before: u64,
    },
}

/// Longest token id, subject, author, reason or name in a fact, in bytes. OpenID Connect allows a subject
/// 255; the rest is room.
pub const TEXT_LIMIT: usize = 512;

/// Longest life of a fact: beyond it no sensible token lives, and what is to be forbidden for good belongs
/// into the document or to the issuer.
pub const LIFE_LIMIT_MS: u64 = 400 * 24 * 3600 * 1000;

/// Why something is not a fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// A text is too long.
    #[error("the {what} is {length} bytes long; {TEXT_LIMIT} is the most")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// A text that must say something does not.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// It lives too long.
    #[error("it would live for more than 400 days; give it an earlier expiry")]
    LivesTooLong,
}

impl Fact {
    /// Whether every part is within its bounds: asked of what operators give and of what peers send.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        let mut texts = vec![
            ("author", self.actor.name.as_str()),
            ("role", self.actor.role.as_str()),
            ("reason", self.reason.as_str()),
        ];
        match &self.claim {
            Claim::Revoke(Revocation::TokenId(token)) => texts.push(("token id", token)),
            Claim::Revoke(Revocation::Subject {
                subject, issuer, ..
            }) => {
                texts.push(("subject", subject));
                texts.extend(issuer.as_ref().map(|issuer| ("issuer", issuer.as_str())));
            }
            Claim::Revoke(Revocation::Tenant { tenant, .. }) => {
                texts.push(("tenant", tenant.as_str()));
            }
            Claim::Block(_) | Claim::Cancel(_) => {}
        }
        for (what, text) in texts {
            if text.len() > TEXT_LIMIT {
                return Err(Unsound::TooLong {
                    what,
                    length: text.len(),
                });
            }
            if text.is_empty() && !matches!(what, "author" | "role" | "reason") {
                return Err(Unsound::Empty(what));
            }
        }
        if self.expires_ms.saturating_sub(self.made_ms) > LIFE_LIMIT_MS {
            return Err(Unsound::LivesTooLong);
        }
        Ok(())
    }

    /// How many bytes it takes at most, on the wire and in a snapshot; in memory about twice as many.
    pub(super) fn size(&self) -> usize {
        let claim = match &self.claim {
            Claim::Revoke(Revocation::TokenId(token)) => token.len(),
            Claim::Revoke(Revocation::Subject {
                subject, issuer, ..
            }) => subject.len() + issuer.as_ref().map_or(0, |issuer| issuer.as_str().len()),
            Claim::Revoke(Revocation::Tenant { tenant, .. }) => tenant.as_str().len(),
            Claim::Block(_) | Claim::Cancel(_) => 0,
        };
        let actor = self.actor.name.len() + self.actor.role.len();
        FIXED + claim + self.node.as_str().len() + actor + self.reason.len()
    }

    /// What it is about, where that is something that is looked up.
    pub(super) fn key(&self) -> Option<Key> {
        match &self.claim {
            Claim::Revoke(Revocation::TokenId(token)) => Some(Key::TokenId(token.as_str().into())),
            Claim::Revoke(Revocation::Subject { subject, .. }) => {
                Some(Key::Subject(subject.as_str().into()))
            }
            Claim::Revoke(Revocation::Tenant { tenant, .. }) => {
                Some(Key::Tenant(tenant.as_str().into()))
            }
            Claim::Block(net) => Some(Key::Net(net.trunc())),
            Claim::Cancel(_) => None,
        }
    }

    /// How the audit names it and what it is done to; `put_out` is what it took back.
    pub(crate) fn act(&self, put_out: Option<&Self>) -> (&'static str, String) {
        match &self.claim {
            Claim::Revoke(_) => ("revoke", self.claim.to_string()),
            Claim::Block(_) => ("block add", self.claim.to_string()),
            Claim::Cancel(id) => {
                let what = put_out.map_or_else(|| id.to_string(), |fact| fact.claim.to_string());
                match put_out.map(|fact| &fact.claim) {
                    Some(Claim::Block(_)) => ("block remove", what),
                    _ => ("revoke --undo", what),
                }
            }
        }
    }

    /// The fact that it cancels.
    pub(super) fn cancels(&self) -> Option<FactId> {
        match self.claim {
            Claim::Cancel(id) => Some(id),
            Claim::Revoke(_) | Claim::Block(_) => None,
        }
    }
}

/// What the parts of a fact beside its texts take at most: two ids, three times, two addresses, the lengths of the
/// texts.
const FIXED: usize = 96;

/// What a fact is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A token's `jti`.
    TokenId(std::sync::Arc<str>),
    /// A token's `sub`.
    Subject(std::sync::Arc<str>),
    /// A tenant.
    Tenant(std::sync::Arc<str>),
    /// Addresses, as a net without host bits.
    Net(IpNet),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The revocation of a token, made at 0, that lives until `expires_ms`.
    pub(crate) fn revocation(number: u64, expires_ms: u64) -> Fact {
        let mut random = [0; 10];
        // Spread over all buckets, as random bytes are.
        random[1..9].copy_from_slice(&number.to_be_bytes());
        random[9] = blake3::hash(&number.to_be_bytes()).as_bytes()[0];
        Fact {
            id: FactId::new(0, random),
            claim: Claim::Revoke(Revocation::TokenId(format!("token-{number}"))),
            expires_ms,
            made_ms: 0,
            node: "n1".into(),
            actor: Actor::new("test", "security", None),
            reason: String::new(),
        }
    }

    /// A fact that cancels `other`.
    pub(crate) fn cancel(number: u64, other: &Fact) -> Fact {
        Fact {
            claim: Claim::Cancel(other.id),
            ..revocation(number, other.expires_ms)
        }
    }

    #[test]
    fn an_id_reads_back_as_it_is_shown_and_ids_follow_time() {
        let (early, late) = (FactId::new(5, [255; 10]), FactId::new(6, [0; 10]));
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        for text in ["", "+0000000000000000000000000000001", "zz", "12"] {
            assert_eq!(text.parse::<FactId>(), Err(NoFactId), "{text}");
        }
    }

    #[test]
    fn texts_and_lives_beyond_their_bounds_are_unsound() {
        let good = revocation(1, LIFE_LIMIT_MS);
        assert_eq!(good.check(), Ok(()));
        let long = Fact {
            reason: "x".repeat(TEXT_LIMIT + 1),
            ..good.clone()
        };
        assert!(matches!(
            long.check(),
            Err(Unsound::TooLong { what: "reason", .. })
        ));
        let empty = Fact {
            claim: Claim::Revoke(Revocation::TokenId(String::new())),
            ..good.clone()
        };
        assert_eq!(empty.check(), Err(Unsound::Empty("token id")));
        let old = Fact {
            expires_ms: LIFE_LIMIT_MS + 1,
            ..good
        };
        assert_eq!(old.check(), Err(Unsound::LivesTooLong));
    }
}
