//! From a question to the head of a request, as a client would send it.
//!
//! In: a [`Question`]. Out: [`Asked`], or what is wrong with the question. A core.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, HeaderValue, Request, Uri, header, request::Parts};
use hyper::body::SizeHint;

use super::Question;

/// A question's request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) head: Parts,
    /// How long it says its body is.
    pub(super) body: SizeHint,
    pub(super) client_ip: IpAddr,
    /// The name that a TLS client asks for; none for plain HTTP.
    pub(super) tls_name: Option<String>,
}

/// Reads a question.
pub(super) fn read(question: &Question) -> Result<Asked, String> {
    let wrong = |why: &str| {
        format!("{why}; write a whole URL, for example https://api.example.com/v1/plants")
    };
    let url: Uri = question
        .url
        .parse()
        .map_err(|_| wrong("the URL is not one"))?;
    let tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong("the URL needs http:// or https://")),
    };
    let authority = url
        .authority()
        .ok_or_else(|| wrong("the URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong(
            "the URL holds user information, which no client sends",
        ));
    }
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder()
        .method(question.method.as_str())
        .uri(target);
    let mut length = None;
    let mut host = false;
    for field in &question.headers {
        let bad = |what: &str| format!("the {what} of the header {:?} is not valid", field.name);
        let name: HeaderName = field.name.parse().map_err(|_| bad("name"))?;
        let value: HeaderValue = field.value.parse().map_err(|_| bad("value"))?;
        if name == header::CONTENT_LENGTH {
            length = Some(field.value.trim().parse().map_err(|_| bad("value"))?);
        }
        host |= name == header::HOST;
        request = request.header(name, value);
    }
    if !host {
        request = request.header(header::HOST, authority.as_str());
    }
    let (head, ()) = request
        .body(())
        .map_err(|error| format!("no client could send this request: {error}"))?
        .into_parts();
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    let body = match length {
        _ if chunked => SizeHint::new(),
        length => SizeHint::with_exact(length.unwrap_or(0)),
    };
    let name = authority.host().trim_matches(['[', ']']);
    Ok(Asked {
        head,
        body,
        client_ip: question
            .client_ip
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        tls_name: tls.then(|| name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Field, *};

    fn question(method: &str, url: &str, headers: &[(&str, &str)]) -> Question {
        Question {
            method: method.into(),
            url: url.into(),
            headers: headers
                .iter()
                .map(|(name, value)| Field {
                    name: (*name).into(),
                    value: (*value).into(),
                })
                .collect(),
            client_ip: None,
        }
    }

    #[test]
    fn a_url_becomes_what_a_client_sends() {
        let asked = read(&question("GET", "https://API.example.com:8443/a?b=c", &[])).unwrap();
        assert_eq!(asked.head.uri, "/a?b=c");
        assert_eq!(asked.head.headers[header::HOST], "API.example.com:8443");
        assert_eq!(asked.tls_name.as_deref(), Some("API.example.com"));
        assert_eq!(asked.body.exact(), Some(0));
        let asked = read(&question("POST", "http://x", &[("Content-Length", "12")])).unwrap();
        assert_eq!((asked.head.uri.path(), asked.body.exact()), ("/", Some(12)));
        assert_eq!(asked.tls_name, None);
    }

    #[test]
    fn what_no_client_could_send_is_refused_with_the_reason() {
        for (method, url, headers, part) in [
            ("GET", "/v1/plants", &[][..], "http://"),
            ("GET", "ftp://x/", &[], "http://"),
            ("GET", "http://u:p@x/", &[], "user information"),
            ("G T", "http://x/", &[], "no client"),
            ("GET", "http://x/", &[("a b", "c")], "name"),
            ("GET", "http://x/", &[("a", "b\nc")], "value"),
            ("GET", "http://x/", &[("content-length", "-1")], "value"),
        ] {
            let error = read(&question(method, url, headers)).unwrap_err();
            assert!(error.contains(part), "{url}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_question_panics(method in "\\PC{0,8}", url in "(https?://)?\\PC{0,30}", name in "\\PC{0,8}", value in "\\PC{0,8}") {
            let _ = read(&question(&method, &url, &[(&name, &value)]));
        }
    }
}
