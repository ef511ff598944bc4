//! From raw types to checked ones: whether what is written makes sense.
//!
//! In: a [`DocumentRaw`]. Out: a [`Document`]; if anything is wrong, mistakes among the findings, and then
//! the document, filled with defaults where it could not be, is not used. So every check runs, whatever
//! the others found.

mod cost;
mod identity;
mod limits;
mod matching;
mod reach;
mod routes;
mod services;
mod suspicious;
mod transform;

pub(crate) use services::host_name;

use std::collections::BTreeMap;

use ipnet::IpNet;

use limits::{Counts, Spot};

use super::{Defaults, Document, Edge, Limit, Location, Log, Per, Plan, Region, raw::*};
use crate::{
    diagnose::{Findings, Path, Place, not_among, quoted},
    name::{PlanName, RegionName, Zone},
    read::{At, Field, List, Named},
};

/// Names that others may refer to, by section.
struct Known<'r> {
    regions: Vec<&'r str>,
    zones: Vec<&'r str>,
    plans: Vec<&'r str>,
    issuers: Vec<&'r str>,
    services: Vec<&'r str>,
    tenants: Vec<&'r str>,
}

/// Checks a document.
pub(super) fn document(raw: &DocumentRaw, place: Place, findings: &mut Findings) -> Document {
    if !raw.version.stands() {
        findings.mistake(
            place,
            "meridian: is missing; begin the document with \"meridian: 1\"",
        );
    }
    if let Some(version) = raw.version.given()
        && version.value != 1
    {
        findings.mistake(
            version.place,
            format!(
                "meridian: version {} is not supported by this version; write 1",
                version.value
            ),
        );
    }
    let regions = regions(&raw.regions, findings);
    let known = Known {
        regions: names(&raw.regions),
        zones: zones(&raw.regions),
        plans: names(&raw.plans),
        issuers: names(&raw.issuers),
        services: names(&raw.services),
        tenants: names(&raw.tenants),
    };
    let defaults = defaults(raw, &known, findings);
    let document = Document {
        regions,
        plans: plans(&raw.plans, findings),
        edge: edge(&raw.edge, findings),
        issuers: identity::issuers(&raw.issuers, findings),
        tenants: identity::tenants(&raw.tenants, &known, defaults.plan.as_ref(), findings),
        services: services::services(&raw.services, &known, findings),
        routes: routes::routes(&raw.routes, &known, findings),
        log: log(&raw.log),
        defaults,
    };
    reach::reach(&raw.routes, &document, findings);
    limits::apart(raw, &document, findings);
    cost::costs(raw, &document, findings);
    suspicious::suspicious(raw, &document, findings);
    document
}

fn regions(raw: &Field<Named<RegionRaw>>, findings: &mut Findings) -> BTreeMap<RegionName, Region> {
    let mut regions = BTreeMap::new();
    for (path, name, region) in each("regions", raw) {
        let location = region.location.given().map(|location| {
            let path = path.key("location");
            let mut degrees = |field: &Field<f64>, key: &str, most: f64| {
                let Some(given) = field.needed(key, &path, location.named, findings) else {
                    return 0.0;
                };
                if !(-most..=most).contains(&given.value) {
                    findings.mistake(
                        given.place,
                        format!(
                            "{}: {} is not on Earth; it must lie between -{most} and {most}",
                            path.key(key),
                            given.value
                        ),
                    );
                }
                given.value
            };
            Location {
                lat: degrees(&location.lat, "lat", 90.0),
                lon: degrees(&location.lon, "lon", 180.0),
            }
        });
        let zone = region.zone.given().map_or(name, |zone| {
            if !crate::read::is_name(zone) {
                findings.mistake(
                    zone.place,
                    format!("{}: {}", path.key("zone"), crate::read::NAME_RULE),
                );
            }
            zone.as_str()
        });
        regions.insert(
            RegionName::new(name),
            Region {
                location,
                zone: Zone::new(zone),
            },
        );
    }
    regions
}

fn zones(raw: &Field<Named<RegionRaw>>) -> Vec<&str> {
    let mut zones: Vec<&str> = each("regions", raw)
        .map(|(_, name, region)| region.value.zone.given().map_or(name, |zone| zone.as_str()))
        .collect();
    zones.sort_unstable();
    zones.dedup();
    zones
}

fn plans(raw: &Field<Named<PlanRaw>>, findings: &mut Findings) -> BTreeMap<PlanName, Plan> {
    each("plans", raw)
        .map(|(path, name, plan)| {
            let limits = limits::limits(&plan.limits, &path.key("limits"), OF_TENANT, findings);
            (PlanName::new(name), Plan { limits })
        })
        .collect()
}

/// Checks limits that stand in the place of a tenant's plan.
pub(super) fn tenant(
    raw: &Field<List<LimitRaw>>,
    path: &Path,
    findings: &mut Findings,
) -> Vec<Limit> {
    limits::limits(raw, path, OF_TENANT, findings)
}

/// Where the limits of a plan stand, and those in its place.
const OF_TENANT: Spot<'static> = Spot {
    prefix: "tenant",
    counts: Counts::Identified(Per::Tenant),
};

fn edge(raw: &Field<EdgeRaw>, findings: &mut Findings) -> Edge {
    let Some(edge) = raw.given() else {
        return Edge::default();
    };
    let path = Path::default().key("edge").key("trusted_proxies");
    let mut trusted_proxies = Vec::new();
    for (path, text) in items(&path, &edge.trusted_proxies) {
        match network(text) {
            Ok(network) => {
                if network.prefix_len() == 0 {
                    findings.warn(
                        text.place,
                        format!("{path}: {network} believes every client's x-forwarded-for"),
                    );
                }
                trusted_proxies.push(network);
            }
            Err(reason) => findings.mistake(text.place, format!("{path}: {reason}")),
        }
    }
    Edge {
        probes: edge.probes.given().is_some_and(|flag| flag.value),
        trusted_proxies,
    }
}

/// Reads a network in CIDR notation.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Err(format!(
            "{text:?} has no prefix length; write \"{}\"",
            IpNet::from(address)
        ));
    }
    let network: IpNet = text.parse().map_err(|_| {
        format!(
            "{} is not a network; write one like \"10.0.0.0/8\" or \"fd00::/8\"",
            quoted(text)
        )
    })?;
    if network.trunc() != network {
        return Err(format!(
            "{text:?} has bits beyond its prefix; write \"{}\"",
            network.trunc()
        ));
    }
    Ok(network)
}

fn defaults(raw: &DocumentRaw, known: &Known<'_>, findings: &mut Findings) -> Defaults {
    let Some(defaults) = raw.defaults.given() else {
        return Defaults {
            plan: None,
            unidentified: Vec::new(),
        };
    };
    let path = Path::default().key("defaults");
    let plan = defaults.plan.given().map(|plan| {
        exists(plan, "plan", &known.plans, &path.key("plan"), findings);
        PlanName::new(plan.as_str())
    });
    let unidentified = defaults
        .unidentified
        .given()
        .map(|unidentified| {
            let path = path.key("unidentified");
            let each = Spot {
                prefix: "unidentified",
                counts: Counts::Clients,
            };
            let all = Spot {
                prefix: "unidentified-all",
                counts: Counts::Together,
            };
            let mut limits =
                limits::limits(&unidentified.limits, &path.key("limits"), each, findings);
            let cap = limits::limits(&unidentified.cap, &path.key("cap"), all, findings);
            limits::apart_from(&limits, &cap, &unidentified.cap, &path.key("cap"), findings);
            limits.extend(cap);
            limits
        })
        .unwrap_or_default();
    Defaults { plan, unidentified }
}

fn log(raw: &Field<LogRaw>) -> Log {
    let full = raw
        .given()
        .and_then(|log| log.client_ip.given())
        .is_some_and(|word| word.value == ClientIpWord::Full);
    Log {
        client_ip_full: full,
    }
}

/// Everything in a section: its path, its name, itself.
fn each<'r, T>(
    section: &str,
    raw: &'r Field<Named<T>>,
) -> impl Iterator<Item = (Path, &'r str, &'r At<T>)> {
    let path = Path::default().key(section);
    raw.given()
        .into_iter()
        .flat_map(|named| named.0.iter())
        .map(move |(key, value)| (path.key(&key.text), key.text.as_str(), value))
}

/// The items of a list under a key, with their paths.
fn items<'r, T>(path: &Path, raw: &'r Field<List<T>>) -> impl Iterator<Item = (Path, &'r At<T>)> {
    let path = path.clone();
    raw.given()
        .into_iter()
        .flat_map(|list| list.value.items())
        .map(move |(index, item)| (path.index(index), item))
}

fn names<T>(raw: &Field<Named<T>>) -> Vec<&str> {
    let mut names: Vec<&str> = each("", raw).map(|(_, name, _)| name).collect();
    names.sort_unstable();
    names
}

/// Notes a mistake if nothing has this name.
fn exists(name: &At<String>, what: &str, known: &[&str], path: &Path, findings: &mut Findings) {
    if known.binary_search(&name.as_str()).is_err() {
        let hint = not_among(name, what, known.iter().copied());
        findings.mistake(
            name.place,
            format!("{path}: there is no {what} {}{hint}", quoted(name)),
        );
    }
}

/// The names of a list: each must exist and stand once, and the list must not be empty.
fn all_exist<'r>(
    raw: &'r Field<List<String>>,
    what: &str,
    known: &[&str],
    path: &Path,
    findings: &mut Findings,
) -> Vec<&'r str> {
    not_empty(raw, path, findings);
    let names = once(raw, path, findings);
    for (path, name) in items(path, raw) {
        exists(name, what, known, &path, findings);
    }
    names
}

/// The texts of a list; one that stands twice is a mistake.
fn once<'r>(raw: &'r Field<List<String>>, path: &Path, findings: &mut Findings) -> Vec<&'r str> {
    let mut seen = std::collections::BTreeSet::new();
    let mut texts = Vec::new();
    for (path, text) in items(path, raw) {
        if text.is_empty() {
            findings.mistake(text.place, format!("{path}: must not be empty"));
        } else if seen.insert(text.as_str()) {
            texts.push(text.as_str());
        } else {
            findings.mistake(
                text.place,
                format!(
                    "{path}: {} stands twice in the list; keep one",
                    quoted(text)
                ),
            );
        }
    }
    texts
}

/// Notes a mistake for an empty list: it reads like "none", and would mean "any".
fn not_empty<T>(raw: &Field<List<T>>, path: &Path, findings: &mut Findings) {
    if let Some(list) = raw.given().filter(|list| list.empty) {
        findings.mistake(
            list.place,
            format!("{path}: the list is empty; name at least one, or leave the key out"),
        );
    }
}

/// Notes a mistake for a list that is missing or empty.
fn some_needed<T>(
    raw: &Field<List<T>>,
    key: &str,
    path: &Path,
    at: Place,
    findings: &mut Findings,
) {
    if let Some(list) = raw
        .needed(key, path, at, findings)
        .filter(|list| list.empty)
    {
        findings.mistake(
            list.place,
            format!("{}: the list is empty; name at least one", path.key(key)),
        );
    }
}

/// A number that must lie between two others, both included.
fn between<T: PartialOrd + std::fmt::Display + Copy>(
    value: T,
    place: Place,
    (least, most): (T, T),
    path: &Path,
    findings: &mut Findings,
) -> T {
    if value < least || value > most {
        findings.mistake(
            place,
            format!("{path}: {value} is not possible; it must lie between {least} and {most}"),
        );
    }
    value
}

/// A duration that must lie between two others, both included; `default` where it is not given.
fn span(
    raw: &Field<crate::read::Span>,
    default: &str,
    (least, most): (&str, &str),
    path: &Path,
    findings: &mut Findings,
) -> std::time::Duration {
    let read =
        |text| crate::units::duration(text).expect("the bounds in our own code are durations");
    let Some(given) = raw.given() else {
        return read(default);
    };
    if given.value.0 < read(least) || given.value.0 > read(most) {
        findings.mistake(
            given.place,
            format!(
                "{path}: {} is not possible; it must lie between {least} and {most}",
                crate::units::duration_text(given.value.0)
            ),
        );
    }
    given.value.0
}
