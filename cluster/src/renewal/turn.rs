//! Whether files have changed, whether their content is taken, and whether that is to be said.
//!
//! In: what a look at the files found. Out: the same as before, renewed, or refused. A core; its shell is
//! [`super::Renewals`].

/// What one set of files has been through.
#[derive(Default)]
pub(super) struct Turn {
    in_force: Option<blake3::Hash>,
    /// What was refused at the last look, and whether that was said.
    refused: Option<(blake3::Hash, bool)>,
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// The content is the one in force.
    Same,
    /// New content is in force.
    Renewed {
        /// It.
        contents: Vec<Vec<u8>>,
        /// It is the one that the node has started with.
        first: bool,
    },
    /// The content cannot be used; what was in force stays.
    Refused {
        /// Why.
        why: String,
        /// It has not been said yet, and no longer looks like files that are just being replaced.
        say: bool,
    },
}

impl Turn {
    /// Judges a look. Content that was refused is tried at every look: a certificate that is not valid
    /// yet becomes so. A fault is said when it is found a second time, or at once when the operator asked
    /// for the look: two files are never replaced at the same moment.
    pub(super) fn see(
        &mut self,
        found: Result<Vec<Vec<u8>>, String>,
        at_once: bool,
        adopt: impl FnOnce(&[Vec<u8>]) -> Result<(), String>,
    ) -> Turned {
        let seen = fingerprint(&found);
        if self.in_force == Some(seen) {
            self.refused = None;
            return Turned::Same;
        }
        let taken = found.and_then(|contents| adopt(&contents).map(|()| contents));
        match taken {
            Ok(contents) => {
                let first = self.in_force.replace(seen).is_none();
                self.refused = None;
                Turned::Renewed { contents, first }
            }
            Err(why) => {
                let (again, said) = match self.refused {
                    Some((before, said)) if before == seen => (true, said),
                    _ => (false, false),
                };
                let say = !said && (again || at_once);
                self.refused = Some((seen, said || say));
                Turned::Refused { why, say }
            }
        }
    }
}

fn fingerprint(found: &Result<Vec<Vec<u8>>, String>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    match found {
        Ok(contents) => {
            for content in contents {
                hasher.update(&(content.len() as u64).to_le_bytes());
                hasher.update(content);
            }
        }
        Err(why) => {
            // No file has a length of 2^64 - 1.
            hasher.update(&u64::MAX.to_le_bytes());
            hasher.update(why.as_bytes());
        }
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files whose content is good when it begins with `good`.
    fn look(turn: &mut Turn, content: &str) -> Turned {
        let found = match content {
            "" => Err("gone".to_owned()),
            content => Ok(vec![content.as_bytes().to_vec()]),
        };
        turn.see(found, false, |contents| {
            if contents[0].starts_with(b"good") {
                Ok(())
            } else {
                Err("broken".to_owned())
            }
        })
    }

    fn renewed(content: &str, first: bool) -> Turned {
        Turned::Renewed {
            contents: vec![content.as_bytes().to_vec()],
            first,
        }
    }

    fn refused(why: &str, say: bool) -> Turned {
        Turned::Refused {
            why: why.to_owned(),
            say,
        }
    }

    #[test]
    fn new_content_is_taken_once() {
        let mut turn = Turn::default();
        assert_eq!(look(&mut turn, "good 1"), renewed("good 1", true));
        assert_eq!(look(&mut turn, "good 1"), Turned::Same);
        assert_eq!(look(&mut turn, "good 2"), renewed("good 2", false));
    }

    #[test]
    fn a_fault_is_said_once_and_only_when_it_lasts() {
        let mut turn = Turn::default();
        look(&mut turn, "good 1");
        // Half-way through a replacement.
        assert_eq!(look(&mut turn, "half"), refused("broken", false));
        assert_eq!(look(&mut turn, "good 2"), renewed("good 2", false));
        assert_eq!(look(&mut turn, ""), refused("gone", false));
        assert_eq!(look(&mut turn, ""), refused("gone", true));
        assert_eq!(look(&mut turn, ""), refused("gone", false));
        // Another fault is news.
        assert_eq!(look(&mut turn, "half"), refused("broken", false));
        assert_eq!(look(&mut turn, "half"), refused("broken", true));
        // Back to what was in force all the time.
        assert_eq!(look(&mut turn, "good 2"), Turned::Same);
        assert_eq!(look(&mut turn, ""), refused("gone", false));
    }

    #[test]
    fn an_operator_who_asks_is_answered_at_once() {
        let mut turn = Turn::default();
        let broken = turn.see(Err("gone".to_owned()), true, |_| Ok(()));
        assert_eq!(broken, refused("gone", true));
    }

    #[test]
    fn content_that_was_refused_is_tried_again() {
        let mut turn = Turn::default();
        let mut valid = false;
        for expected in [refused("not yet", false), renewed("x", true)] {
            let turned = turn.see(Ok(vec![b"x".to_vec()]), false, |_| {
                valid.then_some(()).ok_or_else(|| "not yet".to_owned())
            });
            assert_eq!(turned, expected);
            valid = true;
        }
    }
}
