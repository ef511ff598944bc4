//! Checks services: addresses, waits, retries, health checks.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{super::raw::*, Known, between, each, items, not_empty, span};
use crate::{
    diagnose::{Findings, Path, Place, not_among, quoted},
    document::{Balance, Endpoint, Health, Protocol, Retries, RetryOn, Service, Timeouts},
    name::{RegionName, ServiceName},
    read::{At, Field, Named},
};

/// Checks all services.
pub(super) fn services(
    raw: &Field<Named<ServiceRaw>>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> BTreeMap<ServiceName, Service> {
    each("services", raw)
        .map(|(path, name, raw)| (ServiceName::new(name), service(&path, raw, known, findings)))
        .collect()
}

fn service(
    path: &Path,
    raw: &At<ServiceRaw>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Service {
    Service {
        endpoints: endpoints(path, raw, known, findings),
        protocol: match raw.protocol.given().map(|word| word.value) {
            Some(ProtocolWord::Http2) => Protocol::Http2,
            Some(ProtocolWord::Http1) | None => Protocol::Http1,
        },
        balance: match raw.balance.given().map(|word| word.value) {
            Some(BalanceWord::RoundRobin) => Balance::RoundRobin,
            Some(BalanceWord::LeastLoaded) | None => Balance::LeastLoaded,
        },
        timeouts: timeouts(&raw.timeouts, &path.key("timeouts"), findings),
        retries: retries(&raw.retries, &path.key("retries"), findings),
        health: raw
            .health
            .given()
            .map(|health| self::health(health, &path.key("health"), findings)),
    }
}

fn endpoints(
    path: &Path,
    raw: &At<ServiceRaw>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> BTreeMap<RegionName, Vec<Endpoint>> {
    let mut all = BTreeMap::new();
    let Some(regions) = raw.endpoints.needed("endpoints", path, raw.named, findings) else {
        return all;
    };
    let path = path.key("endpoints");
    let mut first: BTreeMap<Endpoint, (String, Place)> = BTreeMap::new();
    for (region, list) in &regions.value.0 {
        let path = path.key(&region.text);
        if known.regions.binary_search(&region.text.as_str()).is_err() {
            let hint = not_among(&region.text, "region", known.regions.iter().copied());
            findings.mistake(
                region.place,
                format!("{path}: there is no region {}{hint}", quoted(&region.text)),
            );
        }
        let mut parsed = Vec::new();
        for (index, url) in list.items() {
            let path = path.index(index);
            match endpoint(url) {
                Ok(endpoint) if parsed.contains(&endpoint) => findings.mistake(
                    url.place,
                    format!("{path}: {} stands twice in the list; keep one", quoted(url)),
                ),
                Ok(endpoint) => {
                    if let Some((other, place)) = first.get(&endpoint) {
                        let place = findings.name(*place);
                        findings.warn(
                            url.place,
                            format!(
                                "{path}: {} stands under {other} too ({place}); an endpoint lies in one region, and residency goes by it",
                                quoted(url)
                            ),
                        );
                    }
                    first
                        .entry(endpoint.clone())
                        .or_insert_with(|| (region.text.clone(), url.place));
                    parsed.push(endpoint);
                }
                Err(reason) => findings.mistake(url.place, format!("{path}: {reason}")),
            }
        }
        all.insert(RegionName::new(region.text.as_str()), parsed);
    }
    if regions.value.0.iter().all(|(_, list)| list.empty) {
        findings.mistake(
            regions.place,
            format!("{path}: there is no endpoint; name at least one"),
        );
    }
    all
}

/// Reads an endpoint's URL: scheme, host and port, nothing else.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let shown = quoted(text);
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("{shown} has no scheme; write \"http://{text}\""));
    };
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => {
            return Err(format!(
                "{shown} has the unknown scheme {scheme:?}; use http or https (protocol: http2 chooses HTTP/2)"
            ));
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "{shown} has a path or query; write \"{scheme}://{}\" and, on the route, request.rewrite",
            authority.split(['/', '?', '#']).next().unwrap_or("")
        ));
    }
    if authority.contains('@') {
        return Err(format!("{shown} has a user name; leave it out"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| {
                    format!("{shown}: {port:?} is not a port; it must lie between 1 and 65535")
                })?;
            (host, port)
        }
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let host = host_name(host)
        .ok_or_else(|| format!("{shown}: {host:?} is not a host name or address"))?;
    Ok(Endpoint { tls, host, port })
}

/// A host name in lower case, or an address, IPv6 in brackets; returned without them.
pub(crate) fn host_name(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: std::net::Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    if let Ok(IpAddr::V4(address)) = text.parse() {
        return Some(address.to_string());
    }
    let labels_fit = text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        });
    // A last label of digits only is a mistyped address, never a name (RFC 3696 section 2).
    let last_is_number = text
        .rsplit('.')
        .next()
        .is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()));
    (labels_fit && !last_is_number).then(|| text.to_ascii_lowercase())
}

fn timeouts(raw: &Field<TimeoutsRaw>, path: &Path, findings: &mut Findings) -> Timeouts {
    let default = TimeoutsRaw::default();
    let raw = raw.given().map_or(&default, |raw| &raw.value);
    let bounds = ("10ms", "1h");
    Timeouts {
        connect: span(&raw.connect, "1s", bounds, &path.key("connect"), findings),
        response: span(
            &raw.response,
            "15s",
            bounds,
            &path.key("response"),
            findings,
        ),
        idle: span(
            &raw.idle,
            "60s",
            ("10ms", "24h"),
            &path.key("idle"),
            findings,
        ),
    }
}

fn retries(raw: &Field<RetriesRaw>, path: &Path, findings: &mut Findings) -> Retries {
    let default = RetriesRaw::default();
    let raw = raw.given().map_or(&default, |raw| &raw.value);
    let attempts = raw.attempts.given().map_or(1, |attempts| {
        between(
            attempts.value,
            attempts.place,
            (0, 10),
            &path.key("attempts"),
            findings,
        )
    });
    not_empty(&raw.on, &path.key("on"), findings);
    let mut on = Vec::new();
    for (path, item) in items(&path.key("on"), &raw.on) {
        if on.contains(&item.value.0) {
            findings.mistake(
                item.place,
                format!("{path}: stands twice in the list; keep one"),
            );
        } else {
            on.push(item.value.0);
        }
    }
    if !raw.on.stands() {
        on = vec![RetryOn::Connect, RetryOn::Reset];
        on.extend((502..=504).map(RetryOn::Status));
    }
    Retries {
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        on,
        budget: raw.budget.given().map_or(0.2, |share| share.value.0),
    }
}

fn health(raw: &At<HealthRaw>, path: &Path, findings: &mut Findings) -> Health {
    let target = raw.path.needed("path", path, raw.named, findings);
    if let Some(target) = target
        && (!target.starts_with('/') || http::uri::PathAndQuery::try_from(target.as_str()).is_err())
    {
        findings.mistake(
            target.place,
            format!(
                "{}: {} is not a path; write one like \"/health\"",
                path.key("path"),
                quoted(target)
            ),
        );
    }
    let interval = span(
        &raw.interval,
        "1s",
        ("100ms", "1h"),
        &path.key("interval"),
        findings,
    );
    // A check never runs into the next one, so a short interval shortens the default.
    let timeout = if raw.timeout.stands() {
        span(
            &raw.timeout,
            "500ms",
            ("10ms", "1h"),
            &path.key("timeout"),
            findings,
        )
    } else {
        Duration::from_millis(500).min(interval)
    };
    if timeout > interval
        && let Some(given) = raw.timeout.given()
    {
        findings.mistake(
            given.place,
            format!(
                "{}: {} is longer than the interval, {}; a check must end before the next begins",
                path.key("timeout"),
                crate::units::duration_text(timeout),
                crate::units::duration_text(interval)
            ),
        );
    }
    let mut after = |field: &Field<u64>, key: &str| {
        let number = field.given().map_or(2, |number| {
            between(
                number.value,
                number.place,
                (1, 100),
                &path.key(key),
                findings,
            )
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    Health {
        path: target.map_or_else(String::new, |target| target.value.clone()),
        interval,
        timeout,
        healthy_after: after(&raw.healthy_after, "healthy_after"),
        unhealthy_after: after(&raw.unhealthy_after, "unhealthy_after"),
    }
}
