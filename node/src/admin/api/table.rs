//! The table of all resources: which exist, what they take and give, who may ask, and who answers.
//!
//! In: a method and a path. Out: the row and the path's parameters, or 404 or 405. A core. The routing,
//! the roles and the OpenAPI document all come from these rows, so that none can differ from the others.

use http::{Method, Response};
use meridian_cluster::host::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    Asked, Desk, audit, backup, cluster, config, events, explain, facts, history, inventory, nodes,
    observe, openapi, quota, request::decode,
};
use crate::{
    admin::{access::Deed, fault::Fault},
    exchange::Body,
};

/// Every topic's rows.
pub(super) const TOPICS: &[&[Resource]] = &[
    audit::RESOURCES,
    backup::RESOURCES,
    cluster::RESOURCES,
    config::RESOURCES,
    events::RESOURCES,
    explain::RESOURCES,
    facts::RESOURCES,
    history::RESOURCES,
    inventory::RESOURCES,
    nodes::RESOURCES,
    observe::RESOURCES,
    openapi::RESOURCES,
    quota::RESOURCES,
];

/// One resource and one method: a row of the table.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) verb: Verb,
    /// `/api/v1/tenants/{tenant}`: a part in braces takes any one part of a path, percent-decoded.
    pub(crate) path: &'static str,
    /// What the caller's role must allow.
    pub(crate) deed: Deed,
    /// What it does, in a sentence.
    pub(crate) summary: &'static str,
    /// The query parameters it takes; others are refused.
    pub(crate) query: &'static [Query],
    /// Whether `If-Match` must say which revision the caller has seen.
    pub(crate) if_match: bool,
    /// The body it takes.
    pub(crate) takes: Option<Content>,
    /// The body of its 200.
    pub(crate) gives: Produced,
    pub(crate) handler: Handler,
}

/// A method that the API knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

/// A query parameter.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) shape: Shape,
}

/// A body that a resource takes; it is gathered whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content {
    pub(crate) media: &'static str,
    /// Larger ones are refused with 413, in bytes.
    pub(crate) limit: usize,
    pub(crate) shape: Shape,
}

/// A body that a resource gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Produced {
    pub(crate) media: &'static str,
    pub(crate) shape: Shape,
}

/// Makes the JSON schema of a body or parameter: [`shape`] of its type.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What a handler returns.
pub(crate) type Answer = Result<Response<Body>, Fault>;

/// The function that answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handler {
    /// From what the node knows at this moment.
    Now(fn(&Desk, &Asked) -> Answer),
    /// After something has happened.
    Later(fn(Desk, Asked) -> BoxFuture<'static, Answer>),
}

impl Resource {
    /// A read: any role, JSON, no parameters.
    pub(crate) const fn get(
        path: &'static str,
        summary: &'static str,
        gives: Shape,
        handler: Handler,
    ) -> Self {
        Self {
            verb: Verb::Get,
            path,
            deed: Deed::Read,
            summary,
            query: &[],
            if_match: false,
            takes: None,
            gives: Produced::json(gives),
            handler,
        }
    }
}

impl Content {
    /// A JSON body of at most `limit` bytes.
    pub(crate) const fn json(limit: usize, shape: Shape) -> Self {
        Self {
            media: "application/json",
            limit,
            shape,
        }
    }
}

impl Produced {
    /// A JSON body.
    pub(crate) const fn json(shape: Shape) -> Self {
        Self {
            media: "application/json",
            shape,
        }
    }
}

impl Verb {
    /// Its name in HTTP.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a request's method means it. `HEAD` is a `GET` whose body the connection leaves out.
    fn is(self, method: &Method) -> bool {
        method.as_str() == self.name() || (self == Self::Get && method == Method::HEAD)
    }
}

/// The schema of a type.
pub(crate) fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A row that takes a request, and what stands in the path where the row has braces.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) resource: &'static Resource,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

/// All rows.
pub(crate) fn rows() -> impl Iterator<Item = &'static Resource> {
    TOPICS.iter().copied().flatten()
}

/// The row for a request. Some forty rows are compared one by one; nothing here is on the request path.
pub(super) fn find(method: &Method, path: &str) -> Result<Found, Fault> {
    let mut verbs = Vec::new();
    for resource in rows() {
        let Some(parameters) = fit(resource.path, path) else {
            continue;
        };
        if resource.verb.is(method) {
            return Ok(Found {
                resource,
                parameters,
            });
        }
        verbs.push(resource.verb);
    }
    if verbs.is_empty() {
        return Err(Fault::NoSuchResource(path.to_owned()));
    }
    Err(Fault::Method(allow(&verbs)))
}

/// The value of `Allow`.
fn allow(verbs: &[Verb]) -> String {
    let mut names = Vec::new();
    for verb in verbs {
        names.push(verb.name());
        if *verb == Verb::Get {
            names.push("HEAD");
        }
    }
    names.join(", ")
}

/// The parameters of a path that fits the template. A trailing slash makes another path.
fn fit(template: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let mut parameters = Vec::new();
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => match parameter(wanted) {
                Some(name) if !given.is_empty() => parameters.push((name, decode(given)?)),
                Some(_) => return None,
                None if wanted != given => return None,
                None => {}
            },
            _ => return None,
        }
    }
}

/// The name of a template's part, where it is a parameter.
pub(crate) fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_template_takes_one_part_for_each_brace() {
        let fits = |path| fit("/api/v1/tenants/{tenant}/quota", path);
        assert_eq!(
            fits("/api/v1/tenants/a%20b/quota"),
            Some(vec![("tenant", "a b".to_owned())])
        );
        for other in [
            "/api/v1/tenants//quota",
            "/api/v1/tenants/a/quota/",
            "/api/v1/tenants/a",
            "/api/v1/tenants/a/b/quota",
            "/api/v1/tenants/%zz/quota",
        ] {
            assert_eq!(fits(other), None, "{other}");
        }
    }

    #[test]
    fn no_row_hides_another() {
        let mut seen = BTreeSet::new();
        for row in rows() {
            let pattern: Vec<_> = row
                .path
                .split('/')
                .map(|part| parameter(part).map_or(part, |_| "{}"))
                .collect();
            assert!(
                seen.insert((pattern.join("/"), row.verb)),
                "{:?} {} stands twice",
                row.verb,
                row.path
            );
            let found = find(
                &row.verb.name().parse().unwrap(),
                &row.path.replace(['{', '}'], ""),
            );
            assert_eq!(found.unwrap().resource.path, row.path);
        }
    }

    #[test]
    fn rows_that_change_something_are_not_reads_and_reads_take_no_body() {
        for row in rows() {
            if row.verb == Verb::Get {
                assert!(row.takes.is_none() && !row.if_match, "{}", row.path);
            } else if row.path != "/api/v1/explain" {
                assert_ne!(row.deed, Deed::Read, "{:?} {}", row.verb, row.path);
            }
        }
    }
}
