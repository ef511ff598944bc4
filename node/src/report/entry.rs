//! One line of the access log: a JSON object with the fields of the interface, in its order.
//!
//! In: what is known when a response has ended. Out: bytes of one line. A core. Never holds a token, a
//! key, a cookie or a query.

use std::{io::Write, net::IpAddr, time::Duration};

use crate::transform::trace::hex;

/// What is known when a response has ended.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Since the Unix epoch, when the response ended.
    pub time: Duration,
    /// The request's id.
    pub request_id: &'a str,
    /// Its W3C trace id.
    pub trace_id: &'a [u8; 16],
    /// Who is charged.
    pub tenant: Option<&'a str>,
    /// The subject's pseudonym.
    pub subject: Option<&'a str>,
    /// The client's address, truncated unless the document allows more.
    pub client_ip: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The host asked for.
    pub host: &'a str,
    /// The route that took it.
    pub route: Option<&'a str>,
    /// The path as it came, without query.
    pub path: &'a str,
    /// The response's status.
    pub status: u16,
    /// Bytes of the request's body that came.
    pub bytes_in: u64,
    /// Bytes of the response's body that went.
    pub bytes_out: u64,
    /// From the request's head to the response's end.
    pub duration: Duration,
    /// Of it, waiting for the upstream's head.
    pub upstream: Option<Duration>,
    /// This node's region.
    pub region: &'a str,
    /// This node.
    pub node: &'a str,
    /// The region whose endpoint answered.
    pub served_region: Option<&'a str>,
    /// The endpoint that answered.
    pub endpoint: Option<&'a str>,
    /// `admit`, or why it was refused.
    pub decision: &'a str,
    /// Of a request that a limit refused: the limit's id, and why it could not pay.
    pub limit: Option<(&'a str, &'a str)>,
    /// Tries after the first.
    pub retries: u32,
    /// The TLS version of the client's connection.
    pub tls: Option<&'a str>,
    /// The HTTP version.
    pub protocol: &'a str,
}

/// How much a line may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every field.
    Full,
    /// What a node outside the tenant's zones may store: ids, route, status, regions, decision.
    Restricted,
}

impl Entry<'_> {
    /// Appends the line and its line feed.
    pub fn write(&self, detail: Detail, line: &mut Vec<u8>) {
        let full = detail == Detail::Full;
        let mut object = Object::open(line);
        object.key("time");
        timestamp(self.time, object.line);
        object.text("request_id", Some(self.request_id));
        object.text("trace_id", Some(&hex(self.trace_id)));
        object.text("tenant", self.tenant);
        if full {
            object.text("subject", self.subject);
            object.display("client_ip", &format_args!("\"{}\"", self.client_ip));
            object.text("method", Some(self.method));
            object.text("host", Some(self.host));
        }
        object.text("route", self.route);
        if full {
            object.text("path", Some(self.path));
        }
        object.display("status", &self.status);
        if full {
            object.display("bytes_in", &self.bytes_in);
            object.display("bytes_out", &self.bytes_out);
            object.display("duration_ms", &Millis(self.duration));
            match self.upstream {
                Some(waited) => object.display("upstream_ms", &Millis(waited)),
                None => object.text("upstream_ms", None),
            }
        }
        object.text("region", Some(self.region));
        object.text("node", Some(self.node));
        object.text("served_region", self.served_region);
        if full {
            object.text("endpoint", self.endpoint);
        }
        object.text("decision", Some(self.decision));
        if let Some((limit, why)) = self.limit.filter(|_| full) {
            object.text("limit", Some(limit));
            object.text("why", Some(why));
        }
        if full {
            object.display("retries", &self.retries);
            object.text("tls", self.tls);
            object.text("protocol", Some(self.protocol));
        }
        object.close();
    }
}

/// A JSON object under construction. serde_json's writer would build the same bytes through a map.
struct Object<'a> {
    line: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(line: &'a mut Vec<u8>) -> Self {
        line.push(b'{');
        Self { line, first: true }
    }

    fn key(&mut self, name: &str) {
        if !self.first {
            self.line.push(b',');
        }
        self.first = false;
        self.line.push(b'"');
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.key(name);
        match value {
            Some(text) => string(text, self.line),
            None => self.line.extend_from_slice(b"null"),
        }
    }

    fn display(&mut self, name: &str, value: &dyn std::fmt::Display) {
        self.key(name);
        write!(self.line, "{value}").expect("a vector takes everything");
    }

    fn close(self) {
        self.line.extend_from_slice(b"}\n");
    }
}

/// A JSON string (RFC 8259 section 7).
fn string(text: &str, line: &mut Vec<u8>) {
    line.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            0..=0x1f | 0x7f => write!(line, "\\u{byte:04x}").expect("a vector takes everything"),
            other => line.push(other),
        }
    }
    line.push(b'"');
}

/// Milliseconds with three decimals.
struct Millis(Duration);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

/// RFC 3339 in UTC with nanoseconds, quoted. The calendar is Howard Hinnant's `civil_from_days`.
fn timestamp(since_epoch: Duration, line: &mut Vec<u8>) {
    let seconds = since_epoch.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    write!(
        line,
        "\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z\"",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since_epoch.subsec_nanos()
    )
    .expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            time: Duration::new(1_700_000_000, 42),
            request_id: "req-1",
            trace_id: &[0xab; 16],
            tenant: Some("acme"),
            subject: Some("0011"),
            client_ip: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 0)),
            method: "GET",
            host: "api.example.com",
            route: Some("plants"),
            path: "/v1/plants/7",
            status: 200,
            bytes_in: 0,
            bytes_out: 12,
            duration: Duration::from_micros(1234),
            upstream: Some(Duration::from_micros(900)),
            region: "eu-west",
            node: "eu-west-1",
            served_region: Some("us-east"),
            endpoint: Some("10.0.0.1:80"),
            decision: "admit",
            limit: None,
            retries: 1,
            tls: Some("TLSv1.3"),
            protocol: "HTTP/2",
        }
    }

    fn keys(line: &[u8]) -> Vec<String> {
        let value: Value = serde_json::from_slice(line).expect("JSON");
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn a_full_line_has_every_field_of_the_interface_in_its_order() {
        let mut line = Vec::new();
        entry().write(Detail::Full, &mut line);
        let expected = "time request_id trace_id tenant subject client_ip method host route path status \
            bytes_in bytes_out duration_ms upstream_ms region node served_region endpoint decision retries \
            tls protocol";
        assert_eq!(keys(&line), expected.split_whitespace().collect::<Vec<_>>());
        let value: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["time"], "2023-11-14T22:13:20.000000042Z");
        assert_eq!(value["duration_ms"], 1.234);
        assert_eq!(value["client_ip"], "203.0.113.0");
    }

    #[test]
    fn a_line_of_a_request_that_a_limit_refused_says_which_and_why() {
        let mut line = Vec::new();
        let refused = Entry {
            decision: "rate-limited",
            limit: Some(("tenant-hour", "local")),
            ..entry()
        };
        refused.write(Detail::Full, &mut line);
        let value: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(
            (&value["limit"], &value["why"]),
            (&"tenant-hour".into(), &"local".into())
        );
        line.clear();
        refused.write(Detail::Restricted, &mut line);
        assert!(!keys(&line).contains(&"limit".to_owned()));
    }

    #[test]
    fn outside_the_tenants_zones_only_ids_and_status_are_kept() {
        let mut line = Vec::new();
        entry().write(Detail::Restricted, &mut line);
        let expected =
            "time request_id trace_id tenant route status region node served_region decision";
        assert_eq!(keys(&line), expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn dates_follow_the_calendar() {
        let date = |seconds| {
            let mut line = Vec::new();
            timestamp(Duration::from_secs(seconds), &mut line);
            String::from_utf8(line).expect("ascii")[1..11].to_owned()
        };
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(951_868_800), "2000-03-01");
        assert_eq!(date(1_735_603_200), "2024-12-31");
        assert_eq!(date(4_107_542_400), "2100-03-01");
    }

    proptest! {
        #[test]
        fn any_text_makes_one_line_of_json(path in "\\PC{0,30}", host in any::<String>()) {
            let mut line = Vec::new();
            Entry { path: &path, host: &host, ..entry() }.write(Detail::Full, &mut line);
            prop_assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1);
            let value: Value = serde_json::from_slice(&line).expect("JSON");
            prop_assert_eq!(value["path"].as_str(), Some(path.as_str()));
            prop_assert_eq!(value["host"].as_str(), Some(host.as_str()));
        }
    }
}
