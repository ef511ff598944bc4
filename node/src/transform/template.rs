//! Text with variables, filled in.
//!
//! In: a parsed template and what is known of the request. Out: text. A core.

use std::{fmt::Write, net::IpAddr};

use meridian_config::document::{Part, Template};

/// What variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The path's variables, percent-encoded as they came.
    pub variables: &'a [(String, String)],
    /// The tenant; empty where there is none.
    pub tenant: &'a str,
    /// The token's subject; empty where there is none.
    pub subject: &'a str,
    /// The region: in a response that which served, in a request that which received.
    pub region: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The client's address.
    pub client_ip: IpAddr,
}

/// The text for a header. What no field can carry (a subject with a line feed) yields `None`.
pub fn field(template: &Template, values: &Values<'_>) -> Option<http::HeaderValue> {
    let text = fill(template, values, str::to_owned);
    http::HeaderValue::from_str(&text).ok()
}

/// The text for a path: all but the path's own variables (which are encoded already) is
/// percent-encoded, slashes too, so that no value can add a segment.
pub fn path(template: &Template, values: &Values<'_>) -> String {
    fill(template, values, encode)
}

/// Whether a template asks for variables of the path.
pub fn wants_variables(template: &Template) -> bool {
    template
        .parts
        .iter()
        .any(|part| matches!(part, Part::PathVariable(_)))
}

/// The template's text where it has no variable at all.
pub fn constant(template: &Template) -> Option<String> {
    let mut text = String::new();
    for part in &template.parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::PathVariable(_)
            | Part::Tenant
            | Part::Subject
            | Part::Region
            | Part::RequestId
            | Part::ClientIp => return None,
        }
    }
    Some(text)
}

fn fill(template: &Template, values: &Values<'_>, foreign: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(64);
    for part in &template.parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::PathVariable(name) => {
                let value = values.variables.iter().find(|(known, _)| known == name);
                text.push_str(value.map_or("", |(_, value)| value));
            }
            Part::Tenant => text.push_str(&foreign(values.tenant)),
            Part::Subject => text.push_str(&foreign(values.subject)),
            Part::Region => text.push_str(&foreign(values.region)),
            Part::RequestId => text.push_str(&foreign(values.request_id)),
            Part::ClientIp => {
                write!(text, "{}", values.client_ip).expect("a string takes everything");
            }
        }
    }
    text
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes everything");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(variables: &[(String, String)]) -> Values<'_> {
        Values {
            variables,
            tenant: "acme",
            subject: "a/b\nc",
            region: "eu-west",
            request_id: "r1",
            client_ip: "1.2.3.4".parse().expect("an address"),
        }
    }

    fn template(parts: Vec<Part>) -> Template {
        Template { parts }
    }

    #[test]
    fn variables_are_filled_in_and_foreign_text_cannot_add_segments() {
        let variables = [("rest".to_owned(), "a/b%20c".to_owned())];
        let template = template(vec![
            Part::Text("/x/".into()),
            Part::PathVariable("rest".into()),
            Part::Text("/".into()),
            Part::Subject,
        ]);
        assert_eq!(path(&template, &values(&variables)), "/x/a/b%20c/a%2Fb%0Ac");
    }

    #[test]
    fn text_that_no_field_can_carry_yields_none() {
        assert_eq!(field(&template(vec![Part::Subject]), &values(&[])), None);
        let good = field(&template(vec![Part::Tenant, Part::ClientIp]), &values(&[]));
        assert_eq!(good.expect("good"), "acme1.2.3.4");
    }
}
