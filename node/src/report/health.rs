//! The probes: does the process run, can it serve, what does it depend on.
//!
//! In: a probe's path and what the node knows of itself. Out: a response. A core; the admin listener and,
//! with `edge.probes`, the edge answer with it.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{exchange::Body, problem::full};

/// What a node knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// The revision it serves; none yet.
    pub revision: Option<u64>,
    /// The newest revision that its directory has: more than it serves while it looks into it.
    pub known: Option<u64>,
    /// A revision it could not compile, and why.
    pub rejected: Option<(u64, String)>,
    /// Whether its listeners are up.
    pub listening: bool,
    /// Whether it takes no new work.
    pub draining: bool,
    /// Whether it sees a quorum.
    pub quorum: bool,
    /// What it depends on, in the order of names.
    pub dependencies: Vec<Dependency>,
}

/// Something a node depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name: `issuer auth0`, `region us-east`.
    pub name: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// How it is, in a few words.
    pub state: String,
}

impl Health {
    /// Whether requests should come here. Losing quorum changes nothing about requests.
    pub fn ready(&self) -> bool {
        self.revision.is_some() && self.listening && !self.draining
    }

    /// Whether something is not as it should be, though requests are served.
    fn degraded(&self) -> bool {
        !self.quorum || self.rejected.is_some() || self.dependencies.iter().any(|d| !d.good)
    }

    /// Why requests should not come here, for whoever waits for it; none where they should.
    fn reason(&self) -> Option<String> {
        if self.ready() {
            return None;
        }
        Some(
            match (self.draining, self.revision, &self.rejected, self.known) {
                (true, ..) => "it takes no new work".to_owned(),
                (_, Some(_), ..) => {
                    "it is meeting the other regions before it lets clients in".to_owned()
                }
                (_, None, Some((revision, why)), _) => {
                    format!(
                        "it has no revision to serve: it cannot serve revision {revision}: {why}"
                    )
                }
                (_, None, None, Some(revision)) => format!(
                    "it asks other nodes for revocations and blocks before it serves revision {revision}"
                ),
                (_, None, None, None) => "no document has come yet".to_owned(),
            },
        )
    }

    fn state(&self) -> &'static str {
        match (self.ready(), self.draining) {
            (_, true) => "draining",
            (false, _) => "starting",
            (true, _) if self.degraded() => "degraded",
            (true, _) => "ready",
        }
    }
}

/// The answer to a probe; `None` where the path is none.
pub fn answer(path: &str, query: Option<&str>, health: &Health) -> Option<Response<Body>> {
    let state = health.state();
    let (good, body) = match path {
        "/livez" => (true, json!({ "status": "alive" })),
        "/readyz" => (health.ready(), ready(state, health)),
        "/healthz" => {
            let mut body = json!({ "status": state });
            if query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose"))) {
                body = verbose(health);
            }
            (health.ready(), body)
        }
        _ => return None,
    };
    let mut response = Response::new(full(body.to_string()));
    if !good {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

fn ready(state: &str, health: &Health) -> Value {
    let mut body = json!({ "status": state, "revision": health.revision, "quorum": health.quorum });
    if let Some(reason) = health.reason() {
        body["reason"] = reason.into();
    }
    body
}

fn verbose(health: &Health) -> Value {
    let dependencies: Vec<Value> = health
        .dependencies
        .iter()
        .map(|d| json!({ "name": d.name, "good": d.good, "state": d.state }))
        .collect();
    let rejected = health
        .rejected
        .as_ref()
        .map(|(revision, reason)| json!({ "revision": revision, "reason": reason }));
    json!({
        "status": health.state(),
        "revision": health.revision,
        "rejected": rejected,
        "listening": health.listening,
        "draining": health.draining,
        "quorum": health.quorum,
        "dependencies": dependencies,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Health {
        Health {
            revision: Some(3),
            listening: true,
            quorum: true,
            ..Health::default()
        }
    }

    fn status(path: &str, health: &Health) -> u16 {
        answer(path, None, health)
            .expect("a probe")
            .status()
            .as_u16()
    }

    #[test]
    fn a_node_is_ready_with_a_revision_even_without_quorum_and_not_while_it_drains() {
        assert_eq!(status("/readyz", &serving()), 200);
        let alone = Health {
            quorum: false,
            ..serving()
        };
        assert_eq!(status("/readyz", &alone), 200);
        assert_eq!(alone.state(), "degraded");
        let behind = Health {
            rejected: Some((4, "no key".to_owned())),
            ..serving()
        };
        assert_eq!(
            (status("/readyz", &behind), behind.state()),
            (200, "degraded")
        );
        let draining = Health {
            draining: true,
            ..serving()
        };
        assert_eq!(status("/readyz", &draining), 503);
        assert_eq!(status("/livez", &draining), 200);
        assert_eq!(
            status(
                "/readyz",
                &Health {
                    revision: None,
                    ..serving()
                }
            ),
            503
        );
    }

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let starting = |revision, known| Health {
            revision,
            known,
            listening: false,
            ..serving()
        };
        let reason = |health: Health| health.reason().expect("it is not ready");
        assert_eq!(serving().reason(), None);
        assert_eq!(reason(starting(None, None)), "no document has come yet");
        assert!(reason(starting(None, Some(7))).contains("before it serves revision 7"));
        assert!(reason(starting(Some(7), Some(7))).contains("meeting the other regions"));
        let refusing = Health {
            rejected: Some((7, "no key".to_owned())),
            ..starting(None, Some(7))
        };
        assert!(reason(refusing).ends_with("cannot serve revision 7: no key"));
        let draining = Health {
            draining: true,
            ..serving()
        };
        assert_eq!(reason(draining), "it takes no new work");
    }

    #[test]
    fn other_paths_are_no_probes() {
        assert!(answer("/livez/x", None, &serving()).is_none());
    }
}
