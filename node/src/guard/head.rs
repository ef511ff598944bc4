//! Host, path and fields of a parsed head, whatever the protocol.
//!
//! In: the head as hyper parsed it. Out: host and path in normal form, or why the request is refused. A
//! core. What hyper smooths over on HTTP/1 has been looked at before, by [`super::screen`].

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri, Version, header, request::Parts};

use super::{Limits, host, path};
use crate::problem::Refusal;

/// What the guard makes of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Lower case, without port; empty for an HTTP/1.0 request that names none.
    pub host: String,
    /// The port that the client named.
    pub port: Option<u16>,
    /// The path's normal form, where it differs from what came.
    pub path: Option<String>,
}

/// Looks at a request's head.
pub fn inspect(parts: &Parts, limits: &Limits) -> Result<Admitted, Refusal> {
    if target_length(&parts.uri) > limits.target {
        return Err(Refusal::UriTooLong {
            limit: limits.target,
        });
    }
    if section_length(&parts.headers) > limits.head || parts.headers.len() > limits.fields {
        return Err(Refusal::HeadersTooLarge { limit: limits.head });
    }
    if parts.method == Method::CONNECT {
        return Err(malformed(
            "this gateway is no tunnel: CONNECT is not served",
        ));
    }
    let (host, port) = asked_host(parts)?;
    let asked = parts.uri.path();
    let any_target = parts.method == Method::OPTIONS && asked == "*";
    if !asked.starts_with('/') && !any_target {
        return Err(malformed("the request target is not a path"));
    }
    let path = match path::normal(asked) {
        Ok(Cow::Borrowed(_)) => None,
        Ok(Cow::Owned(normal)) => Some(normal),
        Err(fault) => return Err(Refusal::Malformed(fault.to_string())),
    };
    if parts
        .headers
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .nth(1)
        .is_some()
    {
        return Err(malformed("there is more than one content-length"));
    }
    Ok(Admitted { host, port, path })
}

/// The host by the target's authority and the `Host` field, which must agree: where they differ, a
/// server behind us could choose the other one (RFC 9112 section 3.2.2 lets the target win; refusing is
/// the safer reading, and no honest client differs).
fn asked_host(parts: &Parts) -> Result<(String, Option<u16>), Refusal> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(malformed("there is more than one host"));
    }
    let field = match field {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(host::parse)
                .ok_or_else(|| malformed("the host is not valid"))?,
        ),
    };
    let target = match parts.uri.authority() {
        None => None,
        Some(authority) => Some(
            host::parse(authority.as_str())
                .ok_or_else(|| malformed("the target's host is not valid"))?,
        ),
    };
    let default = match parts.uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    match (target, field) {
        (Some(target), Some(field)) => {
            let same_port = target.port.or(default) == field.port.or(default);
            if target.name != field.name || !same_port {
                return Err(malformed("target and host field name different hosts"));
            }
            Ok((target.name.into_owned(), target.port))
        }
        (Some(found), None) if parts.version == Version::HTTP_2 => {
            Ok((found.name.into_owned(), found.port))
        }
        (None, Some(found)) => Ok((found.name.into_owned(), found.port)),
        (_, None) if parts.version == Version::HTTP_10 => Ok((String::new(), None)),
        (_, None) => Err(malformed("there is no host")),
    }
}

fn target_length(uri: &Uri) -> usize {
    uri.path_and_query()
        .map_or(0, |target| target.as_str().len())
}

/// Bytes of the field section as HTTP/1.1 would write it.
fn section_length(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn look(request: http::request::Builder) -> Result<Admitted, Refusal> {
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        inspect(&parts, &Limits::default())
    }

    #[test]
    fn host_and_path_come_out_in_normal_form() {
        let admitted = look(Request::get("/%70lants?x=%2e").header("host", "API.Example.com:8443"))
            .expect("good");
        assert_eq!(admitted.host, "api.example.com");
        assert_eq!(admitted.port, Some(8443));
        assert_eq!(admitted.path.as_deref(), Some("/plants"));
    }

    #[test]
    fn two_hosts_no_host_and_hosts_that_differ_are_refused() {
        for request in [
            Request::get("/").header("host", "a").header("host", "a"),
            Request::get("/"),
            Request::get("http://a/").header("host", "b"),
            Request::get("http://a:81/").header("host", "a"),
            Request::get("http://user@a/").header("host", "a"),
            Request::get("/").header("host", "a b"),
        ] {
            let outcome = look(request);
            assert!(matches!(outcome, Err(Refusal::Malformed(_))), "{outcome:?}");
        }
        assert!(look(Request::get("http://a:80/").header("host", "A")).is_ok());
    }

    #[test]
    fn an_http_2_request_may_name_its_host_in_the_target_alone() {
        let admitted = look(Request::get("https://a.example/x").version(Version::HTTP_2));
        assert_eq!(admitted.expect("good").host, "a.example");
    }

    #[test]
    fn sizes_have_their_own_refusals() {
        let long = format!("/{}", "a".repeat(9000));
        assert!(matches!(
            look(Request::get(long).header("host", "a")),
            Err(Refusal::UriTooLong { .. })
        ));
        let large = Request::get("/")
            .header("host", "a")
            .header("x", "y".repeat(40_000));
        assert!(matches!(look(large), Err(Refusal::HeadersTooLarge { .. })));
        let mut many = Request::get("/").header("host", "a");
        for n in 0..120 {
            many = many.header(format!("x-{n}"), "y");
        }
        assert!(matches!(look(many), Err(Refusal::HeadersTooLarge { .. })));
    }

    #[test]
    fn tunnels_and_dot_segments_are_refused() {
        let connect = Request::builder()
            .method("CONNECT")
            .uri("a:443")
            .header("host", "a:443");
        assert!(matches!(look(connect), Err(Refusal::Malformed(_))));
        let dots = Request::get("/a/../b").header("host", "a");
        assert!(matches!(look(dots), Err(Refusal::Malformed(_))));
    }
}
