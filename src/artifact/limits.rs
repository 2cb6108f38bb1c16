//! What each field of a model file may be. A file comes from anywhere, and what it says decides what is allocated,
//! computed and printed, so every field has its bounds: those of what training can make, where there are such.

use super::{LARGEST_HEADER, Manifest, Provenance};
use crate::check::Problems;
use crate::data::preprocess::{Fit, Preprocess};
use crate::data::{LARGEST_SIDE, check_class_names};
use crate::models::{Composition, LayerSummary, MOST_MEMBERS, Weights};
use crate::{Error, Result};

/// The most separators in a manifest's JSON, and with them the most values that a parser of it can be made to allocate:
/// 16 golden samples with the logits of as many classes as a label can tell apart, and room for the rest.
const MOST_VALUES: usize = 1 << 20;

/// The most golden samples.
pub(crate) const GOLDEN_SAMPLES: usize = 16;

/// The most metrics, and the most characters of a metric's name.
const METRICS: usize = 64;

/// The most values that one layer may put out for one image: 256 MB.
const MOST_ACTIVATIONS: usize = 1 << 26;

/// The least standard deviation: below that of pixels which are nearly all the same, see
/// [`Preprocess::from_training`].
const LEAST_DEVIATION: f32 = 1e-6;

impl Manifest {
    /// Checks every field that does not depend on the weights.
    ///
    /// # Errors
    /// A usage error that names each field which is out of range, with what is allowed.
    pub fn check(&self) -> Result<()> {
        let mut problems = Problems::default();
        problems.within("preprocess", |problems| check_preprocess(&self.preprocess, problems));
        if let Composition::Ensemble(members) = &self.model {
            for member in members {
                let preprocess =
                    Preprocess { mean: member.mean.clone(), std: member.std.clone(), ..self.preprocess.clone() };
                problems.within("model", |problems| check_preprocess(&preprocess, problems));
            }
        }
        if let Some(views) = &self.test_time_augmentation {
            let shape = self.preprocess.shape;
            problems.within("test_time_augmentation", |problems| views.check_for(shape, problems));
        }
        check_class_names(&self.classes, "classes", &mut problems);
        problems.within("metrics", |problems| self.check_metrics(problems));
        if let Some(calibration) = &self.calibration {
            problems.within("calibration", |problems| calibration.check(problems));
        }
        if let Some(limit) = &self.out_of_distribution {
            problems.within("out_of_distribution", |problems| limit.check(problems));
        }
        problems.require(self.schema_version > 1 || !self.is_of_version_2(), "schema_version", || {
            "must be 2 for what version 1 does not have (ensembles, views, calibration, limits, teachers), got 1".into()
        });
        problems.within("provenance", |problems| check_provenance(&self.provenance, problems));
        // Empty until the manifest is written.
        check_hash(&self.weights_sha256, "weights_sha256", &mut problems);
        problems.require(self.golden.len() <= GOLDEN_SAMPLES, "golden", || {
            format!("must hold at most {GOLDEN_SAMPLES} samples, got {}", self.golden.len())
        });
        for (index, sample) in self.golden.iter().enumerate() {
            problems.require(sample.logits.iter().all(|logit| logit.is_finite()), "golden", || {
                format!("sample {}: must hold finite logits, got NaN or infinity", index + 1)
            });
        }
        let found = problems.into_vec();
        match &found[..] {
            [] => {}
            [problem] => return Err(Error::usage(format!("the manifest's `{}`: {}", problem.key, problem.message))),
            all => {
                let line = |problem: &crate::check::Problem| format!("\n  `{}`: {}", problem.key, problem.message);
                let lines = all.iter().map(line).collect::<String>();
                return Err(Error::usage(format!("the manifest has {} problems{lines}", all.len())));
            }
        }
        check_activations(&self.model.layers(self.preprocess.shape, self.classes.len())?)?;
        self.golden_images().map(|_| ())
    }

    /// Whether it says something that version 1 of its layout does not have.
    fn is_of_version_2(&self) -> bool {
        let Provenance { teacher_sha256, members, .. } = &self.provenance;
        let is_ensemble = matches!(self.model, Composition::Ensemble(_));
        let measured = self.calibration.is_some() || self.out_of_distribution.is_some();
        let has_views = self.test_time_augmentation.is_some();
        is_ensemble || has_views || measured || teacher_sha256.is_some() || !members.is_empty()
    }

    fn check_metrics(&self, problems: &mut Problems) {
        problems.require(self.metrics.len() <= METRICS, "count", || {
            format!("must be at most {METRICS}, got {}", self.metrics.len())
        });
        for (name, value) in &self.metrics {
            let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let named = (1..=METRICS).contains(&name.len()) && name.chars().all(word);
            problems.require(named, "name", || {
                format!("must be 1 to {METRICS} of letters, digits and `_`, got \"{}\"", shown(name))
            });
            problems.require(value.is_number() || value.is_null(), &shown(name), || {
                "must be a number, or null when there is none".into()
            });
        }
    }
}

fn check_preprocess(preprocess: &Preprocess, problems: &mut Problems) {
    let Preprocess { shape, mean, std, fit } = preprocess;
    problems.require([1, 3].contains(&shape.channels), "channels", || {
        format!("must be 1 (grey) or 3 (colour), got {}", shape.channels)
    });
    problems.within_range("height", shape.height, 1..=LARGEST_SIDE);
    problems.within_range("width", shape.width, 1..=LARGEST_SIDE);
    for (key, values, least) in [("mean", mean, 0.0), ("std", std, LEAST_DEVIATION)] {
        problems.require(values.len() == shape.channels, key, || {
            format!("must hold one number for each of {} channels, got {}", shape.channels, values.len())
        });
        // A file may hold any count of them; one is said.
        if let Some(value) = values.iter().find(|value| !(least..=1.0).contains(*value)) {
            problems.add(key, format!("must be {least} to 1, got {value}"));
        }
    }
    match fit {
        Fit::Resize => {}
        Fit::Digit { box_size } => problems.within("fit", |problems| {
            problems.within_range("box_size", *box_size, 1..=shape.height.min(shape.width).max(1));
        }),
    }
}

fn check_provenance(provenance: &Provenance, problems: &mut Problems) {
    let Provenance {
        kiln_version,
        burn_version,
        git_commit,
        created,
        experiment: _,
        data_fingerprint,
        run,
        seed: _,
        device,
        parent,
        kernels,
        teacher_sha256,
        members,
    } = provenance;
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    for (key, text, most) in [
        ("kiln_version", kiln_version, 64),
        ("burn_version", burn_version, 64),
        ("git_commit", &optional(git_commit), 64),
        ("created", created, 64),
        ("run", run, 4096),
        ("device", device, 256),
        ("parent", &optional(parent), 16_384),
    ] {
        problems.require(text.len() <= most, key, || format!("must have at most {most} bytes, got {}", text.len()));
        problems.require(*text == printable(text), key, || {
            format!("must have no control characters, got \"{}\"", shown(text))
        });
    }
    check_hash(data_fingerprint, "data_fingerprint", problems);
    check_hash(&optional(teacher_sha256), "teacher_sha256", problems);
    problems.require(members.len() <= MOST_MEMBERS, "members", || {
        format!("must be at most {MOST_MEMBERS}, got {}", members.len())
    });
    for member in members.iter().take(MOST_MEMBERS) {
        check_hash(&member.weights_sha256, "members", problems);
        let run = &member.run;
        problems.require(run.len() <= 4096 && *run == printable(run), "members", || {
            format!("a run must have at most 4096 bytes and no control characters, got \"{}\"", shown(run))
        });
    }
    problems.require(matches!(kernels.as_deref(), None | Some("kiln" | "stock")), "kernels", || {
        format!("must be \"kiln\" or \"stock\", got \"{}\"", shown(&optional(kernels)))
    });
}

/// A SHA-256 in lower-case hexadecimal, or nothing.
fn check_hash(text: &str, key: &str, problems: &mut Problems) {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    problems.require(text.is_empty() || (text.len() == 64 && digits), key, || {
        format!("must be empty or 64 hexadecimal digits, got \"{}\"", shown(text))
    });
}

/// An image may need only so much memory on its way through the network.
fn check_activations(layers: &[LayerSummary]) -> Result<()> {
    for layer in layers {
        let values = layer.output_shape.iter().fold(1_usize, |product, &side| product.saturating_mul(side));
        if values > MOST_ACTIVATIONS {
            return Err(Error::usage(format!(
                "the manifest's `model`: layer `{}` may put out at most {MOST_ACTIVATIONS} values per image, got {values}",
                layer.name
            )));
        }
    }
    Ok(())
}

/// Refuses a manifest by its text alone, before a parser allocates anything for it.
pub(super) fn check_size(text: &str) -> Result<()> {
    if text.len() > LARGEST_HEADER {
        return Err(Error::usage(format!("the manifest must have at most {LARGEST_HEADER} bytes, got {}", text.len())));
    }
    let values = text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if values > MOST_VALUES {
        return Err(Error::usage(format!("the manifest must hold at most {MOST_VALUES} values, got {values}")));
    }
    Ok(())
}

/// Refuses weights with which nothing can be computed.
///
/// # Errors
/// A usage error that names the tensor which holds a NaN, an infinity, or a negative variance.
pub(super) fn check_values(weights: &Weights) -> Result<()> {
    if let Some(name) = weights.first_not_finite() {
        return Err(Error::usage(format!("tensor `{name}`: must hold finite values, got NaN or infinity")));
    }
    let variances = weights.iter().filter(|(name, _)| name.ends_with(".running_var"));
    for (name, tensor) in variances {
        if let Some(value) = tensor.values.iter().find(|value| **value < 0.0) {
            return Err(Error::usage(format!("tensor `{name}`: a variance must be at least 0, got {value}")));
        }
    }
    Ok(())
}

/// The text with control characters written out, as `\u{1b}`.
pub(super) fn printable(text: &str) -> String {
    let escape = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The beginning of a text from a file, fit for a message.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let start = printable(&text.chars().take(MOST).collect::<String>());
    if text.chars().nth(MOST).is_some() { format!("{start}...") } else { start }
}
