//! The two QUIC endpoints of a node, and how each treats its connections.
//!
//! In: a bound socket and the node's trust. Out: a quinn endpoint whose ids and resets follow from the
//! host's entropy and the node's key, so that a simulation repeats and a restart is noticed.

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint,
    EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
    congestion::{Controller, ControllerFactory},
    crypto::{
        CryptoError, HmacKey,
        rustls::{HandshakeData, QuicClientConfig, QuicServerConfig},
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    FabricError, FabricSettings, courteous::Courteous, roster::Plane, trust::Trust, wire::Form,
};
use crate::{host::Host, version::Versions};

/// The name a client must give; nothing looks at it (peers are known by their SPIFFE id).
pub(super) const SERVER_NAME: &str = "fabric.meridian.internal";

/// A control connection that is silent this long is dead for both sides. The detector is faster; this
/// clears what it does not watch.
const CONTROL_IDLE: Duration = Duration::from_secs(3);

/// Forwarded requests may be slow, and a dead peer's bulk connection is closed by the detector.
const BULK_IDLE: Duration = Duration::from_secs(30);

/// Connections that may be in their handshake at once; further ones wait for the peer's next attempt.
const INCOMING_LIMIT: usize = 256;

/// Binds and builds one plane's endpoint on the current runtime.
pub(super) fn bind(
    plane: Plane,
    host: &Arc<dyn Host>,
    settings: &FabricSettings,
    trust: &Trust,
    incarnation: u64,
) -> Result<Endpoint, FabricError> {
    let (key, addr) = match plane {
        Plane::Control => ("listen.fabric", settings.control),
        Plane::Bulk => ("listen.bulk", settings.bulk),
    };
    host.udp_bind(addr)
        .and_then(|socket| {
            let versions = settings.versions;
            open(plane, versions, socket, trust, &**host, incarnation)
        })
        .map_err(|cause| FabricError::Listen { key, addr, cause })
}

/// Where an endpoint is bound.
pub(super) fn local(endpoint: &Endpoint) -> SocketAddr {
    endpoint
        .local_addr()
        .expect("a bound socket knows its address")
}

fn open(
    plane: Plane,
    versions: Versions,
    socket: Arc<dyn AsyncUdpSocket>,
    trust: &Trust,
    host: &dyn Host,
    incarnation: u64,
) -> std::io::Result<Endpoint> {
    let label = match plane {
        Plane::Control => "fabric control",
        Plane::Bulk => "fabric bulk",
    };
    let protocols = Form::protocols(plane, versions);
    // The incarnation keeps two lives apart even where a host gives both the same seed: ids of a former
    // life must be unknown to this one, or it would not reset them.
    let seed = *blake3::keyed_hash(&host.entropy(label), &incarnation.to_be_bytes()).as_bytes();
    let mut config = EndpointConfig::new(Arc::new(ResetKey {
        trust: trust.clone(),
        purpose: label,
    }));
    config.rng_seed(Some(seed));
    let ids = blake3::derive_key("meridian 2026 connection ids", &seed);
    config.cid_generator(move || Box::new(SeededIds(StdRng::from_seed(ids))));

    let transport = Arc::new(transport(plane));
    let crypto = QuicServerConfig::try_from(trust.server(protocols.clone()))
        .expect("the provider has QUIC's initial cipher suite");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::clone(&transport));
    server.max_incoming(INCOMING_LIMIT);
    // Address tokens save a round trip of validation that peers with certificates do not need.
    let mut no_tokens = ValidationTokenConfig::default();
    no_tokens.sent(0);
    server.validation_token_config(no_tokens);

    let mut endpoint = Endpoint::new_with_abstract_socket(
        config,
        Some(server),
        socket,
        Arc::new(quinn::TokioRuntime),
    )?;
    let crypto = QuicClientConfig::try_from(trust.client(protocols))
        .expect("the provider has QUIC's initial cipher suite");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport);
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Which form of the hello a connection has settled on.
pub(super) fn form_of(plane: Plane, connection: &Connection) -> Option<Form> {
    let data = connection.handshake_data()?;
    let data = data.downcast::<HandshakeData>().ok()?;
    Form::of(plane, data.protocol.as_deref()?)
}

fn transport(plane: Plane) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = |limit: Duration| {
        IdleTimeout::try_from(limit).expect("seconds fit a QUIC variable-length integer")
    };
    // The first guess of the round trip: at the default of 333 ms a lost handshake packet costs a second.
    config.initial_rtt(Duration::from_millis(150));
    match plane {
        Plane::Control => {
            config
                .max_idle_timeout(Some(idle(CONTROL_IDLE)))
                .keep_alive_interval(Some(CONTROL_IDLE / 3))
                // Calls in flight from one peer; more wait at the sender.
                .max_concurrent_bidi_streams(VarInt::from_u32(256))
                // Gossip too large for a datagram.
                .max_concurrent_uni_streams(VarInt::from_u32(16))
                // Together with the next: what a peer can make us hold. 2 MiB a stream carries a large
                // document over the longest round trip in a few of them.
                .stream_receive_window(VarInt::from_u32(2 << 20))
                .receive_window(VarInt::from_u32(8 << 20))
                .send_window(8 << 20)
                // A second's probes and gossip; older ones are worth nothing.
                .datagram_receive_buffer_size(Some(256 << 10))
                .datagram_send_buffer_size(64 << 10)
                .congestion_controller_factory(Arc::new(SteadyWindow));
        }
        Plane::Bulk => {
            config
                .max_idle_timeout(Some(idle(BULK_IDLE)))
                .keep_alive_interval(Some(BULK_IDLE / 3))
                .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_AT_FIRST))
                .max_concurrent_uni_streams(VarInt::from_u32(0))
                // One slow reader holds at most 1 MiB; all together at most 32 MiB a peer.
                .stream_receive_window(VarInt::from_u32(1 << 20))
                .receive_window(VarInt::from_u32(32 << 20))
                .send_window(32 << 20)
                .datagram_receive_buffer_size(None)
                .congestion_controller_factory(Arc::new(Courteous));
        }
    }
    config
}

/// Opens a connection for use, once both ends have greeted each other.
pub(super) fn open_up(plane: Plane, connection: &Connection) {
    if plane == Plane::Bulk {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(BULK_STREAMS));
    }
}

/// Streams that a peer may open on a bulk connection before it has greeted: quinn makes room for each of them when a
/// connection begins, also when it dials one that nobody answers. A few requests need not wait for more.
const STREAMS_AT_FIRST: u32 = 64;

/// Requests in flight from one peer; more are refused there by its own bound.
const BULK_STREAMS: u32 = 4096;

/// A constant congestion window for the control connection.
///
/// After a short cut a usual controller falls to two packets a round trip, and heartbeats and probes
/// queue behind each other just when they matter. What control sends is bounded by what it is (a few
/// hundred small messages a second), so a constant window is no danger to the network.
#[derive(Clone)]
struct SteadyWindow;

/// Two megabytes a second over a round trip of 250 ms.
const STEADY_BYTES: u64 = 512 << 10;

impl ControllerFactory for SteadyWindow {
    fn build(self: Arc<Self>, _now: std::time::Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for SteadyWindow {
    fn on_congestion_event(
        &mut self,
        _now: std::time::Instant,
        _sent: std::time::Instant,
        _is_persistent_congestion: bool,
        _lost_bytes: u64,
    ) {
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        STEADY_BYTES
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        STEADY_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Signs stateless resets (RFC 9000 section 10.3) with a key of the node's: after a restart it answers
/// packets of its former life with a reset that their sender believes at once. Connections made before a
/// renewal of the key miss that once, and their peers notice by their silence.
struct ResetKey {
    trust: Trust,
    purpose: &'static str,
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        let key = self.trust.secret(self.purpose);
        signature.copy_from_slice(blake3::keyed_hash(&key, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let expected = blake3::keyed_hash(&self.trust.secret(self.purpose), data);
        let given: [u8; blake3::OUT_LEN] = signature.try_into().map_err(|_| CryptoError)?;
        // blake3's comparison takes the same time whatever differs.
        if expected == blake3::Hash::from_bytes(given) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// Connection ids from the node's own generator. Every id is valid: quinn's own generator draws a key a
/// process, and would drop packets of a former life instead of resetting them.
struct SeededIds(StdRng);

/// Bytes of a connection id: no two of one node's fall together.
const ID_LENGTH: usize = 8;

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<[u8; ID_LENGTH]>())
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
