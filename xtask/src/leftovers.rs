//! Processes that a command started, found by a mark in their environment: it is inherited also by those that began a
//! group of their own or lost their parent. Where there is no `/proc`, none are found.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

/// The variable that marks a command and its children.
pub(crate) const MARK: &str = "XTASK_STAGE";

/// How often is looked again for processes that were born while others were being killed.
const ROUNDS: usize = 5;

/// Whether anything with this mark is alive.
pub(crate) fn any(mark: &str) -> bool {
    !marked(mark).is_empty()
}

/// Kills what carries the mark, and what descends from `root`. Returns how many.
pub(crate) fn kill(mark: &str, root: Option<u32>) -> usize {
    let mut killed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut found = marked(mark);
        found.extend(root.into_iter().flat_map(descendants));
        if found.is_empty() {
            break;
        }
        let pids: Vec<String> = found.iter().map(u32::to_string).collect();
        let script = format!("kill -KILL {}", pids.join(" "));
        let _ = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::null()).status();
        killed.extend(found);
    }
    killed.len()
}

fn marked(mark: &str) -> BTreeSet<u32> {
    let wanted = format!("{MARK}={mark}");
    let carries = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    processes().filter(carries).collect()
}

fn descendants(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = BTreeSet::new();
    let mut wave = vec![root];
    while let Some(above) = wave.pop() {
        for (pid, _) in parents.iter().filter(|(_, parent)| *parent == above) {
            if found.insert(*pid) {
                wave.push(*pid);
            }
        }
    }
    found
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fourth field of `/proc/PID/stat`, whose second one may hold blanks but ends with the last parenthesis.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_process_is_found_and_killed() {
        let mark = format!("test-{}", std::process::id());
        let mut child = Command::new("sleep").arg("50").env(MARK, &mark).spawn().expect("sleep starts");
        assert!(any(&mark) && descendants(std::process::id()).contains(&child.id()));
        assert_eq!(kill(&mark, None), 1);
        assert!(!child.wait().expect("it ended").success());
        assert!(!any(&mark));
    }
}
