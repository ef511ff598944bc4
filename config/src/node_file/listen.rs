//! Checks where a node listens: addresses that are addresses, and no two on one port.
//!
//! In: a [`ListenRaw`]. Out: a [`Listen`], with the usual ports where nothing is written.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Listen, raw::ListenRaw};
use crate::{
    diagnose::{Findings, Path, quoted},
    read::{At, Field, Written},
};

/// Checks where a node listens.
pub(super) fn listen(raw: Option<&At<ListenRaw>>, findings: &mut Findings) -> Listen {
    let path = Path::default().key("listen");
    let mut taken: Vec<(Listener, SocketAddr)> = Vec::new();
    let mut address = |listener: Listener, pick: fn(&ListenRaw) -> &Field<Written>| {
        let given = pick(&raw?.value).given()?;
        let path = path.key(listener.key);
        let address: SocketAddr = match given.value.0.parse() {
            Ok(address) => address,
            Err(_) => {
                let reason = not_an_address(&given.value.0, listener.port);
                findings.mistake(given.place, format!("{path}: {reason}"));
                return None;
            }
        };
        // Port 0 is any free port, so two of them do not clash.
        let clash = taken.iter().find(|(other, at)| {
            other.udp == listener.udp
                && at.port() == address.port()
                && address.port() != 0
                && (at.ip() == address.ip()
                    || at.ip().is_unspecified()
                    || address.ip().is_unspecified())
        });
        if let Some((other, _)) = clash {
            findings.mistake(
                given.place,
                format!(
                    "{path}: {address} is taken by listen.{}; choose another port",
                    other.key
                ),
            );
        }
        taken.push((listener, address));
        Some(address)
    };
    let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    Listen {
        http: address(HTTP, |listen| &listen.http),
        https: address(HTTPS, |listen| &listen.https),
        fabric: address(FABRIC, |listen| &listen.fabric).unwrap_or(any(FABRIC.port)),
        bulk: address(BULK, |listen| &listen.bulk).unwrap_or(any(BULK.port)),
        admin: address(ADMIN, |listen| &listen.admin)
            .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN.port))),
    }
}

/// A listener: its key, its usual port, and whether it is UDP.
#[derive(Clone, Copy)]
struct Listener {
    key: &'static str,
    port: u16,
    udp: bool,
}

const HTTP: Listener = Listener {
    key: "http",
    port: 8080,
    udp: false,
};
const HTTPS: Listener = Listener {
    key: "https",
    port: 8443,
    udp: false,
};
const FABRIC: Listener = Listener {
    key: "fabric",
    port: 7400,
    udp: true,
};
const BULK: Listener = Listener {
    key: "bulk",
    port: 7450,
    udp: true,
};
const ADMIN: Listener = Listener {
    key: "admin",
    port: 7500,
    udp: false,
};

fn not_an_address(text: &str, port: u16) -> String {
    let shown = quoted(text);
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return format!(
            "{shown} has no address; write \"0.0.0.0:{port}\", or \"127.0.0.1:{port}\" for this machine alone"
        );
    }
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return format!(
            "{shown} has no port; write \"{}\"",
            SocketAddr::new(address, port)
        );
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return format!("{shown} is a name; write the address, \"127.0.0.1:{port}\"");
    }
    format!(
        "{shown} is not an address and a port; write one like \"0.0.0.0:{port}\" or \"[::]:{port}\""
    )
}
