//! What is wrong, where, and what would be right.
//!
//! In: places and messages from every reader and checker of this crate. Out: [`Diagnostic`]s in the
//! order of the files, each with its place. Nothing here stops at the first mistake.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text that an operator wrote, and what the operator calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Its name: the path as given, or relative to the folder that was applied.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// File, as the operator named it.
    pub file: String,
    /// Line, from 1; 0 where no place is known.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What is wrong, beginning with the path (`routes.plants.service`), and what would be right.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

/// A place in one of the sources that are read together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which source, by its index.
    pub(crate) source: usize,
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column, from 1.
    pub(crate) column: u32,
}

/// A path into a document: `routes.plants.limits[0]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    /// The path of the value under `key`.
    pub(crate) fn key(&self, key: &str) -> Self {
        if self.0.is_empty() {
            Self(key.to_owned())
        } else {
            Self(format!("{}.{key}", self.0))
        }
    }

    /// The path of the list's item at `index`.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("the document")
        } else {
            f.write_str(&self.0)
        }
    }
}

/// Collects what is wrong and what is suspicious while sources are read and checked.
#[derive(Debug)]
pub(crate) struct Findings {
    files: Vec<String>,
    mistakes: Vec<(Place, String)>,
    warnings: Vec<(Place, String)>,
}

impl Findings {
    /// Findings in these sources; a [`Place`] names them by index.
    pub(crate) fn in_sources(sources: &[Source]) -> Self {
        Self {
            files: sources.iter().map(|source| source.name.clone()).collect(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a mistake.
    pub(crate) fn mistake(&mut self, place: Place, message: impl Into<String>) {
        self.mistakes.push((place, message.into()));
    }

    /// Whether there is a mistake among them yet.
    pub(crate) fn any_mistake(&self) -> bool {
        !self.mistakes.is_empty()
    }

    /// Notes something legal but suspicious.
    pub(crate) fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.warnings.push((place, message.into()));
    }

    /// `file:line:col` of a place, for a message about another place.
    pub(crate) fn name(&self, place: Place) -> String {
        format!("{}:{}:{}", self.file(place), place.line, place.column)
    }

    /// The warnings if there was no mistake, else the mistakes.
    pub(crate) fn end(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        if self.mistakes.is_empty() {
            Ok(self.list(&self.warnings))
        } else {
            Err(self.list(&self.mistakes))
        }
    }

    fn file(&self, place: Place) -> &str {
        self.files.get(place.source).map_or("", String::as_str)
    }

    /// In the order of the files. A mistake found by two ways is told once.
    fn list(&self, found: &[(Place, String)]) -> Vec<Diagnostic> {
        let mut found = found.to_vec();
        found.sort();
        found.dedup();
        let more = found.len().saturating_sub(MAX_DIAGNOSTICS);
        let last = found.last().map(|(place, _)| *place).unwrap_or_default();
        found.truncate(MAX_DIAGNOSTICS);
        if more > 0 {
            found.push((
                last,
                format!("{more} more; mend the ones above and check again"),
            ));
        }
        found
            .into_iter()
            .map(|(place, message)| Diagnostic {
                file: self.file(place).to_owned(),
                line: place.line,
                column: place.column,
                message,
            })
            .collect()
    }
}

/// `; did you mean "plants"?`, if one of `names` is near enough to `text`, else nothing.
pub(crate) fn did_you_mean<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, names).map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

/// What is wrong with `text` where one of `names` must stand: the nearest of them, or what there is.
pub(crate) fn not_among<'a>(
    text: &str,
    what: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let hint = did_you_mean(text, names.clone());
    if !hint.is_empty() {
        return hint;
    }
    let mut all: Vec<&str> = names.into_iter().take(MAX_NAMES_SHOWN + 1).collect();
    match all.len() {
        0 => format!("; the document has no {what}"),
        count if count > MAX_NAMES_SHOWN => {
            all.pop();
            format!("; use one of {}, …", all.join(", "))
        }
        1 => format!("; use {}", all.join(", ")),
        _ => format!("; use one of {}", all.join(", ")),
    }
}

/// The nearest of `names`: at most a third of the longer text may differ, letters swapped count once.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > MAX_COMPARED {
        return None;
    }
    let lower = text.to_lowercase();
    names
        .into_iter()
        .filter(|name| name.len() <= MAX_COMPARED)
        .map(|name| {
            let far = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
            (far, name)
        })
        .filter(|(far, name)| *far * 3 <= name.chars().count().max(lower.chars().count()))
        .min()
        .map(|(_, name)| name)
}

/// `text` as it is shown in a message: in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// So that a file full of nonsense ends in a page that can be read, not in megabytes.
const MAX_DIAGNOSTICS: usize = 500;
/// A list of all valid names helps as long as it fits a line or two.
const MAX_NAMES_SHOWN: usize = 16;
/// The comparison is quadratic; names are at most 64 long.
const MAX_COMPARED: usize = 64;
/// Longer values are cut in messages.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["plants", "health", "premium"];
        assert_eq!(nearest("plnats", names), Some("plants"));
        assert_eq!(nearest("Premum", names), Some("premium"));
        assert_eq!(nearest("zebra", names), None);
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_files_and_once_each() {
        let sources = ["a.yaml", "b.yaml"].map(|name| Source {
            name: name.to_owned(),
            text: String::new(),
        });
        let mut findings = Findings::in_sources(&sources);
        let place = |source, line| Place {
            source,
            line,
            column: 1,
        };
        findings.mistake(place(1, 1), "third");
        findings.mistake(place(0, 9), "second");
        findings.mistake(place(0, 2), "first");
        findings.mistake(place(0, 2), "first");
        let shown: Vec<String> = findings
            .end()
            .expect_err("there are mistakes")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "a.yaml:2:1: first",
                "a.yaml:9:1: second",
                "b.yaml:1:1: third"
            ]
        );
    }

    #[test]
    fn a_flood_of_mistakes_is_cut_and_counted() {
        let mut findings = Findings::in_sources(&[]);
        for index in 0..MAX_DIAGNOSTICS + 7 {
            findings.mistake(Place::default(), format!("{index}"));
        }
        let shown = findings.end().expect_err("there are mistakes");
        assert_eq!(shown.len(), MAX_DIAGNOSTICS + 1);
        assert!(
            shown
                .last()
                .expect("not empty")
                .message
                .starts_with("7 more")
        );
    }
}
