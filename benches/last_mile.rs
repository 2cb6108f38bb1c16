//! What Burn's `Learner` and all that `kiln train` puts round it cost: the same steps as a bare loop of forward, loss,
//! backward and update, and as a whole run with its directory, checkpoints and metrics (its training seconds, and all of it).
//!
//! ```text
//! cargo bench --profile dev --bench last_mile                              # mnist-fast, 5 rounds
//! cargo bench --profile dev --bench last_mile -- CONFIG [ROUNDS]           # an epoch of another config
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use kiln::{Experiment, Trainer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let config = arguments.next().unwrap_or_else(|| "mnist-fast".into());
    let rounds: usize = arguments.next().map_or(5, |text| text.parse().unwrap());
    let sets = ["train.epochs=1", "data.validation=0", "device=\"flex\""];
    let experiment = Experiment::preset(&config).or_else(|_| Experiment::open(&config)).unwrap().with(&sets).unwrap();
    let iterations = Trainer::new(experiment.clone()).unwrap().plan().total_iterations;
    println!("{config}: one epoch of {iterations} iterations, seconds");

    let [mut bare, mut training, mut whole] = [(); 3].map(|()| Vec::new());
    for round in 0..=rounds {
        let trainer = || Trainer::new(experiment.clone()).unwrap();
        let loop_seconds = kiln::bench::bare_loop(&trainer()).unwrap();
        let (train_seconds, run_seconds) = run(trainer());
        // The first round only warms up.
        if round > 0 {
            println!("bare loop {loop_seconds:.3}  training {train_seconds:.3}  whole run {run_seconds:.3}");
            bare.push(loop_seconds);
            training.push(train_seconds / loop_seconds);
            whole.push(run_seconds / loop_seconds);
        }
    }
    println!("median: bare loop {:.3} s", median(bare));
    println!("training / bare loop   {:.3}", median(training));
    println!("whole run / bare loop  {:.3}", median(whole));
}

/// Seconds of training, and of the whole run from its directory to its verified model.
fn run(trainer: Trainer) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let outcome = trainer.runs(folder.path()).train().unwrap();
    (outcome.summary.unwrap().train_seconds, started.elapsed().as_secs_f64())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
