//! Values that are written as text with a unit.
//!
//! In: text, or a number whose unit is missing. Out: the value by [`crate::units`], or its reason.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Read;
use crate::{
    diagnose::{Findings, Path},
    tree::{Node, Value, wrong_kind},
    units::{self, Rate},
};

/// Declares a value that is written as text with a unit.
macro_rules! unit {
    ($(#[$meta:meta])* $name:ident($type:ty) = $parse:path, $kind:literal, $pattern:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) struct $name(pub(crate) $type);

        impl Read for $name {
            fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
                let text = match &node.value {
                    Value::Text(text) => text.clone(),
                    Value::Integer(_) | Value::Float(_) => node.json().to_string(),
                    _ => {
                        wrong_kind(node, $kind, path, findings);
                        return None;
                    }
                };
                match $parse(&text) {
                    Ok(value) => Some(Self(value)),
                    Err(reason) => {
                        findings.mistake(node.place, format!("{path}: {reason}"));
                        None
                    }
                }
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

unit!(
    /// A duration: `250ms`.
    Span(Duration) = units::duration,
    "a duration such as \"30s\"",
    "^[0-9]+(ms|s|m|h)$"
);
unit!(
    /// A size: `64KiB`.
    Size(u64) = units::size,
    "a size such as \"64KiB\"",
    "^[0-9]+(B|KiB|MiB|GiB)$"
);
unit!(
    /// A rate: `1000/hour`.
    PerSpan(Rate) = units::rate,
    "a rate such as \"1000/hour\"",
    "^[1-9][0-9]*/(second|minute|hour|day|[0-9]+(ms|s|m|h))$"
);
unit!(
    /// A share: `20%`.
    Share(f64) = units::share,
    "a share such as \"20%\"",
    "^[0-9]+(\\.[0-9]+)?%$"
);
