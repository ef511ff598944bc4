//! From a tree of values to raw types: what stands where, not yet whether it makes sense.
//!
//! In: a [`Node`]. Out: a raw type, and a mistake for each key that is unknown, each value of the wrong
//! kind. A raw type is declared once, by [`raw!`], and gives both its reader and its JSON Schema.

mod schema;
mod unit;

use std::ops::Deref;

pub(crate) use self::unit::{PerSpan, Share, Size, Span};
use crate::{
    diagnose::{Findings, Path, Place, did_you_mean, quoted},
    tree::{Key, Node, Value, entries, wrong_kind},
};

/// Something that can be read from a value.
pub(crate) trait Read: Sized {
    /// Reads it; `None` after a mistake was noted.
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self>;
}

/// A value that was read, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it begins.
    pub(crate) place: Place,
    /// Where its key begins.
    pub(crate) named: Place,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        Some(Self {
            value: T::read(node, path, findings)?,
            place: node.place,
            named: node.named,
        })
    }
}

/// The value under a key that may be left out.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    /// The key is not there.
    #[default]
    Missing,
    /// The key is there and its value is a mistake that has been noted.
    Bad,
    /// The key is there.
    Given(At<T>),
}

impl<T> Field<T> {
    /// The value, if it is there and could be read.
    pub(crate) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Missing | Self::Bad => None,
        }
    }

    /// The same; a mistake if the key is not there.
    pub(crate) fn needed(
        &self,
        key: &str,
        path: &Path,
        at: Place,
        findings: &mut Findings,
    ) -> Option<&At<T>> {
        if matches!(self, Self::Missing) {
            findings.mistake(
                at,
                format!("{}: is missing; it must be given", path.key(key)),
            );
        }
        self.given()
    }

    /// Whether the key is there.
    pub(crate) fn stands(&self) -> bool {
        !matches!(self, Self::Missing)
    }
}

impl<T: Read> Field<T> {
    /// Reads the value under a key.
    pub(crate) fn read(node: &Node, path: &Path, findings: &mut Findings) -> Self {
        At::read(node, path, findings).map_or(Self::Bad, Self::Given)
    }
}

/// Things by the names an operator gave them, in the order of the text.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<(Key, At<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        let mut named = Vec::new();
        for (key, value) in entries(node, path, findings)? {
            let path = path.key(&key.text);
            if !is_name(&key.text) {
                findings.mistake(key.place, format!("{path}: {NAME_RULE}"));
            }
            if let Some(value) = At::read(value, &path, findings) {
                named.push((key.clone(), value));
            }
        }
        Some(Self(named))
    }
}

/// Whether text can be a name: it goes into metrics, header fields, file names and certificates.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// What a name must be, for a mistake's message.
pub(crate) const NAME_RULE: &str =
    "a name has 1 to 64 letters, digits, \"-\", \"_\" or \".\", and begins with a letter or digit";

/// What is wrong with a key that a map does not take, and what was meant.
pub(crate) fn unknown_key(
    key: &Key,
    known: &[&str],
    refused: &[&str],
    path: &Path,
    findings: &mut Findings,
) {
    let here = path.key(&key.text);
    if key.text == "<<" {
        return; // It has been refused with the tree.
    }
    if refused.contains(&key.text.as_str()) {
        findings.mistake(
            key.place,
            format!("{here}: not supported by this version; remove it"),
        );
        return;
    }
    let mut hint = did_you_mean(&key.text, known.iter().copied());
    if hint.is_empty() {
        hint = format!("; known here: {}", known.join(", "));
    }
    findings.mistake(key.place, format!("{here}: unknown key{hint}"));
}

/// Declares a raw map: its keys with their types, and the keys that a later version takes. It gets a
/// reader that reports every unknown key, and a JSON Schema.
macro_rules! raw {
    (
        $(#[$meta:meta])*
        struct $name:ident {
            $($(#[$field_meta:meta])* $key:literal => $field:ident: $type:ty),* $(,)?
        }
        refused: [$($refused:literal),*]
    ) => {
        #[derive(Debug, Clone, Default, schemars::JsonSchema)]
        $(#[$meta])*
        #[schemars(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $($(#[$field_meta])* #[schemars(rename = $key)] pub(crate) $field: $crate::read::Field<$type>,)*
        }

        impl $crate::read::Read for $name {
            fn read(
                node: &$crate::tree::Node,
                path: &$crate::diagnose::Path,
                findings: &mut $crate::diagnose::Findings,
            ) -> Option<Self> {
                let mut this = Self::default();
                for (key, value) in $crate::tree::entries(node, path, findings)? {
                    match key.text.as_str() {
                        $($key => {
                            if !this.$field.stands() {
                                this.$field =
                                    $crate::read::Field::read(value, &path.key($key), findings);
                            }
                        })*
                        _ => $crate::read::unknown_key(
                            key,
                            &[$($key),*],
                            &[$($refused),*],
                            path,
                            findings,
                        ),
                    }
                }
                Some(this)
            }
        }
    };
}
pub(crate) use raw;

/// Declares a choice of words, and the words that a later version takes.
macro_rules! words {
    (
        $(#[$meta:meta])*
        enum $name:ident { $($(#[$variant_meta:meta])* $word:literal => $variant:ident),* $(,)? }
        refused: [$($refused:literal),*]
    ) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
        $(#[$meta])*
        pub(crate) enum $name {
            $($(#[$variant_meta])* #[schemars(rename = $word)] $variant,)*
        }

        impl $crate::read::Read for $name {
            fn read(
                node: &$crate::tree::Node,
                path: &$crate::diagnose::Path,
                findings: &mut $crate::diagnose::Findings,
            ) -> Option<Self> {
                let text = $crate::read::word(node, &[$($word),*], &[$($refused),*], path, findings)?;
                match text {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use words;

/// Reads one of the `known` words; any other is a mistake that names the nearest.
pub(crate) fn word<'n>(
    node: &'n Node,
    known: &[&str],
    refused: &[&str],
    path: &Path,
    findings: &mut Findings,
) -> Option<&'n str> {
    let Value::Text(text) = &node.value else {
        wrong_kind(node, &one_of(known), path, findings);
        return None;
    };
    if known.contains(&text.as_str()) {
        return Some(text);
    }
    let message = if refused.contains(&text.as_str()) {
        format!(
            "{path}: {} is not supported by this version; use {}",
            quoted(text),
            one_of(known)
        )
    } else {
        let mut hint = did_you_mean(text, known.iter().copied());
        if hint.is_empty() {
            hint = format!("; use {}", one_of(known));
        }
        format!("{path}: {} is not known here{hint}", quoted(text))
    };
    findings.mistake(node.place, message);
    None
}

/// A choice, in the words of an operator.
fn one_of(known: &[&str]) -> String {
    match known {
        [only] => (*only).to_owned(),
        [one, other] => format!("{one} or {other}"),
        _ => format!("one of {}", known.join(", ")),
    }
}

impl Read for String {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(_) | Value::Float(_) | Value::Flag(_) => {
                findings.mistake(
                    node.place,
                    format!(
                        "{path}: must be text; put it in quotes, \"{}\"",
                        node.json()
                    ),
                );
                None
            }
            _ => {
                wrong_kind(node, "text", path, findings);
                None
            }
        }
    }
}

impl Read for bool {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        if let Value::Flag(flag) = &node.value {
            return Some(*flag);
        }
        wrong_kind(node, "true or false", path, findings);
        None
    }
}

impl Read for u64 {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        if let Value::Integer(number) = &node.value {
            if let Ok(number) = Self::try_from(*number) {
                return Some(number);
            }
            findings.mistake(node.place, format!("{path}: {number} must not be negative"));
            return None;
        }
        wrong_kind(node, "a whole number", path, findings);
        None
    }
}

impl Read for f64 {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as Self),
            _ => {
                wrong_kind(node, "a number", path, findings);
                None
            }
        }
    }
}

/// A list. Items that could not be read are left out; the others keep their index.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    items: Vec<(usize, At<T>)>,
    /// Whether nothing at all stands in the list.
    pub(crate) empty: bool,
}

impl<T> List<T> {
    /// The items and their indexes.
    pub(crate) fn items(&self) -> impl Iterator<Item = (usize, &At<T>)> {
        self.items.iter().map(|(index, item)| (*index, item))
    }
}

impl<T: Read> Read for List<T> {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::List(list) => {
                let items = list.iter().enumerate().filter_map(|(index, item)| {
                    Some((index, At::read(item, &path.index(index), findings)?))
                });
                Some(Self {
                    items: items.collect(),
                    empty: list.is_empty(),
                })
            }
            Value::Null | Value::Map(_) => {
                wrong_kind(node, "a list", path, findings);
                None
            }
            _ => {
                findings.mistake(
                    node.place,
                    format!("{path}: must be a list; write [{}]", node.inline()),
                );
                None
            }
        }
    }
}

/// Text, or a number as it would be written: `8080` where an address is meant gets a better answer than
/// that it is no text.
#[derive(Debug, Clone)]
pub(crate) struct Written(pub(crate) String);

impl Read for Written {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Integer(_) | Value::Float(_) => Some(Self(node.json().to_string())),
            _ => String::read(node, path, findings).map(Self),
        }
    }
}

/// Any value, as it is.
#[derive(Debug, Clone)]
pub(crate) struct Any(pub(crate) Node);

impl Read for Any {
    fn read(node: &Node, _: &Path, _: &mut Findings) -> Option<Self> {
        Some(Self(node.clone()))
    }
}
