//! What a run takes from the operator: the document, the nodes.
//!
//! In: options and files. Out: a scenario that is played on them, or every mistake on stderr.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use meridian_config::{
    diagnose::{Diagnostic, Source},
    document::{MAX_TEXT, expand_env},
};
use meridian_simulation::scenario::{
    Scenario,
    operator::{Nodes, Operator},
};

/// Options that put something of the operator's in the place of the scenario's.
#[derive(Clone, clap::Args)]
pub(crate) struct Given {
    /// Play it on your own document: a gateway.yaml, or a folder of its files
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Nodes in each region, with --config: 3, or eu-west=3,us-east=1
    #[arg(long, value_name = "N", value_parser = Nodes::parse, requires = "config")]
    nodes: Option<Nodes>,
    /// The version of the messages that the nodes begin with, for a rolling upgrade from it
    #[arg(long, value_name = "N")]
    from_version: Option<u8>,
}

impl Given {
    /// The same options, for another process.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.clone().into_os_string()]);
        }
        if let Some(nodes) = &self.nodes {
            arguments.extend(["--nodes".into(), nodes.to_string().into()]);
        }
        if let Some(version) = self.from_version {
            arguments.extend(["--from-version".into(), version.to_string().into()]);
        }
        arguments
    }

    /// The scenario's name and the same options, for a command line to be typed.
    pub(crate) fn told(&self, scenario: &str) -> String {
        let mut told = scenario.to_owned();
        for argument in self.arguments() {
            told.push(' ');
            told.push_str(&argument.to_string_lossy());
        }
        told
    }

    /// A scenario, played on what was given; mistakes are told on stderr.
    pub(crate) fn parse(&self, source: &Source) -> Result<Scenario, ExitCode> {
        let mut scenario = self.played_on(source).map_err(|mistakes| tell(&mistakes))?;
        if let Some(version) = self.from_version {
            scenario.begin_with(version).map_err(|wrong| {
                eprintln!("--from-version: {wrong}");
                ExitCode::from(2)
            })?;
        }
        Ok(scenario)
    }

    /// Whether there is nothing wrong with a scenario on what was given; says nothing.
    pub(crate) fn can_play(&self, source: &Source) -> bool {
        self.played_on(source).is_ok()
    }

    fn played_on(&self, source: &Source) -> Result<Scenario, Vec<Diagnostic>> {
        let Some(config) = &self.config else {
            return Scenario::parse(source);
        };
        let operator = Operator::read(&read(config)?)?;
        let nodes = self.nodes.clone().unwrap_or_default();
        Scenario::parse_for(source, operator, &nodes)
    }
}

fn tell(mistakes: &[Diagnostic]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    ExitCode::from(2)
}

/// The file, or the `*.yaml` and `*.yml` files of the folder, with `${ENV}` expanded as `meridian apply` does.
fn read(path: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let unreadable = |path: &Path, cause: &io::Error| {
        vec![Diagnostic {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            message: format!(
                "cannot be read: {cause}; name a gateway.yaml, or a folder of its files"
            ),
        }]
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(|cause| unreadable(path, &cause))?;
        files.clear();
        for entry in entries {
            let file = entry.map_err(|cause| unreadable(path, &cause))?.path();
            let yaml = file
                .extension()
                .is_some_and(|it| it == "yaml" || it == "yml");
            let hidden = file
                .file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with('.'));
            if yaml && !hidden && file.is_file() {
                files.push(file);
            }
        }
        files.sort();
    }
    if files.is_empty() {
        let cause = io::Error::other("it holds no *.yaml or *.yml file");
        return Err(unreadable(path, &cause));
    }
    let mut sources = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let size = fs::metadata(&file)
            .map_err(|cause| unreadable(&file, &cause))?
            .len();
        if usize::try_from(size).map_or(true, |size| size > MAX_TEXT) {
            let cause = io::Error::other(format!("it is longer than {MAX_TEXT} bytes"));
            return Err(unreadable(&file, &cause));
        }
        let text = fs::read_to_string(&file).map_err(|cause| unreadable(&file, &cause))?;
        match expand_env(&text, |name| std::env::var(name).ok()) {
            Ok(text) => sources.push(Source { name, text }),
            Err(wrong) => mistakes.extend(wrong.diagnostics(&name)),
        }
    }
    if mistakes.is_empty() {
        Ok(sources)
    } else {
        Err(mistakes)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        given: Given,
    }

    fn read_back(arguments: &[OsString]) -> Vec<OsString> {
        let program = OsString::from("meridian-sim");
        let line = Line::try_parse_from([program].iter().chain(arguments));
        line.map(|line| line.given.arguments())
            .expect("they were written by this program")
    }

    #[test]
    fn what_was_given_reaches_another_process_as_it_was_given() {
        let given = [
            "--config",
            "a folder/gateway.yaml",
            "--nodes",
            "eu-west=3,us-east=1",
            "--from-version",
            "1",
        ];
        let given: Vec<OsString> = given.into_iter().map(OsString::from).collect();
        assert_eq!(read_back(&given), given);
        assert!(read_back(&[]).is_empty());
    }
}
