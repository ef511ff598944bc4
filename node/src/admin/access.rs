//! Who may do what on the admin API: tokens, roles, and the file that lists them.
//!
//! In: the token file's text, and what a caller presents. Out: a [`Caller`], or nothing. A core; its
//! shell is [`super::server`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a caller of the admin API may do. Roles are least-privilege: none includes another but `Admin`,
/// and every role may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads state and metrics.
    Viewer,
    /// Also changes the document, and takes nodes in and out.
    Operator,
    /// Also revokes and blocks.
    Security,
    /// All of it.
    Admin,
}

/// What is asked of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Reads state.
    Read,
    /// Changes the document.
    Configure,
    /// Takes nodes in and out: drain, undrain, remove.
    Operate,
    /// Stops credentials and addresses: revoke, block.
    Secure,
    /// Handles the whole state: backup, restore.
    Administer,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Security, Self::Admin];

    /// Whether this role may do it.
    pub(crate) fn may(self, deed: Deed) -> bool {
        match deed {
            Deed::Read => true,
            Deed::Configure | Deed::Operate => matches!(self, Self::Operator | Self::Admin),
            Deed::Secure => matches!(self, Self::Security | Self::Admin),
            Deed::Administer => self == Self::Admin,
        }
    }

    /// Its name in the token file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Security => "security",
            Self::Admin => "admin",
        }
    }
}

impl Deed {
    /// The roles that may do it, in words: `operator or admin`.
    pub(crate) fn roles(self) -> String {
        let roles: Vec<_> = Role::ALL
            .into_iter()
            .filter(|role| role.may(self))
            .map(Role::name)
            .collect();
        roles.join(" or ")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A new admin token: 256 random bits, shown once and never stored.
pub(crate) struct AdminToken {
    text: String,
}

impl AdminToken {
    /// The token of these random bytes. The prefix lets secret scanners know it.
    pub(crate) fn new(random: [u8; 32]) -> Self {
        Self {
            text: format!("{PREFIX}{}", blake3::Hash::from_bytes(random).to_hex()),
        }
    }

    /// The token itself, for the one who asked for it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// What the token file holds: BLAKE3 over the token's whole text, in hex.
    ///
    /// A plain hash is enough because the token has 256 random bits: there is nothing to guess.
    pub(crate) fn hash(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken([redacted])")
    }
}

/// The prefix of every admin token.
const PREFIX: &str = "mrdn_";

/// The entry of the token file for a token or a client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    san: Option<String>,
}

/// Who calls, by name and role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The entry's name: the author of what it changes.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
}

/// The callers that a token file lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster {
    tokens: Vec<(blake3::Hash, Caller)>,
    certificates: Vec<(String, Caller)>,
}

/// Why a token file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RosterError {
    /// It is not YAML of the right shape.
    #[error(
        "the file is not a list of {{ name, role, hash }} entries: {0}; `meridian admin token` prints an entry"
    )]
    Shape(String),
    /// An entry that nobody could use.
    #[error("entry {name:?}: {fault}; `meridian admin token` prints an entry")]
    Entry {
        /// The entry's name.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl Roster {
    /// Reads a token file.
    pub(crate) fn parse(text: &str) -> Result<Self, RosterError> {
        let entries: Vec<RawEntry> = if text.trim().is_empty() {
            Vec::new()
        } else {
            serde_saphyr::from_str(text).map_err(|error| RosterError::Shape(error.to_string()))?
        };
        let mut roster = Self::default();
        let mut names = std::collections::BTreeSet::new();
        for entry in entries {
            let fault = |fault| RosterError::Entry {
                name: entry.name.clone(),
                fault,
            };
            if entry.name.is_empty() {
                return Err(fault("has an empty name"));
            }
            if !names.insert(entry.name.clone()) {
                return Err(fault("stands twice in the file; names must differ"));
            }
            let caller = Caller {
                name: entry.name.clone(),
                role: entry.role,
            };
            match (&entry.hash, &entry.san) {
                (Some(hash), None) => {
                    let hash = blake3::Hash::from_hex(hash.trim())
                        .map_err(|_| fault("its hash is not 64 hex digits"))?;
                    roster.tokens.push((hash, caller));
                }
                (None, Some(san)) if !san.is_empty() => {
                    roster.certificates.push((san.clone(), caller));
                }
                _ => {
                    return Err(fault(
                        "needs either a hash (token) or a san (client certificate)",
                    ));
                }
            }
        }
        Ok(roster)
    }

    /// Whose token this is.
    ///
    /// Compares hashes in constant time (`blake3::Hash` does) and looks at every entry, so that timing
    /// tells nothing of the file.
    pub(crate) fn by_token(&self, presented: &[u8]) -> Option<&Caller> {
        let hash = blake3::hash(presented);
        let mut found = None;
        for (known, caller) in &self.tokens {
            if *known == hash {
                found = Some(caller);
            }
        }
        found
    }

    /// Whose certificate this is, by its subject alternative names.
    pub(crate) fn by_certificate(&self, names: &[String]) -> Option<&Caller> {
        self.certificates
            .iter()
            .find(|(san, _)| names.contains(san))
            .map(|(_, caller)| caller)
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len() + self.certificates.len()
    }
}

/// The entry to add to the token file for a new token.
pub(crate) fn entry(name: &str, role: Role, token: &AdminToken) -> String {
    format!(
        "- {{ name: {}, role: {role}, hash: {} }}",
        serde_json::to_string(name).expect("a string is valid JSON"),
        token.hash()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> AdminToken {
        AdminToken::new([7; 32])
    }

    #[test]
    fn a_printed_entry_admits_its_token_and_no_other() {
        let text = entry("alice", Role::Operator, &token());
        let roster = Roster::parse(&text).unwrap();
        let caller = roster.by_token(token().reveal().as_bytes()).unwrap();
        assert_eq!(
            (caller.name.as_str(), caller.role),
            ("alice", Role::Operator)
        );
        assert!(
            roster
                .by_token(AdminToken::new([8; 32]).reveal().as_bytes())
                .is_none()
        );
        assert!(roster.by_token(token().hash().as_bytes()).is_none());
        assert!(roster.by_token(b"").is_none());
    }

    #[test]
    fn an_entry_with_an_awkward_name_stays_one_entry() {
        let text = entry("o'brien: \"ops\" # 1", Role::Viewer, &token());
        let roster = Roster::parse(&text).unwrap();
        assert_eq!(
            roster.by_token(token().reveal().as_bytes()).unwrap().name,
            "o'brien: \"ops\" # 1"
        );
    }

    #[test]
    fn a_certificate_is_found_by_its_name() {
        let roster = Roster::parse("- { name: ci, role: viewer, san: ci.example.com }").unwrap();
        assert!(roster.by_certificate(&["other".into()]).is_none());
        assert_eq!(
            roster
                .by_certificate(&["other".into(), "ci.example.com".into()])
                .unwrap()
                .name,
            "ci"
        );
    }

    #[test]
    fn faulty_files_are_refused_with_the_reason() {
        let hash = token().hash();
        for (text, part) in [
            ("- { name: a, role: king, hash: 00 }".to_owned(), "role"),
            (
                "- { name: a, role: admin, hash: 00 }".to_owned(),
                "64 hex digits",
            ),
            ("- { name: a, role: admin }".to_owned(), "either a hash"),
            (
                format!("- {{ name: a, role: admin, hash: {hash}, extra: 1 }}"),
                "extra",
            ),
            (
                format!(
                    "- {{ name: a, role: admin, hash: {hash} }}\n- {{ name: a, role: viewer, hash: {hash} }}"
                ),
                "twice",
            ),
            ("tokens: 3".to_owned(), "list of"),
        ] {
            let error = Roster::parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{text} gave: {error}");
        }
        assert_eq!(Roster::parse("").unwrap().len(), 0);
    }

    #[test]
    fn each_deed_has_its_roles_and_no_others() {
        for (deed, roles) in [
            (Deed::Read, "viewer or operator or security or admin"),
            (Deed::Configure, "operator or admin"),
            (Deed::Operate, "operator or admin"),
            (Deed::Secure, "security or admin"),
            (Deed::Administer, "admin"),
        ] {
            assert_eq!(deed.roles(), roles);
        }
    }

    #[test]
    fn a_token_never_prints_itself() {
        assert_eq!(format!("{:?}", token()), "AdminToken([redacted])");
    }
}
