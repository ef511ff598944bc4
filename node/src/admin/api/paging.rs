//! Long lists, a page at a time: `?after=KEY&limit=N`, and `next` in the answer.
//!
//! A page is cut by key, not by position, so that what is added or taken away between two pages neither
//! hides an entry nor shows one twice.

use super::{
    request::Asked,
    table::{Query, shape},
};
use crate::admin::fault::Fault;

/// Entries of a page at most, and where nothing else is asked for.
const MOST: usize = 1000;
const USUAL: usize = 100;

/// The query of a list in pages.
pub(super) const PAGE: &[Query] = &[
    Query {
        name: "after",
        about: "Entries after this key, which `next` of the page before names; without it the first",
        shape: shape::<String>,
    },
    Query {
        name: "limit",
        about: "How many at most: 1 to 1000, 100 where it is left out",
        shape: shape::<u16>,
    },
];

/// The page that is asked for.
pub(super) struct Page<'a> {
    after: Option<&'a str>,
    limit: usize,
}

impl<'a> Page<'a> {
    /// Reads it.
    pub(super) fn of(asked: &'a Asked) -> Result<Self, Fault> {
        Ok(Self {
            after: asked.query("after"),
            limit: limit(asked)?,
        })
    }

    /// The entries on it, of a list in the order of its keys, and where the next page begins.
    pub(super) fn cut<T>(
        &self,
        entries: impl Iterator<Item = T>,
        key: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Option<String>) {
        let mut rest = entries.filter(|entry| self.after.is_none_or(|after| key(entry) > after));
        let page: Vec<T> = rest.by_ref().take(self.limit).collect();
        let more = rest.next().is_some();
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| key(last).to_owned());
        (page, next)
    }
}

/// How many entries are asked for.
pub(super) fn limit(asked: &Asked) -> Result<usize, Fault> {
    match asked.query("limit").map(str::parse::<usize>) {
        None => Ok(USUAL),
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(_) => Err(Fault::Query(format!("limit is a number from 1 to {MOST}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_are_the_list() {
        let list: Vec<String> = (0..25).map(|n| format!("t{n:02}")).collect();
        let mut after: Option<String> = None;
        let mut seen = Vec::new();
        let mut pages = 0;
        loop {
            let page = Page {
                after: after.as_deref(),
                limit: 10,
            };
            let (entries, next) = page.cut(list.iter(), |entry| entry.as_str());
            seen.extend(entries.into_iter().cloned());
            pages += 1;
            let Some(next) = next else { break };
            after = Some(next);
        }
        assert_eq!((seen, pages), (list, 3));
    }

    #[test]
    fn a_page_that_ends_with_the_list_has_no_next() {
        let page = Page {
            after: None,
            limit: 2,
        };
        let (_, next) = page.cut(["a", "b"].into_iter(), |entry| entry);
        assert_eq!(next, None);
        let past = Page {
            after: Some("z"),
            limit: 2,
        };
        assert_eq!(
            past.cut(["a", "b"].into_iter(), |entry| entry),
            (Vec::new(), None)
        );
    }
}
