//! Finding an issuer's keys (OpenID Connect Discovery 1.0, sections 3 and 4).
//!
//! In: the issuer's URL, then the bytes of its metadata. Out: where the metadata is, then where the keys
//! are. A core; [`super::fetch`] gets the bytes.

use http::Uri;

/// Why an issuer's metadata is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("`{0}` is not an http(s) URL with a host")]
    Url(String),
    #[error("`{0}` is not HTTPS; only `meridian dev` accepts plain http")]
    Plain(String),
    #[error("the metadata is not a JSON object with `issuer` and `jwks_uri`")]
    Form,
    #[error("the metadata is of another issuer: its `issuer` differs from the document's")]
    Issuer,
}

/// Where the issuer's metadata is.
pub(super) fn metadata_of(issuer: &str, dev: bool) -> Result<Uri, DiscoveryError> {
    address(issuer, dev)?;
    // Section 4: a slash at the end goes away before the path is added.
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    if base.contains(['?', '#']) {
        return Err(DiscoveryError::Url(issuer.to_owned()));
    }
    address(&format!("{base}/.well-known/openid-configuration"), dev)
        .map_err(|error| error.about(issuer))
}

/// Where the metadata says that the keys are.
///
/// Its `issuer` must be the one asked for, letter by letter (section 4.3): else one issuer could speak for
/// another.
pub(super) fn keys_of(metadata: &[u8], issuer: &str, dev: bool) -> Result<Uri, DiscoveryError> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        issuer: String,
        jwks_uri: String,
    }
    let metadata: Metadata = serde_json::from_slice(metadata).map_err(|_| DiscoveryError::Form)?;
    if metadata.issuer != issuer {
        return Err(DiscoveryError::Issuer);
    }
    address(&metadata.jwks_uri, dev)
}

/// A URL we may fetch.
fn address(text: &str, dev: bool) -> Result<Uri, DiscoveryError> {
    let wrong = || DiscoveryError::Url(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if dev => {}
        Some("http") => return Err(DiscoveryError::Plain(text.to_owned())),
        _ => return Err(wrong()),
    }
    match uri.authority() {
        // Credentials in a URL end in logs.
        Some(authority) if !authority.host().is_empty() && !authority.as_str().contains('@') => {
            Ok(uri)
        }
        _ => Err(wrong()),
    }
}

impl DiscoveryError {
    /// The same error about the URL that the operator wrote.
    fn about(self, url: &str) -> Self {
        match self {
            Self::Url(_) => Self::Url(url.to_owned()),
            Self::Plain(_) => Self::Plain(url.to_owned()),
            other @ (Self::Form | Self::Issuer) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_is_not_doubled() {
        for (issuer, at) in [
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example:8443/x/",
                "https://a.example:8443/x/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(
                metadata_of(issuer, false).map(|uri| uri.to_string()),
                Ok(at.to_owned())
            );
        }
    }

    #[test]
    fn plain_http_is_for_dev_alone() {
        let issuer = "http://127.0.0.1:9000";
        assert_eq!(
            metadata_of(issuer, false),
            Err(DiscoveryError::Plain(issuer.to_owned()))
        );
        assert!(metadata_of(issuer, true).is_ok());
        let metadata = br#"{"issuer":"https://a.example","jwks_uri":"http://a.example/keys"}"#;
        assert!(matches!(
            keys_of(metadata, "https://a.example", false),
            Err(DiscoveryError::Plain(_))
        ));
        assert!(keys_of(metadata, "https://a.example", true).is_ok());
    }

    #[test]
    fn what_is_no_url_of_a_host_is_refused() {
        for issuer in [
            "",
            "a.example",
            "ftp://a.example",
            "https://",
            "https://u:p@a.example",
            "https://a.example/?x=1",
            "file:///etc/passwd",
        ] {
            assert_eq!(
                metadata_of(issuer, true),
                Err(DiscoveryError::Url(issuer.to_owned())),
                "{issuer:?}"
            );
        }
    }

    #[test]
    fn metadata_of_another_issuer_is_refused() {
        let metadata = br#"{"issuer":"https://b.example","jwks_uri":"https://b.example/keys"}"#;
        assert_eq!(
            keys_of(metadata, "https://a.example", false),
            Err(DiscoveryError::Issuer)
        );
        assert_eq!(
            keys_of(metadata, "https://b.example/", false),
            Err(DiscoveryError::Issuer)
        );
        assert!(keys_of(metadata, "https://b.example", false).is_ok());
        assert_eq!(
            keys_of(b"[]", "https://b.example", false),
            Err(DiscoveryError::Form)
        );
    }
}
