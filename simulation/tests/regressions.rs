//! Files of runs that once broke something, made small; each says in words what, and on which seed. Now all of it holds.

use std::{
    path::Path,
    process::{Command, Stdio},
};

#[test]
fn what_once_broke_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/regressions");
    let files = std::fs::read_dir(&folder).expect("a folder");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    // As many at once as there are cores, as for any range of seeds.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for batch in files.chunks(cores) {
        let play = |file: &std::path::PathBuf| {
            let text = std::fs::read_to_string(file).expect("a text");
            let has_seed = text.lines().any(|line| line.starts_with("seed: "));
            assert!(has_seed, "{} has no seed", file.display());
            let child = Command::new(env!("CARGO_BIN_EXE_meridian-sim"))
                .arg("run")
                .arg(file)
                .arg("--no-shrink")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            child.expect("the simulator's program was built for this test")
        };
        let runs: Vec<_> = batch.iter().map(play).collect();
        for (file, run) in batch.iter().zip(runs) {
            let output = run.wait_with_output().expect("it ends");
            let says = String::from_utf8_lossy(&output.stdout);
            let talk = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {says}{talk}", file.display());
        }
    }
}
