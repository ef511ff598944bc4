//! The page of a run, as a browser shows it: it draws itself without an error, and its lanes, its log and its keys do
//! what they say. Needs `chromium` (`tests/run` installs it).

use std::{fs, io::Write as _, path::Path, process::Command};

/// Plays a scenario, lets the browser open the page with `driver` at its end, and returns the document that results.
fn shown(scenario: &str, held: bool, driver: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    let run = Command::new(env!("CARGO_BIN_EXE_meridian-sim"))
        .args(["run", scenario, "--seed", "1", "--quiet", "--report"])
        .arg(&file)
        .output()
        .expect("the simulator's program was built for this test");
    assert_eq!(run.status.success(), held, "{run:?}");
    let page = fs::read_to_string(&file).expect("it was written");
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    let driven = page.replace("</body>", &format!("<script>{driver}</script></body>"));
    let mut again = fs::File::create(&file).expect("it can be written again");
    again.write_all(driven.as_bytes()).expect("there is room");
    browse(&file, folder.path())
}

fn browse(file: &Path, folder: &Path) -> String {
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--window-size=1400,1200", "--virtual-time-budget=5000"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("browser").display()
        ))
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()))
        .output();
    let output = browser.unwrap_or_else(|error| {
        panic!("chromium cannot be run ({error}); `apt-get install chromium`, or run tests/run")
    });
    let document = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        document.contains("data-ready=\"true\""),
        "the page's script did not come to its end: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    document
}

/// What the driver found, written to the document as `data-NAME="VALUE"`.
fn found<'a>(document: &'a str, name: &str) -> &'a str {
    let (_, rest) = document
        .split_once(&format!("data-{name}=\""))
        .unwrap_or_else(|| panic!("the driver did not come to {name}"));
    rest.split('"').next().expect("a split has a first part")
}

#[test]
fn the_page_of_a_run_that_held_draws_every_lane_and_heeds_keys_filters_and_clicks() {
    let driver = r##"
        const told = document.documentElement.dataset;
        const rows = [...document.querySelectorAll("#timeline svg[role=img]")];
        told.lanes = rows.map((row) => row.getAttribute("aria-label").split(":")[0]).join("|");
        told.empty = rows.filter((row) => row.childElementCount === 0).length;
        const key = (key) => timeline.plots.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        key("Home"); key("n");
        told.fault = timeline.plots.getAttribute("aria-valuetext");
        told.zoomed = String(view.to - view.from < run.end);
        key("0"); timeline.show(0, run.end);
        told.whole = String(view.to - view.from === run.end);
        log.words = "takes"; log.fill();
        const entries = [...log.list.querySelectorAll("button")];
        told.entries = String(entries.length);
        told.filtered = String(entries.every((entry) => entry.textContent.includes("takes")));
        entries.at(-1).click();
        told.jumped = String(timeline.cursor === Number(entries.at(-1).dataset.at));
        timeline.refilter({ region: 1, kind: "order" });
        told.order = String(columns.sum(0, columns.bins.length).served);
    "##;
    let document = shown("region-loss", true, driver);
    assert_eq!(
        found(&document, "lanes"),
        "Phases|Faults|Leader|Requests|Latency|Failover gaps|Writes|eu-west|eu-west-1|us-east|us-east-1|ap-south|ap-south-1"
    );
    assert_eq!(found(&document, "empty"), "0");
    let fault = found(&document, "fault");
    assert!(
        fault.contains("loses power") && fault.contains("Leader"),
        "{fault}"
    );
    for name in ["zoomed", "whole", "filtered", "jumped"] {
        assert_eq!(found(&document, name), "true", "{name}");
    }
    assert!(found(&document, "entries").parse::<u32>().unwrap() >= 4);
    assert!(found(&document, "order").parse::<u32>().unwrap() > 400);
    assert!(document.contains("promises that were put to the test held"));
}

#[test]
fn what_is_in_trouble_has_a_lane_that_says_in_plain_words_what_that_means() {
    let driver = r##"
        const told = document.documentElement.dataset;
        const rows = timeline.rows.filter((row) => row.lane.own);
        told.lanes = rows.map((row) => row.lane.title).join("|");
        told.drawn = rows.map((row) => row.drawing.querySelectorAll(".f-trouble").length).join("|");
        const one = (title) => rows.find((row) => row.lane.title === title);
        // As the pointer does that rests on the middle of a lane's fault.
        for (const [name, title] of [["link", "Links in trouble"], ["disk", "Disks"], ["clock", "Clocks"], ["upstream", "Upstreams"], ["issuer", "Issuer"]]) {
            const row = one(title);
            const fault = row.lane.own[0];
            const box = timeline.axis.getBoundingClientRect();
            const at = { clientX: box.left + x((fault.from + fault.to) / 2), clientY: box.top, bubbles: true };
            row.drawing.dispatchEvent(new PointerEvent("pointermove", at));
            told[name] = timeline.tip.textContent;
        }
    "##;
    let troubles = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/troubles.yaml");
    let document = shown(troubles, true, driver);
    let lanes = "Links in trouble|Disks|Clocks|Upstreams|Issuer";
    assert_eq!(found(&document, "lanes"), lanes);
    assert_eq!(found(&document, "drawn"), "1|1|1|1|1");
    for (name, what, means) in [
        (
            "link",
            "eu-west – us-east is slow",
            "late, lost or held back",
        ),
        (
            "disk",
            "the disk of us-east-1 takes 20ms longer",
            "requests do not",
        ),
        (
            "clock",
            "the clocks of us-east-1 are 5s off",
            "judges tokens by it",
        ),
        ("upstream", "take 50ms longer", "by health checks"),
        (
            "issuer",
            "the issuer loses power",
            "its keys change or cannot be had",
        ),
    ] {
        let hover = found(&document, name);
        assert!(
            hover.contains(what) && hover.contains(means),
            "{name}: {hover}"
        );
    }
}

#[test]
fn the_page_of_a_run_that_broke_says_what_and_goes_there() {
    let driver = r##"
        const told = document.documentElement.dataset;
        told.times = String(document.querySelectorAll(".breaches .jump").length);
        document.querySelector(".breaches .jump").click();
        told.now = timeline.plots.getAttribute("aria-valuetext");
    "##;
    let planted = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted/deaf.yaml");
    let document = shown(planted, false, driver);
    assert!(document.contains("promises broke: revocation"));
    assert!(found(&document, "times").parse::<u32>().unwrap() >= 1);
    let now = found(&document, "now");
    assert!(
        now.contains("Broke: revocation: us-east-1 admitted"),
        "{now}"
    );
}
