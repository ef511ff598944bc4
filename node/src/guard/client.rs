//! Whose address the client's is.
//!
//! In: the connection's peer, the request's fields, the document's trusted proxies. Out: the address
//! that is charged, logged and told to the upstream. A core.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// Whether what this peer says about the client is believed.
pub fn trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    proxies.iter().any(|net| net.contains(&peer))
}

/// The client's address: the peer's, or, behind trusted proxies, the last address in `x-forwarded-for`
/// that is not a trusted proxy itself. Each proxy appends what it saw, so everything left of the last
/// untrusted address is only what that client claims.
pub fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted(client, proxies) {
        return client;
    }
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(text) = value.to_str() else {
            return client;
        };
        for part in text.rsplit(',') {
            let Some(said) = parse(part.trim()) else {
                return client;
            };
            client = said;
            if !trusted(client, proxies) {
                return client;
            }
        }
    }
    client
}

/// An address as proxies write it: with or without port, IPv6 with or without brackets.
fn parse(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<IpAddr>().ok().map(|a| a.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn said(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_untrusted_peer_cannot_say_who_it_is() {
        let headers = said(&["1.2.3.4"]);
        assert_eq!(address(ip("9.9.9.9"), &headers, &[]), ip("9.9.9.9"));
    }

    #[test]
    fn behind_trusted_proxies_the_last_untrusted_address_counts() {
        let proxies = ["10.0.0.0/8".parse().expect("a net")];
        let headers = said(&["6.6.6.6, 1.2.3.4", "10.0.0.7:99"]);
        assert_eq!(address(ip("10.0.0.1"), &headers, &proxies), ip("1.2.3.4"));
        assert_eq!(
            address(ip("::ffff:10.0.0.1"), &headers, &proxies),
            ip("1.2.3.4")
        );
    }

    #[test]
    fn nonsense_ends_the_walk_at_the_last_good_address() {
        let proxies = ["10.0.0.0/8".parse().expect("a net")];
        let headers = said(&["1.2.3.4, unknown, 10.0.0.7"]);
        assert_eq!(address(ip("10.0.0.1"), &headers, &proxies), ip("10.0.0.7"));
    }
}
