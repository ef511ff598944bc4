//! The rate-limit fields of a limited response: `X-RateLimit-*`, and the IETF's `RateLimit-Policy` and
//! `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
//!
//! In: where each charged limit stands. Out: fields. A core.

use std::fmt::Write;

use http::{HeaderMap, HeaderValue};

use crate::{limit::LimitState, problem::whole_seconds};

/// Writes the fields; with no limit, none. `X-RateLimit-*` speak of the limit with the least left of its
/// amount, the lists of all of them, in the order they were charged.
pub fn write(headers: &mut HeaderMap, standings: &[LimitState]) {
    let mut tightest: Option<&LimitState> = None;
    let mut policy = String::new();
    let mut state = String::new();
    for standing in standings {
        if !policy.is_empty() {
            policy.push_str(", ");
            state.push_str(", ");
        }
        let id = quoted(&standing.id);
        let LimitState {
            amount, remaining, ..
        } = standing;
        let window = whole_seconds(standing.span);
        let reset = whole_seconds(standing.reset);
        write!(policy, "\"{id}\";q={amount};w={window}").expect("a string takes everything");
        write!(state, "\"{id}\";r={remaining};t={reset}").expect("a string takes everything");
        if tightest.is_none_or(|known| tighter(standing, known)) {
            tightest = Some(standing);
        }
    }
    let Some(tightest) = tightest else {
        return;
    };
    headers.insert("x-ratelimit-limit", HeaderValue::from(tightest.amount));
    headers.insert(
        "x-ratelimit-remaining",
        HeaderValue::from(tightest.remaining),
    );
    headers.insert(
        "x-ratelimit-reset",
        HeaderValue::from(whole_seconds(tightest.reset)),
    );
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

/// Whether the first has a smaller share left; multiplied out, because a quotient would round.
fn tighter(a: &LimitState, b: &LimitState) -> bool {
    u128::from(a.remaining) * u128::from(b.amount) < u128::from(b.remaining) * u128::from(a.amount)
}

/// An id as it may stand in a string of RFC 9651 section 3.3.3.
fn quoted(id: &str) -> String {
    id.chars()
        .filter(|c| (' '..='~').contains(c) && *c != '"' && *c != '\\')
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn both_families_are_written_as_the_contract_shows_them() {
        let mut headers = HeaderMap::new();
        let hour = LimitState {
            id: "tenant-hour".into(),
            amount: 5000,
            span: Duration::from_secs(3600),
            remaining: 4990,
            reset: Duration::from_secs(1200),
        };
        let second = LimitState {
            id: "tenant-second".into(),
            amount: 100,
            span: Duration::from_secs(1),
            remaining: 99,
            reset: Duration::from_millis(300),
        };
        write(&mut headers, &[hour, second]);
        assert_eq!(
            headers["ratelimit-policy"],
            "\"tenant-hour\";q=5000;w=3600, \"tenant-second\";q=100;w=1"
        );
        assert_eq!(
            headers["ratelimit"],
            "\"tenant-hour\";r=4990;t=1200, \"tenant-second\";r=99;t=1"
        );
        assert_eq!(headers["x-ratelimit-limit"], "100");
        assert_eq!(headers["x-ratelimit-remaining"], "99");
        assert_eq!(headers["x-ratelimit-reset"], "1");
    }

    #[test]
    fn an_unlimited_response_says_nothing() {
        let mut headers = HeaderMap::new();
        write(&mut headers, &[]);
        assert!(headers.is_empty());
    }
}
