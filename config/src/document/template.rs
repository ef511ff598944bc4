//! Text with variables: `/plants/{rest}`.

use crate::diagnose::{did_you_mean, quoted};

/// Text with variables in braces, parsed. `{{` and `}}` are literal braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its pieces in order.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// A path variable of the route's own.
    PathVariable(String),
    /// `{tenant}`: the tenant's name; empty where there is none.
    Tenant,
    /// `{subject}`: the token's subject; empty where there is none.
    Subject,
    /// `{region}`: the region that serves the request (in a request header: that received it).
    Region,
    /// `{request_id}`.
    RequestId,
    /// `{client_ip}`.
    ClientIp,
}

impl Part {
    /// The variables that every template has. No path variable has one of these names.
    pub const WORDS: [&str; 5] = ["tenant", "subject", "region", "request_id", "client_ip"];
}

impl Template {
    /// Parses a template that may use the given path variables.
    ///
    /// # Errors
    /// What is wrong with the text, and what would be right.
    pub fn parse(text: &str, path_variables: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(&rest[..1]);
                rest = &rest[2..];
                continue;
            }
            let Some((variable, after)) =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
            else {
                return Err(format!(
                    "{} has a brace without its pair; a literal brace is doubled, {{{{ or }}}}",
                    quoted(text)
                ));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part(text, variable, path_variables)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }
}

fn part(text: &str, variable: &str, path_variables: &[String]) -> Result<Part, String> {
    Ok(match variable {
        "tenant" => Part::Tenant,
        "subject" => Part::Subject,
        "region" => Part::Region,
        "request_id" => Part::RequestId,
        "client_ip" => Part::ClientIp,
        _ if path_variables.iter().any(|known| known == variable) => {
            Part::PathVariable(variable.to_owned())
        }
        _ => {
            let known = path_variables.iter().map(String::as_str).chain(Part::WORDS);
            let mut hint = did_you_mean(variable, known.clone());
            if hint.is_empty() {
                let known: Vec<&str> = known.collect();
                hint = format!("; known here: {}", known.join(", "));
            }
            return Err(format!(
                "{} uses the unknown variable {}{hint}",
                quoted(text),
                quoted(variable)
            ));
        }
    })
}

/// The names of the variables in a path to match, in order.
pub(crate) fn variables(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = path;
    while let Some(at) = rest.find(['{', '}']) {
        rest = &rest[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            rest = &rest[2..];
            continue;
        }
        let Some((name, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
        else {
            break;
        };
        names.push(name.strip_prefix('*').unwrap_or(name).to_owned());
        rest = after;
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Part>, String> {
        Template::parse(text, &["rest".to_owned(), "id".to_owned()]).map(|template| template.parts)
    }

    #[test]
    fn text_and_variables_are_told_apart() {
        assert_eq!(
            parse("/plants/{rest}/of/{tenant}"),
            Ok(vec![
                Part::Text("/plants/".to_owned()),
                Part::PathVariable("rest".to_owned()),
                Part::Text("/of/".to_owned()),
                Part::Tenant,
            ])
        );
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn doubled_braces_are_literal() {
        assert_eq!(
            parse("{{{id}}}"),
            Ok(vec![
                Part::Text("{".to_owned()),
                Part::PathVariable("id".to_owned()),
                Part::Text("}".to_owned()),
            ])
        );
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest() {
        assert_eq!(
            parse("/{tennant}"),
            Err(
                "\"/{tennant}\" uses the unknown variable \"tennant\"; did you mean \"tenant\"?"
                    .to_owned()
            )
        );
        assert_eq!(
            parse("/{zzzzzz}"),
            Err("\"/{zzzzzz}\" uses the unknown variable \"zzzzzz\"; known here: rest, id, tenant, subject, region, request_id, client_ip".to_owned())
        );
    }

    #[test]
    fn a_lone_brace_is_refused() {
        let reason = "has a brace without its pair; a literal brace is doubled, {{ or }}";
        assert_eq!(parse("a{id"), Err(format!("\"a{{id\" {reason}")));
        assert_eq!(parse("a}id"), Err(format!("\"a}}id\" {reason}")));
    }

    proptest! {
        #[test]
        fn text_without_braces_is_one_piece(text in "[^{}]{1,40}") {
            prop_assert_eq!(parse(&text), Ok(vec![Part::Text(text)]));
        }

        #[test]
        fn no_text_panics(text in "[{}a-z*é ]{0,30}") {
            let _ = parse(&text);
            let _ = variables(&text);
        }
    }
}
