//! Checks issuers and tenants: whose tokens are accepted, and who is charged.

use std::collections::BTreeMap;

use super::{
    super::raw::*, Known, all_exist, each, exists, items, not_empty, once, some_needed, span,
};
use crate::{
    diagnose::{Findings, Path, Place, quoted},
    document::{Claims, Issuer, Tenant},
    name::{IssuerName, PlanName, TenantId, Zone},
    read::{At, Field, Named},
};

/// Checks all issuers; two with one `iss` could not be told apart.
pub(super) fn issuers(
    raw: &Field<Named<IssuerRaw>>,
    findings: &mut Findings,
) -> BTreeMap<IssuerName, Issuer> {
    let mut urls: BTreeMap<&str, (&str, Place)> = BTreeMap::new();
    let mut issuers = BTreeMap::new();
    for (path, name, raw) in each("issuers", raw) {
        if let Some(url) = raw.issuer.given() {
            if let Some((other, place)) = urls.get(url.as_str()) {
                let place = findings.name(*place);
                findings.mistake(
                    url.place,
                    format!(
                        "{}: is that of issuers.{other} too ({place}); tokens of the two could not be told apart",
                        path.key("issuer")
                    ),
                );
            } else {
                urls.insert(url.as_str(), (name, url.place));
            }
        }
        issuers.insert(IssuerName::new(name), issuer(&path, raw, findings));
    }
    issuers
}

fn issuer(path: &Path, raw: &At<IssuerRaw>, findings: &mut Findings) -> Issuer {
    let url = raw.issuer.needed("issuer", path, raw.named, findings);
    if let Some(url) = url
        && let Err(reason) = issuer_url(url)
    {
        findings.mistake(url.place, format!("{}: {reason}", path.key("issuer")));
    }
    some_needed(&raw.audiences, "audiences", path, raw.named, findings);
    not_empty(&raw.algorithms, &path.key("algorithms"), findings);
    let algorithms = match raw.algorithms.given() {
        Some(list) => list.items().map(|(_, word)| word.value.0.clone()).collect(),
        None => vec!["RS256".to_owned(), "ES256".to_owned()],
    };
    let claims = raw.claims.given();
    let mut claim = |pick: fn(&ClaimsRaw) -> &Field<String>, key: &str, default: &str| {
        let given = claims.and_then(|claims| pick(&claims.value).given());
        if let Some(name) = given
            && (name.is_empty() || name.split('.').any(str::is_empty))
        {
            findings.mistake(
                name.place,
                format!(
                    "{}: {} is not a claim's name",
                    path.key("claims").key(key),
                    quoted(name)
                ),
            );
        }
        given.map_or_else(|| default.to_owned(), |name| name.value.clone())
    };
    let claims = Claims {
        tenant: claim(|claims| &claims.tenant, "tenant", "tenant"),
        roles: claim(|claims| &claims.roles, "roles", "roles"),
        scopes: claim(|claims| &claims.scopes, "scopes", "scope"),
    };
    let jwks = path.key("jwks");
    let missing = (Field::Missing, Field::Missing);
    let (refresh, max_stale) = raw.jwks.given().map_or((&missing.0, &missing.1), |jwks| {
        (&jwks.refresh, &jwks.max_stale)
    });
    let jwks_refresh = span(
        refresh,
        "10m",
        ("1s", "24h"),
        &jwks.key("refresh"),
        findings,
    );
    let jwks_max_stale = span(
        max_stale,
        "24h",
        ("1s", "8784h"),
        &jwks.key("max_stale"),
        findings,
    );
    if jwks_max_stale < jwks_refresh
        && let Some(at) = max_stale.given().or_else(|| refresh.given())
    {
        findings.mistake(
            at.place,
            format!("{jwks}: keys would be stale before they are fetched again; max_stale must be at least refresh"),
        );
    }
    Issuer {
        issuer: url.map_or_else(String::new, |url| url.value.clone()),
        audiences: once(&raw.audiences, &path.key("audiences"), findings)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        algorithms,
        claims,
        leeway: span(
            &raw.leeway,
            "30s",
            ("0s", "10m"),
            &path.key("leeway"),
            findings,
        ),
        jwks_refresh,
        jwks_max_stale,
    }
}

/// An issuer is an `https` URL without query and fragment (OpenID Connect Discovery 1.0, section 2; `http`
/// is left to the node, which knows whether it is a development one).
fn issuer_url(text: &str) -> Result<(), String> {
    let example = "write one like \"https://login.example.com/\"";
    let uri: http::Uri = text
        .parse()
        .map_err(|_| format!("{} is not a URL; {example}", quoted(text)))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(format!("{} is not an https URL; {example}", quoted(text)));
    }
    if uri.host().is_none_or(str::is_empty)
        || uri.authority().is_some_and(|a| a.as_str().contains('@'))
    {
        return Err(format!(
            "{} has no plain host name; {example}",
            quoted(text)
        ));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(format!(
            "{} has a query or fragment; leave it out",
            quoted(text)
        ));
    }
    Ok(())
}

/// Checks all tenants; no value of a tenant claim may mean two of them.
pub(super) fn tenants(
    raw: &Field<Named<TenantRaw>>,
    known: &Known<'_>,
    default_plan: Option<&PlanName>,
    findings: &mut Findings,
) -> BTreeMap<TenantId, Tenant> {
    let mut taken: BTreeMap<&str, (&str, Place)> = each("tenants", raw)
        .map(|(_, name, tenant)| (name, (name, tenant.named)))
        .collect();
    let mut tenants = BTreeMap::new();
    for (path, name, raw) in each("tenants", raw) {
        for (path, alias) in items(&path.key("aliases"), &raw.aliases) {
            match taken.get(alias.as_str()) {
                // Twice in this list is reported below.
                Some((owner, _)) if *owner == name && alias.value != name => {}
                Some((owner, _)) if *owner == name => findings.mistake(
                    alias.place,
                    format!("{path}: is the tenant's own name, which counts anyway; leave it out"),
                ),
                Some((owner, place)) => {
                    let place = findings.name(*place);
                    findings.mistake(
                        alias.place,
                        format!(
                            "{path}: {} means tenants.{owner} already ({place})",
                            quoted(alias)
                        ),
                    );
                }
                None => {
                    taken.insert(alias.as_str(), (name, alias.place));
                }
            }
        }
        if let Some(plan) = raw.plan.given() {
            exists(plan, "plan", &known.plans, &path.key("plan"), findings);
        }
        let plan = raw
            .plan
            .given()
            .map(|plan| PlanName::new(plan.as_str()))
            .or_else(|| default_plan.cloned());
        let issuers = all_exist(
            &raw.issuers,
            "issuer",
            &known.issuers,
            &path.key("issuers"),
            findings,
        );
        let zones = all_exist(
            &raw.residency,
            "zone",
            &known.zones,
            &path.key("residency"),
            findings,
        );
        let aliases = once(&raw.aliases, &path.key("aliases"), findings);
        tenants.insert(
            TenantId::new(name),
            Tenant {
                plan,
                issuers: issuers.into_iter().map(IssuerName::new).collect(),
                residency: zones.into_iter().map(Zone::new).collect(),
                aliases: aliases.into_iter().map(str::to_owned).collect(),
            },
        );
    }
    tenants
}
