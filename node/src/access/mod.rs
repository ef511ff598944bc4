//! May this identity use this route?
//!
//! In: what the route demands and who asks. Out: go on, or 403 naming what is missing. A core without
//! state; the pipeline calls it between identity and limit.

mod exempt;

pub use exempt::{Exempted, exempt};
use meridian_config::document::Access;

use crate::{exchange::Identity, problem::Refusal};

/// Passes an identity that holds every scope and, where roles are asked for, one of them.
///
/// The refusal names what is missing and never what the token holds: the caller knows that, and a log
/// has no use for it.
pub fn decide(access: &Access, identity: &Identity) -> Result<(), Refusal> {
    let missing: Vec<&str> = access
        .scopes
        .iter()
        .filter(|scope| !identity.scopes.contains(scope))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let noun = if missing.len() == 1 {
            "scope"
        } else {
            "scopes"
        };
        return Err(Refusal::Forbidden {
            tenant: Some(identity.tenant.clone()),
            detail: format!("the token lacks the {noun} {}", missing.join(", ")),
            // RFC 6750 section 3.1: the scopes needed to reach the resource, all of them, so that a
            // client that asks for exactly these gets a token that passes.
            scopes: access.scopes.clone(),
        });
    }
    if !access.roles.is_empty()
        && !access
            .roles
            .iter()
            .any(|role| identity.roles.contains(role))
    {
        return Err(Refusal::Forbidden {
            tenant: Some(identity.tenant.clone()),
            detail: format!("this route needs the role {}", access.roles.join(" or ")),
            scopes: Vec::new(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(scopes: &[&str], roles: &[&str]) -> Identity {
        Identity {
            tenant: "acme".into(),
            zones: Vec::new(),
            subject: "ann".to_owned(),
            issuer: "demo".into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            roles: roles.iter().map(ToString::to_string).collect(),
            token_id: None,
            issued: None,
            expires: 0,
        }
    }

    fn demand(scopes: &[&str], roles: &[&str]) -> Access {
        Access {
            scopes: scopes.iter().map(ToString::to_string).collect(),
            roles: roles.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_route_that_demands_nothing_passes_everyone() {
        assert_eq!(decide(&demand(&[], &[]), &holder(&[], &[])), Ok(()));
    }

    #[test]
    fn every_scope_is_needed_and_the_refusal_names_them_all() {
        let access = demand(&["plants:read", "plants:write"], &[]);
        assert_eq!(
            decide(&access, &holder(&["plants:write", "plants:read"], &[])),
            Ok(())
        );
        assert_eq!(
            decide(&access, &holder(&["plants:read"], &[])),
            Err(Refusal::Forbidden {
                tenant: Some("acme".into()),
                detail: "the token lacks the scope plants:write".to_owned(),
                scopes: access.scopes.clone(),
            })
        );
    }

    #[test]
    fn a_scope_is_compared_whole() {
        let access = demand(&["plants:read"], &[]);
        for near in ["plants:read2", "plants", "Plants:read", "plants:read "] {
            assert!(
                decide(&access, &holder(&[near], &[])).is_err(),
                "{near:?} passed"
            );
        }
    }

    #[test]
    fn one_of_the_roles_is_enough_and_none_is_not() {
        let access = demand(&[], &["editor", "admin"]);
        assert_eq!(decide(&access, &holder(&[], &["guest", "admin"])), Ok(()));
        let refused = decide(&access, &holder(&["admin"], &["guest"]));
        assert_eq!(
            refused,
            Err(Refusal::Forbidden {
                tenant: Some("acme".into()),
                detail: "this route needs the role editor or admin".to_owned(),
                scopes: Vec::new(),
            })
        );
    }
}
