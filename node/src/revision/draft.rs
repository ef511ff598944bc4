//! What a revision's bytes say, and every reason why this node can't serve them.
//!
//! In: files. Out: a [`Draft`], or a list of sentences. A core: the node that accepts a document and the
//! leader ask it before they propose, each node asks it again before it serves.

use std::sync::Arc;

use meridian_config::{
    diagnose::Source,
    document::{Document, Route},
};

use crate::{identity::Issuers, route::Table, transform::Rules};

/// A document whose routes have been compiled.
#[derive(Debug)]
pub struct Draft {
    /// What it says.
    pub document: Document,
    /// Its routes with their rules, in the table's order.
    pub routes: Vec<(Arc<Route>, Rules)>,
    /// Which of them takes a request.
    pub table: Table,
    /// What an operator should look at, a line each.
    pub warnings: Vec<String>,
}

impl Draft {
    /// Reads and compiles a document. With `dev`, plain `http:` issuers pass.
    pub fn read(files: &[Source], dev: bool) -> Result<Self, Vec<String>> {
        let parsed = Document::parse(files).map_err(|mistakes| {
            mistakes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<String>>()
        })?;
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        Ok(Self {
            warnings,
            ..Self::compile(parsed.document, dev)?
        })
    }

    /// Compiles a checked document.
    pub fn compile(document: Document, dev: bool) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        if let Err(mistake) = Issuers::check(&document, dev) {
            mistakes.push(mistake);
        }
        let mut routes = Vec::with_capacity(document.routes.len());
        for route in document.routes.values() {
            match Rules::compile(route) {
                Ok(rules) => routes.push((Arc::new(route.clone()), rules)),
                Err(mistake) => mistakes.push(mistake.to_string()),
            }
        }
        let table = Table::build(document.routes.values())
            .map_err(|mistake| mistakes.push(mistake.to_string()));
        match table {
            Ok(table) if mistakes.is_empty() => Ok(Self {
                document,
                routes,
                table,
                warnings: Vec::new(),
            }),
            _ => Err(mistakes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Vec<Source> {
        vec![Source {
            name: "gateway.yaml".to_owned(),
            text: text.to_owned(),
        }]
    }

    #[test]
    fn the_example_document_compiles() {
        let draft = Draft::read(&source(meridian_config::document::EXAMPLE), false);
        let draft = draft.unwrap_or_else(|mistakes| panic!("{}", mistakes.join("\n")));
        assert_eq!(draft.routes.len(), draft.document.routes.len());
    }

    #[test]
    fn a_plain_issuer_is_for_the_dev_cluster_only() {
        let text = "meridian: 1\nregions: { a: {} }\nissuers:\n  demo: { issuer: 'http://127.0.0.1:9/', \
            audiences: [x], algorithms: [RS256] }\nroutes:\n  r: { match: { path: /a }, respond: { status: 200 } }\n";
        assert!(Draft::read(&source(text), true).is_ok());
        let mistakes = Draft::read(&source(text), false).expect_err("http in production");
        assert!(mistakes[0].contains("issuers.demo"), "{mistakes:?}");
    }

    #[test]
    fn mistakes_are_told_with_their_places() {
        let mistakes = Draft::read(&source("meridian: 1\nroute: {}\n"), false);
        let mistakes = mistakes.expect_err("an unknown key");
        assert!(mistakes[0].starts_with("gateway.yaml:2:"), "{mistakes:?}");
    }
}
