use bytes::Bytes;
use http_body_util::Empty;
use meridian_cluster::host::os::OsHost;
use meridian_config::{diagnose::Source, node_file::AdminTls};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    super::{
        access::{AdminToken, Role, entry},
        testing::Pretend,
    },
    *,
};

/// A served admin API; it ends with the test.
struct Running {
    admin: Admin,
    host: Arc<dyn Host>,
    token: String,
    folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn node_file(folder: &Path) -> NodeFile {
    let text = "cluster: { name: test, bootstrap: [n1] }\n\
                node: { id: n1, region: eu, data_dir: data }\n\
                listen: { http: \"127.0.0.1:1\", fabric: \"127.0.0.1:2\", bulk: \"127.0.0.1:3\", admin: \"127.0.0.1:4\" }\n\
                fabric: { ca: ca.pem, cert: node.pem, key: node.key }\n\
                admin: { tokens: tokens.yaml }\n";
    let source = Source {
        name: "node.yaml".into(),
        text: text.into(),
    };
    let mut file =
        NodeFile::parse(&source, folder).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    // A free port; a node.yaml cannot ask for one, since nobody could find the node.
    file.listen.admin = ([127, 0, 0, 1], 0).into();
    file
}

fn write(path: &Path, text: &str) {
    crate::cli::outside::write(path, text.as_bytes(), crate::cli::outside::Readers::Owner).unwrap();
}

async fn try_start(
    change: impl FnOnce(&mut NodeFile, &Path),
    tokens: &str,
) -> Result<Running, AdminError> {
    // Whichever test runs first installs the process's provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("tokens.yaml"), tokens);
    let mut file = node_file(folder.path());
    change(&mut file, folder.path());
    let host: Arc<dyn Host> = Arc::new(OsHost::new(&folder.path().join("data")).unwrap());
    let stop = CancellationToken::new();
    let admin = Admin::start(
        host.clone(),
        &file,
        Arc::new(Pretend::serving()),
        &TaskTracker::new(),
        &stop,
    )
    .await?;
    Ok(Running {
        admin,
        host,
        token: AdminToken::new([3; 32]).reveal().to_owned(),
        folder,
        stop,
    })
}

async fn start() -> Running {
    let line = entry("alice", Role::Viewer, &AdminToken::new([3; 32]));
    try_start(|_, _| {}, &line).await.unwrap()
}

impl Running {
    async fn stream(&self) -> BoxStream {
        self.host.connect(self.admin.local_addr()).await.unwrap()
    }

    async fn get(&self, target: &str, token: Option<&str>) -> u16 {
        get(self.stream().await, target, token).await
    }
}

async fn get(stream: BoxStream, target: &str, token: Option<&str>) -> u16 {
    let mut request = Request::get(target).header(header::HOST, "admin");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::select! {
        response = sender.send_request(request) => response.unwrap().status().as_u16(),
        ended = connection => panic!("the connection ended first: {ended:?}"),
    }
}

#[tokio::test]
async fn probes_need_no_token_and_everything_else_does() {
    let running = start().await;
    for probe in ["/livez", "/readyz", "/healthz?verbose"] {
        assert_eq!(running.get(probe, None).await, 200, "{probe}");
    }
    for target in ["/api/v1/status", "/metrics", "/api/v1/nothing", "/"] {
        assert_eq!(running.get(target, None).await, 401, "{target}");
        assert_eq!(running.get(target, Some("mrdn_00")).await, 401, "{target}");
    }
    assert_eq!(running.get("/metrics", Some(&running.token)).await, 200);
    assert_eq!(running.get("/", Some(&running.token)).await, 404);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let running = start().await;
    let mut stream = running.stream().await;
    stream.write_all(b"GET /livez HTT").await.unwrap();
    let mut answer = Vec::new();
    // Ends: with or without a 408, but never open for good.
    let ended = timeout(4 * HEAD, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "still open after {HEAD:?}");
}

#[tokio::test]
async fn a_reread_file_withdraws_a_token_and_a_broken_one_changes_nothing() {
    let running = start().await;
    let tokens = running.folder.path().join("tokens.yaml");
    let shared = Shared {
        desk: Desk {
            host: running.host.clone(),
            node: Arc::new(Pretend::serving()),
            feed: Arc::new(Feed::new(1)),
        },
        roster: ArcSwap::from_pointee(read_roster(&running.host, &tokens).await.unwrap()),
    };
    let known = || {
        let roster = shared.roster.load_full();
        roster.by_token(running.token.as_bytes()).is_some()
    };
    write(&tokens, "- nonsense");
    assert!(reread(&shared, &tokens).await.is_err() && known());
    write(&tokens, "");
    assert!(reread(&shared, &tokens).await.is_ok() && !known());
}

#[tokio::test]
async fn plain_http_beyond_loopback_and_unusable_tokens_are_refused() {
    let exposed = try_start(|file, _| file.listen.admin = ([0, 0, 0, 0], 0).into(), "").await;
    assert!(matches!(exposed, Err(AdminError::Exposed(_))));
    let broken = try_start(|_, _| {}, "- nonsense").await;
    assert!(matches!(broken, Err(AdminError::Tokens { .. })));
    let missing = try_start(|file, folder| file.admin.tokens = folder.join("none"), "").await;
    assert!(matches!(missing, Err(AdminError::Tokens { .. })));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let running = start().await;
    let taken = running.admin.local_addr();
    let second = try_start(|file, _| file.listen.admin = taken, "").await;
    match second {
        Err(error @ AdminError::Listen { .. }) => {
            assert!(error.to_string().contains(&taken.to_string()));
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// A CA, and a certificate of it for `name`, as PEM files `PREFIX.pem` and `PREFIX.key`.
fn certify(
    folder: &Path,
    authority: &Issuer<'_, KeyPair>,
    prefix: &str,
    name: &str,
) -> [PathBuf; 2] {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    let paths = ["pem", "key"].map(|kind| folder.join(format!("{prefix}.{kind}")));
    write(&paths[0], &certificate.pem());
    write(&paths[1], &key.serialize_pem());
    paths
}

#[tokio::test]
async fn over_https_a_client_certificate_does_as_well_as_a_token() {
    let mut authority = None;
    let tokens = "- { name: ci, role: viewer, san: ci.example.com }\n";
    let running = try_start(
        |file, folder| {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::default();
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let ca = parameters.self_signed(&key).unwrap().pem();
            write(&folder.join("ca.pem"), &ca);
            let issuer = Issuer::new(parameters, key);
            let [cert, key] = certify(folder, &issuer, "server", "admin.example.com");
            file.admin.tls = Some(AdminTls {
                cert,
                key,
                client_ca: folder.join("ca.pem"),
            });
            authority = Some(issuer);
        },
        tokens,
    )
    .await
    .unwrap();
    let authority = authority.unwrap();
    for (name, status) in [
        (None, 401),
        (Some("ci.example.com"), 200),
        (Some("stranger.example.com"), 401),
    ] {
        let folder = running.folder.path();
        let bytes = |path: &Path| running.host.read_named(path).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(&bytes(&folder.join("ca.pem"))).unwrap();
        roots.add(ca).unwrap();
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let [cert, key] = certify(folder, &authority, "client", name);
                let chain = vec![CertificateDer::from_pem_slice(&bytes(&cert)).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(&bytes(&key)).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let server = ServerName::try_from("admin.example.com").unwrap();
        let stream = connector
            .connect(server, running.stream().await)
            .await
            .unwrap();
        let got = get(Box::new(stream), "/metrics", None).await;
        assert_eq!(got, status, "{name:?}");
    }
}
