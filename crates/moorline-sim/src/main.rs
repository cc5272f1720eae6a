//! Runs seeds until one is red: `cargo run -p moorline-sim -- --seeds 1000`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use moorline_sim::planted::Planted;
use moorline_sim::seed::{Run, Verdict};
use moorline_sim::world::Scenario;

/// Runs Moorline in virtual time, with every fault that its seeds decide on, and checks what must hold whatever happens.
#[derive(Debug, Parser)]
#[command(name = "moorline-sim", version)]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// The one seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens; only with --seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// What goes wrong: the network alone, or the store, the process and the clocks too. Default `store`, or where a planted
    /// bug shows.
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// No world has streams.
    #[arg(long)]
    no_streams: bool,
    /// Give the world a bug, to see that it is found.
    #[arg(long, value_enum)]
    plant: Option<Planted>,
}

impl Options {
    fn scenario(&self) -> Scenario {
        let shows = self.plant.map_or(Scenario::Store, Planted::scenario);
        self.scenario.unwrap_or(shows)
    }

    fn run(&self, is_traced: bool) -> Run {
        Run { scenario: self.scenario(), planted: self.plant, streams: !self.no_streams, is_traced }
    }

    /// The command that repeats a seed exactly.
    fn again(&self, seed: u64) -> String {
        use clap::ValueEnum as _;
        let value = self.plant.and_then(|planted| planted.to_possible_value());
        let plant = value.map_or_else(String::new, |value| format!(" --plant {}", value.get_name()));
        let scenario = self.scenario().name();
        let streams = if self.no_streams { " --no-streams" } else { "" };
        format!("cargo run -p moorline-sim -- --seed {seed} --scenario {scenario}{plant}{streams} --trace")
    }
}

/// What all seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    deliveries: u64,
    resets: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add(&mut self, verdict: &Verdict) {
        self.seeds += 1;
        self.deliveries += verdict.deliveries;
        self.resets += verdict.resets;
        for (fault, count) in &verdict.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }

    fn print(&self, seconds: f64) {
        let Self { seeds, deliveries, resets, faults } = self;
        println!("{seeds} seeds, {deliveries} deliveries, {resets} resets, {seconds:.1} s");
        for (fault, count) in faults {
            println!("{count:>9} × {fault}");
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let began = Instant::now();
    let mut sum = Sum::default();
    let seeds = match options.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => options.from..options.from.saturating_add(options.seeds),
    };
    for seed in seeds {
        let verdict = options.run(options.trace).seed(seed);
        sum.add(&verdict);
        if options.trace {
            verdict.trace.iter().for_each(|line| println!("{line}"));
        }
        if !verdict.is_good() {
            return red(&options, seed, &sum, began);
        }
    }
    sum.print(began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// A seed is red: what is wrong, what happened before, and how to see it again.
fn red(options: &Options, seed: u64, sum: &Sum, began: Instant) -> ExitCode {
    const TAIL: usize = 40;
    let verdict = options.run(true).seed(seed);
    if !options.trace {
        let skipped = verdict.trace.len().saturating_sub(TAIL);
        verdict.trace.iter().skip(skipped).for_each(|line| println!("{line}"));
    }
    verdict.found.iter().for_each(|line| println!("VIOLATION in seed {seed}: {line}"));
    sum.print(began.elapsed().as_secs_f64());
    println!("repeat it with: {}", options.again(seed));
    ExitCode::FAILURE
}
