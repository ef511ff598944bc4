//! What a revision says about tokens: whose are accepted, and whom they mean.
//!
//! In: a checked document, then claims whose signature is known to be good. Out: an [`Identity`], or the
//! refusal. A core, compiled once a revision; [`super::identifier`] asks it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use meridian_config::{
    document::{self, Document, Issuer, Route},
    name::{IssuerName, TenantId, Zone},
};

use super::{
    claims::{self, Claims},
    keys::USABLE,
};
use crate::{
    exchange::Identity,
    problem::{Refusal, TokenFault},
};

/// What a revision says about tokens.
#[derive(Debug)]
pub struct Rules {
    /// The revision's number: what was verified under another one is verified again.
    pub(super) revision: u64,
    /// By the `iss` claim.
    issuers: HashMap<String, Arc<Accepted>>,
    /// By name and by alias.
    tenants: HashMap<String, Arc<Named>>,
}

/// An issuer whose tokens are accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) name: IssuerName,
    pub(super) algorithms: Vec<Algorithm>,
    audiences: Vec<String>,
    claims: document::Claims,
    leeway: Duration,
}

/// A tenant as tokens name it.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    tenant: TenantId,
    zones: Vec<Zone>,
    issuers: Vec<IssuerName>,
}

/// An identity and how long it holds.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) identity: Identity,
    /// Seconds since the Unix epoch: `exp` and the issuer's leeway.
    pub(super) until: u64,
    /// What it was judged by.
    pub(super) basis: Basis,
}

/// What a token was judged by: all that a document says of its issuer and its tenant.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    url: String,
    issuer: Arc<Accepted>,
    /// The tenant claim's value.
    claim: String,
    tenant: Arc<Named>,
}

impl Rules {
    /// Prepares a document that [`super::Issuers::check`] has passed.
    pub fn compile(document: &Document, revision: u64) -> Self {
        let issuers = document
            .issuers
            .iter()
            .map(|(name, issuer)| (issuer.issuer.clone(), Arc::new(Accepted::new(name, issuer))))
            .collect();
        let mut tenants = HashMap::new();
        for (tenant, rules) in &document.tenants {
            let named = Arc::new(Named {
                tenant: tenant.clone(),
                zones: rules.residency.clone(),
                issuers: rules.issuers.clone(),
            });
            for alias in &rules.aliases {
                tenants
                    .entry(alias.clone())
                    .or_insert_with(|| named.clone());
            }
            tenants.insert(tenant.as_str().to_owned(), named);
        }
        Self {
            revision,
            issuers,
            tenants,
        }
    }

    /// The issuer of this URL, if it may open the route.
    pub(super) fn issuer(&self, url: &str, route: &Route) -> Result<&Arc<Accepted>, TokenFault> {
        let accepted = self.issuers.get(url).ok_or(TokenFault::Issuer)?;
        opens(route, &accepted.name)?;
        Ok(accepted)
    }

    /// Whether these rules would judge a token as it was judged: they say the same of its issuer and its
    /// tenant.
    pub(super) fn agree(&self, basis: &Basis) -> bool {
        self.issuers.get(&basis.url) == Some(&basis.issuer)
            && self.tenants.get(&basis.claim) == Some(&basis.tenant)
    }

    /// Judges the claims of a token that `issuer` has signed, at the given time since the Unix epoch.
    pub(super) fn judge(
        &self,
        issuer: &Arc<Accepted>,
        held: &Claims,
        unix: Duration,
    ) -> Result<Judged, Refusal> {
        let fault = |fault: TokenFault| Refusal::Unauthenticated(fault);
        if !claims::meant_for(held, &issuer.audiences) {
            return Err(fault(TokenFault::Audience));
        }
        let (now, leeway) = (unix.as_secs(), issuer.leeway.as_secs());
        let expires = claims::date(held, "exp")
            .map_err(fault)?
            .ok_or(fault(TokenFault::Claims))?;
        let until = expires.saturating_add(leeway);
        if now >= until {
            return Err(fault(TokenFault::Expired));
        }
        if claims::date(held, "nbf")
            .map_err(fault)?
            .is_some_and(|nbf| nbf > now.saturating_add(leeway))
        {
            return Err(fault(TokenFault::NotYetValid));
        }
        let subject = claims::text(held, "sub")
            .map_err(fault)?
            .unwrap_or_default()
            .to_owned();
        let token_id = claims::text(held, "jti").map_err(fault)?.map(str::to_owned);
        let issued = claims::date(held, "iat").map_err(fault)?;
        let scopes = claims::words(held, &issuer.claims.scopes, true).map_err(fault)?;
        let roles = claims::words(held, &issuer.claims.roles, false).map_err(fault)?;
        let claim = claims::text(held, &issuer.claims.tenant)
            .map_err(fault)?
            .ok_or(fault(TokenFault::Claims))?;
        let Some(named) = self.tenants.get(claim) else {
            return Err(Refusal::Forbidden {
                tenant: None,
                detail: "the token's tenant is not known here".to_owned(),
                scopes: Vec::new(),
            });
        };
        if !named.issuers.is_empty() && !named.issuers.contains(&issuer.name) {
            return Err(fault(TokenFault::Issuer));
        }
        let identity = Identity {
            tenant: named.tenant.clone(),
            zones: named.zones.clone(),
            subject,
            issuer: issuer.name.clone(),
            scopes,
            roles,
            token_id,
            issued,
            expires,
        };
        let url = claims::text(held, "iss").map_err(fault)?;
        let basis = Basis {
            url: url.unwrap_or_default().to_owned(),
            issuer: issuer.clone(),
            claim: claim.to_owned(),
            tenant: named.clone(),
        };
        Ok(Judged {
            identity,
            until,
            basis,
        })
    }
}

/// Whether the issuer's tokens open the route; an empty list means any issuer of the document.
pub(super) fn opens(route: &Route, issuer: &IssuerName) -> Result<(), TokenFault> {
    if route.issuers.is_empty() || route.issuers.contains(issuer) {
        Ok(())
    } else {
        Err(TokenFault::Issuer)
    }
}

impl Accepted {
    fn new(name: &IssuerName, issuer: &Issuer) -> Self {
        Self {
            name: name.clone(),
            algorithms: issuer
                .algorithms
                .iter()
                .filter_map(|name| algorithm(name))
                .collect(),
            audiences: issuer.audiences.clone(),
            claims: issuer.claims.clone(),
            leeway: issuer.leeway,
        }
    }
}

/// The algorithm of this JWA name, if this gateway checks its signatures.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse()
        .ok()
        .filter(|algorithm| USABLE.contains(algorithm))
}
