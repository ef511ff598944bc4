//! A scenario file as data: read, changed, and written as YAML again.
//!
//! In: the text of a scenario file. Out: the text of another one. What the keys mean is not known here, so that a key
//! which is added to the format is kept without a word about it; [`Scenario`](crate::scenario::Scenario) says whether
//! what comes out can be played.

use std::fmt::Write as _;

use meridian_config::diagnose::Source;
use serde_json::{Map, Value};

/// A scenario file, without its comments.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(Map<String, Value>);

impl Document {
    /// Reads a file that is a mapping.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(source: &Source) -> Result<Self, String> {
        let read: Result<Map<String, Value>, _> = serde_saphyr::from_str(&source.text);
        read.map(Self)
            .map_err(|error| format!("{}: {}", source.name, error.without_snippet()))
    }

    /// Writes it as YAML that [`Document::read`] reads as the same.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            entry(&mut text, 0, key, value);
        }
        text
    }

    /// The same as a source of a scenario, under a name for messages.
    pub fn source(&self, name: &str) -> Source {
        Source {
            name: name.to_owned(),
            text: self.text(),
        }
    }

    /// A top-level value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The same with another top-level value.
    #[must_use]
    pub fn with(&self, key: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.0.insert(key.to_owned(), value);
        changed
    }

    /// The same without a top-level key.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let mut changed = self.clone();
        // `remove` would put the last key in its place.
        changed.0.shift_remove(key);
        changed
    }

    /// Top-level keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What goes wrong, in the order of the file.
    pub fn faults(&self) -> Vec<Value> {
        match self.0.get("faults") {
            Some(Value::Array(faults)) => faults.clone(),
            _ => Vec::new(),
        }
    }

    /// The same with other faults; those that were to be drawn are drawn no more. They stand where the bounds stood.
    #[must_use]
    pub fn with_faults(&self, faults: Vec<Value>) -> Self {
        let mut changed = Map::new();
        let mut faults = Some(Value::Array(faults));
        for (key, value) in &self.0 {
            if key == "drawn" || key == "faults" {
                if let Some(faults) = faults.take() {
                    changed.insert("faults".to_owned(), faults);
                }
            } else {
                changed.insert(key.clone(), value.clone());
            }
        }
        if let Some(faults) = faults {
            changed.insert("faults".to_owned(), faults);
        }
        Self(changed)
    }
}

/// A key and its value: mappings and lists in block style on the first level, in flow style below.
fn entry(text: &mut String, depth: usize, key: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    let key = scalar(key);
    let mut line = |rest: String| {
        writeln!(text, "{indent}{key}:{rest}").expect("formatting into a String cannot fail");
    };
    match value {
        Value::Object(inner) if depth == 0 && inner.values().any(is_nested) => {
            line(String::new());
            for (key, value) in inner {
                entry(text, depth + 1, key, value);
            }
        }
        Value::Array(items) if items.iter().any(is_nested) => {
            line(String::new());
            for item in items {
                writeln!(text, "{indent}  - {}", flow(item))
                    .expect("formatting into a String cannot fail");
            }
        }
        Value::String(long) if depth == 0 && is_paragraph(long) => {
            let (body, head) = match long.strip_suffix('\n') {
                Some(body) => (body, " >"),
                None => (long.as_str(), " >-"),
            };
            line(head.to_owned());
            for line in wrap(body) {
                writeln!(text, "  {line}").expect("formatting into a String cannot fail");
            }
        }
        other => line(format!(" {}", flow(other))),
    }
}

fn is_nested(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Array(_))
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(inner) if inner.is_empty() => "{}".to_owned(),
        Value::Object(inner) => {
            let entries: Vec<String> = inner
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(plain) => scalar(plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A text, plain where no reader could take it for anything else, else quoted as JSON does, which is YAML too.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_/.".contains(letter));
    let is_taken = TAKEN.iter().any(|word| text.eq_ignore_ascii_case(word));
    if (is_word && !is_taken) || is_quantity(text) {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

/// `6s`, `0.5%`, `10/second`, `2560KiB`.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '.');
    let number = &text[..text.len() - unit.len()];
    let is_number = number.starts_with(|first: char| first.is_ascii_digit())
        && number.ends_with(|last: char| last.is_ascii_digit())
        && number.matches('.').count() <= 1;
    let is_unit = ["ms", "s", "m", "h", "%", "B", "KiB", "MiB", "GiB"].contains(&unit)
        || unit
            .strip_prefix('/')
            .is_some_and(|span| !span.is_empty() && span.chars().all(|c| c.is_ascii_lowercase()));
    is_number && is_unit
}

/// Whether folding gives the same text back: words with single blanks between them, and more of them than a line holds.
fn is_paragraph(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.len() > LINE
        && body.split(' ').all(|word| {
            let mut letters = word.chars();
            letters.clone().next().is_some() && letters.all(|letter| letter.is_ascii_graphic())
        })
}

/// Lines of words; none is longer than [`LINE`] but by a word that is.
fn wrap(body: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in body.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= LINE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Words that some version of YAML reads as something else.
const TAKEN: [&str; 11] = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf",
];

/// Letters in a line of a paragraph.
const LINE: usize = 110;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{SHIPPED, Scenario};

    fn read(text: &str) -> Document {
        let name = "s.yaml".to_owned();
        let text = text.to_owned();
        Document::read(&Source { name, text }).unwrap()
    }

    #[test]
    fn a_shipped_scenario_is_the_same_after_it_was_written() {
        for (name, text) in SHIPPED {
            let document = read(text);
            let written = document.text();
            assert_eq!(read(&written), document, "{written}");
            let source = |text: &str| Source {
                name: (*name).to_owned(),
                text: text.to_owned(),
            };
            let (before, after) = (
                Scenario::parse(&source(text)).unwrap(),
                Scenario::parse(&source(&written)).unwrap(),
            );
            assert_eq!(format!("{before:?}"), format!("{after:?}"), "{written}");
        }
    }

    #[test]
    fn what_is_written_reads_well() {
        let text = "\
name: small
says: >
  A paragraph of words that is long enough to be folded: it takes more than the hundred and ten letters of one
  line, and ends with a line of its own.
regions: [eu-west, us-east]
nodes_per_region: 1
network:
  within: 1ms
  between:
    - { regions: [eu-west, us-east], latency: 40ms }
  loss: 0.1%
traffic: { rate: 10/second }
faults:
  - { at: 6s, for: 10s, power_off: leader }
  - { at: 20s, for: 1500ms, cut: [eu-west, us-east], one_way: true }
calm: 15s
";
        assert_eq!(read(text).text(), text);
    }

    #[test]
    fn faults_stand_where_the_bounds_stood() {
        let drawn = read("name: a\ndrawn: { count: 1..2 }\ncalm: 5s\n");
        let fixed = drawn.with_faults(vec![serde_json::json!({"at": "1s", "kill": "b"})]);
        let expected = "name: a\nfaults:\n  - { at: 1s, kill: b }\ncalm: 5s\n";
        assert_eq!(fixed.text(), expected);
        assert_eq!(fixed.faults().len(), 1);
        assert_eq!(
            fixed.without("name").with("seed", Value::from(7)).text(),
            "faults:\n  - { at: 1s, kill: b }\ncalm: 5s\nseed: 7\n"
        );
    }

    /// Anything that a file might hold, and much that none should.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1_000_000_i32..1_000_000)
                .prop_map(|quarters| Value::from(f64::from(quarters) / 4.0 + 0.125)),
            texts().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((texts(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z_]{1,12}",
            "[0-9]{1,4}(\\.[0-9])?(ms|s|%|KiB|/second)",
            "([a-z,.:#-]{1,9} ){30}[a-z.]{1,8}\n?",
            "[ -~]{0,40}",
            any::<String>(),
            proptest::sample::select(TAKEN.to_vec()).prop_map(str::to_owned),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_as_the_same(
            entries in proptest::collection::vec((texts(), values()), 1..8),
        ) {
            let document = Document(entries.into_iter().collect());
            let text = document.text();
            prop_assert_eq!(read(&text), document, "{}", text);
        }
    }
}
