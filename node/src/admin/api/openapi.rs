//! The OpenAPI 3.1 document of the admin API, made of the table's rows.
//!
//! In: the rows, and the schemas of their bodies. Out: JSON. What a row does not say cannot be in the
//! document, and what it says is.

use std::sync::LazyLock;

use bytes::Bytes;
use schemars::{
    SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use super::{
    reply,
    table::{Handler, Resource, parameter, rows, shape},
};
use crate::admin::{access::Role, body};

pub(super) const RESOURCES: &[Resource] = &[Resource::get(
    "/api/v1/openapi.json",
    "This description of the API: OpenAPI 3.1",
    shape::<Map<String, Value>>,
    Handler::Now(|_, _| Ok(reply::page("application/json", TEXT.clone()))),
)];

/// The rows never change while a process runs.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = serde_json::to_vec_pretty(&document()).expect("a value is valid JSON");
    text.into()
});

/// The whole document.
fn document() -> Value {
    // What is sent may lack what has a default; what is answered has it. So each way has its schemas.
    let mut given = generator(Contract::Serialize);
    let mut taken = generator(Contract::Deserialize);
    let mut paths: Map<String, Value> = Map::new();
    for row in rows() {
        let verbs = paths
            .entry(row.path)
            .or_insert_with(|| Value::Object(Map::new()));
        verbs[row.verb.name().to_lowercase()] = operation(row, &mut given, &mut taken);
    }
    let problem = given.subschema_for::<body::Problem>();
    let mut schemas = taken.take_definitions(true);
    schemas.append(&mut given.take_definitions(true));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Meridian admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "State of a Meridian cluster and changes to it. Every node answers; writes reach the leader from any of them. Answers with `\"stale\": true` come from a node that sees no quorum.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "listen.admin of any node" }],
        "security": [{ "token": [] }, { "certificate": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of the node's token file" },
                "certificate": { "type": "mutualTLS", "description": "A client certificate whose name the token file lists" },
            },
            "responses": {
                "problem": {
                    "description": "What was asked was not done (RFC 9457)",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "schemas": schemas,
        },
    })
}

fn generator(contract: Contract) -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.contract = contract;
        })
        .into_generator()
}

/// One row.
fn operation(row: &Resource, given: &mut SchemaGenerator, taken: &mut SchemaGenerator) -> Value {
    let roles: Vec<_> = Role::ALL
        .into_iter()
        .filter(|role| role.may(row.deed))
        .map(Role::name)
        .collect();
    let mut operation = json!({
        "operationId": id(row),
        "summary": row.summary,
        "description": format!("For the roles {}.", roles.join(", ")),
        "x-roles": roles,
        "parameters": parameters(row, taken),
        "responses": {
            "200": {
                "description": "Done",
                "content": { row.gives.media: { "schema": (row.gives.shape)(given) } },
            },
            "default": { "$ref": "#/components/responses/problem" },
        },
    });
    if let Some(takes) = row.takes {
        operation["requestBody"] = json!({
            "required": true,
            "description": format!("At most {} bytes", takes.limit),
            "content": { takes.media: { "schema": (takes.shape)(taken) } },
        });
    }
    operation
}

fn parameters(row: &Resource, taken: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = row
        .path
        .split('/')
        .filter_map(parameter)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let mut parameters: Vec<_> = in_path.collect();
    for query in row.query {
        parameters.push(json!({
            "name": query.name,
            "in": "query",
            "description": query.about,
            "schema": (query.shape)(taken),
        }));
    }
    if row.if_match {
        parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "required": true,
            "description": "The revision that the caller has seen, in quotes (\"0\" where there is none yet), or * for whichever is the newest",
            "schema": { "type": "string", "pattern": "^(\\*|\"[0-9]+\")$" },
        }));
    }
    parameters
}

/// `get-config-history`; a path outside the API's own space says so.
fn id(row: &Resource) -> String {
    let (space, path) = match row.path.strip_prefix("/api/v1/") {
        Some(path) => ("", path),
        None => ("plain-", row.path.trim_start_matches('/')),
    };
    let words: Vec<_> = path
        .split(['/', '{', '}', '.', '-'])
        .filter(|word| !word.is_empty())
        .collect();
    format!(
        "{}-{space}{}",
        row.verb.name().to_lowercase(),
        words.join("-")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_row_and_nothing_else() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, verbs) in document["paths"].as_object().unwrap() {
            for verb in verbs.as_object().unwrap().keys() {
                described.insert((path.clone(), verb.to_uppercase()));
            }
        }
        let handled: BTreeSet<_> = rows()
            .map(|row| (row.path.to_owned(), row.verb.name().to_owned()))
            .collect();
        assert_eq!(described, handled);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: BTreeSet<_> = rows().map(id).collect();
        assert_eq!(names.len(), rows().count(), "{names:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(target)) = map.get("$ref") {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    open.extend(map.values());
                }
                Value::Array(values) => open.extend(values),
                _ => {}
            }
        }
    }

    /// A type that goes both ways has one schema under one name.
    #[test]
    fn what_is_taken_and_what_is_given_do_not_contradict() {
        let (mut given, mut taken) = (
            generator(Contract::Serialize),
            generator(Contract::Deserialize),
        );
        for row in rows() {
            operation(row, &mut given, &mut taken);
        }
        let taken = taken.take_definitions(true);
        for (name, schema) in given.take_definitions(true) {
            if let Some(other) = taken.get(&name) {
                assert_eq!(*other, schema, "{name}");
            }
        }
    }
}
