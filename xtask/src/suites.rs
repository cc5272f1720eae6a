//! The black-box suites: programs that know the server by its socket alone. They get its path as `MOORLINE_BIN`, and the
//! browser's as `MOORLINE_CHROMIUM`, nginx's as `MOORLINE_NGINX`.

use std::path::Path;
use std::process::Command;

use crate::counts;
use crate::install;
use crate::job;
use crate::shop::Shop;
use crate::stages::Verdict;

/// Most tests run four at once, each against servers of its own: they wait for the clock more than they compute. Those that
/// are marked `alone` measure time, or look at a server that is busy, and come afterwards.
const PYTHON_RUNS: [&[&str]; 2] =
    [&["-m", "not alone", "--numprocesses", "4", "--dist", "worksteal"], &["-m", "alone"]];

pub(crate) fn python(shop: &Shop) -> Verdict {
    PYTHON_RUNS.into_iter().map(|options| pytest(shop, options)).fold(Verdict::NOTHING, Verdict::and)
}

fn pytest(shop: &Shop, options: &[&str]) -> Verdict {
    let mut command = shop.command(shop.venv_python());
    command.args(["-m", "pytest", "-q", "--color=no"]).args(options);
    if let Some(nginx) = install::nginx(shop) {
        command.env("MOORLINE_NGINX", nginx);
    }
    run(shop, "python", command, counts::pytest)
}

pub(crate) fn node(shop: &Shop) -> Verdict {
    run(shop, "node", node_runner(shop), counts::node)
}

pub(crate) fn browser(shop: &Shop) -> Verdict {
    let mut command = node_runner(shop);
    if let Some(chromium) = install::chromium(shop) {
        command.env("MOORLINE_CHROMIUM", chromium);
    }
    run(shop, "browser", command, counts::node)
}

fn node_runner(shop: &Shop) -> Command {
    let mut command = shop.command("node");
    command.args(["--test", "--test-reporter=spec"]);
    command
}

/// Runs a suite in its folder. A folder that is not there is a failure: a suite does not vanish unnoticed.
fn run(shop: &Shop, folder: &str, mut command: Command, count: fn(&str) -> counts::Counts) -> Verdict {
    let folder = shop.wire().join(folder);
    if !folder.is_dir() {
        return Verdict::check(Err(format!("there is no {}", relative(shop, &folder))));
    }
    if !shop.has_server.get() {
        return Verdict::check(Err("not run: there is no server to run it against".to_owned()));
    }
    command.current_dir(folder).env("MOORLINE_BIN", shop.server());
    let done = job::run(&mut command, job::LIMIT);
    Verdict::suite(count(&done.stdout), done.failure)
}

fn relative(shop: &Shop, path: &Path) -> String {
    path.strip_prefix(&shop.root).unwrap_or(path).display().to_string()
}
