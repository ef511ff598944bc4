//! `${NAME}` in a document: a variable of the environment where the document is applied.
//!
//! In: a text and a way to look names up. Out: the text with all variables replaced, or every one that could
//! not be. `$${` is a literal `${`. Comments are not spared: what is replaced does not depend on YAML.

use std::fmt;

use crate::diagnose::{Diagnostic, quoted};

/// Variables that could not be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvError {
    mistakes: Vec<Diagnostic>,
}

impl EnvError {
    /// What is wrong, and where in the file of this name.
    pub fn diagnostics(mut self, file: &str) -> Vec<Diagnostic> {
        for mistake in &mut self.mistakes {
            file.clone_into(&mut mistake.file);
        }
        self.mistakes
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(
                f,
                "{}:{}: {}",
                mistake.line, mistake.column, mistake.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for EnvError {}

/// Replaces every `${NAME}` by what `lookup` says.
///
/// # Errors
/// Every variable that is not set, is not a name, or holds more than one line, with its place.
pub fn expand_env(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, EnvError> {
    let mut expanded = String::with_capacity(text.len());
    let mut mistakes = Vec::new();
    for (number, line) in (1u32..).zip(text.split_inclusive('\n')) {
        let mut rest = line;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                expanded.push_str(&rest[..at - 1]);
                expanded.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            expanded.push_str(&rest[..at]);
            let column = line[..line.len() - rest.len() + at].chars().count() + 1;
            let (name, after) = match rest[at + 2..].split_once('}') {
                Some((name, after)) => (Some(name), after),
                None => (None, ""),
            };
            match value(name, &lookup) {
                Ok(value) => expanded.push_str(&value),
                Err(message) => mistakes.push(Diagnostic {
                    file: String::new(),
                    line: number,
                    column: u32::try_from(column).unwrap_or(u32::MAX),
                    message,
                }),
            }
            rest = after;
        }
        expanded.push_str(rest);
    }
    if mistakes.is_empty() {
        Ok(expanded)
    } else {
        Err(EnvError { mistakes })
    }
}

fn value(name: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let Some(name) = name else {
        return Err("${ has no closing brace; write ${NAME}, or $${ for a literal ${".to_owned());
    };
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !well_formed {
        return Err(format!(
            "{} is not the name of a variable; write ${{NAME}}, or $${{ for a literal ${{",
            quoted(name)
        ));
    }
    let value = lookup(name).ok_or_else(|| {
        format!("${{{name}}} is not set; set it, or write $${{ for a literal ${{")
    })?;
    // A line break would change the document's structure, not a value in it.
    if value.contains(['\n', '\r']) {
        return Err(format!(
            "${{{name}}} holds more than one line; a value of a document is one line"
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str) -> Result<String, EnvError> {
        expand_env(text, |name| match name {
            "HOST" => Some("10.0.0.1".to_owned()),
            "PEM" => Some("a\nb".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_replaced_and_doubled_dollars_are_literal() {
        assert_eq!(
            expand("a: http://${HOST}:80/$${HOST} $5 ${HOST}"),
            Ok("a: http://10.0.0.1:80/${HOST} $5 10.0.0.1".to_owned())
        );
    }

    #[test]
    fn every_variable_that_is_not_set_is_told_with_its_place() {
        let error =
            expand("a: ${NO}\nbé: ${HOST} ${1x} ${PEM}\nc: ${open\n").expect_err("mistakes");
        assert_eq!(
            error.to_string(),
            "1:4: ${NO} is not set; set it, or write $${ for a literal ${\n\
             2:13: \"1x\" is not the name of a variable; write ${NAME}, or $${ for a literal ${\n\
             2:19: ${PEM} holds more than one line; a value of a document is one line\n\
             3:4: ${ has no closing brace; write ${NAME}, or $${ for a literal ${"
        );
        let place = &error.diagnostics("a.yaml")[0];
        assert_eq!(
            (place.file.as_str(), place.line, place.column),
            ("a.yaml", 1, 4)
        );
    }

    proptest! {
        #[test]
        fn text_without_variables_stays_as_it_is(text in "[^$]{0,60}") {
            prop_assert_eq!(expand(&text), Ok(text));
        }

        #[test]
        fn no_text_panics(text in "[${}A-Z\né]{0,40}") {
            let _ = expand(&text);
        }
    }
}
