//! What clients ask for: the method, the path, the holder of the token, the pace.
//!
//! A core: a number and the time come in, a request comes out. Its shell is [`client`](super::client).

use std::{cmp::Ordering, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::Full;

use super::{issuer::Issuer, upstream::REQUEST_FIELD};
use crate::world::Place;

/// One kind of request of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its name in reports; no two kinds of a run share it.
    pub name: String,
    /// The method.
    pub method: Method,
    /// The `Host` field.
    pub host: String,
    /// The path; [`NUMBER`] stands for the request's number.
    pub path: String,
    /// Whose token it bears; none: no token.
    pub holder: Option<Holder>,
    /// It bears an idempotency key, its number: it may be repeated though its method may not.
    pub keyed: bool,
    /// The regions whose upstreams may serve it; none: the gateway answers by itself.
    pub served_in: Option<Vec<Place>>,
    /// The regions outside which no upstream may see it (the tenant's residency); none: everywhere.
    pub confined: Option<Vec<Place>>,
    /// Its tenant's limits are there to be reached: a 429 is no failure.
    pub limited: bool,
    /// The status that the gateway answers by itself; none: a 2xx from an upstream.
    pub status: Option<u16>,
    /// Whether it has a body.
    pub body: bool,
    /// Where its clients are.
    pub from: Vec<Place>,
    /// Between two requests of the clients of one region.
    pub every: Duration,
    /// How that changes with time.
    pub pattern: Pattern,
}

/// Where an [`Ask`]'s path has the request's number.
pub const NUMBER: &str = "{}";

/// Whose token a request bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// The `sub` claim.
    pub subject: String,
    /// Claims with one value: the tenant.
    pub texts: Vec<(String, String)>,
    /// Claims with words: scopes and roles.
    pub words: Vec<(String, Vec<String>)>,
    /// How long a token is good for. Clients fetch a new one when a quarter of it is left.
    pub lifetime: Duration,
}

/// How the pace of a kind of request changes with time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pattern {
    /// It does not.
    #[default]
    Steady,
    /// So many times as fast for a while, again and again; each period ends with the burst.
    Bursts {
        /// From one burst's end to the next one's.
        every: Duration,
        /// How long a burst lasts.
        lasts: Duration,
        /// How many times as fast.
        times: u32,
    },
    /// The regions take turns: where it is not a region's turn, a tenth is asked.
    Sun {
        /// How long a turn lasts.
        turn: Duration,
    },
    /// Faster and faster, evenly, until so many times as fast; then it stays.
    Ramp {
        /// How long it takes.
        over: Duration,
        /// How many times as fast in the end.
        times: u32,
    },
}

impl Ask {
    /// Whether it may be sent again when nobody knows what became of it (RFC 9110 section 9.2.2).
    pub fn repeatable(&self) -> bool {
        self.keyed || !matches!(self.method, Method::POST | Method::PATCH)
    }

    /// Whether holders of revoked tokens can ask for it, everywhere and at every node.
    pub(crate) fn can_be_badge(&self) -> bool {
        self.method == Method::GET && self.holder.is_some() && self.status.is_none()
    }

    /// The request of this number.
    pub(super) fn message(&self, id: u64, token: Option<&str>) -> http::Request<Full<Bytes>> {
        let body = if self.body {
            Bytes::from_static(b"{\"item\":\"fern\",\"count\":1}")
        } else {
            Bytes::new()
        };
        let mut request = self.head(&id.to_string(), token).header(REQUEST_FIELD, id);
        if self.keyed {
            request = request.header("idempotency-key", format!("\"{id}\""));
        }
        request
            .body(Full::new(body))
            .expect("all parts were checked")
    }

    /// The head of a request, `part` where the path has its number.
    pub(super) fn head(&self, part: &str, token: Option<&str>) -> http::request::Builder {
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(self.path.replace(NUMBER, part))
            .header("host", &self.host);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request
    }
}

/// By name, which is theirs alone.
impl Ord for Ask {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl PartialOrd for Ask {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Holder {
    /// A token, good from `unix` on; `id` is its `jti`, by which it can be revoked.
    pub(super) fn token(&self, issuer: &Issuer, id: Option<&str>, unix: Duration) -> String {
        let issued = unix.as_secs();
        let mut claims = serde_json::Map::new();
        let mut put = |name: &str, value: serde_json::Value| {
            claims.insert(name.to_owned(), value);
        };
        put("iss", self.issuer.as_str().into());
        put("aud", self.audience.as_str().into());
        put("sub", self.subject.as_str().into());
        put("iat", issued.into());
        put("nbf", issued.into());
        put("exp", (issued + self.lifetime.as_secs()).into());
        if let Some(id) = id {
            put("jti", id.into());
        }
        // The tenant may be in the claim that the subject is in by default.
        for (name, text) in &self.texts {
            put(name, text.as_str().into());
        }
        for (name, words) in &self.words {
            put(name, words.as_slice().into());
        }
        issuer.sign(&claims.into())
    }
}

impl Pattern {
    /// Between two requests of one region's clients, `time` after the first; the region is one of so many.
    pub fn interval(self, every: Duration, time: Duration, (nth, of): (usize, usize)) -> Duration {
        match self {
            Self::Steady => every,
            Self::Sun { turn } => {
                let turns = time.as_nanos() / turn.as_nanos().max(1);
                match turns % of.max(1) as u128 == nth as u128 {
                    true => every,
                    false => every * 10,
                }
            }
            Self::Bursts {
                every: period,
                lasts,
                times,
            } => {
                let into = Duration::from_nanos_u128(time.as_nanos() % period.as_nanos().max(1));
                if into + lasts >= period {
                    every / times.max(1)
                } else {
                    every
                }
            }
            Self::Ramp { over, times } => {
                let done = time.as_secs_f64() / over.as_secs_f64().max(1e-3);
                every.div_f64(1.0 + f64::from(times.max(1) - 1) * done.min(1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(100);

    fn at(pattern: Pattern, seconds: u64) -> u128 {
        let interval = pattern.interval(EVERY, Duration::from_secs(seconds), (0, 3));
        interval.as_millis()
    }

    #[test]
    fn bursts_come_at_the_end_of_each_period() {
        let bursts = Pattern::Bursts {
            every: Duration::from_secs(5),
            lasts: Duration::from_secs(2),
            times: 4,
        };
        let times: Vec<u128> = (0..8).map(|second| at(bursts, second)).collect();
        assert_eq!(times, [100, 100, 100, 25, 25, 100, 100, 100]);
    }

    #[test]
    fn a_ramp_climbs_and_stays() {
        let ramp = Pattern::Ramp {
            over: Duration::from_secs(10),
            times: 5,
        };
        assert_eq!((at(ramp, 0), at(ramp, 5), at(ramp, 10)), (100, 33, 20));
        assert_eq!(at(ramp, 100), 20);
        assert_eq!(at(Pattern::Steady, 100), 100);
    }

    #[test]
    fn only_an_unkeyed_post_or_patch_may_not_be_repeated() {
        let ask = |method, keyed| Ask {
            name: String::new(),
            method,
            host: "api.example".to_owned(),
            path: "/a/{}".to_owned(),
            holder: None,
            keyed,
            served_in: None,
            confined: None,
            limited: false,
            status: None,
            body: false,
            from: Vec::new(),
            every: EVERY,
            pattern: Pattern::Steady,
        };
        assert!(ask(Method::PUT, false).repeatable());
        assert!(ask(Method::POST, true).repeatable());
        assert!(!ask(Method::POST, false).repeatable());
        assert!(!ask(Method::PATCH, false).repeatable());
        let message = ask(Method::POST, true).message(7, None);
        assert_eq!(message.uri(), "/a/7");
        assert_eq!(message.headers()["idempotency-key"], "\"7\"");
    }
}
