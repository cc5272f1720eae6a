//! The clock: tokens and certificates count from one moment to another.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Check;

/// 2025-01-01: no Moorline was ever built before.
const BUILT_AFTER: Duration = Duration::from_secs(1_735_689_600);
/// systemd-timesyncd makes it when it has set the clock.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
const MEND: &str = "set the clock, and keep it with an NTP client: timedatectl set-ntp true";

/// How far the clock may be from another machine's before tokens suffer, whose times have 30 s of tolerance by default.
const NEAR: Duration = Duration::from_secs(5);
const FAR: Duration = Duration::from_secs(30);

pub(super) fn year() -> Check {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match now >= BUILT_AFTER {
        true => Check::ok("clock", format!("{} s of Unix time", now.as_secs())),
        false => Check::bad("clock", "before 2025", MEND),
    }
}

pub(super) fn synchronised() -> Check {
    match Path::new(SYNCHRONISED).exists() {
        true => Check::ok("clock, synchronised", "by systemd-timesyncd"),
        false => Check::ok("clock, synchronised", "not checked: systemd-timesyncd is not at work here"),
    }
}

/// Compares with the `Date` of another machine's answer, which is exact to a second.
pub(super) fn compare(host: &str, theirs: SystemTime, ours: SystemTime) -> Check {
    let apart = ours.duration_since(theirs).or_else(|_| theirs.duration_since(ours)).unwrap_or_default();
    let (check, found) = (format!("clock, compared with {host}"), format!("{} s apart", apart.as_secs()));
    match apart {
        _ if apart <= NEAR => Check::ok(check, found),
        _ if apart <= FAR => Check::warn(check, found, MEND),
        _ => Check::bad(check, format!("{found}: fresh tokens are refused, or expired ones accepted"), MEND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    #[test]
    fn a_clock_that_is_off_either_way_is_told() {
        let now = SystemTime::now();
        for (seconds, verdict) in
            [(0, Verdict::Ok), (5, Verdict::Ok), (20, Verdict::Warn), (31, Verdict::Bad)]
        {
            let apart = Duration::from_secs(seconds);
            assert_eq!(compare("a", now + apart, now).verdict, verdict, "{seconds}");
            assert_eq!(compare("a", now - apart, now).verdict, verdict, "{seconds}");
        }
    }
}
