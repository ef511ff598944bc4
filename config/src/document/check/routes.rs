//! Checks routes, one by one; whether all can be reached is [`super::reach`]'s question.

use std::collections::BTreeMap;

use super::{
    super::raw::*, Known, all_exist, each, exists, items, limits, matching, not_empty, once,
    some_needed, transform,
};
use crate::{
    diagnose::{Findings, Path, quoted},
    document::{
        Access, Action, Exempt, FixedResponse, Matching, ResponseRules, Route, template::variables,
    },
    name::{IssuerName, RouteName, ServiceName},
    read::{At, Field, List, Named},
};

/// Checks all routes.
pub(super) fn routes(
    raw: &Field<Named<RouteRaw>>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> BTreeMap<RouteName, Route> {
    each("routes", raw)
        .map(|(path, name, raw)| {
            (
                RouteName::new(name),
                route(&path, name, raw, known, findings),
            )
        })
        .collect()
}

fn route(
    path: &Path,
    name: &str,
    raw: &At<RouteRaw>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Route {
    let matching = raw
        .matching
        .needed("match", path, raw.named, findings)
        .map(|matching| matching::matching(&path.key("match"), matching, findings));
    let matching = matching.unwrap_or_else(|| Matching {
        hosts: Vec::new(),
        path: String::new(),
        methods: Vec::new(),
    });
    let mut variables = variables(&matching.path);
    variables.dedup();
    let exempt = exempt(path, raw, findings);
    let prefix = format!("route.{name}");
    Route {
        name: RouteName::new(name),
        action: action(path, raw, known, findings),
        issuers: issuers(path, &raw.auth, known, findings),
        exempt,
        access: access(path, &raw.allow, findings),
        limits: limits::limits(&raw.limits, &path.key("limits"), &prefix, findings),
        request: transform::request(&path.key("request"), &raw.request, &variables, findings),
        response: ResponseRules {
            headers: raw
                .response
                .given()
                .map(|response| {
                    let path = path.key("response").key("headers");
                    transform::headers(&path, &response.headers, &variables, findings)
                })
                .unwrap_or_default(),
        },
        matching,
    }
}

fn action(path: &Path, raw: &At<RouteRaw>, known: &Known<'_>, findings: &mut Findings) -> Action {
    if raw.service.stands() && raw.respond.stands() {
        findings.mistake(
            raw.named,
            format!("{path}: has both a service and an answer of its own; keep service or respond"),
        );
    }
    if let Some(service) = raw.service.given() {
        exists(
            service,
            "service",
            &known.services,
            &path.key("service"),
            findings,
        );
        return Action::Service(ServiceName::new(service.as_str()));
    }
    if let Some(respond) = raw.respond.given() {
        return Action::Respond(self::respond(&path.key("respond"), respond, findings));
    }
    if !raw.service.stands() && !raw.respond.stands() {
        findings.mistake(
            raw.named,
            format!("{path}: goes nowhere; give it a service, or an answer with respond"),
        );
    }
    Action::Service(ServiceName::default())
}

fn respond(path: &Path, raw: &At<RespondRaw>, findings: &mut Findings) -> FixedResponse {
    let given = raw.status.needed("status", path, raw.named, findings);
    let status = given.map_or(200, |status| {
        super::between(
            status.value,
            status.place,
            (200, 599),
            &path.key("status"),
            findings,
        )
    });
    let status = u16::try_from(status).unwrap_or(u16::MAX);
    let (body, content_type) = match (raw.json.given(), raw.text.given()) {
        (Some(json), Some(_)) => {
            findings.mistake(
                json.named,
                format!("{path}: has two bodies; keep json or text"),
            );
            (String::new(), None)
        }
        (Some(json), None) => (json.value.0.json().to_string(), Some("application/json")),
        (None, Some(text)) => (text.value.clone(), Some("text/plain; charset=utf-8")),
        (None, None) => (String::new(), None),
    };
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
    if matches!(status, 204 | 205 | 304) && content_type.is_some() {
        findings.mistake(
            raw.named,
            format!("{path}: an answer with status {status} has no body; leave json and text out"),
        );
    }
    FixedResponse {
        status,
        body,
        content_type,
    }
}

fn issuers(
    path: &Path,
    raw: &Field<AuthRaw>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Vec<IssuerName> {
    let Some(auth) = raw.given() else {
        return Vec::new();
    };
    let path = path.key("auth");
    some_needed(&auth.any, "any", &path, auth.named, findings);
    let path = path.key("any");
    let mut issuers: Vec<IssuerName> = Vec::new();
    for (path, scheme) in items(&path, &auth.any) {
        let names = all_exist(
            &scheme.jwt,
            "issuer",
            &known.issuers,
            &path.key("jwt"),
            findings,
        );
        for name in names.into_iter().map(IssuerName::new) {
            if !issuers.contains(&name) {
                issuers.push(name);
            }
        }
    }
    issuers
}

fn exempt(path: &Path, raw: &At<RouteRaw>, findings: &mut Findings) -> Exempt {
    let here = path.key("exempt");
    not_empty(&raw.exempt, &here, findings);
    let mut exempt = Exempt::default();
    for (path, word) in items(&here, &raw.exempt) {
        let flag = match word.value {
            ExemptWord::Limits => &mut exempt.limits,
            ExemptWord::Auth => &mut exempt.auth,
        };
        if std::mem::replace(flag, true) {
            findings.mistake(
                word.place,
                format!("{path}: stands twice in the list; keep one"),
            );
        }
    }
    let Some(list) = raw.exempt.given() else {
        return exempt;
    };
    let mut contradicts = |what: &str, key: &str| {
        findings.mistake(
            list.place,
            format!("{here}: [{what}] and {key} contradict each other; keep one"),
        );
    };
    if exempt.limits && raw.limits.stands() {
        contradicts("limits", "limits");
    }
    if exempt.auth && raw.auth.stands() {
        contradicts("auth", "auth");
    }
    if exempt.auth && raw.allow.stands() {
        contradicts("auth", "allow");
    }
    if exempt.auth && !exempt.limits && raw.limits.stands() {
        findings.mistake(
            list.place,
            format!(
                "{here}: a route's limits count per tenant, and without auth there is none; defaults.unidentified is charged, leave {} out",
                path.key("limits")
            ),
        );
    }
    exempt
}

fn access(path: &Path, raw: &Field<AllowRaw>, findings: &mut Findings) -> Access {
    let Some(allow) = raw.given() else {
        return Access::default();
    };
    let path = path.key("allow");
    let mut list = |field: &Field<List<String>>, key: &str| {
        let path = path.key(key);
        not_empty(field, &path, findings);
        for (path, word) in items(&path, field) {
            // scope-token of RFC 6749, section 3.3: a word in a list parted by spaces.
            if word
                .chars()
                .any(|c| !c.is_ascii_graphic() || c == '"' || c == '\\')
            {
                findings.mistake(
                    word.place,
                    format!(
                        "{path}: {} is not one word; name each on its own",
                        quoted(word)
                    ),
                );
            }
        }
        once(field, &path, findings)
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    Access {
        scopes: list(&allow.scopes, "scopes"),
        roles: list(&allow.roles, "roles"),
    }
}
