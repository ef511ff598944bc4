//! Limits of a tenant that stand outside of the document: set while the cluster runs, in place of its plan's.
//!
//! In: limits as an operator writes them, a text each. Out: the limits, or every mistake with its place, by the
//! readers and checks of the document; and what is wrong with them beside a document.

use super::{Document, Limit, check, raw};
use crate::{
    diagnose::{Diagnostic, Findings, Path, Place, Source},
    name::TenantId,
    read::{Field, List},
    tree::{self, Node, Value},
};

/// Reads limits that stand in the place of a tenant's plan: a rate (`1000/hour`) or a map
/// (`{ rate: 1000/hour, window: fixed }`) each. Places name the texts `limit 1`, `limit 2`.
///
/// # Errors
/// Every mistake, in the order of the texts.
pub fn tenant_limits(texts: &[String]) -> Result<Vec<Limit>, Vec<Diagnostic>> {
    let sources = texts.iter().enumerate().map(|(index, text)| Source {
        name: format!("limit {}", index + 1),
        text: text.clone(),
    });
    let sources: Vec<Source> = sources.collect();
    let mut findings = Findings::in_sources(&sources);
    let path = Path::default().key("limits");
    if texts.is_empty() {
        findings.mistake(
            start(0),
            format!("{path}: name at least one; what the plan says holds again when the tenant's are cleared"),
        );
    }
    let nodes = tree::parse(&sources, &mut findings).unwrap_or_default();
    let mut items = Vec::new();
    for index in 0..sources.len() {
        let mut of = nodes.iter().filter(|node| node.place.source == index);
        match (of.next(), of.next()) {
            (Some(node), None) if node.value != Value::Null => items.push(node.clone()),
            _ if findings.any_mistake() => {}
            _ => findings.mistake(
                start(index),
                format!(
                    "{}: must be one limit, such as 1000/hour",
                    path.index(index)
                ),
            ),
        }
    }
    if findings.any_mistake() {
        return findings.end().map(|_| Vec::new());
    }
    let list = Node {
        value: Value::List(items),
        place: start(0),
        named: start(0),
    };
    let raw = Field::<List<raw::LimitRaw>>::read(&list, &path, &mut findings);
    let limits = check::tenant(&raw, &path, &mut findings);
    findings.end().map(|_| limits)
}

fn start(source: usize) -> Place {
    Place {
        source,
        line: 1,
        column: 1,
    }
}

impl Document {
    /// What is wrong with limits of a tenant beside this document, a sentence a mistake: ids that its routes have
    /// too, and limits that some route's requests cost more than.
    pub fn beside(&self, tenant: &TenantId, limits: &[Limit]) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (index, limit) in limits.iter().enumerate() {
            for route in self.routes.values() {
                if route.limits.iter().any(|other| other.id == limit.id) {
                    mistakes.push(format!(
                        "limits[{index}]: the id \"{}\" is taken by routes.{}; give it another name",
                        limit.id, route.name
                    ));
                }
            }
        }
        let Some(tenant) = self.tenants.get(tenant) else {
            return mistakes;
        };
        for route in self.routes.values() {
            if route.exempt.auth || route.exempt.limits || !tenant.opens(route) {
                continue;
            }
            let least = limits
                .iter()
                .enumerate()
                .filter(|(_, limit)| !limit.shadow)
                .min_by_key(|(_, limit)| limit.amount);
            if let Some((index, limit)) = least
                && limit.amount < u64::from(route.cost)
            {
                mistakes.push(format!(
                    "limits[{index}]: admits {}, and a request of routes.{} costs {}, so none would pass; raise the limit",
                    limit.amount, route.name, route.cost
                ));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::document::{Per, Window};

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn told(list: &[&str]) -> Vec<String> {
        let wrong = tenant_limits(&texts(list)).unwrap_err();
        wrong.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_are_read_as_those_of_a_plan() {
        let json = r#"{"rate":"5/30s","name":"burst"}"#;
        let limits = tenant_limits(&texts(&[
            "1000/hour",
            "{ rate: 90/minute, window: fixed }",
            json,
        ]));
        assert_eq!(
            limits.unwrap(),
            [
                Limit::new("tenant-hour", 1000, Duration::from_secs(3600)),
                Limit {
                    window: Window::Fixed,
                    per: Per::Tenant,
                    ..Limit::new("tenant-minute", 90, Duration::from_secs(60))
                },
                Limit::new("burst", 5, Duration::from_secs(30)),
            ]
        );
    }

    #[test]
    fn each_mistake_has_its_text_and_place() {
        assert_eq!(
            told(&[
                "0/hour",
                "{ rate: 5/second, windw: fixed }",
                "{ rate: 70/second, name: b, on_empty: { wait: 2s } }"
            ]),
            [
                "limit 1:1:1: limits[0]: \"0/hour\" admits nothing; the amount must be at least 1",
                "limit 2:1:19: limits[1].windw: unknown key; did you mean \"window\"?",
                "limit 3:1:47: limits[2].on_empty.wait: 2s is longer than the window of 70/second, after which everything is free again; write 1s or less",
            ]
        );
        assert!(told(&["{ rate: 5/second"])[0].starts_with("limit 1:"));
        for odd in ["", "1/hour\n---\n2/hour", "~"] {
            assert_eq!(
                told(&[odd]),
                ["limit 1:1:1: limits[0]: must be one limit, such as 1000/hour"]
            );
        }
        assert!(told(&["[1/hour]"])[0].starts_with("limit 1:1:1: limits[0]: must be a rate"));
        assert!(told(&[])[0].contains("name at least one"));
        let many: Vec<String> = (1..=129).map(|n| format!("100/{n}s")).collect();
        let wrong = tenant_limits(&many).unwrap_err();
        assert!(wrong[0].message.contains("128 is the most"), "{wrong:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_texts_panic(list in proptest::collection::vec("\\PC{0,40}", 0..4)) {
            let _ = tenant_limits(&list);
        }
    }
}
