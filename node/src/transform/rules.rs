//! A route's own changes to requests and responses, ready to apply.
//!
//! In: a route of the document, once per revision. Out: [`Rules`], names and constant values parsed.

use http::{HeaderMap, HeaderName, HeaderValue};
use meridian_config::{
    document::{HeaderChanges, Route, Template},
    name::RouteName,
};

use super::template::{self, Values};

/// A route's changes.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The path the upstream sees; none: as it came.
    pub rewrite: Option<Template>,
    /// To the request's fields.
    pub request: Changes,
    /// To the response's fields.
    pub response: Changes,
    /// Whether any of them uses a variable of the path.
    pub wants_variables: bool,
}

/// Changes to a header section: remove, then set.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
}

#[derive(Debug, Clone)]
enum Value {
    Constant(HeaderValue),
    Filled(Template),
}

/// A header change that can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "route {route}: {text:?} is not valid as {what}; use letters, digits and hyphens in names, visible ASCII in values"
)]
pub struct RuleError {
    route: RouteName,
    what: &'static str,
    text: String,
}

impl Rules {
    /// Reads a route's rules.
    pub fn compile(route: &Route) -> Result<Self, RuleError> {
        let changes = |changes: &HeaderChanges| Changes::compile(changes, &route.name);
        let templates = route
            .request
            .headers
            .set
            .iter()
            .chain(&route.response.headers.set);
        let wants_variables = templates
            .map(|(_, template)| template)
            .chain(&route.request.rewrite)
            .any(template::wants_variables);
        Ok(Self {
            rewrite: route.request.rewrite.clone(),
            request: changes(&route.request.headers)?,
            response: changes(&route.response.headers)?,
            wants_variables,
        })
    }
}

impl Changes {
    fn compile(changes: &HeaderChanges, route: &RouteName) -> Result<Self, RuleError> {
        let bad = |what, text: &str| RuleError {
            route: route.clone(),
            what,
            text: text.to_owned(),
        };
        let name = |text: &str| {
            HeaderName::from_bytes(text.as_bytes()).map_err(|_| bad("a header's name", text))
        };
        let mut compiled = Self::default();
        for text in &changes.remove {
            compiled.remove.push(name(text)?);
        }
        for (text, template) in &changes.set {
            let value = match template::constant(template) {
                Some(constant) => Value::Constant(
                    HeaderValue::from_str(&constant)
                        .map_err(|_| bad("a header's value", &constant))?,
                ),
                None => Value::Filled(template.clone()),
            };
            compiled.set.push((name(text)?, value));
        }
        Ok(compiled)
    }

    /// Applies the changes. A field whose text can't be carried is removed: what came under its name
    /// from outside must not pass for what the route would have set.
    pub fn apply(&self, headers: &mut HeaderMap, values: &Values<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            let value = match value {
                Value::Constant(value) => Some(value.clone()),
                Value::Filled(template) => template::field(template, values),
            };
            match value {
                Some(value) => {
                    headers.insert(name.clone(), value);
                }
                None => {
                    headers.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_config::document::Part;

    use super::*;

    fn changes(set: Vec<(&str, Part)>, remove: &[&str]) -> HeaderChanges {
        HeaderChanges {
            set: set
                .into_iter()
                .map(|(name, part)| (name.to_owned(), Template { parts: vec![part] }))
                .collect(),
            remove: remove.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn fields_are_removed_then_set_and_what_cannot_be_set_does_not_survive() {
        let compiled = Changes::compile(
            &changes(
                vec![
                    ("x-tenant", Part::Tenant),
                    ("x-who", Part::Subject),
                    ("x-a", Part::Text("1".into())),
                ],
                &["cookie", "x-a"],
            ),
            &RouteName::from("r"),
        )
        .expect("good");
        let mut headers = HeaderMap::new();
        for name in ["cookie", "x-who", "x-a", "accept"] {
            headers.append(name, HeaderValue::from_static("client"));
        }
        let values = Values {
            variables: &[],
            tenant: "acme",
            subject: "line\nfeed",
            region: "",
            request_id: "",
            client_ip: "::1".parse().expect("an address"),
        };
        compiled.apply(&mut headers, &values);
        assert!(!headers.contains_key("cookie") && !headers.contains_key("x-who"));
        assert_eq!(headers["x-tenant"], "acme");
        assert_eq!(headers["x-a"], "1");
        assert_eq!(headers["accept"], "client");
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let error = Changes::compile(&changes(vec![], &["a b"]), &RouteName::from("r"));
        assert!(error.expect_err("bad").to_string().contains("route r"));
    }
}
