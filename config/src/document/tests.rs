//! Whole documents: the example, and many that are wrong, with all that must be said of them.

use super::*;

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// The mistakes of a document of one file.
fn mistakes(text: &str) -> Vec<String> {
    shown(Document::parse(&[source("g.yaml", text)]).map(|parsed| parsed.document))
}

fn shown<T: std::fmt::Debug>(result: Result<T, Vec<Diagnostic>>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// The warnings of a document of one file that has no mistakes.
fn warnings(text: &str) -> Vec<String> {
    let parsed = Document::parse(&[source("g.yaml", text)]).unwrap();
    parsed.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_passes_the_check() {
    let text = expand_env(EXAMPLE, |_| None).unwrap();
    assert_eq!(mistakes(&text), [""; 0]);
}
