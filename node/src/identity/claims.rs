//! Reading claims: dotted names, times, lists of words.
//!
//! In: the claims of a token whose signature was checked. Out: typed values, or [`TokenFault::Claims`]
//! where one has the wrong type. A core; [`super::rules`] judges by it.

use serde_json::{Map, Value};

use crate::problem::TokenFault;

/// A token's claims.
pub(super) type Claims = Map<String, Value>;

/// The claim of this name: the member of that whole name, or else the one its dots lead to.
///
/// The whole name comes first because issuers put their own claims under URLs
/// (`https://example.com/tenant`), which have dots that lead nowhere.
pub(super) fn find<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        rest.split('.')
            .try_fold(claims.get(first)?, |value, step| value.get(step))
    })
}

/// A claim that is a string, where there is one.
pub(super) fn text<'c>(claims: &'c Claims, name: &str) -> Result<Option<&'c str>, TokenFault> {
    match find(claims, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenFault::Claims),
    }
}

/// A `NumericDate` (RFC 7519 section 2) in whole seconds, where there is one. Fractions are allowed there;
/// they are cut off, and a time before the epoch is the epoch.
pub(super) fn date(claims: &Claims, name: &str) -> Result<Option<u64>, TokenFault> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    let seconds = value
        .as_f64()
        .filter(|seconds| seconds.is_finite())
        .ok_or(TokenFault::Claims)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from float saturates, which is what a time outside of u64 means"
    )]
    Ok(Some(seconds as u64))
}

/// A claim that lists words: an array of strings, or (`spaced`) one string of words (RFC 8693 section 4.2).
/// Empty where there is none.
pub(super) fn words(claims: &Claims, name: &str, spaced: bool) -> Result<Vec<String>, TokenFault> {
    match find(claims, name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if spaced => {
            Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Some(Value::Array(list)) => list
            .iter()
            .map(|word| word.as_str().map(str::to_owned).ok_or(TokenFault::Claims))
            .collect(),
        Some(_) => Err(TokenFault::Claims),
    }
}

/// Whether the `aud` claim (a string or an array of them, RFC 7519 section 4.1.3) names one of these.
pub(super) fn meant_for(claims: &Claims, audiences: &[String]) -> bool {
    let ours = |value: &Value| {
        value
            .as_str()
            .is_some_and(|name| audiences.iter().any(|audience| audience == name))
    };
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(ours),
        Some(single) => ours(single),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        let Value::Object(claims) = value else {
            panic!("not an object")
        };
        claims
    }

    #[test]
    fn a_name_with_dots_reaches_into_objects_unless_it_stands_there_whole() {
        let held = claims(json!({
            "realm_access": { "roles": ["admin"], "deep": { "er": "x" } },
            "https://example.com/tenant": "acme",
            "a.b": "whole", "a": { "b": "inner" },
        }));
        assert_eq!(
            words(&held, "realm_access.roles", false),
            Ok(vec!["admin".to_owned()])
        );
        assert_eq!(text(&held, "realm_access.deep.er"), Ok(Some("x")));
        assert_eq!(text(&held, "https://example.com/tenant"), Ok(Some("acme")));
        assert_eq!(text(&held, "a.b"), Ok(Some("whole")));
        for absent in [
            "realm_access.none",
            "none.roles",
            "realm_access.roles.0",
            ".",
            "",
        ] {
            assert_eq!(text(&held, absent), Ok(None), "{absent:?}");
        }
    }

    #[test]
    fn scopes_are_words_or_a_list_and_roles_a_list_only() {
        let held =
            claims(json!({ "scope": " a  b:c ", "roles": ["x", "y z"], "bad": ["x", 1], "n": 7 }));
        assert_eq!(
            words(&held, "scope", true),
            Ok(vec!["a".to_owned(), "b:c".to_owned()])
        );
        assert_eq!(words(&held, "scope", false), Err(TokenFault::Claims));
        assert_eq!(
            words(&held, "roles", false),
            Ok(vec!["x".to_owned(), "y z".to_owned()])
        );
        assert_eq!(words(&held, "bad", true), Err(TokenFault::Claims));
        assert_eq!(words(&held, "n", true), Err(TokenFault::Claims));
        assert_eq!(words(&held, "none", true), Ok(Vec::new()));
    }

    #[test]
    fn dates_may_have_fractions_and_nothing_else() {
        let held = claims(json!({ "a": 12, "b": 12.9, "c": -3, "d": "12", "e": 1e300 }));
        assert_eq!(date(&held, "a"), Ok(Some(12)));
        assert_eq!(date(&held, "b"), Ok(Some(12)));
        assert_eq!(date(&held, "c"), Ok(Some(0)));
        assert_eq!(date(&held, "d"), Err(TokenFault::Claims));
        assert_eq!(date(&held, "e"), Ok(Some(u64::MAX)));
        assert_eq!(date(&held, "f"), Ok(None));
    }

    #[test]
    fn one_of_several_audiences_is_enough() {
        let ours = ["api".to_owned(), "other".to_owned()];
        assert!(meant_for(&claims(json!({ "aud": "api" })), &ours));
        assert!(meant_for(
            &claims(json!({ "aud": ["portal", "other"] })),
            &ours
        ));
        for not in [
            json!({}),
            json!({ "aud": [] }),
            json!({ "aud": "ap" }),
            json!({ "aud": [["api"]] }),
            json!({ "aud": { "api": 1 } }),
        ] {
            assert!(!meant_for(&claims(not.clone()), &ours), "{not}");
        }
    }
}
