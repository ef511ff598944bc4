//! Issuers and tenants as they may be written.
//!
//! In: a tree. Out: raw types for [`super::super::check`].

use schemars::JsonSchema;

use crate::{
    diagnose::{Findings, Path},
    read::{List, Read, Span, raw, word},
    tree::{Node, Value},
};

raw! {
    /// A token issuer (OpenID Connect provider).
    #[schemars(rename = "Issuer", extend("required" = ["issuer", "audiences"]))]
    struct IssuerRaw {
        /// The `iss` claim, and the base of discovery.
        "issuer" => issuer: String,
        /// Accepted `aud` values.
        #[schemars(length(min = 1))]
        "audiences" => audiences: List<String>,
        /// Accepted signature algorithms. Default: RS256, ES256.
        #[schemars(length(min = 1))]
        "algorithms" => algorithms: List<AlgorithmWord>,
        /// Which claims carry what.
        "claims" => claims: ClaimsRaw,
        /// Allowance for clock differences. Default: 30s.
        "leeway" => leeway: Span,
        /// How its keys are fetched.
        "jwks" => jwks: JwksRaw,
    }
    refused: []
}

/// A signature algorithm by its JWA name (RFC 7518).
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Algorithm", extend("enum" = ALGORITHMS))]
pub(crate) struct AlgorithmWord(pub(crate) String);

impl Read for AlgorithmWord {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        let reason = match &node.value {
            Value::Text(text) if text.eq_ignore_ascii_case("none") => {
                "\"none\" would accept tokens that nobody signed"
            }
            Value::Text(text) if matches!(text.as_str(), "HS256" | "HS384" | "HS512") => {
                "an HMAC key would have to be shared with the issuer, and whoever holds it can make tokens"
            }
            _ => {
                return word(node, &ALGORITHMS, &["ES256K", "ES512"], path, findings)
                    .map(|text| Self(text.to_owned()));
            }
        };
        findings.mistake(
            node.place,
            format!("{path}: {reason}; use an algorithm with a public key, such as RS256 or ES256"),
        );
        None
    }
}

/// Accepted signature algorithms: all with a public key.
pub(crate) const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

raw! {
    /// Which claims carry what. A name with dots reaches into objects.
    #[schemars(rename = "Claims")]
    struct ClaimsRaw {
        /// The tenant's name or one of its aliases. Default: tenant.
        "tenant" => tenant: String,
        /// Roles. Default: roles.
        "roles" => roles: String,
        /// Scopes. Default: scope.
        "scopes" => scopes: String,
    }
    refused: []
}

raw! {
    /// How an issuer's keys are fetched.
    #[schemars(rename = "Jwks")]
    struct JwksRaw {
        /// How often. Default: 10m.
        "refresh" => refresh: Span,
        /// How long they serve when the issuer cannot be reached. Default: 24h.
        "max_stale" => max_stale: Span,
    }
    refused: []
}

raw! {
    /// Who is charged.
    #[schemars(rename = "Tenant")]
    struct TenantRaw {
        /// Its plan. Default: `defaults.plan`.
        "plan" => plan: String,
        /// Issuers whose tokens may name it. Default: any of the document.
        #[schemars(length(min = 1))]
        "issuers" => issuers: List<String>,
        /// Zones where its requests may be served. Default: anywhere.
        #[schemars(length(min = 1))]
        "residency" => residency: List<String>,
        /// Other values of the tenant claim that mean this tenant.
        "aliases" => aliases: List<String>,
    }
    refused: ["cors", "priority", "on_lapse"]
}
