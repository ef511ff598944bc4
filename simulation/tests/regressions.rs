//! Files of runs that once broke something, made small; each says in words what, and on which seed. Now all of it holds. A
//! case each, so that they run side by side.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

macro_rules! once_broke {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[test]
            fn $test() {
                holds($file);
            }
        )*

        const PLAYED: &[&str] = &[$($file),*];
    };
}

once_broke! {
    bulk_flood_4: "bulk-flood-4",
    chaos_2126: "chaos-2126",
    chaos_3129: "chaos-3129",
    chaos_3594: "chaos-3594",
    chaos_3684: "chaos-3684",
    chaos_38: "chaos-38",
    chaos_3823: "chaos-3823",
    orderly_upgrade_125: "orderly-upgrade-125",
    orderly_upgrade_14: "orderly-upgrade-14",
    orderly_upgrade_20: "orderly-upgrade-20",
    orderly_upgrade_82: "orderly-upgrade-82",
    process_kill_3: "process-kill-3",
    process_kill_37: "process-kill-37",
    process_kill_52: "process-kill-52",
    quota_chaos_295: "quota-chaos-295",
    quota_echoes_2: "quota-echoes-2",
    quota_expiry_8: "quota-expiry-8",
    quota_restarts_11: "quota-restarts-11",
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/regressions")
}

fn holds(name: &str) {
    let file = folder().join(name).with_extension("yaml");
    let text = std::fs::read_to_string(&file).expect("a text");
    let has_seed = text.lines().any(|line| line.starts_with("seed: "));
    assert!(has_seed, "{name} has no seed");
    let output = Command::new(env!("CARGO_BIN_EXE_meridian-sim"))
        .arg("run")
        .arg(&file)
        .arg("--no-shrink")
        .output()
        .expect("the simulator's program was built for this test");
    let says = String::from_utf8_lossy(&output.stdout);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {says}{talk}");
}

#[test]
fn every_file_is_played_here() {
    let files = std::fs::read_dir(folder()).expect("a folder");
    let files = files.map(|file| file.expect("a file").path());
    let names = files.map(|file| {
        file.file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    });
    let played = PLAYED.iter().map(|name| (*name).to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), played.collect());
}
