//! Which crate may know which, and what the pure ones may not touch.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;
use super::tree::{Tree, numbered};

/// Every crate of the workspace and those of the workspace that it may depend on, in tests too. A new crate gets a row.
const ARROWS: [(&str, &[&str]); 11] = [
    ("moorline-proto", &[]),
    ("moorline-ws", &[]),
    ("moorline-broker", &["moorline-proto"]),
    ("moorline", &["moorline-proto", "moorline-ws", "moorline-broker"]),
    ("moorline-disk", &["moorline-proto", "moorline-broker"]),
    ("moorline-server", &["moorline", "moorline-broker", "moorline-disk", "moorline-proto", "moorline-ws"]),
    ("moorline-sim", &["moorline-proto", "moorline-broker", "moorline-disk"]),
    ("moorline-chaos", &["moorline-proto", "moorline-ws"]),
    ("moorline-bench", &[]),
    (
        "moorline-fuzz",
        &["moorline", "moorline-broker", "moorline-disk", "moorline-proto", "moorline-server", "moorline-ws"],
    ),
    ("xtask", &[]),
];

const PURE: [&str; 2] = ["moorline-proto", "moorline-ws"];
/// What a pure crate does not depend on, however indirectly.
const IMPURE_CRATES: [&str; 5] = ["tokio", "hyper", "redis", "rand", "getrandom"];
/// What a pure crate does not call: time and randomness come in as arguments, bytes go out as values.
const IMPURE_WORDS: [&str; 5] =
    ["SystemTime::now", "Instant::now", "std::thread", "std::net", "thread::spawn"];

/// The arrows between the workspace's crates, and the purity of those that promise it, over `cargo metadata`.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = list(&metadata["packages"]);
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let ids = list(&metadata["workspace_members"]).iter().map(text);
    let members: BTreeSet<&str> = ids.filter_map(|id| names.get(id).copied()).collect();
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| members.contains(text(&package["name"]))) {
        findings.extend(arrows_of(package, &members));
    }
    for pure in PURE {
        findings.extend(
            reached(metadata, &names, pure).into_iter().filter(|name| IMPURE_CRATES.contains(name)).map(
                |name| {
                    Finding::at(
                        pure,
                        format_args!("is pure, but depends on {name}: see `cargo tree -p {pure} -i {name}`"),
                    )
                },
            ),
        );
    }
    findings
}

fn arrows_of(package: &Value, members: &BTreeSet<&str>) -> Vec<Finding> {
    let name = text(&package["name"]);
    let Some((_, allowed)) = ARROWS.iter().find(|(row, _)| *row == name) else {
        return vec![Finding::at(name, "has no row in the table of arrows (xtask/src/tidy/arrows.rs)")];
    };
    let targets = list(&package["dependencies"]).iter().map(|dependency| text(&dependency["name"]));
    let wrong =
        targets.filter(|target| *target != name && members.contains(target) && !allowed.contains(target));
    wrong.map(|target| Finding::at(name, format_args!("may not depend on {target}"))).collect()
}

/// The names of what `root` depends on, directly or not, outside of tests.
fn reached<'a>(metadata: &'a Value, names: &BTreeMap<&'a str, &'a str>, root: &str) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let mut waiting: Vec<&str> = names.iter().filter(|(_, name)| **name == root).map(|(id, _)| *id).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let dependencies = nodes.get(id).map_or(&[][..], |node| list(&node["deps"]));
        let normal = dependencies.iter().filter(|dependency| is_normal(dependency));
        waiting.extend(normal.map(|dependency| text(&dependency["pkg"])).filter(|id| seen.insert(*id)));
    }
    seen.into_iter().filter_map(|id| names.get(id).copied()).collect()
}

fn is_normal(dependency: &Value) -> bool {
    list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The pure crates' sources name no clock, thread or socket.
pub(super) fn purity(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.crate_sources() {
        let Some(pure) = PURE.iter().find(|name| file.path.starts_with(&format!("crates/{name}/"))) else {
            continue;
        };
        for (line, code) in numbered(&file.text).filter(|(_, code)| !code.trim_start().starts_with("//")) {
            let named = IMPURE_WORDS.iter().filter(|word| code.contains(**word));
            findings.extend(
                named.map(|word| Finding::line(&file.path, line, format_args!("{pure} is pure: no {word}"))),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workspace of two members and tokio, where `from` depends on the others as `kind` says.
    fn workspace(from: &str, to: &str, kind: &Value) -> Value {
        let deps = json!([{"pkg": to, "dep_kinds": [{"kind": kind}]}, {"pkg": "tokio", "dep_kinds": [{"kind": kind}]}]);
        json!({
            "packages": [
                {"id": from, "name": from, "dependencies": [{"name": to, "kind": kind}, {"name": "tokio", "kind": kind}]},
                {"id": to, "name": to, "dependencies": []},
                {"id": "tokio", "name": "tokio", "dependencies": []},
            ],
            "workspace_members": [from, to],
            "resolve": {"nodes": [{"id": from, "deps": deps}]},
        })
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found() {
        assert_eq!(check(&workspace("moorline", "moorline-ws", &Value::Null)), []);
        assert_eq!(check(&workspace("moorline", "moorline-server", &Value::Null)).len(), 1);
        assert_eq!(check(&workspace("moorline-broker", "moorline", &json!("dev"))).len(), 1);
        assert_eq!(check(&workspace("moorline-new", "xtask", &Value::Null)).len(), 1);
    }

    #[test]
    fn a_pure_crate_that_reaches_tokio_is_found_but_its_tests_may() {
        let found = check(&workspace("moorline-ws", "xtask", &Value::Null));
        assert!(found.iter().any(|Finding(text)| text.contains("depends on tokio")), "{found:?}");
        let found = check(&workspace("moorline-ws", "xtask", &json!("dev")));
        assert!(!found.iter().any(|Finding(text)| text.contains("depends on tokio")), "{found:?}");
    }

    #[test]
    fn clocks_and_sockets_are_found_in_pure_crates_only() {
        let source =
            "/// Not `Instant::now`.\nlet now = std::time::Instant::now();\nuse std::net::TcpStream;\n";
        let tree = Tree::of(&[("crates/moorline-ws/src/a.rs", source), ("crates/moorline/src/a.rs", source)]);
        let lines = ["crates/moorline-ws/src/a.rs:2", "crates/moorline-ws/src/a.rs:3"];
        let found = purity(&tree);
        assert!(
            found.len() == 2 && found.iter().zip(lines).all(|(Finding(text), line)| text.starts_with(line))
        );
    }
}
