//! May a failed try be followed by another?
//!
//! In: how the try failed and what is known of the request. Out: [`Verdict`]. Shell: [`super::Client`].
//! A try that failed before the upstream could have acted may always be repeated; after that only a
//! request that is idempotent by method (RFC 9110 section 9.2.2) or carries `Idempotency-Key`, and only
//! while its body is still whole.

use http::{HeaderMap, Method, StatusCode};
use meridian_config::document::{Retries, RetryOn};

/// How a try came to nothing, as far as retries care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection came about, or the request never left: the upstream cannot have acted.
    Unsent,
    /// A peer says that its region cannot serve this, or could not be reached: nobody has acted.
    NotThere,
    /// The connection broke after the request may have left.
    Reset,
    /// The upstream answered with this status.
    Status(StatusCode),
    /// Anything else (too late, not HTTP, the client's own fault): trying again would not help.
    Final,
}

/// What else the verdict depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// Idempotent by method, or keyed.
    pub(crate) repeatable: bool,
    /// The body can still be sent from its start.
    pub(crate) whole: bool,
    /// Tries after the first that were counted so far.
    pub(crate) used: u32,
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again, if the budget allows; it counts.
    Again,
    /// Tries in this region are used up (or useless); another region may still serve it.
    Elsewhere,
    /// Answer with what there is.
    GiveUp,
}

/// Judges one failed try.
pub(crate) fn judge(policy: &Retries, failure: Failure, situation: Situation) -> Verdict {
    if !situation.whole || policy.attempts == 0 {
        return Verdict::GiveUp;
    }
    let left = situation.used < policy.attempts;
    let listed = |on: RetryOn| policy.on.contains(&on);
    match failure {
        Failure::NotThere => Verdict::Elsewhere,
        Failure::Unsent if !listed(RetryOn::Connect) => Verdict::GiveUp,
        Failure::Unsent if left => Verdict::Again,
        Failure::Unsent => Verdict::Elsewhere,
        Failure::Reset if left && situation.repeatable && listed(RetryOn::Reset) => Verdict::Again,
        Failure::Status(status)
            if left && situation.repeatable && listed(RetryOn::Status(status.as_u16())) =>
        {
            Verdict::Again
        }
        Failure::Reset | Failure::Status(_) | Failure::Final => Verdict::GiveUp,
    }
}

/// Whether sending the request twice does no more than sending it once.
pub(crate) fn repeatable(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(attempts: u32) -> Retries {
        let on = vec![
            RetryOn::Connect,
            RetryOn::Reset,
            RetryOn::Status(502),
            RetryOn::Status(503),
            RetryOn::Status(504),
        ];
        Retries {
            attempts,
            on,
            budget: 0.2,
        }
    }

    #[test]
    fn the_table_of_verdicts() {
        let (bad_gateway, not_found) = (StatusCode::BAD_GATEWAY, StatusCode::NOT_FOUND);
        for (failure, repeatable, whole, used, expected) in [
            (Failure::Unsent, false, true, 0, Verdict::Again),
            (Failure::Unsent, false, true, 1, Verdict::Elsewhere),
            (Failure::Unsent, true, false, 0, Verdict::GiveUp),
            (Failure::NotThere, false, true, 1, Verdict::Elsewhere),
            (Failure::Reset, false, true, 0, Verdict::GiveUp),
            (Failure::Reset, true, true, 0, Verdict::Again),
            (Failure::Reset, true, true, 1, Verdict::GiveUp),
            (Failure::Reset, true, false, 0, Verdict::GiveUp),
            (Failure::Status(bad_gateway), true, true, 0, Verdict::Again),
            (
                Failure::Status(bad_gateway),
                false,
                true,
                0,
                Verdict::GiveUp,
            ),
            (Failure::Status(not_found), true, true, 0, Verdict::GiveUp),
            (Failure::Final, true, true, 0, Verdict::GiveUp),
        ] {
            let situation = Situation {
                repeatable,
                whole,
                used,
            };
            assert_eq!(
                judge(&policy(1), failure, situation),
                expected,
                "{failure:?} {situation:?}"
            );
        }
    }

    #[test]
    fn post_and_patch_repeat_only_with_a_key() {
        let mut headers = HeaderMap::new();
        for (method, expected) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
        ] {
            assert_eq!(repeatable(&method, &headers), expected, "{method}");
        }
        headers.insert("idempotency-key", http::HeaderValue::from_static("\"k1\""));
        assert!(repeatable(&Method::POST, &headers));
    }

    fn any_failure() -> impl Strategy<Value = Failure> {
        prop_oneof![
            Just(Failure::Unsent),
            Just(Failure::NotThere),
            Just(Failure::Reset),
            (400..600_u16).prop_map(|status| {
                Failure::Status(StatusCode::from_u16(status).expect("a status in range"))
            }),
            Just(Failure::Final),
        ]
    }

    proptest! {
        #[test]
        fn nothing_that_may_have_acted_is_repeated_unless_it_is_repeatable_and_whole(
            failure in any_failure(), repeatable: bool, whole: bool, used in 0..5_u32, attempts in 0..5_u32,
        ) {
            let verdict = judge(&policy(attempts), failure, Situation { repeatable, whole, used });
            let acted = !matches!(failure, Failure::Unsent | Failure::NotThere);
            if verdict != Verdict::GiveUp {
                prop_assert!(whole && attempts > 0);
                prop_assert!(!acted || repeatable);
            }
            if verdict == Verdict::Again {
                prop_assert!(used < attempts);
            }
        }
    }
}
