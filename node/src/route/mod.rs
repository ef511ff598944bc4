//! Which route takes a request?
//!
//! In: host, path in normal form, method. Out: the route's index and the path's variables, or the
//! refusal. A core: built once per revision, then read only.
//!
//! Of several routes that match, the most specific wins: exact host before wildcard before none; then
//! the path's static segments before its variables. A route matches only with its method, so each host
//! set has one tree of paths *per method*: a lookup is one walk, and what else the path would take (for
//! `Allow`) is asked only when nothing matched.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::Method;
use meridian_config::{
    document::{HostPattern, Route},
    name::RouteName,
};

use crate::problem::Refusal;

/// Routes, ready to be asked.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Paths>,
    /// By suffix: `example.com` for `*.example.com`.
    wildcard: HashMap<String, Paths>,
    every: Option<Paths>,
}

/// The route that takes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its index in the sequence the table was built from.
    pub route: usize,
    /// The path's variables, in order, as they stand in the path (percent-encoded).
    pub variables: Vec<(String, String)>,
}

/// Why a table can't be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two routes claim the same requests.
    #[error(
        "route {route}: its path {path} overlaps with {other} for {method}; give one another path, host or method"
    )]
    Overlap {
        /// The later route.
        route: RouteName,
        /// Its path.
        path: String,
        /// The path it overlaps with.
        other: String,
        /// The method both take.
        method: String,
    },
    /// A path is not one.
    #[error("route {route}: path {path} is not a pattern: {cause}")]
    Path {
        /// The route.
        route: RouteName,
        /// Its path.
        path: String,
        /// What is wrong.
        cause: String,
    },
}

/// The paths of one host set.
#[derive(Debug, Default)]
struct Paths {
    by_method: HashMap<Method, matchit::Router<usize>>,
    /// Routes that take every method.
    other: matchit::Router<usize>,
}

impl Table {
    /// Builds the table; a route's index is its place in the sequence.
    pub fn build<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Result<Self, TableError> {
        let routes: Vec<&Route> = routes.into_iter().collect();
        let mut sets: BTreeMap<Option<&HostPattern>, Vec<usize>> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            if route.matching.hosts.is_empty() {
                sets.entry(None).or_default().push(index);
            }
            let hosts: BTreeSet<&HostPattern> = route.matching.hosts.iter().collect();
            for host in hosts {
                sets.entry(Some(host)).or_default().push(index);
            }
        }
        let mut table = Self::default();
        for (host, members) in sets {
            let paths = Paths::build(&routes, &members)?;
            match host {
                None => table.every = Some(paths),
                Some(HostPattern::Exact(name)) => {
                    table.exact.insert(name.clone(), paths);
                }
                Some(HostPattern::Wildcard(suffix)) => {
                    table.wildcard.insert(suffix.clone(), paths);
                }
            }
        }
        Ok(table)
    }

    /// The route for a host (lower case, without port), a path in normal form and a method.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<Match, Refusal> {
        let exact = self.exact.get(host);
        let wildcard = host
            .split_once('.')
            .and_then(|(_, suffix)| self.wildcard.get(suffix));
        let sets = [exact, wildcard, self.every.as_ref()];
        for paths in sets.into_iter().flatten() {
            if let Some(found) = paths.find(path, method) {
                return Ok(found);
            }
        }
        let mut allow = BTreeSet::new();
        for paths in sets.into_iter().flatten() {
            paths.methods(path, &mut allow);
        }
        if !allow.is_empty() {
            return Err(Refusal::MethodNotAllowed {
                allow: allow.into_iter().collect(),
            });
        }
        if sets.into_iter().flatten().next().is_none() {
            return Err(Refusal::Misdirected(host.to_owned()));
        }
        Err(Refusal::NoRoute)
    }
}

impl Paths {
    /// Routes that name their methods go in first: of two with one path they are the more specific.
    fn build(routes: &[&Route], members: &[usize]) -> Result<Self, TableError> {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &index in members {
            for method in &routes[index].matching.methods {
                named.entry(method).or_default().push(index);
            }
        }
        // HEAD is answered by what answers GET (RFC 9110 section 9.3.2), where no route says otherwise.
        let through_get = named.get("GET").cloned().unwrap_or_default();
        if !through_get.is_empty() {
            named.entry("HEAD").or_default();
        }
        let mut paths = Self::default();
        for (name, own) in named {
            let mut tree = matchit::Router::new();
            let mut taken = BTreeSet::new();
            for index in own {
                taken.insert(shape(&routes[index].matching.path));
                insert(&mut tree, routes[index], index, name)?;
            }
            if name == "HEAD" {
                for &index in &through_get {
                    if taken.insert(shape(&routes[index].matching.path)) {
                        insert(&mut tree, routes[index], index, name)?;
                    }
                }
            }
            for &index in members {
                let route = routes[index];
                if route.matching.methods.is_empty() && taken.insert(shape(&route.matching.path)) {
                    insert(&mut tree, route, index, name)?;
                }
            }
            if let Ok(method) = Method::from_bytes(name.as_bytes()) {
                paths.by_method.insert(method, tree);
            }
        }
        for &index in members {
            if routes[index].matching.methods.is_empty() {
                insert(&mut paths.other, routes[index], index, "every method")?;
            }
        }
        Ok(paths)
    }

    fn find(&self, path: &str, method: &Method) -> Option<Match> {
        let tree = self.by_method.get(method).unwrap_or(&self.other);
        let found = tree.at(path).ok()?;
        Some(Match {
            route: *found.value,
            variables: found
                .params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    /// Adds the methods that this path would take.
    fn methods(&self, path: &str, allow: &mut BTreeSet<String>) {
        for (method, tree) in &self.by_method {
            if tree.at(path).is_ok() {
                allow.insert(method.as_str().to_owned());
            }
        }
    }
}

fn insert(
    tree: &mut matchit::Router<usize>,
    route: &Route,
    index: usize,
    method: &str,
) -> Result<(), TableError> {
    tree.insert(route.matching.path.clone(), index)
        .map_err(|error| match error {
            matchit::InsertError::Conflict { with } => TableError::Overlap {
                route: route.name.clone(),
                path: route.matching.path.clone(),
                other: with,
                method: method.to_owned(),
            },
            other => TableError::Path {
                route: route.name.clone(),
                path: route.matching.path.clone(),
                cause: other.to_string(),
            },
        })
}

/// A path with its variables' names taken out: two with one shape match the same paths.
fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    let mut bytes = path.chars().peekable();
    while let Some(c) = bytes.next() {
        match c {
            '{' if bytes.peek() == Some(&'{') => {
                bytes.next();
                shape.push_str("{{");
            }
            '{' => {
                shape.push('{');
                if bytes.peek() == Some(&'*') {
                    shape.push('*');
                }
                for inner in bytes.by_ref() {
                    if inner == '}' {
                        break;
                    }
                }
                shape.push('}');
            }
            other => shape.push(other),
        }
    }
    shape
}

#[cfg(test)]
mod tests;
