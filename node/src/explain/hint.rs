//! What an operator needs to know of a refusal beside the client's own message.
//!
//! In: [`Findings`] and the refusal. Out: lines. A client is told less: what would do is none of a
//! stranger's business.

use http::header;
use meridian_cluster::facts::{Claim, Fact, FactId};
use meridian_config::{document::Document, units};

use super::{Findings, tell::clipped};
use crate::{
    admin::moment,
    ban::Bans,
    identity::claimed_issuer,
    problem::{Refusal, TokenFault},
    revision::CompiledRoute,
};

/// What an operator needs beside the client's own message.
pub(super) fn hints(findings: &Findings, refusal: &Refusal, bans: &Bans) -> Vec<String> {
    if let Refusal::Blocked(fact) | Refusal::Unauthenticated(TokenFault::Revoked(fact)) = refusal {
        return ban_hints(fact, bans);
    }
    let subject = &findings.subject;
    let (Some(compiled), Some(chosen)) = (&subject.compiled, subject.chosen()) else {
        return Vec::new();
    };
    let document = &compiled.document;
    match refusal {
        Refusal::Unauthenticated(fault) => {
            let claimed = claimed_issuer(&findings.head.headers);
            token_hints(document, chosen, *fault, claimed.as_deref())
        }
        Refusal::Forbidden { tenant: None, .. } => {
            let claims: Vec<_> = document
                .issuers
                .iter()
                .map(|(name, issuer)| format!("{} in tokens of {name}", issuer.claims.tenant))
                .collect();
            vec![format!(
                "the tenant is read from the claim {}; its value must be a tenant's name or alias",
                claims.join(", ")
            )]
        }
        Refusal::BodyTooLarge { .. } => {
            let length = findings.head.headers.get(header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok());
            length
                .map(|length| format!("content-length: {length}"))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Which ban it is, and how it is lifted.
fn ban_hints(id: &FactId, bans: &Bans) -> Vec<String> {
    let Some(fact) = bans.fact(id) else {
        return vec![format!("by {id}, which has just ended")];
    };
    let Fact {
        claim,
        expires_ms,
        node,
        actor,
        reason,
        ..
    } = &*fact;
    let mut hints = vec![
        format!(
            "{}, until {}",
            clipped(&claim.to_string()),
            moment::text(*expires_ms)
        ),
        format!("by {actor} through {node}"),
    ];
    if !reason.is_empty() {
        hints.push(format!("because: {}", clipped(reason)));
    }
    hints.push(match claim {
        Claim::Block(net) => format!("`meridian block remove {net}` lifts it"),
        _ => format!("`meridian revoke --undo {id}` takes it back"),
    });
    hints
}

fn token_hints(
    document: &Document,
    chosen: &CompiledRoute,
    fault: TokenFault,
    claimed: Option<&str>,
) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(claimed) = claimed {
        hints.push(format!("the token says iss {}", clipped(claimed)));
    }
    let route = &chosen.route;
    let accepted = document
        .issuers
        .iter()
        .filter(|(name, _)| route.issuers.is_empty() || route.issuers.contains(name));
    for (name, issuer) in accepted {
        match fault {
            TokenFault::Missing | TokenFault::Malformed | TokenFault::Issuer => {
                hints.push(format!("{name} is accepted: {}", issuer.issuer));
            }
            _ if claimed != Some(issuer.issuer.as_str()) => {}
            TokenFault::Signature => hints.push(format!(
                "{name} signs with {}",
                issuer.algorithms.join(", ")
            )),
            TokenFault::Audience => hints.push(format!(
                "tokens of {name} must hold aud {}",
                issuer.audiences.join(" or ")
            )),
            TokenFault::NotYetValid | TokenFault::Expired => hints.push(format!(
                "clocks may differ by {}",
                units::duration_text(issuer.leeway)
            )),
            TokenFault::Revoked(_) => {}
            TokenFault::Claims => hints.push(format!(
                "tokens of {name} must hold exp and {}; {} and {} hold roles and scopes",
                issuer.claims.tenant, issuer.claims.roles, issuer.claims.scopes
            )),
        }
    }
    hints
}
