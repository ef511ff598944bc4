//! The resources of the admin API.
//!
//! In: a request whose caller is known. Out: JSON of [`super::body`], or a [`Fault`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use meridian_cluster::{
    directory::{Proposal, Revision as Kept, Summary},
    host::{Host, blocking},
    membership::{Member, View},
};
use meridian_config::document::{Document, LIMITS_PER_NODE, MAX_TEXT};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    access::{Caller, Deed},
    administered::Administered,
    body,
    fault::Fault,
};

/// Largest body that is read: a document in JSON, where line ends and quotes take two bytes.
const LARGEST: usize = 2 * MAX_TEXT;

/// Time for a body to arrive.
const BODY: Duration = Duration::from_secs(20);

/// Answers a request of a known caller.
pub(crate) async fn answer<B>(
    host: &dyn Host,
    node: &Arc<dyn Administered>,
    caller: &Caller,
    parts: &Parts,
    content: B,
) -> Result<Response<Full<Bytes>>, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let deed = if parts.method == Method::GET {
        Deed::Read
    } else {
        Deed::Configure
    };
    if !caller.role.may(deed) {
        return Err(Fault::Forbidden {
            name: caller.name.clone(),
            role: caller.role.name(),
        });
    }
    let path = parts.uri.path();
    if path == "/metrics" || path == "/api/v1/metrics" {
        only(&parts.method, &[Method::GET], "GET")?;
        return Ok(page(node.metrics()));
    }
    let Some(resource) = path.strip_prefix("/api/v1/") else {
        return Err(Fault::NoSuchResource(path.to_owned()));
    };
    match resource {
        "status" => {
            only(&parts.method, &[Method::GET], "GET")?;
            Ok(json(&status(node.as_ref())))
        }
        "regions" => {
            only(&parts.method, &[Method::GET], "GET")?;
            Ok(json(&body::Regions {
                stale: !node.group().quorum,
                regions: regions(&node.view()),
            }))
        }
        "nodes" => {
            only(&parts.method, &[Method::GET], "GET")?;
            Ok(json(&body::Nodes {
                stale: !node.group().quorum,
                nodes: nodes(&node.view()),
            }))
        }
        "config/history" => {
            only(&parts.method, &[Method::GET], "GET")?;
            Ok(json(&body::History {
                stale: !node.group().quorum,
                revisions: node.history().into_iter().map(summary).collect(),
            }))
        }
        "config" => {
            only(&parts.method, &[Method::GET, Method::PUT], "GET, PUT")?;
            if parts.method == Method::GET {
                read_config(node.as_ref(), parts.uri.query())
            } else {
                write_config(host, node, caller, &parts.headers, content).await
            }
        }
        _ => Err(Fault::NoSuchResource(path.to_owned())),
    }
}

fn only(method: &Method, allowed: &[Method], names: &'static str) -> Result<(), Fault> {
    if allowed.contains(method) {
        Ok(())
    } else {
        Err(Fault::Method(names))
    }
}

fn read_config(
    node: &dyn Administered,
    query: Option<&str>,
) -> Result<Response<Full<Bytes>>, Fault> {
    let wanted = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("revision="));
    let kept = match wanted {
        None => node.current().ok_or(Fault::NoRevision)?,
        Some(number) => number
            .parse()
            .ok()
            .and_then(|number| node.revision(number))
            .ok_or_else(|| Fault::RevisionNotKept(number.to_owned()))?,
    };
    let mut response = json(&body::Config {
        stale: !node.group().quorum,
        revision: revision(&kept),
        files: kept.files.to_vec(),
    });
    let tag = format!("\"{}\"", kept.number);
    response.headers_mut().insert(
        header::ETAG,
        tag.parse().expect("digits in quotes are a header value"),
    );
    Ok(response)
}

async fn write_config<B>(
    host: &dyn Host,
    node: &Arc<dyn Administered>,
    caller: &Caller,
    headers: &HeaderMap,
    content: B,
) -> Result<Response<Full<Bytes>>, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let expect = if_match(headers)?;
    let bytes = gather(content).await?;
    let wanted: body::Wanted =
        serde_json::from_slice(&bytes).map_err(|error| Fault::Body(error.to_string()))?;
    if let Some(file) = wanted.files.iter().find(|file| unexpanded(&file.text)) {
        return Err(Fault::Body(format!(
            "{} holds ${{…}}, which `meridian apply` expands before it sends a document",
            file.name
        )));
    }
    // Parsing a large document takes long enough to hold up heartbeats.
    let files = wanted.files.clone();
    let parsed = blocking(host, move || Document::parse(&files)).await;
    let warnings = match parsed {
        Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
        Err(mistakes) => {
            return Err(Fault::Document(
                mistakes.iter().map(ToString::to_string).collect(),
            ));
        }
    };
    let accepted = node
        .apply(Proposal {
            files: wanted.files,
            author: caller.name.clone(),
            message: wanted.message,
            expect,
        })
        .await?;
    Ok(json(&body::Applied {
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

/// Reads a body up to [`LARGEST`] within [`BODY`].
async fn gather<B>(content: B) -> Result<Bytes, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let gathered = tokio::time::timeout(BODY, Limited::new(content, LARGEST).collect())
        .await
        .map_err(|_| Fault::SlowBody)?;
    gathered.map(|body| body.to_bytes()).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Fault::TooLarge(LARGEST)
        } else {
            Fault::Body(error.to_string())
        }
    })
}

/// The revision that a writer has seen; `None` for `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let value = headers.get(header::IF_MATCH).ok_or(Fault::NoIfMatch)?;
    let text = value.to_str().map_err(|_| Fault::BadIfMatch)?.trim();
    if text == "*" {
        return Ok(None);
    }
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or(Fault::BadIfMatch)
}

fn status(node: &dyn Administered) -> body::Status {
    let own = node.own();
    let group = node.group();
    let view = node.view();
    let serving = node.health().revision;
    let mut notes = Vec::new();
    if serving.is_some() {
        notes.push(LIMITS_PER_NODE.to_owned());
    }
    body::Status {
        cluster: own.cluster,
        node: own.id.to_string(),
        region: own.region.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stale: !group.quorum,
        serving: serving.map(|number| body::Serving {
            revision: number,
            digest: node.revision(number).map(|kept| kept.digest.clone()),
        }),
        regions: regions(&view),
        nodes: nodes(&view),
        group: body::Group {
            name: meridian_cluster::host::GroupId::Directory.name().to_owned(),
            leader: group.leader.map(|id| id.to_string()),
            role: format!("{:?}", group.role).to_lowercase(),
            term: group.term,
            commit_index: group.commit_index,
            applied_index: group.applied_index,
            voters: group.voters.iter().map(ToString::to_string).collect(),
            learners: group.learners.iter().map(ToString::to_string).collect(),
            quorum: group.quorum,
        },
        notes,
    }
}

fn regions(view: &View) -> Vec<body::Region> {
    view.regions
        .iter()
        .map(|(name, health)| body::Region {
            name: name.to_string(),
            state: health.liveness,
            rtt_ms: health.rtt.map(milliseconds),
            nodes: view
                .members
                .values()
                .filter(|member| member.region == *name)
                .count(),
        })
        .collect()
}

fn nodes(view: &View) -> Vec<body::Node> {
    view.members.values().map(node_body).collect()
}

fn node_body(member: &Member) -> body::Node {
    let announced = &member.announced;
    let mut addresses = announced.addresses.clone();
    addresses.insert("fabric".into(), member.control.to_string());
    addresses.insert("bulk".into(), member.bulk.to_string());
    body::Node {
        id: member.id.to_string(),
        region: member.region.to_string(),
        state: member.liveness,
        incarnation: member.incarnation,
        revision: announced.revision,
        rejected: announced
            .rejected
            .as_ref()
            .map(|(revision, reason)| body::Rejected {
                revision: *revision,
                reason: reason.clone(),
            }),
        load: announced.load,
        draining: announced.draining,
        rtt_ms: member.rtt.map(milliseconds),
        services: announced
            .services
            .iter()
            .map(|(name, healthy)| (name.to_string(), *healthy))
            .collect(),
        addresses,
    }
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

/// To a tenth of a microsecond is more than a round trip is ever known to.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 1e4
}

fn rfc3339(unix_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Past the year 9999: another node's clock is broken; the number still tells.
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}

/// A JSON response.
pub(crate) fn json<T: Serialize>(value: &T) -> Response<Full<Bytes>> {
    let mut text = serde_json::to_vec_pretty(value).expect("our own types are valid JSON");
    text.push(b'\n');
    typed(StatusCode::OK, "application/json", text)
}

/// A fault's response.
pub(crate) fn problem(fault: &Fault) -> Response<Full<Bytes>> {
    let problem = fault.problem();
    let status = StatusCode::from_u16(problem.status).expect("every fault has a valid status");
    let mut response = json(&problem);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let value = header::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, value("application/problem+json"));
    match fault {
        Fault::Unauthenticated => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                value("Bearer realm=\"meridian admin\""),
            );
        }
        Fault::Method(allow) => {
            headers.insert(header::ALLOW, value(allow));
        }
        _ => {}
    }
    response
}

fn page(text: String) -> Response<Full<Bytes>> {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    typed(StatusCode::OK, kind, text.into_bytes())
}

fn typed(status: StatusCode, kind: &'static str, text: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let value = header::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, value(kind));
    headers.insert(header::CACHE_CONTROL, value("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    response
}

#[cfg(test)]
mod tests;
