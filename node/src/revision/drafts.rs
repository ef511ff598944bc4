//! The last document that this node has read, so that it is read once.
//!
//! In: a document's files. Out: its [`Draft`], or why this node can't serve it. A node that takes a document
//! over the admin API asks for warnings, checks it as a follower of the directory, perhaps again as the
//! leader, and then compiles it; for ten thousand tenants each reading takes a third of a second.

use std::sync::{Mutex, MutexGuard, PoisonError};

use meridian_cluster::directory::digest;
use meridian_config::diagnose::Source;

use super::{Draft, Settings, clashes};

/// Reads documents, and keeps the last good one until it is taken or another comes: some 40 MB for the
/// largest.
#[derive(Debug)]
pub struct Drafts {
    dev: bool,
    last: Mutex<Option<(String, Draft)>>,
}

impl Drafts {
    /// With `dev`, plain `http:` issuers pass.
    pub fn new(dev: bool) -> Self {
        Self {
            dev,
            last: Mutex::default(),
        }
    }

    /// What the check has to say of a document that this node can serve, or every reason why it can't.
    /// Takes its time: not for a runtime's thread.
    pub fn check(&self, files: &[Source]) -> Result<Vec<String>, Vec<String>> {
        let digest = digest(files);
        if let Some((known, draft)) = &*self.last()
            && *known == digest
        {
            return Ok(draft.warnings.clone());
        }
        let draft = Draft::read(files, self.dev)?;
        let warnings = draft.warnings.clone();
        let before = self.last().replace((digest, draft));
        drop(before);
        Ok(warnings)
    }

    /// What of the limits that operators have set does not fit beside a good document, a sentence a mistake. Takes its
    /// time, as [`check`](Self::check).
    pub fn clashes(&self, files: &[Source], settings: Settings<'_>) -> Vec<String> {
        if settings.overrides.all().is_empty() {
            return Vec::new();
        }
        let digest = digest(files);
        if let Some((known, draft)) = &*self.last()
            && *known == digest
        {
            return clashes(&draft.document, settings);
        }
        // One that is not good is told of elsewhere.
        Draft::read(files, self.dev)
            .map_or_else(|_| Vec::new(), |draft| clashes(&draft.document, settings))
    }

    /// The draft of a document, to be compiled. As of [`check`](Self::check).
    pub fn take(&self, files: &[Source]) -> Result<Draft, Vec<String>> {
        let digest = digest(files);
        let last = self.last().take();
        match last {
            Some((known, draft)) if known == digest => Ok(draft),
            _ => Draft::read(files, self.dev),
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(String, Draft)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &str) -> Vec<Source> {
        vec![Source {
            name: "gateway.yaml".to_owned(),
            text: format!(
                "meridian: 1\nregions: {{ a: {{}} }}\nroutes:\n  r: {{ match: {{ path: {path} }}, respond: {{ status: 200 }} }}\n"
            ),
        }]
    }

    #[test]
    fn the_draft_that_was_checked_is_the_one_that_is_taken() {
        let drafts = Drafts::new(false);
        let warnings = drafts.check(&files("/a")).expect("good");
        assert_eq!(drafts.check(&files("/a")), Ok(warnings));
        let draft = drafts.take(&files("/a")).expect("good");
        assert_eq!(draft.routes[0].0.matching.path, "/a");
        assert!(drafts.last().is_none(), "it is not kept twice");
    }

    #[test]
    fn another_document_is_never_taken_for_the_one_that_was_checked() {
        let drafts = Drafts::new(false);
        drafts.check(&files("/a")).expect("good");
        let draft = drafts.take(&files("/b")).expect("good");
        assert_eq!(draft.routes[0].0.matching.path, "/b");
        drafts.check(&files("/a")).expect("good");
        assert!(drafts.check(&files("a")).is_err());
        assert!(drafts.take(&files("a")).is_err());
    }
}
