//! Checks what a route does to requests and responses: rewrite, header changes.
//!
//! In: raw rules and the variables of the route's path. Out: checked rules with their templates parsed.

use super::{super::raw::*, items};
use crate::{
    diagnose::{Findings, Path, quoted},
    document::{HeaderChanges, Part, RequestRules, Template},
    read::{At, Field},
};

/// Checks what happens to a request on its way.
pub(super) fn request(
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

/// Checks header changes.
pub(super) fn headers(
    path: &Path,
    raw: &Field<HeadersRaw>,
    variables: &[String],
    findings: &mut Findings,
) -> HeaderChanges {
    let Some(headers) = raw.given() else {
        return HeaderChanges::default();
    };
    let mut set: Vec<(String, Template)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (key, text) in headers.set.given().map_or(&[][..], |texts| &texts.value.0) {
        let path = path.key("set").key(&key.text);
        let name = header_name(&key.text).unwrap_or_else(|reason| {
            findings.mistake(key.place, format!("{path}: {reason}"));
            String::new()
        });
        if !name.is_empty() && names.contains(&name) {
            findings.mistake(
                key.place,
                format!("{path}: header names do not differ by case, and {name} is set already"),
            );
        }
        names.push(name.clone());
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
