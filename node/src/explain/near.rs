//! The routes that nearly took a request, and why they did not.
//!
//! In: the routes of a revision, and a request. Out: a line for each near miss. It asks the core of
//! routing, [`Table`], about one route at a time.

use std::cmp::Reverse;

use http::Method;
use meridian_config::document::{HostPattern, Route};

use crate::{problem::Refusal, revision::CompiledRoute, route::Table};

/// Lines about routes other than the chosen one, the nearest first.
pub(super) fn misses(
    routes: &[CompiledRoute],
    chosen: Option<usize>,
    host: &str,
    path: &str,
    method: &Method,
) -> Vec<String> {
    let mut found: Vec<(Near, Reverse<usize>, String)> = Vec::new();
    for (index, compiled) in routes.iter().enumerate() {
        if Some(index) == chosen {
            continue;
        }
        let route = &*compiled.route;
        if let Some(near) = judge(route, host, path, method) {
            let line = format!("{}: {}", route.name, near.why(route));
            let alike = shared(&route.matching.path, path);
            found.push((near, Reverse(alike), line));
        }
    }
    found.sort();
    found.truncate(MOST);
    found.into_iter().map(|(_, _, line)| line).collect()
}

/// How a route missed, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    /// It would take the request, were the chosen one not more specific.
    LessSpecific,
    /// Only the method differs.
    Method,
    /// Only the host differs.
    Host,
    /// Host and method, or the path behind its first part.
    Path,
}

impl Near {
    fn why(self, route: &Route) -> String {
        let matching = &route.matching;
        match self {
            Self::LessSpecific => "matches too, but less specifically".to_owned(),
            Self::Method => format!("takes only {}", matching.methods.join(", ")),
            Self::Host => {
                let hosts: Vec<_> = matching.hosts.iter().map(host_text).collect();
                format!("takes only the hosts {}", hosts.join(", "))
            }
            Self::Path => format!("its path is {}", matching.path),
        }
    }
}

fn judge(route: &Route, host: &str, path: &str, method: &Method) -> Option<Near> {
    match ask(route, host, path, method)? {
        Ok(()) => Some(Near::LessSpecific),
        Err(Refusal::MethodNotAllowed { .. }) => Some(Near::Method),
        Err(Refusal::Misdirected(_)) => {
            let mut everywhere = route.clone();
            everywhere.matching.hosts.clear();
            match ask(&everywhere, host, path, method)? {
                Ok(()) => Some(Near::Host),
                Err(_) => None,
            }
        }
        // A shared first part: `/v1/plants/7` and `/v1/plants` are one mistake apart.
        Err(_) => (shared(&route.matching.path, path) > 0).then_some(Near::Path),
    }
}

/// How many leading parts a route's path and a request's have in common.
fn shared(pattern: &str, path: &str) -> usize {
    let parts = pattern.split('/').zip(path.split('/')).skip(1);
    parts
        .take_while(|(wanted, given)| !wanted.is_empty() && wanted == given)
        .count()
}

/// The core's word on this route alone; none where its table cannot be built, which a served revision's can.
fn ask(route: &Route, host: &str, path: &str, method: &Method) -> Option<Result<(), Refusal>> {
    let table = Table::build([route]).ok()?;
    Some(table.find(host, path, method).map(drop))
}

fn host_text(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    }
}

/// More would hide the likely ones.
const MOST: usize = 5;
