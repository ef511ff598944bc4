//! A small JSON Schema checker for tests: enough to see that schema and readers agree.

use serde_json::Value as Json;

use crate::tree::{Node, Value};

/// Panics, with the path, where the schema does not take the node.
pub(crate) fn accepts(schema: &Json, node: &Node) {
    if let Err(reason) = check(schema, schema, node, "") {
        panic!("the schema refuses the document: {reason}");
    }
}

/// Checks a node against a schema: references, alternatives, kinds, keys, required keys, words.
pub(crate) fn check(root: &Json, schema: &Json, node: &Node, path: &str) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .ok_or_else(|| format!("{path}: {reference} leads nowhere"))?;
        check(root, target, node, path)?;
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(all) = schema.get(word).and_then(Json::as_array) {
            let fits = all.iter().any(|one| check(root, one, node, path).is_ok());
            if !fits {
                return Err(format!("{path}: fits nothing of {word}"));
            }
        }
    }
    if let Some(kind) = schema.get("type").and_then(Json::as_str) {
        let fits = match &node.value {
            Value::Null => kind == "null",
            Value::Flag(_) => kind == "boolean",
            Value::Integer(_) => kind == "integer" || kind == "number",
            Value::Float(_) => kind == "number",
            Value::Text(_) => kind == "string",
            Value::List(_) => kind == "array",
            Value::Map(_) => kind == "object",
        };
        if !fits {
            return Err(format!(
                "{path}: {} where the schema has {kind}",
                node.kind()
            ));
        }
    }
    if let Some(words) = schema.get("enum").and_then(Json::as_array)
        && !words.contains(&node.json())
    {
        return Err(format!("{path}: {} is none of {words:?}", node.json()));
    }
    if let Some(word) = schema.get("const")
        && *word != node.json()
    {
        return Err(format!("{path}: {} is not {word}", node.json()));
    }
    match &node.value {
        Value::List(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check(root, schema, item, &format!("{path}[{index}]"))?;
                }
            }
        }
        Value::Map(entries) => {
            for key in schema
                .get("required")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
            {
                if !entries.iter().any(|(known, _)| key == known.text.as_str()) {
                    return Err(format!("{path}: {key} is missing"));
                }
            }
            for (key, value) in entries {
                let path = format!("{path}.{}", key.text);
                let known = schema
                    .get("properties")
                    .and_then(|keys| keys.get(&key.text));
                match known.or(schema.get("additionalProperties")) {
                    Some(Json::Bool(false)) => return Err(format!("{path}: not in the schema")),
                    Some(schema) => check(root, schema, value, &path)?,
                    None => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}
