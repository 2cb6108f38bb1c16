//! From pixels to ranked labels: the one inference path, used by every command and by programs that embed kiln; and what
//! needs it: the golden samples of model files, made and replayed. It needs a model file and nothing from training.

mod ensemble;
mod golden;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::DynamicImage;
use kiln_pixels::table::Table;
use rayon::prelude::*;
use serde::Serialize;

use crate::artifact::{self, Manifest};
use crate::data::picture;
use crate::logits::probabilities_at;
use crate::models::{Activation, CompiledEnsemble, Ensemble, ForwardContext, LayerSummary, Weights};
use crate::ops;
use crate::{Error, Result};

pub(crate) use ensemble::{Part, common_views, ensemble};
pub use golden::{Verification, convert, export, verify};

/// The most images that go through the network together, which bounds the memory of a call; on the CPU, every thread
/// computes such a batch of its own.
const BATCH: usize = 256;

/// The same on the CPU: larger batches leave its caches, and inference takes up to twice as long.
const CPU_BATCH: usize = 32;

/// The most values that one layer puts out for a batch: 128 MB. Networks with larger activations than usual go in smaller
/// batches.
const BATCH_ACTIVATIONS: usize = 1 << 25;

/// A trained network ready to answer. It can be shared by threads.
///
/// ```no_run
/// # fn main() -> kiln::Result<()> {
/// let predictor = kiln::Predictor::open("model.bpk")?;
/// let picture = image::open("digit.png").expect("a readable picture");
/// println!("{}", predictor.predict(&picture)?.ranked[0].label);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Predictor {
    manifest: Manifest,
    networks: Ensemble,
    /// The same prepared to compute answers; none where `networks` does that.
    compiled: Option<CompiledEnsemble>,
    table: Table,
    device: Device,
    /// Images that go through the network together.
    batch: usize,
}

/// The answer for one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// All classes, the likeliest first; equals by index.
    pub ranked: Vec<Ranked>,
    /// What the network saw: pixels, `[channels, height, width]`.
    pub input: Vec<u8>,
    /// Whether the picture is unlike those of training, so that the answer means little; absent where the model has no limit.
    pub out_of_distribution: Option<bool>,
}

impl Prediction {
    /// The likeliest class, unless its probability is below `min_confidence`: then the answer is that the model is unsure.
    pub fn answer(&self, min_confidence: f64) -> Option<&Ranked> {
        self.ranked.first().filter(|first| first.probability >= min_confidence)
    }
}

/// What one layer put out for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LayerOutput {
    /// The layer's name in the network.
    pub(crate) name: String,
    /// `[channels, height, width]` or `[features]`.
    pub(crate) shape: Vec<usize>,
    /// Its values in row-major order.
    #[serde(skip)]
    pub(crate) values: Vec<f32>,
}

/// One class of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// The label: the class's position in the logits.
    pub index: usize,
    /// The class's name.
    pub label: String,
    /// Its softmax probability, 0 to 1, with the model's temperature where it has one.
    pub probability: f64,
}

impl Predictor {
    /// Opens a model file on the CPU.
    ///
    /// # Errors
    /// As [`artifact::read`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(path.as_ref(), &Device::flex())
    }

    /// Opens a model file on `device`.
    ///
    /// # Errors
    /// As [`artifact::read`].
    pub fn open_on(path: &Path, device: &Device) -> Result<Self> {
        let (manifest, weights) = artifact::read(path)?;
        Self::new(manifest, &weights, device)
    }

    /// A predictor from the parts of an artifact.
    ///
    /// # Errors
    /// When a field of the manifest is out of range or the weights are not the manifest's.
    pub fn new(manifest: Manifest, weights: &Weights, device: &Device) -> Result<Self> {
        manifest.check()?;
        let device = device.clone().inner();
        let (shape, classes) = (manifest.preprocess.shape, manifest.classes.len());
        let (preprocess, views) = (&manifest.preprocess, manifest.views());
        let networks = manifest.model.load(preprocess, classes, weights, &device)?.folded();
        let networks = networks.looking_at(&views, preprocess, &device);
        let table = preprocess.table();
        let batch = batch_size(&manifest.model.layers(shape, classes)?, &device);
        let compile = || {
            let networks = manifest.model.compile(preprocess, classes, weights);
            networks.map(|networks| networks.looking_at(&views, preprocess))
        };
        let compiled = ops::can_compile(&device).then(compile).transpose()?;
        Ok(Self { manifest, networks, compiled, table, device, batch })
    }

    /// The same network, whose manifest now says more about it.
    #[must_use]
    pub(crate) fn describing(self, manifest: Manifest) -> Self {
        Self { manifest, ..self }
    }

    /// What the model says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The answer for a picture of any size and colour, brought to the network's size as the manifest says.
    ///
    /// # Errors
    /// When the picture cannot be used, for one because it is blank, or the device fails.
    pub fn predict(&self, picture: &DynamicImage) -> Result<Prediction> {
        let input = picture::fit(picture, &self.manifest.preprocess)?;
        let mut predictions = self.predict_prepared(&[&input])?;
        predictions.pop().ok_or_else(|| Error::failed("the network gave no answer"))
    }

    /// The answers for images that have the network's size, each `[channels, height, width]`, in order.
    ///
    /// # Errors
    /// A usage error when one has another size; when the device fails.
    pub fn predict_prepared(&self, images: &[&[u8]]) -> Result<Vec<Prediction>> {
        let logits = self.logits(&images.concat(), images.len())?;
        let rows = logits.chunks(self.manifest.classes.len());
        Ok(images.iter().zip(rows).map(|(input, row)| self.prediction(input, row)).collect())
    }

    /// The logits, `[count, classes]`, of `count` images, `[count, channels, height, width]`.
    ///
    /// # Errors
    /// A usage error when `pixels` is not `count` images; when the device fails or a logit is NaN or infinite.
    pub fn logits(&self, pixels: &[u8], count: usize) -> Result<Vec<f32>> {
        let size = self.manifest.preprocess.shape.len();
        if count.checked_mul(size) != Some(pixels.len()) {
            return Err(Error::usage(format!(
                "{count} images of {} must have {size} pixels each, got {} in all",
                self.manifest.preprocess.shape,
                pixels.len()
            )));
        }
        let logits = match &self.compiled {
            Some(compiled) => compiled.run(count, self.batch, &|first, values| {
                self.fill(&pixels[first * size..][..values.len()], values);
            }),
            None => self.by_layers(pixels)?,
        };
        match logits.iter().position(|logit| !logit.is_finite()) {
            None => Ok(logits),
            Some(place) => {
                let (image, found) = (place / self.manifest.classes.len() + 1, logits[place]);
                Err(Error::failed(format!(
                    "the network's logits must be finite, got {found} for image {image} of {count}"
                ))
                .tip("the weights are too large to compute with: train the model anew, with a lower learning rate"))
            }
        }
    }

    /// The logits of whole images as the network's layers compute them one by one.
    fn by_layers(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.in_batches(pixels, |batch| {
            let output = self.networks.forward(self.images(batch)).try_into_vec_as::<f32>();
            output.map_err(|error| Error::failed("the device cannot compute the network").caused_by(error))
        })
    }

    /// What tells whole images apart for the network, image after image: the output of its last layer that still has a
    /// height and a width, or the inputs where none has.
    ///
    /// # Errors
    /// A usage error when the model is an ensemble; when the device fails.
    pub(crate) fn features(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.in_batches(pixels, |batch| {
            let mut last = None;
            let mut hook = |_: &str, activation: Activation| {
                if activation.shape.len() == 4 {
                    last = Some(activation);
                }
            };
            let context = &mut ForwardContext::inference().with_hook(&mut hook);
            self.networks.forward_in(self.images(batch), context).ok_or_else(no_layers)?;
            match last {
                Some(activation) => activation.values(),
                None => {
                    let mut values = vec![0.0; batch.len()];
                    self.fill(batch, &mut values);
                    Ok(values)
                }
            }
        })
    }

    /// What `compute` makes of whole images, batch by batch and in order.
    fn in_batches(&self, pixels: &[u8], compute: impl Fn(&[u8]) -> Result<Vec<f32>> + Send + Sync) -> Result<Vec<f32>> {
        let chunk = self.batch * self.manifest.preprocess.shape.len();
        // Batches side by side leave no thread without work between two layers. What is in a batch is always the same.
        let batches: Result<Vec<_>> = if self.device == Device::flex() {
            pixels.par_chunks(chunk).map(compute).collect()
        } else {
            pixels.chunks(chunk).map(compute).collect()
        };
        Ok(batches?.concat())
    }

    /// What every layer puts out for one image itself, whatever views the answer is for, `[channels, height, width]`, from the first layer to the last.
    ///
    /// # Errors
    /// A usage error when `pixels` is not one image, or the model is an ensemble; when the device fails.
    pub(crate) fn layer_outputs(&self, pixels: &[u8]) -> Result<Vec<LayerOutput>> {
        let size = self.manifest.preprocess.shape.len();
        if pixels.len() != size {
            return Err(Error::usage(format!("an image must have {size} pixels, got {}", pixels.len())));
        }
        let mut outputs = Vec::new();
        let mut failure = None;
        let mut hook = |name: &str, activation: Activation| match activation.values() {
            Ok(values) => {
                outputs.push(LayerOutput { name: name.to_owned(), shape: activation.shape[1..].to_vec(), values });
            }
            Err(error) => failure = Some(error),
        };
        let context = &mut ForwardContext::inference().with_hook(&mut hook);
        if self.networks.forward_in(self.images(pixels), context).is_none() {
            return Err(no_layers());
        }
        failure.map_or(Ok(outputs), Err)
    }

    /// Network inputs, `[batch, channels, height, width]`, from their pixels.
    fn images(&self, pixels: &[u8]) -> Tensor<4> {
        let shape = self.manifest.preprocess.shape;
        let mut values = vec![0.0; pixels.len()];
        self.fill(pixels, &mut values);
        let dims = [pixels.len() / shape.len(), shape.channels, shape.height, shape.width];
        Tensor::from_data(TensorData::new(values, dims), (&self.device, DType::F32))
    }

    /// The values of whole images from their pixels.
    fn fill(&self, pixels: &[u8], values: &mut [f32]) {
        let size = self.manifest.preprocess.shape.len();
        for (image, values) in pixels.chunks_exact(size).zip(values.chunks_exact_mut(size)) {
            self.table.apply(image, values);
        }
    }

    fn prediction(&self, input: &[u8], logits: &[f32]) -> Prediction {
        let probabilities = probabilities_at(logits, self.manifest.temperature());
        let classes = probabilities.into_iter().zip(&self.manifest.classes).enumerate();
        let mut ranked = classes
            .map(|(index, (probability, label))| Ranked { index, label: label.clone(), probability })
            .collect::<Vec<_>>();
        // By the logits, so that no temperature can change it.
        ranked.sort_by(|a, b| logits[b.index].partial_cmp(&logits[a.index]).unwrap_or(Ordering::Equal));
        let out_of_distribution = self.manifest.out_of_distribution.map(|limit| limit.warns(logits));
        Prediction { ranked, input: input.to_vec(), out_of_distribution }
    }
}

fn no_layers() -> Error {
    Error::usage("an ensemble has no layers of its own; look at one of its members")
}

/// How many images may go through these layers together.
fn batch_size(layers: &[LayerSummary], device: &Device) -> usize {
    let most = if *device == Device::flex() { CPU_BATCH } else { BATCH };
    let largest = layers.iter().map(|layer| layer.output_shape.iter().product::<usize>()).max().unwrap_or(1);
    most.min(BATCH_ACTIVATIONS / largest.max(1)).max(1)
}
