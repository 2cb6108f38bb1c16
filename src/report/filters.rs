//! The first layer's weights, where they are pictures: a convolution's kernels, or the inputs of a fully connected layer
//! that stands on the image itself.

use crate::data::ImageShape;
use crate::models::{LayerSummary, TensorSummary, WeightTensor};

/// How the first layer's tensor of weights is cut into pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterShape {
    /// The tensor.
    pub(crate) tensor: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Filters in all.
    pub(crate) count: usize,
    /// Channels, height and width of each.
    pub(crate) size: (usize, usize, usize),
}

impl FilterShape {
    /// The first weights of a network with these layers for these images; none when they are no pictures.
    pub(crate) fn of(layers: &[LayerSummary], image: ImageShape) -> Option<Self> {
        let TensorSummary { name, shape, .. } = first_weights(layers)?;
        let (count, size) = match shape[..] {
            [count, channels, height, width] => (count, (channels, height, width)),
            [inputs, count] if inputs == image.len() => (count, (image.channels, image.height, image.width)),
            _ => return None,
        };
        Some(Self { tensor: name.clone(), shape: shape.clone(), count, size })
    }

    /// Values of one filter.
    pub(crate) fn len(&self) -> usize {
        self.size.0 * self.size.1 * self.size.2
    }

    /// The first `most` filters of a tensor of this shape, each `[channels, height, width]`.
    pub(crate) fn cut(&self, tensor: &WeightTensor, most: usize) -> Vec<Vec<f32>> {
        if self.shape.len() == 4 {
            return tensor.values.chunks_exact(self.len()).take(most).map(<[f32]>::to_vec).collect();
        }
        let column = |filter| tensor.values.iter().skip(filter).step_by(self.count).copied().collect();
        (0..self.count.min(most)).map(column).collect()
    }
}

/// The first tensor that multiplies: a convolution's or a fully connected layer's weights.
pub(crate) fn first_weights(layers: &[LayerSummary]) -> Option<&TensorSummary> {
    layers.iter().flat_map(|layer| &layer.tensors).find(|tensor| tensor.shape.len() > 1)
}
