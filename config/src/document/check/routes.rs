//! Checks routes, one by one; whether all can be reached is [`super::reach`]'s question.

use std::collections::BTreeMap;

use super::{
    super::raw::*, Known, all_exist, each, exists, items, limits, not_empty, once, services,
};
use crate::{
    diagnose::{Findings, Path, quoted},
    document::{
        Access, Action, Exempt, FixedResponse, HeaderChanges, HostPattern, Matching, Part,
        RequestRules, ResponseRules, Route, Template, template::variables,
    },
    name::{IssuerName, RouteName, ServiceName},
    read::{At, Field, Named},
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
        .map(|matching| self::matching(&path.key("match"), matching, findings));
    let matching = matching.unwrap_or_else(|| Matching {
        hosts: Vec::new(),
        path: String::new(),
        methods: Vec::new(),
    });
    let variables = variables(&matching.path);
    let exempt = exempt(path, raw, findings);
    let prefix = format!("route.{name}");
    Route {
        name: RouteName::new(name),
        action: action(path, raw, known, findings),
        issuers: issuers(path, &raw.auth, known, findings),
        exempt,
        access: access(path, &raw.allow, findings),
        limits: limits::limits(&raw.limits, &path.key("limits"), &prefix, findings),
        request: request(&path.key("request"), &raw.request, &variables, findings),
        response: ResponseRules {
            headers: raw
                .response
                .given()
                .map(|response| {
                    let path = path.key("response").key("headers");
                    headers(&path, &response.headers, &variables, findings)
                })
                .unwrap_or_default(),
        },
        matching,
    }
}

fn matching(path: &Path, raw: &At<MatchRaw>, findings: &mut Findings) -> Matching {
    let hosts_path = path.key("hosts");
    not_empty(&raw.hosts, &hosts_path, findings);
    let mut hosts = Vec::new();
    for (path, text) in items(&hosts_path, &raw.hosts) {
        match host_pattern(text) {
            Ok(host) if hosts.contains(&host) => findings.mistake(
                text.place,
                format!(
                    "{path}: {} stands twice in the list; keep one",
                    quoted(text)
                ),
            ),
            Ok(host) => hosts.push(host),
            Err(reason) => findings.mistake(text.place, format!("{path}: {reason}")),
        }
    }
    let text = raw.path.needed("path", path, raw.named, findings);
    if let Some(text) = text
        && let Err(reason) = path_pattern(text)
    {
        findings.mistake(text.place, format!("{}: {reason}", path.key("path")));
    }
    let methods_path = path.key("methods");
    not_empty(&raw.methods, &methods_path, findings);
    for (path, text) in items(&methods_path, &raw.methods) {
        if let Err(reason) = method(text) {
            findings.mistake(text.place, format!("{path}: {reason}"));
        }
    }
    Matching {
        hosts,
        path: text.map_or_else(String::new, |text| text.value.clone()),
        methods: once(&raw.methods, &methods_path, findings)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// Reads a host to match.
fn host_pattern(text: &str) -> Result<HostPattern, String> {
    let shown = quoted(text);
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or("");
        return Err(format!(
            "{shown} is a URL; write the host alone, {}",
            quoted(host)
        ));
    }
    if text == "*" {
        return Err("\"*\" is every host; leave hosts out to match them all".to_owned());
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return services::host_name(suffix)
            .filter(|suffix| !suffix.contains(':'))
            .map(HostPattern::Wildcard)
            .ok_or_else(|| format!("{shown} is not a host name"));
    }
    if text.contains('*') {
        return Err(format!(
            "{shown}: \"*\" may only stand for the whole first label, as in \"*.example.com\""
        ));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !text.ends_with(']')
        && port.chars().all(|c| c.is_ascii_digit())
        && services::host_name(host).is_some()
    {
        return Err(format!(
            "{shown} has a port; hosts are matched without it, write {}",
            quoted(host)
        ));
    }
    let name = services::host_name(text).ok_or_else(|| format!("{shown} is not a host name"))?;
    Ok(HostPattern::Exact(if text.starts_with('[') {
        format!("[{name}]")
    } else {
        name
    }))
}

/// Checks a path to match.
fn path_pattern(text: &str) -> Result<(), String> {
    let shown = quoted(text);
    if !text.starts_with('/') {
        return Err(format!(
            "{shown} must begin with \"/\"; write {}",
            quoted(&format!("/{text}"))
        ));
    }
    if let Some(wrong) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`|".contains(*c))
    {
        return Err(format!(
            "{shown}: {wrong:?} cannot stand in a path; a query is not matched, other characters are written with % (RFC 3986)"
        ));
    }
    // Requests arrive here with such segments resolved or refused, so the route could not be reached.
    if text
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        return Err(format!(
            "{shown}: no request has the segment \".\" or \"..\"; leave it out"
        ));
    }
    matchit::Router::new()
        .insert(text, ())
        .map_err(|error| match error {
            matchit::InsertError::InvalidParamSegment => {
                format!("{shown}: a segment can hold one variable only")
            }
            matchit::InsertError::InvalidCatchAll => {
                format!("{shown}: {{*name}} must be the whole last segment")
            }
            _ => format!(
                "{shown}: variables are written {{name}}, or {{*name}} for the rest; a literal brace is doubled"
            ),
        })?;
    let mut seen = Vec::new();
    for variable in variables(text) {
        let well_formed = variable.starts_with(|c: char| c.is_ascii_lowercase())
            && variable
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !well_formed {
            return Err(format!(
                "{shown}: the variable {} must have small letters, digits and \"_\" only",
                quoted(&variable)
            ));
        }
        if Part::WORDS.contains(&variable.as_str()) {
            return Err(format!(
                "{shown}: {{{variable}}} has a meaning of its own in templates; give the variable another name"
            ));
        }
        if seen.contains(&variable) {
            return Err(format!(
                "{shown}: the variable {{{variable}}} stands twice; give one another name"
            ));
        }
        seen.push(variable);
    }
    Ok(())
}

fn method(text: &str) -> Result<(), String> {
    if http::Method::from_bytes(text.as_bytes()).is_err() {
        return Err(format!("{} is not a method", quoted(text)));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(format!("methods are upper case; write \"{upper}\""));
    }
    if text == "CONNECT" {
        return Err("CONNECT is never passed on; the gateway is no forward proxy".to_owned());
    }
    Ok(())
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
    auth.any.needed("any", &path, auth.named, findings);
    let path = path.key("any");
    not_empty(&auth.any, &path, findings);
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
    let mut list = |field: &Field<Vec<At<String>>>, key: &str| {
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

fn request(
    path: &Path,
    raw: &Field<RequestRaw>,
    variables: &[String],
    findings: &mut Findings,
) -> RequestRules {
    let default = RequestRaw::default();
    let raw = raw.given().map_or(&default, |raw| &raw.value);
    let rewrite = raw.rewrite.given().and_then(|text| {
        let path = path.key("rewrite");
        let template = template(&path, text, variables, findings)?;
        let starts = matches!(template.parts.first(), Some(Part::Text(first)) if first.starts_with('/'));
        if !starts {
            findings.mistake(
                text.place,
                format!("{path}: {} must begin with \"/\"", quoted(text)),
            );
        }
        let wrong = template.parts.iter().find_map(|part| match part {
            Part::Text(text) => text
                .chars()
                .find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(*c)),
            _ => None,
        });
        if let Some(wrong) = wrong {
            findings.mistake(
                text.place,
                format!("{path}: {wrong:?} cannot stand in a path; the query is passed on as it came, other characters are written with % (RFC 3986)"),
            );
        }
        Some(template)
    });
    RequestRules {
        rewrite,
        headers: headers(&path.key("headers"), &raw.headers, variables, findings),
        max_body: raw
            .max_body
            .given()
            .map_or(DEFAULT_MAX_BODY, |size| size.value.0),
    }
}

fn headers(
    path: &Path,
    raw: &Field<HeadersRaw>,
    variables: &[String],
    findings: &mut Findings,
) -> HeaderChanges {
    let Some(headers) = raw.given() else {
        return HeaderChanges::default();
    };
    let mut set: Vec<(String, Template)> = Vec::new();
    for (key, text) in headers.set.given().map_or(&[][..], |texts| &texts.value.0) {
        let path = path.key("set").key(&key.text);
        let name = header_name(&key.text).unwrap_or_else(|reason| {
            findings.mistake(key.place, format!("{path}: {reason}"));
            String::new()
        });
        if !name.is_empty() && key.text != name && set.iter().any(|(other, _)| *other == name) {
            findings.mistake(
                key.place,
                format!("{path}: header names do not differ by case, and {name} is set already"),
            );
        }
        let Some(template) = template(&path, text, variables, findings) else {
            continue;
        };
        let bad = template.parts.iter().any(|part| {
            matches!(part, Part::Text(text) if http::HeaderValue::from_str(text).is_err() || !text.is_ascii())
        });
        if bad {
            findings.mistake(
                text.place,
                format!("{path}: a header's value is visible ASCII text on one line"),
            );
        }
        set.push((name, template));
    }
    let here = path.key("remove");
    let mut remove: Vec<String> = Vec::new();
    for (path, text) in items(&here, &headers.remove) {
        match header_name(text) {
            Ok(name) if remove.contains(&name) => findings.mistake(
                text.place,
                format!(
                    "{path}: {} stands twice in the list; keep one",
                    quoted(text)
                ),
            ),
            Ok(name) => remove.push(name),
            Err(reason) => findings.mistake(text.place, format!("{path}: {reason}")),
        }
    }
    HeaderChanges { set, remove }
}

fn header_name(text: &str) -> Result<String, String> {
    let name = http::HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{} is not a header's name", quoted(text)))?;
    let name = name.as_str();
    if OWNED.contains(&name) || name.starts_with("x-meridian-") {
        return Err(format!(
            "{name} belongs to the connection or to the gateway itself; a route cannot change it"
        ));
    }
    Ok(name.to_owned())
}

fn template(
    path: &Path,
    text: &At<String>,
    variables: &[String],
    findings: &mut Findings,
) -> Option<Template> {
    match Template::parse(text, variables) {
        Ok(template) => Some(template),
        Err(reason) => {
            findings.mistake(text.place, format!("{path}: {reason}"));
            None
        }
    }
}

/// Fields of one connection (RFC 9110 section 7.6.1), those that frame a message, and those by which the
/// gateway finds the upstream.
const OWNED: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Far above what an API call carries, far below what would fill a disk behind the gateway.
const DEFAULT_MAX_BODY: u64 = 10 << 20;
