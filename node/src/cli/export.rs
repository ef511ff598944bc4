//! `meridian export`: the running document.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use meridian_config::diagnose::Source;

use super::{
    client::Client,
    outcome::{Exit, Failure},
    outside::{self, Readers},
    terminal::{Format, Terminal},
};
use crate::admin::body::Config;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Write the files into this folder instead of to stdout
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(super) async fn export(
    args: &ExportArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let config: Config = client.get("/api/v1/config").await?;
    if config.stale {
        terminal.warn("this node sees no quorum; a newer revision may exist");
    }
    if let Some(folder) = &args.to {
        write_all(folder, &config.files)?;
        terminal.say(&format!(
            "Revision {}: {} in {}.",
            config.revision.revision,
            count(config.files.len(), "file"),
            folder.display()
        ));
    } else if terminal.format() == Format::Table {
        terminal.data(&joined(&config.files));
    } else {
        terminal.value(&config, |_| String::new());
    }
    Ok(Exit::Done)
}

/// The files as YAML documents, each headed by its name.
fn joined(files: &[Source]) -> String {
    let mut text = String::new();
    for file in files {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&format!("# file: {}\n{}", file.name, file.text));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// Writes every file, or none where a name leads out of the folder.
fn write_all(folder: &Path, files: &[Source]) -> Result<(), Failure> {
    for file in files {
        let mut parts = Path::new(&file.name).components();
        let plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !plain {
            return Err(Failure::failed(format!(
                "the document has a file named {:?}, which would be written outside of {}; export to stdout instead",
                file.name,
                folder.display()
            )));
        }
    }
    let unwritable = |path: &Path, error: std::io::Error| {
        Failure::failed(format!(
            "{} cannot be written: {error}; name a folder that you may write, on a disk with free space",
            path.display()
        ))
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
    for file in files {
        let path = folder.join(&file.name);
        outside::write(&path, file.text.as_bytes(), Readers::All)
            .map_err(|error| unwritable(&path, error))?;
    }
    Ok(())
}

/// `1 file`, `2 files`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Source {
        Source {
            name: name.into(),
            text: text.into(),
        }
    }

    #[test]
    fn several_files_become_headed_yaml_documents() {
        assert_eq!(
            joined(&[
                file("a.yaml", "meridian: 1\n"),
                file("b.yaml", "routes: {}")
            ]),
            "# file: a.yaml\nmeridian: 1\n---\n# file: b.yaml\nroutes: {}\n"
        );
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_writes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        for name in ["../b.yaml", "/etc/b.yaml", "x/b.yaml", ".."] {
            let refused = write_all(&folder, &[file("a.yaml", ""), file(name, "")]);
            assert_eq!(refused.unwrap_err().exit, Exit::Failed, "{name}");
            assert!(!folder.exists());
        }
        write_all(&folder, &[file("a.yaml", "meridian: 1")]).unwrap();
        assert_eq!(
            outside::read_text(&folder.join("a.yaml")).unwrap(),
            "meridian: 1"
        );
    }
}
