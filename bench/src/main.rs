//! Measures Moorline from outside, as a process, against a bare epoll loop, with a store against without, and its streams. `README.md` says what and how.

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod bars;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod durable;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
mod http;
#[cfg(target_os = "linux")]
mod lane;
#[cfg(target_os = "linux")]
mod latency;
#[cfg(target_os = "linux")]
mod manners;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod publish;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rooms;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod storm;
#[cfg(target_os = "linux")]
mod streams;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use args::{Arguments, Command};
    use clap::Parser as _;

    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => rounds::run(&arguments.run),
        Some(Command::Durable(ref options)) => durable::run(options),
        Some(Command::Streams(ref options)) => streams::run(options),
        Some(Command::Latency(ref options)) => latency::run(options),
        Some(Command::Rooms(ref options)) => rooms::run(options),
        Some(Command::Figures(ref options)) => figures::run(options),
        Some(Command::Floor(ref options)) => floor::run(options),
        Some(Command::Crowd(ref options)) => crowd::run(options),
        Some(Command::Child(ref child)) => process::become_child(child),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: this benchmark needs Linux: it uses epoll and reads /proc");
    std::process::ExitCode::FAILURE
}
