//! Which requests no limit is charged for.
//!
//! In: what the route says, who asks, and how the request came in. Out: why it is exempt, or nothing. A core
//! without state. Nothing that a client can write into a request is asked: its identity is verified by then, and the
//! listener is this node's own.

use std::fmt;

use meridian_config::document::{Exempt, Exemption, Listener};

use crate::exchange::Identity;

/// Why no limit is charged for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exempted<'a> {
    /// None is for any of the route's.
    Route,
    /// This names it.
    Named(&'a Exemption),
}

/// Whether a request is exempt from limits, and why.
pub fn exempt<'a>(
    exempt: &'a Exempt,
    identity: Option<&Identity>,
    listener: Listener,
) -> Option<Exempted<'a>> {
    if exempt.limits {
        return Some(Exempted::Route);
    }
    let names = |exemption: &&Exemption| names(exemption, identity, listener);
    exempt.some.iter().find(names).map(Exempted::Named)
}

fn names(exemption: &Exemption, identity: Option<&Identity>, listener: Listener) -> bool {
    let Exemption {
        tenants,
        roles,
        subjects,
        listeners,
    } = exemption;
    if !listeners.is_empty() && !listeners.contains(&listener) {
        return false;
    }
    if tenants.is_empty() && roles.is_empty() && subjects.is_empty() {
        return true;
    }
    identity.is_some_and(|identity| {
        tenants.contains(&identity.tenant)
            && (roles.is_empty() || roles.iter().any(|role| identity.roles.contains(role)))
            && (subjects.is_empty() || subjects.contains(&identity.subject))
    })
}

impl fmt::Display for Exempted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Named(exemption) = self else {
            return f.write_str("the route is exempt");
        };
        f.write_str("the route exempts")?;
        let names: Vec<_> = exemption.tenants.iter().map(ToString::to_string).collect();
        let listeners = exemption.listeners.iter().map(|listener| match listener {
            Listener::Http => "http".to_owned(),
            Listener::Https => "https".to_owned(),
        });
        let listeners: Vec<_> = listeners.collect();
        let mut parts = Vec::new();
        for (what, list) in [
            ("tenant", &names),
            ("role", &exemption.roles),
            ("subject", &exemption.subjects),
            ("listener", &listeners),
        ] {
            if !list.is_empty() {
                parts.push(format!("{what} {}", list.join(" or ")));
            }
        }
        write!(f, " {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(tenant: &str, subject: &str, roles: &[&str]) -> Identity {
        Identity {
            tenant: tenant.into(),
            zones: Vec::new(),
            subject: subject.to_owned(),
            issuer: "demo".into(),
            scopes: Vec::new(),
            roles: roles.iter().map(ToString::to_string).collect(),
            token_id: None,
            issued: None,
            expires: 0,
        }
    }

    fn only(exemption: Exemption) -> Exempt {
        Exempt {
            some: vec![exemption],
            ..Exempt::default()
        }
    }

    #[test]
    fn all_that_an_exemption_names_must_hold() {
        let exemption = only(Exemption {
            tenants: vec!["acme".into(), "globex".into()],
            roles: vec!["ops".to_owned(), "admin".to_owned()],
            subjects: vec!["probe".to_owned()],
            listeners: vec![Listener::Http],
        });
        let named = |tenant, subject, roles: &[&str], listener| {
            let holder = holder(tenant, subject, roles);
            exempt(&exemption, Some(&holder), listener).is_some()
        };
        assert!(named("acme", "probe", &["user", "admin"], Listener::Http));
        assert!(!named("acme", "probe", &["admin"], Listener::Https));
        assert!(!named("acme", "ann", &["admin"], Listener::Http));
        assert!(!named("acme", "probe", &["user"], Listener::Http));
        // Any tenant's issuer may call its users admins.
        assert!(!named("initech", "probe", &["admin"], Listener::Http));
        assert!(exempt(&exemption, None, Listener::Http).is_none());
    }

    #[test]
    fn any_of_several_exemptions_will_do_and_a_listener_needs_no_identity() {
        let route = Exempt {
            some: vec![
                Exemption {
                    tenants: vec!["acme".into()],
                    ..Exemption::default()
                },
                Exemption {
                    listeners: vec![Listener::Http],
                    ..Exemption::default()
                },
            ],
            ..Exempt::default()
        };
        let acme = holder("acme", "ann", &[]);
        let why = exempt(&route, Some(&acme), Listener::Https).expect("its tenant is named");
        assert_eq!(why.to_string(), "the route exempts tenant acme");
        let why = exempt(&route, None, Listener::Http).expect("its listener is named");
        assert_eq!(why.to_string(), "the route exempts listener http");
        assert!(exempt(&route, None, Listener::Https).is_none());
        let all = Exempt {
            limits: true,
            ..Exempt::default()
        };
        assert_eq!(exempt(&all, None, Listener::Https), Some(Exempted::Route));
    }
}
