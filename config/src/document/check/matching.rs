//! Checks which requests a route takes: hosts, path, methods.
//!
//! In: a [`MatchRaw`]. Out: a [`Matching`]; its pair, whether the route can be reached beside the others, is
//! [`super::reach`].

use super::{super::raw::*, items, not_empty, once, services};
use crate::{
    diagnose::{Findings, Path, quoted},
    document::{HostPattern, Matching, Part, template::variables},
    read::At,
};

/// Checks which requests a route takes.
pub(super) fn matching(path: &Path, raw: &At<MatchRaw>, findings: &mut Findings) -> Matching {
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
