//! A YAML text as a tree of values, each with its place.
//!
//! In: sources. Out: one [`Node`] a YAML document, or the syntax error. serde's derived readers stop at
//! the first mistake; from a tree, the readers in [`crate::read`] go on and report all of them.

mod recent;

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy, Spanned};

use crate::diagnose::{Findings, Path, Place, Source, quoted};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it begins.
    pub(crate) place: Place,
    /// Where its key begins; its own place if it has none.
    pub(crate) named: Place,
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`; `yes` and `no` are text.
    Flag(bool),
    /// A number without a fraction.
    Integer(i64),
    /// A number with a fraction, or too large for the above.
    Float(f64),
    /// Anything else that is one word or line.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text; a key may stand twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The key.
    pub(crate) text: String,
    /// Where it begins.
    pub(crate) place: Place,
}

impl Node {
    /// What the value is, in the words of an operator.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "empty",
            Value::Flag(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value on one line, as JSON, which is YAML too; plain text without its quotes.
    pub(crate) fn inline(&self) -> String {
        match &self.value {
            Value::Text(text) if plain(text) => text.clone(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Self::inline).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, node)| format!("{}: {}", key.text, node.inline()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            _ => self.json().to_string(),
        }
    }

    /// The value as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Flag(flag) => (*flag).into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| (key.text.clone(), node.json()))
                .collect(),
        }
    }

    fn settle(&mut self, source: usize) {
        self.place.source = source;
        self.named.source = source;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.settle(source)),
            Value::Map(entries) => {
                for (key, node) in entries {
                    key.place.source = source;
                    node.settle(source);
                    node.named = key.place;
                }
            }
            _ => {}
        }
    }
}

/// Parses all sources; each YAML document of each becomes a node; `None` if one could not be. Mistakes: syntax, size, and what no
/// part of a document may hold (a key twice in a map, a merge key, `pkcs11:`).
pub(crate) fn parse(sources: &[Source], findings: &mut Findings) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    let mut whole = true;
    let mut room = MAX_TEXT;
    for (index, source) in sources.iter().enumerate() {
        let start = Place {
            source: index,
            line: 1,
            column: 1,
        };
        if source.text.len() > room {
            findings.mistake(
                start,
                format!("the files are longer than {MAX_TEXT} bytes together"),
            );
            return None;
        }
        room -= source.text.len();
        let parsed = recent::RECENT.tree(&source.text, || {
            serde_saphyr::from_multiple_with_options::<Node>(&source.text, options())
        });
        match parsed {
            Ok(parsed) => nodes.extend(parsed.into_iter().map(|mut node| {
                node.settle(index);
                forbid(&node, &Trail::Document, findings);
                node
            })),
            Err(error) => {
                whole = false;
                let place = error
                    .location()
                    .filter(|location| location.line() > 0)
                    .map_or(start, |location| Place {
                        source: index,
                        ..place(location)
                    });
                findings.mistake(place, format!("not valid YAML: {}", reason(&error)));
            }
        }
    }
    whole.then_some(nodes)
}

/// The longest text of a document, all files together: it goes through Raft in one entry and every
/// node keeps its last revisions in memory.
pub const MAX_TEXT: usize = 4 << 20;

/// The parser's options: what we write by hand needs few aliases and little depth, and what an attacker
/// writes must not grow.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_documents: 1024,
            max_aliases: 1024,
            max_anchors: 1024,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: MAX_TEXT,
            max_total_scalar_bytes: 2 * MAX_TEXT,
            // 10 000 tenants and 2 000 routes are 200 000 nodes and twice as many events. A text at
            // its limit with a value on every tenth byte stays below; its tree takes some 60 MB.
            max_nodes: 500_000,
            max_events: 2_000_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 1024,
        },
        // All duplicates are reported, with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // A zone may be called `no`.
        strict_booleans: true,
        with_snippet: false,
    }
}

/// The first line of the parser's own words, without the place: the diagnostic says that.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or("").trim();
    let line = line
        .split_once("error: line ")
        .and_then(|(_, rest)| rest.split_once(": "))
        .map_or(line, |(_, rest)| rest);
    let line = line.split(" at line ").next().unwrap_or(line);
    line.to_owned()
}

/// The way to a value: its path is made only where there is something to say of it.
enum Trail<'a> {
    Document,
    Key(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl Trail<'_> {
    fn path(&self) -> Path {
        match self {
            Self::Document => Path::default(),
            Self::Key(map, key) => map.path().key(key),
            Self::Item(list, index) => list.path().index(*index),
        }
    }
}

fn forbid(node: &Node, trail: &Trail<'_>, findings: &mut Findings) {
    match &node.value {
        Value::Text(text) if text.starts_with("pkcs11:") => findings.mistake(
            node.place,
            format!(
                "{}: keys in hardware (pkcs11:) are not supported by this version; name a file",
                trail.path()
            ),
        ),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                forbid(item, &Trail::Item(trail, index), findings);
            }
        }
        Value::Map(entries) => {
            let mut seen = std::collections::BTreeMap::new();
            for (key, value) in entries {
                if key.text == "<<" {
                    findings.mistake(
                        key.place,
                        format!(
                            "{}: merge keys (<<) are not allowed; write the keys out",
                            trail.path()
                        ),
                    );
                }
                if let Some(first) = seen.insert(key.text.as_str(), key.place) {
                    let first = findings.name(first);
                    findings.mistake(
                        key.place,
                        format!(
                            "{}: stands twice in one map, first at {first}; keep one",
                            trail.path().key(&key.text)
                        ),
                    );
                }
                forbid(value, &Trail::Key(trail, &key.text), findings);
            }
        }
        _ => {}
    }
}

/// Whether text can stand in a YAML list without quotes and be text still.
fn plain(text: &str) -> bool {
    !text.is_empty()
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || "/_".contains(c))
        && !text.contains([',', '[', ']', '{', '}', '\n', '#', '"', '\''])
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && text.parse::<f64>().is_err()
        && !matches!(text, "true" | "false" | "null")
}

fn place(location: serde_saphyr::Location) -> Place {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        source: 0,
        line: number(location.line()),
        column: number(location.column()),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let place = place(spanned.referenced);
        Ok(Self {
            value: spanned.value,
            place,
            named: place,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        self.visit_i128(i128::from(number))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        // What is too large for every number of a document is too large as a fraction too.
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Integer))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Integer))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key {
                place: place(key.referenced),
                text: key.value,
            };
            entries.push((key, map.next_value::<Node>()?));
        }
        Ok(Value::Map(entries))
    }
}

/// The entries of a map, or a mistake that says what stands there instead.
pub(crate) fn entries<'n>(
    node: &'n Node,
    path: &Path,
    findings: &mut Findings,
) -> Option<&'n [(Key, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => {
            wrong_kind(node, "a map", path, findings);
            None
        }
    }
}

/// Notes that a value is of another kind than it must be.
pub(crate) fn wrong_kind(node: &Node, must: &str, path: &Path, findings: &mut Findings) {
    let message = match &node.value {
        Value::Null if must == "a map" => {
            format!("{path}: is empty; write {{}} if nothing is to be set, or leave the key out")
        }
        Value::Null => format!("{path}: is empty; give it {must}, or leave the key out"),
        Value::Text(text) => format!("{path}: must be {must}, not the text {}", quoted(text)),
        _ => format!("{path}: must be {must}, not {}", node.kind()),
    };
    findings.mistake(node.place, message);
}
