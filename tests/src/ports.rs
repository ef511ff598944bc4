//! Free ports.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

/// An address on loopback whose TCP and UDP port are both free.
///
/// Looked for below the range that Linux gives to outgoing connections (32768 and up), so that none of
/// those takes it before, or while the process under test is down.
pub fn free() -> SocketAddr {
    for _ in 0..1000 {
        let random = RandomState::new().build_hasher().finish();
        let port = 10_000 + u16::try_from(random % 22_000).expect("less than 22 000");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port between 10 000 and 32 000 is free");
}
