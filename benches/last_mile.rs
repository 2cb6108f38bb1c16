//! What Burn's `Learner` and all that `kiln train` puts round it cost: the same steps as a bare loop of forward, loss,
//! backward and update, as a training session that saves nothing, and as a whole run with checkpoints and progress.
//!
//! ```text
//! cargo bench --profile dev --bench last_mile                              # mnist-fast, 5 rounds
//! cargo bench --profile dev --bench last_mile -- CONFIG [ROUNDS]           # an epoch of another config
//! ```
//!
//! Run it in a terminal: the progress bar is drawn only there.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use burn::data::dataloader::DataLoader as _;
use burn::train::{Interrupter, TrainStep as _};
use kiln::cli::train::{DisplayArguments, Job};
use kiln::cli::ui::{Mode, Ui};
use kiln::config::Experiment;
use kiln::config::document::Origin;
use kiln::run::RunDir;
use kiln::train::observer::{Observer, Quiet};
use kiln::train::session::Start;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let config = arguments.next().unwrap_or_else(|| "mnist-fast".into());
    let rounds: usize = arguments.next().map_or(5, |text| text.parse().unwrap());
    let sets = ["train.epochs=1", "data.validation=0", "device=\"flex\""].map(str::to_owned);
    let experiment = Experiment::load(&Origin::find(&config).unwrap(), &sets).unwrap();
    let job = Job::prepare(experiment, &DisplayArguments::default(), &Ui::new(Mode::Quiet)).unwrap();
    println!("{config}: one epoch of {} iterations, seconds", job.plan.total_iterations);

    let [mut bare, mut learner, mut run] = [(); 3].map(|()| Vec::new());
    for round in 0..=rounds {
        let seconds = [bare_loop(&job), session(&job, None, Box::new(Quiet)), whole_run(&job)];
        // The first round only warms up.
        if round > 0 {
            println!("bare loop {:.3}  Learner {:.3}  whole run {:.3}", seconds[0], seconds[1], seconds[2]);
            bare.push(seconds[0]);
            learner.push(seconds[1] / seconds[0]);
            run.push(seconds[2] / seconds[0]);
        }
    }
    println!("median: bare loop {:.3} s", median(bare));
    println!("Learner / bare loop    {:.3}", median(learner));
    println!("whole run / bare loop  {:.3}", median(run));
}

/// Seconds of the loop that anybody would write first: no `Learner`, nothing read back but the last loss.
fn bare_loop(job: &Job) -> f64 {
    let session = job.session(None, Interrupter::new());
    let (learner, loader) = session.learner().unwrap();
    let mut model = learner.model();
    drop(learner);
    let mut optimizer = job.experiment.optimizer.build().unwrap();
    let mut schedule = job.experiment.optimizer.schedule(session.rate()).unwrap();
    loader.set_position(1, 0);
    let started = Instant::now();
    let mut loss = None;
    for batch in loader.iter() {
        let step = model.step(batch.unwrap());
        model = optimizer.step(schedule.step(), model, step.grads);
        loss = Some(step.item.loss);
    }
    assert!(loss.unwrap().into_scalar::<f32>().is_finite());
    started.elapsed().as_secs_f64()
}

/// Seconds of training by Burn's `SupervisedTraining` and `Learner`.
fn session(job: &Job, run: Option<RunDir>, observer: Box<dyn Observer>) -> f64 {
    let session = job.session(run, Interrupter::new());
    let started = Instant::now();
    session.run(Start::Fresh, observer).unwrap();
    started.elapsed().as_secs_f64()
}

/// The same with a run directory, a checkpoint at the end of the epoch and the progress bar.
fn whole_run(job: &Job) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path(), "last-mile").unwrap();
    session(job, Some(run), Box::new(Ui::new(Mode::Text).training()))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
