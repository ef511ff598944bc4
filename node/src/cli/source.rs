//! The files behind a PATH: one file, or a folder whose files are merged; with `${ENV}` expanded.
//!
//! In: a path and the environment. Out: [`Source`]s as they are applied, and a way to print places in
//! them as the operator knows them.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use meridian_config::{
    diagnose::{Diagnostic, Source},
    document::expand_env,
};

use super::{outcome::Failure, outside};

/// Largest text that is read from a file or from standard input: far above the largest document that the
/// cluster takes, so that a wrong path (a disk image) does not fill the memory.
const LARGEST: u64 = 64 << 20;

/// The files behind a path.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// Names relative to the folder, by name; text after `${ENV}` was expanded.
    pub(crate) files: Vec<Source>,
    /// What stands before a file's name in the operator's eyes.
    folder: PathBuf,
}

impl Sources {
    /// Reads a file, a folder's `*.yaml` and `*.yml` files, or standard input for `-`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let sources = Self::read_raw(path)?;
        sources.expand(|name| std::env::var(name).ok())
    }

    fn read_raw(path: &Path) -> Result<Self, Failure> {
        let unreadable = |place: &Path, cause: &dyn std::fmt::Display| {
            Failure::invalid(format!(
                "{} cannot be read: {cause}; name a YAML file, or a folder of them",
                place.display()
            ))
        };
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .take(LARGEST)
                .read_to_string(&mut text)
                .map_err(|error| unreadable(Path::new("standard input"), &error))?;
            let name = "stdin.yaml".to_owned();
            return Ok(Self {
                files: vec![Source { name, text }],
                folder: PathBuf::new(),
            });
        }
        let about = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !about.is_dir() {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let folder = path.parent().unwrap_or(Path::new(""));
            return Ok(Self {
                files: vec![Source {
                    name: name.to_string_lossy().into_owned(),
                    text: text_of(path, about.len()).map_err(|error| unreadable(path, &error))?,
                }],
                folder: folder.to_owned(),
            });
        }
        let mut files = Vec::new();
        for name in outside::list(path).map_err(|error| unreadable(path, &error))? {
            let place = path.join(&name);
            let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
            if !yaml || name.starts_with('.') {
                continue;
            }
            let about = std::fs::metadata(&place).map_err(|error| unreadable(&place, &error))?;
            if about.is_file() {
                let text =
                    text_of(&place, about.len()).map_err(|error| unreadable(&place, &error))?;
                files.push(Source { name, text });
            }
        }
        if files.is_empty() {
            return Err(Failure::invalid(format!(
                "{} holds no *.yaml or *.yml file; name the folder that holds gateway.yaml",
                path.display()
            )));
        }
        Ok(Self {
            files,
            folder: path.to_owned(),
        })
    }

    /// Expands `${ENV}` in every file; reports every fault at once.
    fn expand(mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let mut faults = Vec::new();
        for file in &mut self.files {
            match expand_env(&file.text, &lookup) {
                Ok(text) => file.text = text,
                Err(fault) => {
                    let name = self.folder.join(&file.name).display().to_string();
                    let mistakes = fault.diagnostics(&name);
                    faults.extend(mistakes.iter().map(ToString::to_string));
                }
            }
        }
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(Failure::invalid(faults.join("\n")))
        }
    }

    /// A mistake, with its file as the operator named it.
    pub(crate) fn locate(&self, mistake: &Diagnostic) -> String {
        let known = self.files.iter().any(|file| file.name == mistake.file);
        if known {
            let file = self.folder.join(&mistake.file).display().to_string();
            Diagnostic {
                file,
                ..mistake.clone()
            }
            .to_string()
        } else {
            mistake.to_string()
        }
    }

    /// All mistakes, as a failure.
    pub(crate) fn invalid(&self, mistakes: &[Diagnostic]) -> Failure {
        let lines: Vec<String> = mistakes
            .iter()
            .map(|mistake| self.locate(mistake))
            .collect();
        Failure::invalid(lines.join("\n"))
    }
}

fn text_of(path: &Path, length: u64) -> std::io::Result<String> {
    if length > LARGEST {
        return Err(std::io::Error::other("it is too large for a document"));
    }
    outside::read_text(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{outcome::Exit, outside::Readers};

    fn put(place: &Path, text: &str) {
        outside::write(place, text.as_bytes(), Readers::All).unwrap();
    }

    #[test]
    fn a_folder_gives_its_yaml_files_by_name() {
        let place = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "notes.txt", ".hidden.yaml"] {
            put(&place.path().join(name), name);
        }
        let sources = Sources::read(place.path()).unwrap();
        let names: Vec<&str> = sources.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a.yml", "b.yaml"]);
    }

    #[test]
    fn a_missing_path_and_an_empty_folder_are_wrong_use() {
        let place = tempfile::tempdir().unwrap();
        for path in [place.path().join("nothing.yaml"), place.path().to_owned()] {
            let failure = Sources::read(&path).unwrap_err();
            assert_eq!(failure.exit, Exit::Invalid);
            assert!(failure.message.contains(&path.display().to_string()));
        }
    }

    #[test]
    fn a_mistake_names_the_file_as_the_operator_did() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.yaml");
        put(&path, "x");
        let sources = Sources::read(&path).unwrap();
        let mistake = Diagnostic {
            file: "gateway.yaml".into(),
            line: 1,
            column: 2,
            message: "wrong".into(),
        };
        assert_eq!(
            sources.locate(&mistake),
            format!("{}:1:2: wrong", path.display())
        );
    }
}
