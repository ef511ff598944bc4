//! The world under the libraries that the gateway stands on: quinn over its packets, hyper over its streams.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use meridian_cluster::host::Host;
use tokio::time::Instant;

use super::*;

const A: Place = Place(0);
const B: Place = Place(1);

fn world(seed: u64) -> World {
    let links = Links::even(2, ms(1), ms(40));
    World::new(Seed(seed), links, Trace::new(None), Box::new(Untouched))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// A list that a test and the tasks of a world share.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl ToString) {
        self.0.lock().unwrap().push(note.to_string());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn each_machine_sees_the_worlds_time_to_the_millisecond() {
    let mut world = world(1);
    let machine = world.add("a", A);
    world.run_for(ms(5));
    let notes = Notes::default();
    let heard = notes.clone();
    world.start(machine, |host| async move {
        let began = Instant::now();
        for pause in [1, 2, 30] {
            tokio::time::sleep(ms(pause)).await;
            let own = began.elapsed().as_millis();
            let wall = (host.unix_time() - EPOCH).as_millis();
            heard.add(format!("{own} {wall}"));
        }
        Ok(())
    });
    world.run_for(ms(40));
    assert_eq!(notes.all(), ["1 6", "3 8", "33 38"]);
}

/// Serves `ok` on port 80 for ever.
async fn serve(host: Arc<SimHost>) -> Result<(), String> {
    let mut listener = host.listen(any(80), 0).map_err(|e| e.to_string())?;
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
        let service =
            hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                let body = request.into_body().collect().await.map(|b| b.to_bytes());
                let length = body.map_or(0, |body| body.len());
                let answer = Full::new(Bytes::from(format!("read {length}")));
                Ok::<_, Infallible>(http::Response::new(answer))
            });
        drop(host.place(
            meridian_cluster::host::Place::Worker(0),
            Box::pin(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }),
        ));
    }
}

/// One request on a connection of its own.
async fn ask(host: &SimHost, name: &str, body: usize) -> Result<String, String> {
    let to = host.resolve(name, 80).await.map_err(|e| e.to_string())?[0];
    let stream = host.connect(to).await.map_err(|e| e.kind().to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    drop(host.place(
        meridian_cluster::host::Place::Worker(0),
        Box::pin(async move {
            let _ = connection.await;
        }),
    ));
    let request = http::Request::post("/")
        .header("host", name)
        .body(Full::new(Bytes::from(vec![0; body])))
        .unwrap();
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|e| e.to_string())?;
    let body = answer.into_body().collect().await;
    let body = body.map_err(|e| e.to_string())?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Asks `server` once and notes when the answer came, and which.
fn ask_once(world: &mut World, client: MachineId, body: usize) -> Notes {
    let notes = Notes::default();
    let heard = notes.clone();
    world.start(client, |host| async move {
        let answer = ask(&host, "server", body).await;
        let at = (host.unix_time() - EPOCH).as_millis();
        heard.add(match answer {
            Ok(body) => format!("{at} {body}"),
            Err(error) => format!("{at} failed: {error}"),
        });
        Ok(())
    });
    notes
}

#[test]
fn a_request_takes_two_round_trips_of_the_link() {
    let mut world = world(1);
    let server = world.add("server", B);
    let client = world.add("client", A);
    world.start(server, serve);
    let notes = ask_once(&mut world, client, 10);
    world.run_for(ms(500));
    // Dial and answer, request and response: four times 40 ms.
    assert_eq!(notes.all(), ["160 read 10"]);
}

#[test]
fn a_body_larger_than_the_window_arrives_whole() {
    let mut world = world(1);
    let server = world.add("server", B);
    let client = world.add("client", A);
    world.network().links(|links| {
        links.set_conditions(Conditions {
            jitter: ms(20),
            loss: 0.1,
            duplication: 0.1,
        });
    });
    world.start(server, serve);
    let notes = ask_once(&mut world, client, 1_000_000);
    world.run_for(ms(20_000));
    assert!(
        notes.all()[0].ends_with("read 1000000"),
        "{:?}",
        notes.all()
    );
}

#[test]
fn nobody_listening_and_a_killed_process_refuse_and_no_power_says_nothing() {
    let mut world = world(1);
    let server = world.add("server", B);
    let client = world.add("client", A);
    world.start(server, |_| std::future::pending());
    let notes = ask_once(&mut world, client, 1);
    world.run_for(ms(100));
    assert_eq!(notes.all(), ["80 failed: connection refused"]);
    world.take_down(client, Down::Kill);
    world.take_down(server, Down::Kill);
    let notes = ask_once(&mut world, client, 1);
    world.run_for(ms(100));
    assert_eq!(notes.all(), ["180 failed: connection refused"]);
    world.take_down(client, Down::Kill);
    world.start(server, |_| std::future::pending());
    world.take_down(server, Down::PowerOff);
    let notes = ask_once(&mut world, client, 1);
    world.run_for(ms(14_000));
    assert!(notes.all().is_empty());
    world.run_for(ms(2_000));
    assert!(
        notes.all()[0].ends_with("failed: timed out"),
        "{:?}",
        notes.all()
    );
}

/// Starts a request whose server never answers, breaks the server with `fault`, and says what the client saw.
fn broken_while_waiting(fault: impl FnOnce(&mut World, MachineId)) -> Vec<String> {
    let mut world = world(1);
    let server = world.add("server", B);
    let client = world.add("client", A);
    world.start(server, |host| async move {
        let mut listener = host.listen(any(80), 0).map_err(|e| e.to_string())?;
        let _held = listener.accept().await;
        std::future::pending().await
    });
    let notes = ask_once(&mut world, client, 1);
    world.run_for(ms(1_000));
    assert!(notes.all().is_empty());
    fault(&mut world, server);
    world.run_for(ms(30_000));
    notes.all()
}

#[test]
fn a_killed_process_resets_its_streams_and_a_dead_machine_does_not() {
    let killed = broken_while_waiting(|world, server| world.take_down(server, Down::Kill));
    assert!(killed[0].starts_with("1040 failed"), "{killed:?}");
    let dead = broken_while_waiting(|world, server| world.take_down(server, Down::PowerOff));
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
fn a_sender_across_a_cut_gives_up_after_fifteen_seconds_and_a_short_cut_only_delays() {
    for (cut_for, expected) in [(5_000, "read 200000"), (20_000, "failed")] {
        let mut world = world(1);
        let server = world.add("server", B);
        let client = world.add("client", A);
        world.start(server, serve);
        let notes = ask_once(&mut world, client, 200_000);
        world.run_for(ms(140));
        world.network().links(|links| {
            links.cut(A, B);
            links.cut(B, A);
        });
        world.run_for(ms(cut_for));
        world.network().links(Links::heal);
        world.run_for(ms(5_000));
        assert!(notes.all()[0].contains(expected), "{:?}", notes.all());
    }
}

#[test]
fn a_machine_whose_cable_is_pulled_reaches_not_even_its_own_region() {
    let mut world = world(1);
    let server = world.add("server", A);
    let client = world.add("client", A);
    world.start(server, serve);
    world.network().set_unplugged(server, true);
    assert!(!world.network().hears(server) && world.network().hears(client));
    let notes = ask_once(&mut world, client, 1);
    world.run_for(ms(5_000));
    assert!(notes.all().is_empty());
    world.network().set_unplugged(server, false);
    world.run_for(ms(2_000));
    assert!(notes.all()[0].ends_with("read 1"), "{:?}", notes.all());
}

/// What a machine's clocks said every 100 ms: `own wall`, in ms since its start.
fn clocks(still: Still) -> Vec<String> {
    let mut world = world(1);
    let machine = world.add("a", A);
    let notes = Notes::default();
    let heard = notes.clone();
    world.start(machine, |host| async move {
        let began = Instant::now();
        loop {
            tokio::time::sleep(ms(100)).await;
            let own = began.elapsed().as_millis();
            let wall = (host.unix_time() - EPOCH).as_millis();
            heard.add(format!("{own} {wall}"));
        }
    });
    world.run_for(ms(150));
    assert!(world.hold(machine, still) && world.is_still(machine));
    assert!(!world.hold(machine, still));
    world.run_for(ms(400));
    world.release(machine);
    world.run_for(ms(200));
    notes.all()
}

#[test]
fn a_process_that_stood_still_finds_timers_late_and_a_suspended_machine_its_wall_clock_ahead() {
    assert_eq!(clocks(Still::Process), ["100 100", "550 550", "650 650"]);
    assert_eq!(clocks(Still::Machine), ["100 100", "200 600", "300 700"]);
}

#[test]
fn a_process_that_stands_still_takes_connections_and_a_suspended_machine_says_nothing() {
    for still in [Still::Process, Still::Machine] {
        let mut world = world(1);
        let server = world.add("server", A);
        let client = world.add("client", A);
        let dialled = Notes::default();
        let heard = dialled.clone();
        world.start(server, serve);
        world.run_for(ms(10));
        world.hold(server, still);
        let notes = Notes::default();
        let answered = notes.clone();
        world.start(client, |host| async move {
            let to = host
                .resolve("server", 80)
                .await
                .map_err(|e| e.to_string())?;
            let stream = host.connect(to[0]).await;
            heard.add(stream.is_ok());
            drop(stream);
            answered.add(ask(&host, "server", 1).await.unwrap_or_else(|e| e));
            Ok(())
        });
        world.run_for(ms(3_000));
        let taken = if still == Still::Process {
            vec!["true"]
        } else {
            vec![]
        };
        assert_eq!(dialled.all(), taken);
        assert!(notes.all().is_empty());
        world.release(server);
        world.run_for(ms(3_000));
        assert_eq!(notes.all(), ["read 1"]);
    }
}

#[test]
fn a_machines_clocks_jump_and_drift_apart_from_the_others() {
    let mut world = world(1);
    let machine = world.add("a", A);
    let notes = Notes::default();
    let heard = notes.clone();
    world.start(machine, |host| async move {
        let began = Instant::now();
        loop {
            tokio::time::sleep(ms(1_000)).await;
            let own = began.elapsed().as_millis();
            let wall = (host.unix_time() - EPOCH).as_millis();
            heard.add(format!("{own} {wall}"));
        }
    });
    world.run_for(ms(1_500));
    // A tenth faster: at 2 s the machine's clock has gone on by 550 ms, and reaches its 2 s in 455 ms.
    world.set_clocks(machine, 5_000, Drift(100_000));
    world.run_for(ms(500));
    assert_eq!(notes.all(), ["1000 1000", "2000 7000"]);
    world.set_clocks(machine, 0, Drift(0));
    world.run_for(ms(1_000));
    assert_eq!(notes.all()[2], "3000 2950");
}

#[test]
fn work_that_blocks_waits_for_a_slow_disk_and_for_a_stalled_one() {
    let mut world = world(1);
    let machine = world.add("a", A);
    let notes = Notes::default();
    let heard = notes.clone();
    world.start(machine, |host| async move {
        loop {
            tokio::time::sleep(ms(100)).await;
            let files = host.files();
            let work = move || files.write("a", b"1").is_ok();
            let done = meridian_cluster::host::blocking(&*host, work).await;
            heard.add(format!(
                "{} {done}",
                host.unix_time().saturating_sub(EPOCH).as_millis()
            ));
        }
    });
    world.run_for(ms(150));
    let slow = DiskTrouble {
        latency: ms(40),
        ..DiskTrouble::default()
    };
    world.disk(machine).set_trouble(slow);
    world.run_for(ms(150));
    let stalls = DiskTrouble {
        stalls: true,
        ..DiskTrouble::default()
    };
    world.disk(machine).set_trouble(stalls);
    world.run_for(ms(500));
    world.disk(machine).set_trouble(DiskTrouble::default());
    world.run_for(ms(150));
    assert_eq!(
        notes.all(),
        ["100 true", "240 true", "800 true", "900 true"]
    );
    assert_eq!(world.disk(machine).touched().delayed, 2);
}

fn quic_config(name: &str) -> (quinn::ServerConfig, quinn::ClientConfig) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let chain = vec![certificate.der().clone()];
    let server = quinn::ServerConfig::with_single_cert(chain, der.into()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    (server, client)
}

fn endpoint(host: &SimHost, server: Option<quinn::ServerConfig>) -> quinn::Endpoint {
    let socket = host.udp_bind(any(7400)).unwrap();
    let mut config = quinn::EndpointConfig::default();
    config.rng_seed(Some(host.entropy("quic")));
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime).unwrap()
}

/// Echoes every stream.
async fn echo(host: Arc<SimHost>, config: quinn::ServerConfig) -> Result<(), String> {
    let endpoint = endpoint(&host, Some(config));
    while let Some(incoming) = endpoint.accept().await {
        drop(host.place(
            meridian_cluster::host::Place::Control,
            Box::pin(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let Ok(all) = receive.read_to_end(1 << 20).await else {
                        continue;
                    };
                    let _ = send.write_all(&all).await;
                    let _ = send.finish();
                }
            }),
        ));
    }
    Ok(())
}

#[test]
fn quic_carries_data_through_loss_jitter_and_duplication_and_over_a_crash() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut world = world(3);
    world.network().links(|links| {
        links.set_conditions(Conditions {
            jitter: ms(20),
            loss: 0.02,
            duplication: 0.02,
        });
    });
    let server = world.add("server", B);
    let client = world.add("client", A);
    let (server_config, client_config) = quic_config("server");
    let config = server_config.clone();
    world.start(server, |host| echo(host, config));
    let echoes = Arc::new(AtomicU64::new(0));
    let counted = echoes.clone();
    world.start(client, |host| async move {
        let endpoint = endpoint(&host, None);
        let to = host
            .resolve("server", 7400)
            .await
            .map_err(|e| e.to_string())?[0];
        loop {
            let dial = endpoint.connect_with(client_config.clone(), to, "server");
            let Ok(connection) = dial.map_err(|e| e.to_string())?.await else {
                continue;
            };
            let sent = vec![7; 20_000];
            while let Ok((mut send, mut receive)) = connection.open_bi().await {
                if send.write_all(&sent).await.is_err() || send.finish().is_err() {
                    break;
                }
                match receive.read_to_end(1 << 20).await {
                    Ok(all) => assert_eq!(all, sent),
                    Err(_) => break,
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    world.run_for(ms(3_000));
    let before = echoes.load(Ordering::Relaxed);
    assert!(before >= 2, "{before}");
    world.take_down(server, Down::PowerOff);
    world.run_for(ms(2_000));
    let after_crash = echoes.load(Ordering::Relaxed);
    assert!(after_crash <= before + 1);
    world.start(server, |host| echo(host, server_config));
    world.run_for(ms(60_000));
    assert!(echoes.load(Ordering::Relaxed) > after_crash + 20);
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    let counts = world.network().counts();
    assert!(counts.packets_lost > 0 && counts.packets_duplicated > 0);
    assert!(counts.packets_unclaimed > 0);
}

#[test]
fn the_streams_of_one_seed_leave_one_trace_and_another_seed_leaves_another() {
    let trace = |seed| {
        let mut world = world(seed);
        world.network().links(|links| {
            links.set_conditions(Conditions {
                jitter: ms(20),
                loss: 0.1,
                duplication: 0.0,
            });
        });
        let server = world.add("server", B);
        let client = world.add("client", A);
        world.start(server, serve);
        let _notes = ask_once(&mut world, client, 300_000);
        world.run_for(ms(10_000));
        world.trace.digest()
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
