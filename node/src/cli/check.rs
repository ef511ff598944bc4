//! `meridian config`: check files, print the schema, print an example.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use meridian_config::{
    document::{self, Document},
    node_file::NodeFile,
};

use super::{
    outcome::{Exit, Failure},
    source::Sources,
    terminal::Terminal,
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check gateway.yaml and node.yaml files; a folder's files are merged into one document
    Check {
        /// Files and folders
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Print the JSON Schema of gateway.yaml, for editors
    Schema,
    /// Print a commented gateway.yaml that shows every section
    Example,
}

pub(super) fn run(command: ConfigCommand, terminal: &Terminal) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check { paths } => check(&paths, terminal),
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&document::schema())
                .expect("a JSON value is valid JSON");
            terminal.data(&schema);
            Ok(Exit::Done)
        }
        ConfigCommand::Example => {
            terminal.data(document::EXAMPLE);
            Ok(Exit::Done)
        }
    }
}

/// Checks every path before it judges, so that one run shows every mistake.
fn check(paths: &[PathBuf], terminal: &Terminal) -> Result<Exit, Failure> {
    let mut mistakes = Vec::new();
    for path in paths {
        match check_one(path) {
            Ok(found) => {
                for warning in found.warnings {
                    terminal.warn(&warning);
                }
                terminal.say(&format!("{}: {}", path.display(), found.kind));
            }
            Err(failure) => mistakes.push(failure.message),
        }
    }
    if mistakes.is_empty() {
        Ok(Exit::Done)
    } else {
        // The mistakes are what was asked for: data, one a line.
        let text = mistakes.join("\n");
        terminal.data(&text);
        let count = text.lines().count();
        let (noun, verb) = if count == 1 {
            ("mistake", "it")
        } else {
            ("mistakes", "them")
        };
        Err(Failure::invalid(format!(
            "{count} {noun}; correct {verb} and check again (`meridian config example` shows every section)"
        )))
    }
}

struct Found {
    kind: &'static str,
    warnings: Vec<String>,
}

fn check_one(path: &Path) -> Result<Found, Failure> {
    let sources = Sources::read(path)?;
    if let [only] = sources.files.as_slice()
        && is_node_file(&only.text)
    {
        let folder = path.parent().unwrap_or(Path::new(""));
        NodeFile::parse(only, folder).map_err(|mistakes| sources.invalid(&mistakes))?;
        return Ok(Found {
            kind: "a valid node.yaml",
            warnings: Vec::new(),
        });
    }
    let parsed = Document::parse(&sources.files).map_err(|mistakes| sources.invalid(&mistakes))?;
    Ok(Found {
        kind: "a valid document",
        warnings: parsed
            .warnings
            .iter()
            .map(|warning| sources.locate(warning))
            .collect(),
    })
}

/// Tells a node.yaml by its sections: a document never has a top-level `node` or `listen`.
fn is_node_file(text: &str) -> bool {
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    !has("meridian:") && (has("node:") || has("listen:") || has("fabric:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_node_file_is_known_as_one_and_passes() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/node.yaml");
        let found = check_one(&place).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(found.kind, "a valid node.yaml");
    }

    #[test]
    fn the_example_document_passes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.yaml");
        super::super::outside::write(
            &path,
            document::EXAMPLE.as_bytes(),
            super::super::outside::Readers::All,
        )
        .unwrap();
        let found = check_one(&path).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(found.kind, "a valid document");
    }
}
