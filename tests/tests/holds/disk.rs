//! Data folders: one process each, of one cluster and node, on a disk that may be full or not be there.

use meridian_tests::{
    binary::run,
    http::get,
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
};

use crate::mistakes::refused;

#[tokio::test(flavor = "multi_thread")]
async fn one_data_folder_serves_one_process() {
    let site = Site::new("folder", &[("one", "here")]).await;
    let node = &site.nodes[0];
    let mut first = site.start(node).await;
    // Other ports, the same folder.
    let second = Place::new("one", "here");
    let config = std::fs::read_to_string(site.config(node)).expect("written before");
    let other = [
        (node.http, second.http),
        (node.https, second.https),
        (node.fabric, second.fabric),
        (node.bulk, second.bulk),
        (node.admin, second.admin),
    ]
    .iter()
    .fold(config, |text, (from, to)| {
        text.replace(&from.to_string(), &to.to_string())
    });
    let path = site.path("one").join("second.yaml");
    std::fs::write(&path, other).expect("written");
    let ran = run(site.command(&path)).await.expect(1);
    assert!(ran.stderr.contains("in use"), "{ran:?}");
    first.must_run();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_another_cluster_or_node_is_refused() {
    let (here, there) = (
        Site::new("first", &[("one", "here")]).await,
        Site::new("second", &[("one", "here")]).await,
    );
    let (mine, theirs) = (&here.nodes[0], &there.nodes[0]);
    for (site, node) in [(&here, mine), (&there, theirs)] {
        let mut process = site.start(node).await;
        until("the cluster is founded", LONG, async || {
            let status = site.status(node).await;
            if status["group"]["leader"] == node.id {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
        process.signal("TERM").await;
        assert_eq!(
            process.end(LONG).await.code(),
            Some(0),
            "{}",
            process.stderr()
        );
    }
    std::fs::rename(there.data(theirs), there.path("set-aside")).expect("moved");
    copy(&here.data(mine), &there.data(theirs));
    let ran = refused(&there, theirs).await;
    assert!(
        ran.stderr.contains("first") && ran.stderr.contains("data"),
        "{ran:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_written_is_named() {
    let site = Site::new("disk", &[("one", "here")]).await;
    let node = &site.nodes[0];
    // A file where the folder should be, and a file system that takes no files.
    std::fs::write(site.path("one").join("data"), "in the way").expect("written");
    let ran = refused(&site, node).await;
    assert!(ran.stderr.contains("data"), "{ran:?}");
    let config = std::fs::read_to_string(site.config(node)).expect("written before");
    std::fs::write(
        site.config(node),
        config.replace("data_dir: data", "data_dir: /proc/meridian"),
    )
    .expect("written");
    let ran = refused(&site, node).await;
    assert!(ran.stderr.contains("/proc/meridian"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_serves_on() {
    let site = Site::new("full", &[("one", "here")]).await;
    let node = &site.nodes[0];
    std::fs::create_dir_all(site.data(node)).expect("made");
    // A small file system of its own, in a namespace of its own.
    let mount = format!(
        "mount -t tmpfs -o size=16m none '{}' && exec \"$0\" \"$@\"",
        site.data(node).display()
    );
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &mount]);
    command
        .arg(meridian_tests::binary::path())
        .args(["node", "--config"])
        .arg(site.config(node));
    command.env("SSL_CERT_FILE", site.path("outside-ca.pem"));
    if !can_mount().await {
        println!("not tested: this machine lets nobody make a mount namespace");
        return;
    }
    let mut process = Process::start("one", &site.path(""), command);
    until("the node lives", LONG, async || {
        process.must_run();
        get("/livez").try_send(node.admin).await.map(drop)
    })
    .await;
    let document = site.document(&[("here", "127.0.0.1:9".parse().expect("an address"))]);
    site.apply(node, &document).await;
    until("the document is served", LONG, async || {
        let answer = get("/open").try_send(node.http).await?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;

    // Seen from here, the node's file system is under its root.
    let inside = std::path::Path::new("/proc")
        .join(process.pid().to_string())
        .join("root");
    let data = inside.join(site.data(node).strip_prefix("/").expect("an absolute path"));
    let filler = data.join("filler");
    let mut file = std::fs::File::create(&filler).expect("room for a file");
    let block = vec![0; 64 * 1024];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    drop(file);

    // Incompressible, so that it needs room.
    let noise: String = (0..4000)
        .map(|number| format!("# {:x}\n", number * 2_654_435_761_u64))
        .collect();
    let path = site.path("gateway.yaml");
    std::fs::write(&path, format!("{document}{noise}")).expect("written");
    let file = path.to_str().expect("a plain path");
    let ran = site
        .admin(node, &["apply", "-f", file, "--wait", "5s"])
        .await;
    assert!(matches!(ran.code, Some(1 | 4)), "{ran:?}");
    assert!(
        !process.stderr().contains("panicked"),
        "{}",
        process.stderr()
    );
    process.must_run();
    assert_eq!(get("/open").send(node.http).await.status, 200);
    assert!(
        process.stderr().contains("disk"),
        "no alarm: {}",
        process.stderr()
    );
}

/// Whether this machine lets us mount in a namespace of our own.
async fn can_mount() -> bool {
    let mut command = tokio::process::Command::new("unshare");
    command.args([
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    ]);
    command.status().await.is_ok_and(|status| status.success())
}

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
