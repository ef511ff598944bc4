//! The document as simulated nodes run it.
//!
//! In: what the operator wrote, and what clients will ask for. Out: the same with the simulator's issuers and
//! upstreams, as JSON, which is YAML too; and what else had to change. A core.

use std::time::Duration;

use meridian_config::{
    diagnose::{Diagnostic, Source},
    document::{Document, Protocol},
    name::{IssuerName, RegionName},
    units,
};
use serde_json::{Map, Value, json};

use super::asks;
use crate::workload::{ask::Ask, document::upstream_name, upstream};

/// What the nodes run.
pub(super) struct Rewritten {
    pub(super) document: Value,
    /// What each region's upstream speaks on its ports.
    pub(super) ports: Vec<Vec<Protocol>>,
    pub(super) notes: Vec<String>,
}

/// The sources as one tree. They have passed the document's own check, so that no name is defined twice.
pub(super) fn tree(sources: &[Source]) -> Result<Value, Vec<Diagnostic>> {
    let mut all = Map::new();
    for source in sources {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        let parts: Vec<Value> = serde_saphyr::from_multiple_with_options(&source.text, options)
            .map_err(|error| {
                let place = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
                vec![Diagnostic {
                    file: source.name.clone(),
                    line: u32::try_from(place.line()).unwrap_or(u32::MAX),
                    column: u32::try_from(place.column()).unwrap_or(u32::MAX),
                    message: error.to_string(),
                }]
            })?;
        for part in parts {
            let Value::Object(sections) = part else {
                continue;
            };
            for (name, section) in sections {
                match (all.get_mut(&name), section) {
                    (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                    (Some(known), section) if known.is_null() => *known = section,
                    (Some(_), _) => {}
                    (None, section) => {
                        all.insert(name, section);
                    }
                }
            }
        }
    }
    Ok(Value::Object(all))
}

/// Puts the simulator's issuers and upstreams into a document, and gives the traffic room in its limits.
pub(super) fn rewrite(
    written: &Value,
    document: &Document,
    regions: &[String],
    asks: &[Ask],
) -> Rewritten {
    let mut rewritten = Rewritten {
        document: written.clone(),
        ports: vec![Vec::new(); regions.len()],
        notes: Vec::new(),
    };
    rewritten.issuers();
    rewritten.endpoints(document, regions);
    rewritten.limits(rate(asks));
    rewritten
}

/// The text of a version of the document: a response header of every route tells one from the next.
pub(super) fn version(document: &Value, change: u64) -> String {
    let mut document = document.clone();
    if let Some(Value::Object(routes)) = document.get_mut("routes") {
        for route in routes.values_mut() {
            let Value::Object(route) = route else {
                continue;
            };
            let mut inner = route;
            for key in ["response", "headers", "set"] {
                let next = inner.entry(key).or_insert_with(|| json!({}));
                if next.is_null() {
                    *next = json!({});
                }
                let Value::Object(next) = next else {
                    break;
                };
                inner = next;
                if key == "set" {
                    inner.insert("x-simulated-change".to_owned(), change.to_string().into());
                }
            }
        }
    }
    // A document without routes changes too.
    format!("# change {change}\n{document:#}\n")
}

impl Rewritten {
    fn issuers(&mut self) {
        let Some(Value::Object(issuers)) = self.document.get_mut("issuers") else {
            return;
        };
        for (name, issuer) in issuers {
            let url = asks::url(&IssuerName::new(name.as_str()));
            let was = issuer["issuer"].as_str().unwrap_or_default();
            self.notes.push(format!(
                "issuers.{name}: {was} is played by the simulator, which signs with EdDSA"
            ));
            issuer["issuer"] = url.into();
            issuer["algorithms"] = json!(["EdDSA"]);
        }
    }

    fn endpoints(&mut self, document: &Document, regions: &[String]) {
        let Some(Value::Object(services)) = self.document.get_mut("services") else {
            return;
        };
        let mut count = 0;
        for (name, service) in services {
            let Some(known) = document.services.get(name.as_str()) else {
                continue;
            };
            for (place, region) in regions.iter().enumerate() {
                let Some(endpoints) = known.endpoints.get(&RegionName::new(region.as_str())) else {
                    continue;
                };
                let ports = &mut self.ports[place];
                let mut urls = Vec::new();
                for _ in endpoints {
                    let port = usize::from(upstream::PORT) + ports.len();
                    urls.push(format!("http://{}:{port}", upstream_name(region)));
                    ports.push(known.protocol);
                    count += 1;
                }
                service["endpoints"][region.as_str()] = urls.into();
            }
        }
        self.notes.push(format!(
            "services: {count} endpoints are played by the simulator, those of a region by one machine, over plain HTTP"
        ));
    }

    /// Raises what `rate` requests a second, on one node, would exceed.
    fn limits(&mut self, rate: f64) {
        let mut raised = Vec::new();
        for section in ["plans", "routes"] {
            if let Some(Value::Object(all)) = self.document.get_mut(section) {
                for (name, one) in all {
                    if let Some(limits) = one.get_mut("limits") {
                        raise(&format!("{section}.{name}"), limits, rate, &mut raised);
                    }
                }
            }
        }
        for key in ["limits", "cap"] {
            let pointer = format!("/defaults/unidentified/{key}");
            if let Some(limits) = self.document.pointer_mut(&pointer) {
                raise("defaults.unidentified", limits, rate, &mut raised);
            }
        }
        if !raised.is_empty() {
            let raised = raised.join(", ");
            self.notes.push(format!(
                "limits: raised, so that the traffic of the simulation passes: {raised}"
            ));
        }
    }
}

/// Requests a second of all clients together, were all of them to come to one node at the fastest pace.
fn rate(asks: &[Ask]) -> f64 {
    let of = |ask: &Ask| {
        let places = f64::from(u32::try_from(ask.from.len()).unwrap_or(u32::MAX));
        places / ask.every.as_secs_f64().max(1e-3)
    };
    asks.iter().map(of).sum()
}

fn raise(whose: &str, limits: &mut Value, rate: f64, raised: &mut Vec<String>) {
    let Value::Array(limits) = limits else {
        return;
    };
    for limit in limits {
        let text = match &*limit {
            Value::Object(map) => map.get("rate").and_then(Value::as_str),
            text => text.as_str(),
        };
        let Some((text, known)) = text.and_then(|text| Some((text, units::rate(text).ok()?)))
        else {
            continue;
        };
        let wanted = needed(rate, known.span);
        if known.amount >= wanted {
            continue;
        }
        raised.push(format!("{whose}'s {text}"));
        let span = known.span.as_secs();
        let higher: Value = format!("{wanted}/{span}s").into();
        match limit {
            Value::Object(map) => {
                map.insert("rate".to_owned(), higher);
            }
            text => *text = higher,
        }
    }
}

/// Twice what comes in the window, and in a window as long as a run at least.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few hundred requests a second in at most a year, and positive"
)]
fn needed(rate: f64, span: Duration) -> u64 {
    (2.0 * rate * span.as_secs_f64().min(LONGEST_RUN)).ceil() as u64 + 1
}

/// No run's traffic lasts longer, in seconds.
const LONGEST_RUN: f64 = 3600.0;
