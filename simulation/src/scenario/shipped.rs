//! The scenarios that are part of this program: their texts, and a list of them for people.
//!
//! In: a name. Out: a text to parse, or a page that names them all.

use std::{fmt::Write as _, io};

use meridian_config::diagnose::Source;

use super::Scenario;

/// Scenarios that are part of this program, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    (
        "region-loss",
        include_str!("../../scenarios/region-loss.yaml"),
    ),
    (
        "region-return",
        include_str!("../../scenarios/region-return.yaml"),
    ),
    ("power-cut", include_str!("../../scenarios/power-cut.yaml")),
    (
        "change-during-loss",
        include_str!("../../scenarios/change-during-loss.yaml"),
    ),
    (
        "thundering-return",
        include_str!("../../scenarios/thundering-return.yaml"),
    ),
    (
        "quota-storm",
        include_str!("../../scenarios/quota-storm.yaml"),
    ),
    ("quota-sun", include_str!("../../scenarios/quota-sun.yaml")),
    (
        "quota-change",
        include_str!("../../scenarios/quota-change.yaml"),
    ),
    (
        "quota-restarts",
        include_str!("../../scenarios/quota-restarts.yaml"),
    ),
    (
        "quota-upgrade",
        include_str!("../../scenarios/quota-upgrade.yaml"),
    ),
    (
        "quota-echoes",
        include_str!("../../scenarios/quota-echoes.yaml"),
    ),
    (
        "quota-expiry",
        include_str!("../../scenarios/quota-expiry.yaml"),
    ),
    (
        "quota-chaos",
        include_str!("../../scenarios/quota-chaos.yaml"),
    ),
    (
        "residency-loss",
        include_str!("../../scenarios/residency-loss.yaml"),
    ),
    (
        "process-kill",
        include_str!("../../scenarios/process-kill.yaml"),
    ),
    (
        "left-behind",
        include_str!("../../scenarios/left-behind.yaml"),
    ),
    ("partition", include_str!("../../scenarios/partition.yaml")),
    (
        "split-in-two",
        include_str!("../../scenarios/split-in-two.yaml"),
    ),
    (
        "minority-writes",
        include_str!("../../scenarios/minority-writes.yaml"),
    ),
    (
        "one-way-cut",
        include_str!("../../scenarios/one-way-cut.yaml"),
    ),
    (
        "flapping-link",
        include_str!("../../scenarios/flapping-link.yaml"),
    ),
    ("slow-disk", include_str!("../../scenarios/slow-disk.yaml")),
    (
        "clock-drift",
        include_str!("../../scenarios/clock-drift.yaml"),
    ),
    (
        "key-rotation",
        include_str!("../../scenarios/key-rotation.yaml"),
    ),
    (
        "revocation",
        include_str!("../../scenarios/revocation.yaml"),
    ),
    (
        "bulk-flood",
        include_str!("../../scenarios/bulk-flood.yaml"),
    ),
    (
        "rolling-restart",
        include_str!("../../scenarios/rolling-restart.yaml"),
    ),
    (
        "rolling-upgrade",
        include_str!("../../scenarios/rolling-upgrade.yaml"),
    ),
    (
        "orderly-upgrade",
        include_str!("../../scenarios/orderly-upgrade.yaml"),
    ),
    (
        "join-and-leave",
        include_str!("../../scenarios/join-and-leave.yaml"),
    ),
    ("chaos", include_str!("../../scenarios/chaos.yaml")),
];

/// The shipped scenarios by what goes wrong in them, a name and a sentence each.
pub fn list() -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let space = if text.is_empty() { "" } else { "\n" };
        writeln!(text, "{space}{title}").expect("formatting into a String cannot fail");
        for name in *names {
            let says = says(name);
            let sentence = says.find(". ").map_or(&*says, |end| &says[..=end]);
            for (index, line) in wrap(sentence, SCREEN - INDENT).into_iter().enumerate() {
                let name = if index == 0 { name } else { "" };
                writeln!(text, "  {name:<width$}{line}", width = INDENT - 2)
                    .expect("formatting into a String cannot fail");
            }
        }
    }
    text
}

/// What a shipped scenario says of itself.
pub(super) fn says(name: &str) -> String {
    let source = find(name, |_| Err(io::ErrorKind::NotFound.into()));
    match source.map(|source| Scenario::parse(&source)) {
        Ok(Ok(scenario)) => scenario.says.trim().to_owned(),
        // A test reads every one of them.
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

/// The shipped scenarios as `list` shows them.
pub(super) const GROUPS: &[(&str, &[&str])] = &[
    (
        "Regions are lost, and return",
        &[
            "region-loss",
            "region-return",
            "power-cut",
            "change-during-loss",
            "quota-storm",
            "quota-sun",
            "quota-change",
            "quota-restarts",
            "quota-upgrade",
            "quota-echoes",
            "quota-expiry",
            "quota-chaos",
            "residency-loss",
            "thundering-return",
        ],
    ),
    ("Anything, as the seed draws it", &["chaos"]),
    (
        "Nodes and what they stand on fail",
        &[
            "process-kill",
            "left-behind",
            "slow-disk",
            "clock-drift",
            "key-rotation",
        ],
    ),
    (
        "The network fails",
        &[
            "partition",
            "split-in-two",
            "minority-writes",
            "one-way-cut",
            "flapping-link",
            "revocation",
            "bulk-flood",
        ],
    ),
    (
        "Nothing fails: what operators do",
        &[
            "rolling-restart",
            "rolling-upgrade",
            "orderly-upgrade",
            "join-and-leave",
        ],
    ),
];

/// Breaks a text into lines of at most so many characters, between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How wide the list is, in characters.
pub(super) const SCREEN: usize = 100;

/// Where its sentences begin.
const INDENT: usize = 22;

/// A shipped scenario's text, or that of a file which `read` can read.
///
/// # Errors
/// When it is neither.
pub fn find(
    name: &str,
    read: impl FnOnce(&str) -> io::Result<String>,
) -> Result<Source, UnknownScenario> {
    let shipped = SHIPPED.iter().find(|(known, _)| *known == name);
    if let Some((known, text)) = shipped {
        return Ok(Source {
            name: format!("{known}.yaml"),
            text: (*text).to_owned(),
        });
    }
    match read(name) {
        Ok(text) => Ok(Source {
            name: name.to_owned(),
            text,
        }),
        Err(cause) => Err(UnknownScenario {
            name: name.to_owned(),
            cause: cause.to_string(),
        }),
    }
}

/// Neither a shipped scenario nor a file that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} is no shipped scenario (`meridian-sim list` shows them) and cannot be read as a file: {cause}"
)]
pub struct UnknownScenario {
    name: String,
    cause: String,
}
