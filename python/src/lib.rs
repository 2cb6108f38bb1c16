//! kiln as an extension module of Python: the command line, a predictor and a training run. What Python programs see is
//! `kiln/__init__.py`, which takes pictures in the forms that Python has; here they are bytes.
//!
//! Whatever computes lets go of the interpreter's lock first.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use kiln::config::Origin;
use kiln::data::picture;
use kiln::{EpochMetrics, Experiment, Observer, Progress, StopHandle, Trainer};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// As in the `kiln` command: Burn's CPU backends allocate a fresh buffer for nearly every operation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

create_exception!(kiln, KilnError, PyException, "What kiln refuses or could not do, with what to do about it.");

fn refused(error: &kiln::Error) -> PyErr {
    KilnError::new_err(error.render())
}

/// Runs the command line in this process and gives its exit code. `program` starts another one like it.
#[pyfunction]
fn main(py: Python<'_>, program: PathBuf, arguments: Vec<OsString>) -> u8 {
    py.detach(|| kiln::cli::main_within(program, arguments))
}

/// A label with its probability.
type Ranked = (String, f64);

/// One picture: encoded; or width, height, channels and pixels row by row, to be fitted or taken as they are.
#[derive(FromPyObject)]
enum Picture {
    Encoded(Vec<u8>),
    Pixels(u32, u32, u8, Vec<u8>),
}

/// A model that answers.
#[pyclass(frozen, module = "kiln._kiln")]
struct Predictor(kiln::Predictor);

#[pymethods]
impl Predictor {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| kiln::Predictor::open(path)).map(Self).map_err(|error| refused(&error))
    }

    /// The manifest as JSON.
    fn manifest(&self) -> PyResult<String> {
        serde_json::to_string(self.0.manifest()).map_err(|error| KilnError::new_err(error.to_string()))
    }

    /// For each picture all labels, the likeliest first. Pictures that are `raw` have the network's size.
    fn predict(&self, py: Python<'_>, pictures: Vec<Picture>, raw: bool) -> PyResult<Vec<Vec<Ranked>>> {
        py.detach(|| self.answers(pictures, raw)).map_err(|error| refused(&error))
    }
}

impl Predictor {
    fn answers(&self, pictures: Vec<Picture>, raw: bool) -> kiln::Result<Vec<Vec<Ranked>>> {
        let preprocess = &self.0.manifest().preprocess;
        let mut inputs = Vec::with_capacity(pictures.len());
        for (index, picture) in pictures.into_iter().enumerate() {
            let fitted = match decoded(picture) {
                Ok(picture) if raw => picture::raw(&picture, preprocess),
                Ok(picture) => picture::fit(&picture, preprocess),
                Err(error) => Err(error),
            };
            let named = |error| kiln::Error::usage(format!("cannot use picture {index}")).caused_by(error);
            inputs.push(fitted.map_err(named)?);
        }
        let inputs = inputs.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let predictions = self.0.predict_prepared(&inputs)?;
        let ranked = |prediction: kiln::predict::Prediction| {
            prediction.ranked.into_iter().map(|class| (class.label, class.probability)).collect()
        };
        Ok(predictions.into_iter().map(ranked).collect())
    }
}

fn decoded(picture: Picture) -> kiln::Result<DynamicImage> {
    let (width, height, channels, pixels) = match picture {
        Picture::Encoded(bytes) => return Ok((*picture::decode(&bytes)?).clone()),
        Picture::Pixels(width, height, channels, pixels) => (width, height, channels, pixels),
    };
    let picture = match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        3 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        4 => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => None,
    };
    picture.filter(|picture| picture.width() > 0 && picture.height() > 0).ok_or_else(|| {
        kiln::Error::usage(format!(
            "a picture must have 1, 3 or 4 channels and at least one pixel, got {width} x {height} with {channels}"
        ))
    })
}

/// How often a training run is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Tells a Python function how training goes; what it raises stops the run.
struct Told {
    function: Option<Py<PyAny>>,
    stop: StopHandle,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Told {
    fn tell(&self, what: impl FnOnce(Python<'_>) -> PyResult<Bound<'_, PyDict>>) {
        let Some(function) = &self.function else { return };
        Python::attach(|py| {
            let told = what(py).and_then(|event| function.bind(py).call1((event,)));
            if let Err(error) = told {
                self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.stop.stop();
            }
        });
    }
}

impl Observer for Told {
    fn on_start(&mut self, run_dir: &Path) {
        self.tell(|py| {
            let event = PyDict::new(py);
            event.set_item("event", "start")?;
            event.set_item("run", run_dir)?;
            Ok(event)
        });
    }

    fn on_iteration(&mut self, progress: &Progress) {
        self.tell(|py| {
            let event = PyDict::new(py);
            event.set_item("event", "iteration")?;
            event.set_item("epoch", progress.epoch)?;
            event.set_item("epochs", progress.epochs)?;
            event.set_item("iteration", progress.iteration)?;
            event.set_item("iterations", progress.iterations)?;
            event.set_item("loss", progress.loss)?;
            event.set_item("accuracy", progress.accuracy)?;
            event.set_item("images_per_second", progress.images_per_second)?;
            Ok(event)
        });
    }

    fn on_epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool) {
        self.tell(|py| {
            let event = PyDict::new(py);
            event.set_item("event", "epoch")?;
            event.set_item("epoch", metrics.epoch)?;
            event.set_item("epochs", epochs)?;
            event.set_item("best", best)?;
            event.set_item("learning_rate", metrics.learning_rate)?;
            event.set_item("train_loss", metrics.train_loss)?;
            event.set_item("train_accuracy", metrics.train_accuracy)?;
            event.set_item("validation_loss", metrics.validation_loss)?;
            event.set_item("validation_accuracy", metrics.validation_accuracy)?;
            event.set_item("images_per_second", metrics.images_per_second)?;
            event.set_item("seconds", metrics.seconds)?;
            Ok(event)
        });
    }
}

/// Trains an experiment as `kiln train` does, and gives the run in numbers.
#[pyfunction]
fn train<'py>(
    py: Python<'py>,
    config: String,
    sets: Vec<String>,
    runs: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (stop, raised) = (StopHandle::new(), Arc::new(Mutex::new(None)));
    let told = Told { function: progress, stop: stop.clone(), raised: raised.clone() };
    let handle = stop.clone();
    let training = move || {
        let experiment = Experiment::load(&Origin::find(&config)?, &sets)?;
        let trainer = Trainer::new(experiment)?.runs(runs).stop_handle(handle).observer(told);
        let warnings = trainer.warnings().to_vec();
        trainer.train().map(|outcome| (outcome, warnings))
    };
    // Python hears of Ctrl-C on this thread alone, and only while it asks.
    let training = std::thread::spawn(training);
    while !training.is_finished() {
        py.detach(|| std::thread::sleep(LOOK));
        if let Err(error) = py.check_signals() {
            raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            stop.stop();
        }
    }
    let panicked = |_| Err(kiln::Error::failed("training panicked"));
    let trained = py.detach(|| training.join()).unwrap_or_else(panicked);
    if let Some(error) = raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let (outcome, warnings) = trained.map_err(|error| refused(&error))?;
    let found = PyDict::new(py);
    found.set_item("run", outcome.run.path())?;
    found.set_item("warnings", PyList::new(py, warnings)?)?;
    found.set_item("iterations", outcome.iterations)?;
    if let Some(summary) = &outcome.summary {
        found.set_item("model", &summary.model)?;
        found.set_item("best_epoch", summary.best_epoch)?;
        found.set_item("epochs", summary.epochs)?;
        found.set_item("validation_accuracy", summary.validation_accuracy)?;
        found.set_item("test_accuracy", summary.test_accuracy)?;
        found.set_item("test_correct", summary.test_correct)?;
        found.set_item("test_total", summary.test_total)?;
        found.set_item("train_seconds", summary.train_seconds)?;
    }
    found.set_item("report", &outcome.report)?;
    Ok(found)
}

#[pymodule]
fn _kiln(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("KilnError", module.py().get_type::<KilnError>())?;
    module.add_class::<Predictor>()?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    module.add_function(wrap_pyfunction!(train, module)?)
}
