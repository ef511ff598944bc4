//! Can every route be reached?
//!
//! In: the checked routes. Out: a mistake for each that takes requests which another takes too. Of several
//! that match, host and path decide, methods do not; so two routes may share host and path only with
//! methods of their own. Paths are compared by the router that will hold them.

use std::collections::BTreeMap;

use super::{super::raw::*, each};
use crate::{
    diagnose::{Findings, Path, Place, quoted},
    document::{Document, HostPattern, Route},
    name::RouteName,
    read::{Field, Named},
};

/// Checks that no two routes take the same requests.
pub(super) fn reach(raw: &Field<Named<RouteRaw>>, document: &Document, findings: &mut Findings) {
    let mut hosts: BTreeMap<Option<&HostPattern>, Paths<'_>> = BTreeMap::new();
    let mut told: Vec<(&str, &str)> = Vec::new();
    for (path, name, raw) in each("routes", raw) {
        let (Some(route), Some(at)) = (
            document.routes.get(&RouteName::new(name)),
            raw.matching
                .given()
                .and_then(|matching| matching.path.given()),
        ) else {
            continue;
        };
        let keys: Vec<Option<&HostPattern>> = if route.matching.hosts.is_empty() {
            // Hosts that could not be read would look like "every host".
            if raw
                .matching
                .given()
                .is_some_and(|matching| matching.hosts.stands())
            {
                continue;
            }
            vec![None]
        } else {
            route.matching.hosts.iter().map(Some).collect()
        };
        for key in keys {
            let paths = hosts.entry(key).or_default();
            for (other, how) in paths.add(route, at.place) {
                // Two routes that clash on several hosts are told of once.
                let pair = (name, other.0.name.as_str());
                if told.contains(&pair) {
                    continue;
                }
                told.push(pair);
                tell(&path, route, other, how, at.place, findings);
            }
        }
    }
}

/// The routes of one host.
#[derive(Default)]
struct Paths<'d> {
    router: matchit::Router<()>,
    taken: BTreeMap<&'d str, Vec<(&'d Route, Place)>>,
}

/// How two routes clash.
enum Clash {
    /// Same path, and these methods; empty: every method.
    Same(Vec<String>),
    /// Paths that differ in the names of their variables only, or overlap otherwise.
    Overlap,
}

impl<'d> Paths<'d> {
    /// Adds a route; the routes it clashes with.
    fn add(&mut self, route: &'d Route, place: Place) -> Vec<((&'d Route, Place), Clash)> {
        let path = route.matching.path.as_str();
        if let Some(others) = self.taken.get_mut(path) {
            let clashes = others
                .iter()
                .filter_map(|other| Some((*other, Clash::Same(shared(route, other.0)?))))
                .collect();
            others.push((route, place));
            return clashes;
        }
        match self.router.insert(path, ()) {
            Ok(()) => {
                self.taken.insert(path, vec![(route, place)]);
                Vec::new()
            }
            Err(matchit::InsertError::Conflict { with }) => self
                .taken
                .get(with.as_str())
                .and_then(|others| others.first())
                .or_else(|| self.taken.values().flatten().next())
                .map(|other| (*other, Clash::Overlap))
                .into_iter()
                .collect(),
            // Reported with the route.
            Err(_) => Vec::new(),
        }
    }
}

/// The methods that both routes take, if any; empty: every method.
fn shared(one: &Route, other: &Route) -> Option<Vec<String>> {
    let (one, other) = (&one.matching.methods, &other.matching.methods);
    if one.is_empty() || other.is_empty() {
        return Some(if one.is_empty() {
            other.clone()
        } else {
            one.clone()
        });
    }
    // GET includes HEAD, but a route that names HEAD itself takes it.
    let shared: Vec<String> = one
        .iter()
        .filter(|method| other.contains(method))
        .cloned()
        .collect();
    (!shared.is_empty()).then_some(shared)
}

fn tell(
    path: &Path,
    route: &Route,
    (other, at): (&Route, Place),
    how: Clash,
    place: Place,
    findings: &mut Findings,
) {
    let at = findings.name(at);
    let message = match how {
        Clash::Same(methods) => {
            let methods = if methods.is_empty() {
                String::new()
            } else {
                format!("{} ", methods.join(", "))
            };
            format!(
                "{path}: cannot be reached: {methods}{} is taken by routes.{} already ({at}); change host, path or methods",
                route.matching.path, other.name
            )
        }
        Clash::Overlap => format!(
            "{path}: {} overlaps with {} of routes.{} ({at}); use the same names for the same variables, or another path",
            quoted(&route.matching.path),
            quoted(&other.matching.path),
            other.name
        ),
    };
    findings.mistake(place, message);
}
