//! The context of one forward pass: what differs between training, inference and a look at the layers, so that all three
//! run the same code.

use burn::tensor::Tensor;

use crate::ops::{self, profile};
use crate::{Error, Result};

/// Called with every layer's name and output: PyTorch's forward hook.
type Hook<'a> = &'a mut dyn FnMut(&str, Activation);

/// What a forward pass does besides computing.
#[derive(Default)]
pub struct ForwardContext<'a> {
    dropout_seed: Option<u64>,
    dropouts: u64,
    first_image: usize,
    hook: Option<Hook<'a>>,
}

impl<'a> ForwardContext<'a> {
    /// No dropout, no hook.
    pub fn inference() -> Self {
        Self::default()
    }

    /// With dropout, its masks drawn from `dropout_seed`: a different number for every iteration.
    pub fn training(dropout_seed: u64) -> Self {
        Self { dropout_seed: Some(dropout_seed), ..Self::default() }
    }

    /// The same for the images of a batch from this one on, where those before it are seen elsewhere.
    #[must_use]
    pub fn with_first_image(self, first_image: usize) -> Self {
        Self { first_image, ..self }
    }

    /// Calls `hook` with every layer's name and output, in order. The names are those of
    /// [`ModelConfig::layers`](super::ModelConfig::layers).
    #[must_use]
    pub fn with_hook(self, hook: Hook<'a>) -> Self {
        Self { hook: Some(hook), ..self }
    }

    /// Drops each value with this `probability` and scales the rest by `1 / (1 - probability)`; the identity outside
    /// training.
    pub(super) fn dropout(&mut self, values: Tensor<2>, probability: f64) -> Tensor<2> {
        let [_, features] = values.dims();
        match self.next_seed(probability, features) {
            None => values,
            Some(seed) => ops::dropout(values, probability, seed),
        }
    }

    /// The same for whole channels of an image, `[batch, channels, height, width]` (PyTorch's `Dropout2d`).
    pub(super) fn dropout_channels(&mut self, images: Tensor<4>, probability: f64) -> Tensor<4> {
        let [batch, channels, ..] = images.dims();
        self.drop_parts(images, [batch, channels, 1, 1], probability)
    }

    /// The same for all of an image: what a residual block adds to it (timm's `DropPath`).
    pub(super) fn drop_path(&mut self, images: Tensor<4>, probability: f64) -> Tensor<4> {
        let [batch, ..] = images.dims();
        self.drop_parts(images, [batch, 1, 1, 1], probability)
    }

    fn drop_parts(&mut self, images: Tensor<4>, parts: [usize; 4], probability: f64) -> Tensor<4> {
        let [_, per_image @ ..] = parts;
        let Some(seed) = self.next_seed(probability, per_image.iter().product()) else { return images };
        let ones = Tensor::<4>::ones(parts, (&images.device(), images.dtype()));
        images * ops::dropout(ones, probability, seed)
    }

    /// The seed of the next mask in this pass, of so many values per image, if one is drawn. A mask's value follows from the
    /// sum of its seed and its place, so a later seed is the mask from a later place on.
    fn next_seed(&mut self, probability: f64, per_image: usize) -> Option<u64> {
        let seed = self.dropout_seed.filter(|_| probability > 0.0)?;
        self.dropouts += 1;
        // The golden ratio's bits spread consecutive layers over the whole range of seeds (Steele et al., 2014).
        let seed = seed.wrapping_add(self.dropouts.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Some(seed.wrapping_add(self.first_image.wrapping_mul(per_image) as u64))
    }

    /// Shows an image-shaped output, `[batch, channels, height, width]`.
    pub(super) fn image(&mut self, name: impl FnOnce() -> String, output: Tensor<4>) -> Tensor<4> {
        self.show(name, &output);
        output
    }

    /// Shows a flat output, `[batch, features]`.
    pub(super) fn flat(&mut self, name: impl FnOnce() -> String, output: Tensor<2>) -> Tensor<2> {
        self.show(name, &output);
        output
    }

    /// Tells whoever follows the layers that this one is done.
    fn show<const D: usize>(&mut self, name: impl FnOnce() -> String, output: &Tensor<D>) {
        if self.hook.is_none() && !profile::is_on() {
            return;
        }
        let name = name();
        profile::layer(&name);
        if let Some(hook) = &mut self.hook {
            hook(&name, Activation::new(output.clone()));
        }
    }
}

/// A layer's output for a whole batch.
pub struct Activation {
    /// `[batch, ...]`.
    pub shape: Vec<usize>,
    values: Tensor<1>,
}

impl Activation {
    fn new<const D: usize>(output: Tensor<D>) -> Self {
        Self { shape: output.dims().to_vec(), values: output.detach().flatten(0, D - 1) }
    }

    /// All values, in the order of the shape, copied to the host.
    ///
    /// # Errors
    /// When the device fails.
    pub fn values(&self) -> Result<Vec<f32>> {
        let read = self.values.clone().try_into_vec_as::<f32>();
        read.map_err(|error| Error::failed("a layer's output cannot be read from the device").caused_by(error))
    }

    /// Mean and (population) standard deviation over all values.
    ///
    /// # Errors
    /// When the device fails.
    pub fn mean_and_sd(&self) -> Result<(f64, f64)> {
        let values = self.values()?;
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
        Ok((mean, variance.sqrt()))
    }
}
