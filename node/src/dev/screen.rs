//! What `meridian dev` shows when it is ready: one screen.
//!
//! In: the plan, a token, how long it took. Out: text. A core.

use std::{path::Path, time::Duration};

use super::{folder::Folder, plan::Plan};
use crate::cli::terminal::columns;

/// The screen.
pub(crate) fn text(
    plan: &Plan,
    folder: &Folder,
    program: &str,
    token: &str,
    took: Duration,
) -> String {
    let mut rows = vec![
        ["NODE", "HTTP", "HTTPS", "ADMIN"]
            .map(String::from)
            .to_vec(),
    ];
    for node in &plan.nodes {
        rows.push(vec![
            node.id.to_string(),
            format!("http://{}", node.http),
            format!("https://{}", node.https),
            format!("http://{}", node.admin),
        ]);
    }
    let first = &plan.nodes[0];
    let last = &plan.nodes[plan.nodes.len() - 1];
    let root = folder.root().display();
    // Commands find the default folder by themselves.
    let dir = if folder.root() == Path::new(super::folder::DEFAULT) {
        String::new()
    } else {
        format!(" --dir {root}")
    };
    let admin = if dir.is_empty() {
        String::new()
    } else {
        format!(
            " --admin http://{} --token-file {}",
            first.admin,
            folder.admin_token().display()
        )
    };
    format!(
        "Meridian runs: {nodes} nodes in {regions} regions, ready in {seconds:.1} s. A limit holds over all of them together.\n\
         \n\
         {table}\n\
         A token of tenant acme for an hour, and what to do with it:\n\
         \n\
         \x20 TOKEN={token}\n\
         \x20 curl -H \"authorization: Bearer $TOKEN\" http://{http}/v1/plants\n\
         \x20 curl -H \"authorization: Bearer $TOKEN\" --cacert {ca} https://{https}/v1/echo\n\
         \n\
         \x20 {program} status{admin}\n\
         \x20 {program} dev token --tenant globex --scope plants:read{dir}\n\
         \x20 {program} dev kill {region}{dir}       # then curl another node; back with: dev start {region}\n\
         \x20 {program} dev cut {region} {other}{dir}   # undo with: dev heal\n\
         \x20 {program} apply -f {document}{admin}\n\
         \n\
         State and logs are in {root}. Ctrl-C stops all of it.\n",
        nodes = plan.nodes.len(),
        regions = plan.upstreams.len(),
        seconds = took.as_secs_f64(),
        table = columns(&rows),
        http = first.http,
        https = last.https,
        ca = folder.edge_ca().display(),
        region = first.region,
        other = last.region,
        document = folder.document().display(),
    )
}

/// How the user would type this program's name.
pub(crate) fn program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "meridian".to_owned();
    };
    let on_path = std::env::var_os("PATH").is_some_and(|folders| {
        std::env::split_paths(&folders).any(|folder| path.parent() == Some(folder.as_path()))
    });
    if on_path {
        return "meridian".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .unwrap_or(&path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn it_fits_one_screen_and_names_every_node() {
        let plan = Plan::new::<Infallible>(1, |_, _, wanted| Ok(wanted)).unwrap();
        let folder = Folder::new(super::super::folder::DEFAULT);
        let text = text(
            &plan,
            &folder,
            "meridian",
            "TOKEN",
            Duration::from_millis(2345),
        );
        assert!(text.lines().count() <= 24, "{}", text.lines().count());
        assert!(text.contains("ready in 2.3 s"));
        for node in &plan.nodes {
            assert!(text.contains(node.id.as_str()));
        }
        assert!(!text.contains("--dir"));
    }

    #[test]
    fn another_folder_stands_in_every_command() {
        let plan = Plan::new::<Infallible>(1, |_, _, wanted| Ok(wanted)).unwrap();
        let text = text(
            &plan,
            &Folder::new("/tmp/x"),
            "meridian",
            "TOKEN",
            Duration::ZERO,
        );
        for line in text.lines().filter(|line| line.contains("meridian ")) {
            assert!(line.contains("/tmp/x"), "{line}");
        }
    }
}
