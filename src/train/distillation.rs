//! Learning from another model's answers besides the labels (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural
//! network", 2015). The teacher sees the very images that the network sees: augmented, and mixed where a batch is mixed. Its
//! answers are computed anew for each batch, so a resumed run needs nothing but the same file.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::artifact::{self, Manifest};
use crate::config::Experiment;
use crate::data::Dataset;
use crate::models::{Conversion, Ensemble, total_forward_flops, total_parameters};
use crate::plan::PlannedTeacher;
use crate::{Error, Result};

/// A model that is learned from.
#[derive(Debug)]
pub(crate) struct Teacher {
    networks: Ensemble,
    /// From the network's inputs to the teacher's, where they were brought to another mean and deviation.
    conversion: Option<Conversion>,
    weight: f32,
    temperature: f32,
    sha256: String,
    planned: PlannedTeacher,
}

impl Teacher {
    /// The teacher that `experiment` names, if it does, for images like those of `dataset`, on `device`.
    ///
    /// # Errors
    /// A usage error when the model file cannot be used, or is a model for other images or classes.
    pub(crate) fn open(experiment: &Experiment, dataset: &Dataset, device: &Device) -> Result<Option<Arc<Self>>> {
        let Some(teacher) = &experiment.loss.teacher else { return Ok(None) };
        let path = teacher.absolute();
        let refused = |error: Error| {
            let tips = error.tips().to_vec();
            let outer = Error::usage(format!("`loss.teacher`: `{}` cannot be the teacher", path.display()));
            tips.into_iter().fold(outer, Error::tip).caused_by(error)
        };
        let file = if path.is_dir() { path.join("model.bpk") } else { PathBuf::from(&path) };
        let (manifest, weights) = artifact::read(&file).map_err(refused)?;
        compare(&manifest, dataset).map_err(refused)?;
        let device = device.clone().inner();
        let (shape, classes) = (manifest.preprocess.shape, manifest.classes.len());
        let its = &manifest.preprocess;
        let views = manifest.views();
        let networks = manifest.model.load(its, classes, &weights, &device).map_err(refused)?.folded();
        let layers = manifest.model.layers(shape, classes).map_err(refused)?;
        let loss = &experiment.loss;
        let planned = PlannedTeacher {
            model: manifest.words(),
            parameters: total_parameters(&layers),
            forward_flops_per_image: total_forward_flops(&layers).saturating_mul(views.len() as u64),
            weight: loss.teacher_weight,
            temperature: loss.temperature,
        };
        Ok(Some(Arc::new(Self {
            networks: networks.looking_at(&views, its, &device),
            conversion: Conversion::between(&dataset.preprocess, &its.mean, &its.std, &device),
            weight: loss.teacher_weight as f32,
            temperature: loss.temperature as f32,
            sha256: identity(&manifest),
            planned,
        })))
    }

    /// What tells it from other teachers: SHA-256 of its weights, and of the views that it answers for if it does for several.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it adds to the work of a run.
    pub(crate) fn planned(&self) -> &PlannedTeacher {
        &self.planned
    }

    /// Its logits, `[batch, classes]`, without autodiff, for the inputs of the network, `[batch, channels, height, width]`.
    pub(super) fn answers(&self, images: &Tensor<4>) -> Tensor<2> {
        let images = images.clone();
        let images = if images.device().is_autodiff() { images.inner() } else { images };
        self.networks.forward(match &self.conversion {
            None => images,
            Some(conversion) => conversion.apply(images),
        })
    }

    /// `(1 - weight) loss + weight T^2 KL(teacher || network)`, shape `[1]`, both with logits divided by T; the mean over the
    /// images of the batch. `T^2` keeps the gradient of the same size at every temperature (section 2.1 of the paper).
    pub(super) fn blend(&self, loss: Tensor<1>, answers: Tensor<2>, logits: &Tensor<2>) -> Tensor<1> {
        let taught = log_softmax(answers.div_scalar(self.temperature), 1);
        let taught = if logits.device().is_autodiff() { Tensor::from_inner(taught) } else { taught };
        let said = log_softmax(logits.clone().div_scalar(self.temperature), 1);
        let divergence = (taught.clone().exp() * (taught - said)).sum_dim(1).mean();
        let square = self.temperature * self.temperature;
        loss.mul_scalar(1.0 - self.weight) + divergence.mul_scalar(self.weight * square)
    }
}

/// See [`Teacher::sha256`].
fn identity(manifest: &Manifest) -> String {
    let weights = &manifest.weights_sha256;
    match &manifest.test_time_augmentation {
        None => weights.clone(),
        Some(views) => hex::encode(Sha256::digest(format!("{weights} {}", json!(views)))),
    }
}

/// Whether the teacher knows the images and classes of the data.
fn compare(manifest: &Manifest, dataset: &Dataset) -> Result<()> {
    let (shape, classes) = (dataset.train.shape, &dataset.train.classes);
    if manifest.preprocess.shape != shape {
        return Err(Error::usage(format!(
            "it takes images of {} (channels x height x width), the data has {shape}",
            manifest.preprocess.shape
        )));
    }
    if manifest.classes[..] != classes[..] {
        return Err(Error::usage(format!(
            "it knows the classes {}, the data has {}",
            manifest.classes.join(", "),
            classes.join(", ")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};

    use super::*;
    use crate::data::ImageShape;
    use crate::data::preprocess::{Fit, Preprocess};
    use crate::models::{Composition, ModelConfig};

    fn tensor(values: [f32; 4], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, 2]), (device, DType::F32))
    }

    #[test]
    fn the_loss_and_its_gradient_are_those_of_the_paper() {
        let device = Device::flex();
        let network = ModelConfig::examples()[0].clone();
        let shape = ImageShape { channels: 1, height: 12, width: 12 };
        let preprocess = Preprocess { shape, mean: vec![0.1], std: vec![0.3], fit: Fit::Resize };
        let weights = network.init(shape, 2, &device).unwrap().initialise(1).weights().unwrap();
        let teacher = Teacher {
            networks: Composition::from(network).load(&preprocess, 2, &weights, &device).unwrap(),
            conversion: None,
            weight: 0.75,
            temperature: 2.0,
            sha256: String::new(),
            planned: PlannedTeacher {
                model: String::new(),
                parameters: 0,
                forward_flops_per_image: 0,
                weight: 0.75,
                temperature: 2.0,
            },
        };
        let (answers, logits) = ([2.0, 0.0, -1.0, 1.0], [0.5, 0.0, 3.0, 0.0]);
        let said = tensor(logits, &device.clone().autodiff()).require_grad();
        let loss = Tensor::<1>::from_data([0.5_f32], &device.clone().autodiff());
        let blended = teacher.blend(loss, tensor(answers, &device), &said);
        let soft = |pair: &[f32]| crate::logits::probabilities_at(pair, 2.0);
        let rows = || answers.chunks(2).zip(logits.chunks(2)).map(|(taught, said)| (soft(taught), soft(said)));
        let divergence = rows().map(|(taught, said)| {
            taught.iter().zip(&said).map(|(taught, said)| taught * (taught / said).ln()).sum::<f64>()
        });
        let expected = 0.25 * 0.5 + 0.75 * 4.0 * divergence.sum::<f64>() / 2.0;
        let gradients = blended.clone().backward();
        assert!((f64::from(blended.into_scalar::<f32>()) - expected).abs() < 1e-5);
        // weight T^2 (said - taught) / T, over the images
        let expected =
            rows().flat_map(|(taught, said)| [0, 1].map(|class| 0.75 * 2.0 * (said[class] - taught[class]) / 2.0));
        let found = said.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
