//! What lies side by side in the vectors of a product of weights with patches of padded images.

use super::super::direct;
use super::super::geometry::ConvGeometry;
use super::super::padded::Layout;
use super::super::simd::Vectors;
use super::passes::NeedsGradient;

/// What lies side by side in vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// Neighbouring columns of the patch matrix.
    Columns,
    /// Channels.
    Channels,
}

/// With channels in vectors, what is done with a result takes as long as so many multiplications.
const FOR_RESULTS: f64 = 8.0;

/// With columns in vectors, sums for weights take so much longer: each is one over the values of a vector in the end.
const FOR_SUMS: f64 = 1.35;

/// And so does the input's gradient with a stride, whose values are spread one by one.
const FOR_SPREADING: f64 = 2.0;

impl Lanes {
    /// What is faster forward; none where a matrix of all patches is.
    pub(super) fn forward(geometry: &ConvGeometry) -> Option<Self> {
        Self::of(geometry, of_channels(geometry.channels_out, geometry.patch()), of_columns(geometry))
    }

    /// The same for the gradients.
    pub(super) fn backward(geometry: &ConvGeometry, needs: NeedsGradient) -> Option<Self> {
        let (ConvGeometry { channels_in, channels_out, height, width, stride, .. }, of_columns) =
            (*geometry, of_columns(geometry));
        // With columns, each value of the image is a sum over all taps.
        let more = match stride {
            1 => (height * width) as f64 / geometry.conv_plane() as f64,
            _ => FOR_SPREADING,
        };
        let weights = [waste(channels_out), of_columns * FOR_SUMS];
        let input = [of_channels(channels_in, channels_out), of_columns * more];
        let [of_channels, of_columns] = [0, 1].map(|i| {
            let if_needed = |is_needed: bool, cost: f64| if is_needed { cost } else { 0.0 };
            if_needed(needs.parameters, weights[i]) + if_needed(needs.input, input[i])
        });
        Self::of(geometry, of_channels, of_columns)
    }

    /// The lesser of these times.
    fn of(geometry: &ConvGeometry, of_channels: f64, of_columns: f64) -> Option<Self> {
        if !is_possible(geometry) {
            return None;
        }
        // A kernel of 1x1 reads each value for one column alone.
        if geometry.kernel == 1 || of_channels < of_columns {
            return Some(Self::Channels);
        }
        let are_columns = direct::is_worth_it(geometry.channels_out, geometry.conv_output(), columns(geometry));
        are_columns.then_some(Self::Columns)
    }
}

/// How much longer products of `channels` with so many values each take with channels in vectors than the multiplications do.
fn of_channels(channels: usize, values: usize) -> f64 {
    waste(channels) * (1.0 + FOR_RESULTS / values as f64)
}

/// The same with columns in vectors, those between the rows included.
fn of_columns(geometry: &ConvGeometry) -> f64 {
    // Measured on AVX2, where a tile of columns is small.
    let of_tiles = if Vectors::here().are_many { 1.0 } else { 1.3 };
    of_tiles * columns(geometry).next_multiple_of(16) as f64 / geometry.conv_plane() as f64
}

/// Columns of the patch matrix of an image, those between its rows included.
fn columns(geometry: &ConvGeometry) -> usize {
    Layout::input(geometry, 1).columns(1, geometry.conv_output())
}

/// How much longer products take with `channels` in vectors than if these were full.
fn waste(channels: usize) -> f64 {
    channels.next_multiple_of(Vectors::here().lanes) as f64 / channels as f64
}

/// Whether the rows of the patch matrix are slices of a padded image that is not their matrix already.
pub(super) fn is_possible(geometry: &ConvGeometry) -> bool {
    geometry.padding < geometry.kernel && !geometry.is_pointwise()
}
