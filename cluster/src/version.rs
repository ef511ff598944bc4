//! Which versions of the messages between nodes a node reads, and which one a cluster has agreed on.
//!
//! A version is a number that goes up when a release changes how something looks that leaves a node. A
//! release reads its own version and the one before, so that nodes of both work side by side while a
//! cluster is upgraded:
//!
//! - a pair of nodes speaks the newest version that both read ([`Versions::common`]);
//! - what is replicated (commands, snapshots) follows the *level*, a version that the directory agrees on.
//!   The leader raises it when every member reads a newer one, and from then on a node that does not read
//!   it is refused.
//!
//! | version | since | what it changed |
//! |---|---|---|
//! | 1 | the first release | – |
//! | 2 | this one | the hello says which versions its node reads; the command that raises the level; snapshots carry the level; the era in messages of a restored cluster |

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The version of a cluster whose nodes never said anything about versions.
pub const FIRST: u8 = 1;

/// The versions a node reads: all from the oldest to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Versions {
    /// The least of them.
    pub oldest: u8,
    /// The greatest; the one it would like to speak.
    pub newest: u8,
}

impl Versions {
    /// Those that this release reads.
    pub const THIS_RELEASE: Self = Self {
        oldest: FIRST,
        newest: 2,
    };

    /// Those of the release before, for tests of both side by side.
    pub const RELEASE_BEFORE: Self = Self::first();

    /// What a node reads that does not say: [`FIRST`] alone.
    pub const fn first() -> Self {
        Self {
            oldest: FIRST,
            newest: FIRST,
        }
    }

    /// Whether it is one of them.
    pub fn reads(self, version: u8) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// The newest version that both read; none where there is no such.
    pub fn common(self, other: Self) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (self.reads(newest) && other.reads(newest)).then_some(newest)
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::first()
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.oldest, self.newest)
    }
}

/// A text that is not two numbers with a dash between them, the lesser first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not two versions as 1-2")]
pub struct NoVersions;

impl FromStr for Versions {
    type Err = NoVersions;

    fn from_str(text: &str) -> Result<Self, NoVersions> {
        let (oldest, newest) = text.split_once('-').ok_or(NoVersions)?;
        let number = |text: &str| text.parse().map_err(|_| NoVersions);
        let (oldest, newest) = (number(oldest)?, number(newest)?);
        if oldest <= newest {
            Ok(Self { oldest, newest })
        } else {
            Err(NoVersions)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn versions(oldest: u8, newest: u8) -> Versions {
        Versions { oldest, newest }
    }

    #[test]
    fn a_pair_speaks_the_newest_version_that_both_read() {
        assert_eq!(versions(1, 2).common(versions(2, 3)), Some(2));
        assert_eq!(versions(1, 1).common(versions(1, 2)), Some(1));
        assert_eq!(versions(1, 2).common(versions(3, 4)), None);
        assert_eq!(versions(3, 4).common(versions(1, 2)), None);
    }

    #[test]
    fn this_release_reads_the_version_of_the_release_before() {
        let common = Versions::THIS_RELEASE.common(Versions::RELEASE_BEFORE);
        assert_eq!(common, Some(Versions::THIS_RELEASE.newest - 1));
    }

    proptest! {
        #[test]
        fn the_text_reads_back(a: u8, b: u8) {
            let versions = versions(a.min(b), a.max(b));
            prop_assert_eq!(versions.to_string().parse(), Ok(versions));
        }

        #[test]
        fn any_text_gives_an_answer(text: String) {
            if let Ok(versions) = text.parse::<Versions>() {
                prop_assert!(versions.oldest <= versions.newest);
            }
        }
    }
}
