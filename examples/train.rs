//! Training from another program: train, watch, stop, resume, predict.
//!
//! ```text
//! cargo run --example train
//! ```
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use kiln::{EpochMetrics, Experiment, Observer, Status, StopHandle, Trainer};

/// Prints every epoch, and stops the run after the first.
struct Watch {
    stop: StopHandle,
}

impl Observer for Watch {
    fn on_epoch(&mut self, metrics: &EpochMetrics, epochs: usize, _best: bool) {
        println!("epoch {}/{epochs}: loss {:.4}", metrics.epoch, metrics.train_loss);
        self.stop.stop();
    }
}

fn main() -> kiln::Result<()> {
    let experiment = Experiment::preset("smoke")?.with(&["train.epochs=3", "device=flex"])?;
    let trainer = Trainer::new(experiment)?;
    println!("{} iterations on {}", trainer.plan().total_iterations, trainer.device().name);

    let folder = std::env::temp_dir().join(format!("kiln-example-{}", std::process::id()));
    let stop = StopHandle::new();
    let trainer = trainer.runs(&folder).stop_handle(stop.clone()).observer(Watch { stop });
    let stopped = trainer.train()?;
    assert_eq!(stopped.status, Status::Interrupted);

    // Exactly where it stopped: the result is the same, bit for bit, as if it had not.
    let finished = stopped.run.resume()?.train()?;
    println!("{}: {} epochs", finished.run.path().display(), finished.run.metrics()?.len());
    println!("test accuracy {:.2} %", 100.0 * finished.evaluation.map_or(0.0, |test| test.accuracy));

    let predictor = finished.run.predictor()?;
    let shape = predictor.manifest().preprocess.shape;
    let answers = predictor.predict_prepared(&[&vec![0; shape.len()]])?;
    println!("an empty picture looks most like `{}`", answers[0].ranked[0].label);
    std::fs::remove_dir_all(&folder).map_err(|error| kiln::Error::failed("cannot clean up").caused_by(error))
}
