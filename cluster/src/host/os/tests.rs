//! What the operating system's host promises.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::host::blocking;

fn host() -> (tempfile::TempDir, OsHost) {
    let folder = tempfile::tempdir().unwrap();
    let host = OsHost::new(&folder.path().join("data")).unwrap();
    (folder, host)
}

#[test]
fn a_data_folder_belongs_to_one_process() {
    let (folder, _host) = host();
    let second = OsHost::new(&folder.path().join("data"));
    assert!(matches!(second, Err(DataDirError::InUse { .. })));
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let Err(error) = OsHost::new(&file.join("data")) else {
        panic!("a folder inside a file cannot be made");
    };
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn files_are_replaced_whole_and_listed_in_order() {
    let (_folder, host) = host();
    let files = host.files();
    assert_eq!(files.read("last-revision").unwrap(), None);
    files.write("last-revision", b"one").unwrap();
    files.write("last-revision", b"two").unwrap();
    files.write("last-a", b"").unwrap();
    assert_eq!(files.read("last-revision").unwrap().unwrap(), b"two");
    assert_eq!(files.list("last-").unwrap(), ["last-a", "last-revision"]);
    files.remove("last-a").unwrap();
    files.remove("last-a").unwrap();
    assert_eq!(files.list("last-").unwrap(), ["last-revision"]);
}

#[test]
fn a_file_name_cannot_leave_the_folder() {
    let (_folder, host) = host();
    for name in ["../lock", "", ".hidden", "a/b"] {
        assert!(host.files().write(name, b"").is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn a_taken_address_is_refused_to_a_first_worker_and_shared_by_the_next() {
    let (_folder, host) = host();
    let mut first = host.listen(([127, 0, 0, 1], 0).into(), 0).unwrap();
    let addr = first.local_addr();
    let taken = host.listen(addr, 0).map(|_| ()).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    let second = host.listen(addr, 1).unwrap();
    assert_eq!(second.local_addr(), addr);
    drop(second);

    let (client, accepted) = tokio::join!(host.connect(addr), first.accept());
    let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
    client.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn placed_work_starts_at_once_and_its_end_is_known() {
    let (_folder, host) = host();
    for place in [Place::Worker(0), Place::Bulk, Place::Control] {
        let (said, heard) = tokio::sync::oneshot::channel();
        let end = host.place(
            place,
            Box::pin(async move {
                said.send(place).unwrap();
            }),
        );
        assert_eq!(heard.await.unwrap(), place);
        end.await;
    }
    assert_eq!(blocking(&host, || 6 * 7).await, 42);
}

#[tokio::test]
async fn literal_addresses_resolve_without_a_resolver() {
    let (_folder, host) = host();
    let found = host.resolve("[::1]", 7400).await.unwrap();
    assert_eq!(found, ["[::1]:7400".parse().unwrap()]);
}
