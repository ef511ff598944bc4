//! The document and its revisions.

use http::header;
use meridian_cluster::{
    directory::{Proposal, Revision as Kept, Summary},
    host::{BoxFuture, blocking},
};
use meridian_config::document::{Document, MAX_TEXT};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Asked, Desk, reply,
    table::{Answer, Content, Handler, Produced, Query, Resource, Verb, shape},
};
use crate::admin::{access::Deed, body, fault::Fault};

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
        query: &[],
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
    Resource::get(
        "/api/v1/config/history",
        "The kept revisions, newest first",
        shape::<body::History>,
        Handler::Now(history),
    ),
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

fn history(desk: &Desk, _: &Asked) -> Answer {
    Ok(reply::json(&body::History {
        stale: desk.stale(),
        revisions: desk.node.history().into_iter().map(summary).collect(),
    }))
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
        let kept = desk
            .node
            .revision(revision)
            .ok_or_else(|| Fault::RevisionNotKept(revision.to_string()))?;
        let message = if message.is_empty() {
            format!("roll back to revision {revision}")
        } else {
            message
        };
        let files = kept.files.to_vec();
        propose(desk, asked, body::Wanted { files, message }).await
    })
}

async fn propose(desk: Desk, asked: Asked, wanted: body::Wanted) -> Answer {
    // Parsing a large document takes long enough to hold up heartbeats.
    let files = wanted.files.clone();
    let parsed = blocking(desk.host.as_ref(), move || Document::parse(&files)).await;
    let warnings = match parsed {
        Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
        Err(mistakes) => {
            return Err(Fault::Document(
                mistakes.iter().map(ToString::to_string).collect(),
            ));
        }
    };
    let accepted = desk
        .node
        .apply(Proposal {
            files: wanted.files,
            actor: asked.actor(),
            message: wanted.message,
            expect: asked.if_match,
        })
        .await?;
    Ok(reply::json(&body::Applied {
        revision: accepted.revision,
        index: accepted.index,
        warnings,
    }))
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
        time: rfc3339(kept.unix_ms),
    }
}

fn summary(kept: Summary) -> body::Revision {
    body::Revision {
        revision: kept.revision,
        digest: kept.digest,
        author: kept.author,
        message: kept.message,
        time: rfc3339(kept.unix_ms),
    }
}

fn rfc3339(unix_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Past the year 9999: another node's clock is broken; the number still tells.
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}
