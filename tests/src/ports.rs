//! Free ports.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File},
    hash::{BuildHasher, Hasher},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
};

/// Ports that this process has given out, each held by a lock that other tests' processes see.
static GIVEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// An address on loopback whose TCP and UDP port are both free, and that no other test running now gets.
///
/// Looked for below the range that Linux gives to outgoing connections (32768 and up), so that none of
/// those takes it before, or while the process under test is down.
pub fn free() -> SocketAddr {
    let locks = std::env::temp_dir().join("meridian-test-ports");
    fs::create_dir_all(&locks).expect("the temporary folder can be written");
    for _ in 0..1000 {
        let random = RandomState::new().build_hasher().finish();
        let port = 10_000 + u16::try_from(random % 22_000).expect("less than 22 000");
        let lock = File::create(locks.join(port.to_string())).expect("a small file can be made");
        if lock.try_lock().is_err() {
            continue;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            GIVEN
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(lock);
            return address;
        }
    }
    panic!("no port between 10 000 and 32 000 is free");
}
