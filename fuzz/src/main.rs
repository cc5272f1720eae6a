//! libFuzzer over the target that `MOORLINE_FUZZ_TARGET` names; `cargo xtask fuzz` builds and runs it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use moorline_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(init: prepare(), |bytes: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(bytes);
    }
});

fn prepare() {
    // Until now every panic ended the process. One that is caught where it is expected must not; others still do.
    std::panic::set_hook(Box::new(moorline_fuzz::tell_panic));
    let name = std::env::var("MOORLINE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = moorline_fuzz::target(&name) else {
        eprintln!("MOORLINE_FUZZ_TARGET names no target: {name:?}");
        std::process::exit(2);
    };
    TARGET.get_or_init(|| target);
}
