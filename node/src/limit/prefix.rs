//! What counts as one client address.

use std::net::{IpAddr, Ipv6Addr};

/// A whole IPv4 address, or an IPv6 /64: the smallest block that one subscriber gets (RFC 6177), within which
/// addresses are free to make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Prefix(IpAddr);

impl Prefix {
    pub(super) fn of(client: IpAddr) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        })
    }

    /// As text of fixed length; no IPv4 address has an IPv6 prefix's.
    pub(super) fn bytes(self) -> [u8; 17] {
        let (kind, bits) = match self.0 {
            IpAddr::V4(v4) => (4, v4.to_bits().into()),
            IpAddr::V6(v6) => (6, v6.to_bits()),
        };
        let mut bytes = [kind; 17];
        bytes[1..].copy_from_slice(&u128::to_be_bytes(bits));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> [u8; 17] {
        Prefix::of(text.parse().unwrap()).bytes()
    }

    #[test]
    fn addresses_of_one_subscriber_are_one_client() {
        assert_eq!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:1:ffff::2"));
        assert_ne!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:2::1"));
        assert_eq!(prefix("192.0.2.1"), prefix("::ffff:192.0.2.1"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
        assert_ne!(prefix("0.0.0.1"), prefix("::1"));
    }
}
