//! Checks routes, one by one; whether all can be reached is [`super::reach`]'s question.

use std::collections::BTreeMap;

use super::{
    super::raw::*,
    Known, all_exist, between, each, exists, items,
    limits::{Counts, Spot, limits, per_word},
    matching, not_empty, once, some_needed, transform,
};
use crate::{
    diagnose::{Findings, Path, quoted},
    document::{
        Access, Action, Exempt, Exemption, FixedResponse, Listener, Matching, Per, ResponseRules,
        Route, template::variables,
    },
    name::{IssuerName, RouteName, ServiceName, TenantId},
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
    let exempt = exempt(path, raw, known, findings);
    let per = raw
        .per
        .given()
        .map_or_else(Per::default, |word| per_word(word.value));
    let spot = Spot {
        prefix: &format!("route.{name}"),
        counts: match exempt.auth && !exempt.limits {
            true => Counts::Open(per),
            false => Counts::Identified(per),
        },
    };
    Route {
        name: RouteName::new(name),
        action: action(path, raw, known, findings),
        issuers: issuers(path, &raw.auth, known, findings),
        exempt,
        access: access(path, &raw.allow, findings),
        limits: limits(&raw.limits, &path.key("limits"), spot, findings),
        cost: cost(path, raw, findings),
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

fn cost(path: &Path, raw: &At<RouteRaw>, findings: &mut Findings) -> u32 {
    let Some(cost) = raw.cost.given() else {
        return 1;
    };
    let path = path.key("cost");
    if cost.value == 0 {
        findings.mistake(
            cost.place,
            format!("{path}: a request that costs nothing is not limited; write exempt: [limits] if that is meant"),
        );
        return 1;
    }
    let most = crate::units::AMOUNT_MOST;
    let cost = between(cost.value, cost.place, (1, most), &path, findings);
    u32::try_from(cost).unwrap_or(u32::MAX)
}

fn exempt(path: &Path, raw: &At<RouteRaw>, known: &Known<'_>, findings: &mut Findings) -> Exempt {
    let here = path.key("exempt");
    not_empty(&raw.exempt, &here, findings);
    let mut exempt = Exempt::default();
    for (path, item) in items(&here, &raw.exempt) {
        let flag = match &item.value {
            ExemptRaw::Limits => &mut exempt.limits,
            ExemptRaw::Auth => &mut exempt.auth,
            ExemptRaw::Some(map) => {
                if let Some(who) = map.limits.needed("limits", &path, item.place, findings) {
                    exempt
                        .some
                        .push(exemption(&path.key("limits"), who, known, findings));
                }
                continue;
            }
        };
        if std::mem::replace(flag, true) {
            findings.mistake(
                item.place,
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
    for (key, stands) in [
        ("limits", raw.limits.stands()),
        ("cost", raw.cost.stands()),
        ("per", raw.per.stands()),
    ] {
        if exempt.limits && stands {
            contradicts("limits", key);
        }
    }
    if exempt.auth && raw.auth.stands() {
        contradicts("auth", "auth");
    }
    if exempt.auth && raw.allow.stands() {
        contradicts("auth", "allow");
    }
    for (path, item) in items(&here, &raw.exempt) {
        let ExemptRaw::Some(map) = &item.value else {
            continue;
        };
        let path = path.key("limits");
        if exempt.limits {
            findings.mistake(
                item.place,
                format!("{path}: every request of the route is exempt already; keep one"),
            );
        }
        if let Some(tenants) = map.limits.given().and_then(|who| who.tenants.given())
            && exempt.auth
        {
            findings.mistake(
                tenants.named,
                format!(
                    "{}: the route needs no token, so no tenant is known; name listeners alone",
                    path.key("tenants")
                ),
            );
        }
    }
    exempt
}

/// Which requests are exempt from limits: by what a client can't write into them.
fn exemption(
    path: &Path,
    raw: &At<WhoRaw>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Exemption {
    let tenants_path = path.key("tenants");
    let tenants = all_exist(
        &raw.tenants,
        "tenant",
        &known.tenants,
        &tenants_path,
        findings,
    );
    let mut list = |field: &Field<List<String>>, key: &str| -> Vec<String> {
        let path = path.key(key);
        not_empty(field, &path, findings);
        if let Some(given) = field.given()
            && !raw.tenants.stands()
        {
            findings.mistake(
                given.named,
                format!("{path}: the issuer of any tenant can write any into its tokens; say whose with tenants: […]"),
            );
        }
        let texts = once(field, &path, findings).into_iter();
        texts.map(str::to_owned).collect()
    };
    let roles = list(&raw.roles, "roles");
    let subjects = list(&raw.subjects, "subjects");
    let path_of_listeners = path.key("listeners");
    not_empty(&raw.listeners, &path_of_listeners, findings);
    let mut listeners = Vec::new();
    for (path, word) in items(&path_of_listeners, &raw.listeners) {
        let listener = match word.value {
            ListenerWord::Http => Listener::Http,
            ListenerWord::Https => Listener::Https,
        };
        if listeners.contains(&listener) {
            findings.mistake(
                word.place,
                format!("{path}: stands twice in the list; keep one"),
            );
        }
        listeners.push(listener);
    }
    let says = raw.tenants.stands()
        || raw.roles.stands()
        || raw.subjects.stands()
        || raw.listeners.stands();
    if !says {
        findings.mistake(
            raw.place,
            format!("{path}: names no request; give it tenants (with roles or subjects) or listeners, or write exempt: [limits] for all of them"),
        );
    }
    Exemption {
        tenants: tenants.into_iter().map(TenantId::new).collect(),
        roles,
        subjects,
        listeners,
    }
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
