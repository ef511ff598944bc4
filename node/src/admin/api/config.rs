//! The document and its revisions.

use std::sync::Arc;

use http::{Response, header};
use meridian_cluster::{
    directory::{Accepted, Changes, Proposal, Revision as Kept, WayBack, WriteError},
    host::{BoxFuture, blocking},
};
use meridian_config::{diagnose::Source, document::MAX_TEXT};

use super::{
    Asked, Desk, reply,
    table::{Answer, Content, Handler, Produced, Query, Resource, Verb, shape},
};
use crate::{
    admin::{access::Deed, body, fault::Fault, moment},
    exchange::Body,
};

pub(super) const RESOURCES: &[Resource] = &[
    Resource {
        query: &[
            Query {
                name: "revision",
                about: "Another revision than the newest, as long as it is kept",
                shape: shape::<u64>,
            },
            Query {
                name: "consistent",
                about: "`true`: waits until this node has applied every write acknowledged before the call, \
                        and answers 503 where it cannot know",
                shape: shape::<bool>,
            },
        ],
        ..Resource::get(
            "/api/v1/config",
            "The document; `ETag` holds its revision",
            shape::<body::Config>,
            Handler::Later(read),
        )
    },
    Resource {
        verb: Verb::Put,
        path: "/api/v1/config",
        deed: Deed::Configure,
        summary: "Makes a document the newest revision",
        query: &[Query {
            name: "dry_run",
            about: "Checks the document and says what it would change; writes nothing",
            shape: shape::<bool>,
        }],
        if_match: true,
        takes: Some(Content::json(LARGEST, shape::<body::Wanted>)),
        gives: Produced::json(shape::<body::Applied>),
        handler: Handler::Later(write),
    },
    Resource {
        verb: Verb::Post,
        path: "/api/v1/config/rollback",
        deed: Deed::Configure,
        summary: "Makes a new revision equal to a kept one",
        query: &[],
        if_match: true,
        takes: Some(Content::json(4096, shape::<body::Rollback>)),
        gives: Produced::json(shape::<body::Applied>),
        handler: Handler::Later(roll_back),
    },
];

/// Largest document that is read: in JSON, line ends and quotes take two bytes.
pub(super) const LARGEST: usize = 2 * MAX_TEXT;

fn read(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        match asked.query("consistent") {
            None | Some("false") => {}
            Some("true") => desk.node.catch_up().await?,
            Some(other) => {
                return Err(Fault::Query(format!(
                    "consistent is true or false, not {other}"
                )));
            }
        }
        let kept = match asked.query("revision") {
            None => desk.node.current().ok_or(Fault::NoRevision)?,
            Some(number) => number
                .parse()
                .ok()
                .and_then(|number| desk.node.revision(number))
                .ok_or_else(|| Fault::RevisionNotKept(number.to_owned()))?,
        };
        let mut response = reply::json(&body::Config {
            stale: desk.stale(),
            revision: revision(&kept),
            files: kept.files.to_vec(),
        });
        let tag = format!("\"{}\"", kept.number);
        response.headers_mut().insert(
            header::ETAG,
            tag.parse().expect("digits in quotes are a header value"),
        );
        Ok(response)
    })
}

fn write(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let wanted: body::Wanted = asked.json()?;
        if let Some(file) = wanted.files.iter().find(|file| unexpanded(&file.text)) {
            return Err(Fault::Body(format!(
                "{} holds ${{…}}, which `meridian apply` expands before it sends a document",
                file.name
            )));
        }
        propose(desk, asked, wanted).await
    })
}

fn roll_back(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let body::Rollback { revision, message } = asked.json()?;
        let message = if message.is_empty() {
            format!("roll back to revision {revision}")
        } else {
            message
        };
        if let Some(kept) = desk.node.revision(revision) {
            fits_what_is_set(&desk, kept.files.clone()).await?;
        }
        let accepted = desk
            .node
            .roll_back(WayBack {
                revision,
                actor: asked.actor(),
                message,
                expect: asked.if_match,
            })
            .await?;
        Ok(made(&desk, accepted, Vec::new()))
    })
}

/// Refuses a document beside which limits do not fit that operators have set for tenants, as far as this node knows.
async fn fits_what_is_set(desk: &Desk, files: Arc<[Source]>) -> Result<(), Fault> {
    let (node, unix_ms) = (Arc::clone(&desk.node), desk.unix_ms());
    let clashes = move || node.clashes(&files, unix_ms);
    let clashes = blocking(desk.host.as_ref(), clashes).await;
    match clashes.is_empty() {
        true => Ok(()),
        false => Err(Fault::Document(clashes)),
    }
}

async fn propose(desk: Desk, asked: Asked, wanted: body::Wanted) -> Answer {
    let dry_run = match asked.query("dry_run") {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Fault::Query("dry_run is true or false".to_owned())),
    };
    let mut files = wanted.files;
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let files: Arc<[Source]> = files.into();
    let (node, checked) = (Arc::clone(&desk.node), Arc::clone(&files));
    // Reading a large document takes long enough to hold up heartbeats.
    let checked = blocking(desk.host.as_ref(), move || node.check(&checked)).await;
    let warnings = checked.map_err(Fault::Document)?;
    fits_what_is_set(&desk, files.clone()).await?;
    let current = desk.node.current();
    let number = current.as_ref().map_or(0, |current| current.number);
    let fits = asked.if_match.is_none_or(|expected| expected == number);
    let same = current
        .as_ref()
        .is_some_and(|current| current.files == files);
    // What does not fit is for the leader to judge: this node may be behind.
    if dry_run || (same && fits) {
        if let Some(expected) = asked.if_match.filter(|_| !fits) {
            return Err(Fault::Write(WriteError::Conflict {
                expected,
                current: number,
                author: current.map(|kept| kept.author.clone()).unwrap_or_default(),
            }));
        }
        return Ok(reply::json(&body::Applied {
            applied: false,
            revision: number,
            index: desk.node.group().applied_index,
            changes: changes(desk.node.changes(files).await),
            warnings,
        }));
    }
    let accepted = desk
        .node
        .apply(Proposal {
            files: files.to_vec(),
            actor: asked.actor(),
            message: wanted.message,
            expect: asked.if_match,
        })
        .await?;
    Ok(made(&desk, accepted, warnings))
}

/// The answer about a new revision. A node that hears late of its own write has nothing to tell of its
/// changes yet; the history will.
fn made(desk: &Desk, accepted: Accepted, warnings: Vec<String>) -> Response<Body> {
    let summary = desk.node.summary(accepted.revision);
    reply::json(&body::Applied {
        applied: true,
        revision: accepted.revision,
        index: accepted.index,
        changes: changes(summary.map(|made| made.changes).unwrap_or_default()),
        warnings,
    })
}

/// Whether a document still holds a `${…}` that `apply` should have expanded. Whole lines of comment may
/// speak of them.
fn unexpanded(text: &str) -> bool {
    text.lines()
        .any(|line| line.contains("${") && !line.trim_start().starts_with('#'))
}

fn revision(kept: &Kept) -> body::Revision {
    body::Revision {
        revision: kept.number,
        digest: kept.digest.clone(),
        author: kept.author.clone(),
        message: kept.message.clone(),
        time: moment::text(kept.unix_ms),
    }
}

/// What a revision changes, as the API tells it.
pub(super) fn changes(changes: Changes) -> body::Changes {
    let Changes {
        base,
        added,
        replaced,
        removed,
        lines,
        left_out,
    } = changes;
    body::Changes {
        compared_with: base,
        added,
        replaced,
        removed,
        lines,
        left_out,
    }
}
