//! Images that a product reads value by value, with their zeros around them.

use super::super::super::blocks::Shape;
use super::super::super::geometry::ConvGeometry;
use super::super::super::padded::Layout;
use super::super::super::simd::{lanes, vectorised};

/// How some images lie.
pub(super) struct Images {
    pub(super) count: usize,
    kind: Kind,
}

enum Kind {
    /// Plane by plane: images of few channels.
    Planes(Layout),
    /// In blocks of channels, which are one square after the other to transpose; and the stride at which they are read.
    Blocks(Shape, usize),
}

/// Fewer channels do not fill a square.
const FEW_CHANNELS: usize = 8;

impl Images {
    /// What a convolution reads.
    pub(super) fn input(geometry: &ConvGeometry, count: usize) -> Self {
        let ConvGeometry { channels_in, height, width, stride, padding, .. } = *geometry;
        let kind = match channels_in < FEW_CHANNELS {
            true => Kind::Planes(Layout::input(geometry, count)),
            false => Kind::Blocks(shape(channels_in, [height, width], padding), stride),
        };
        Self { count, kind }
    }

    /// The gradient of a convolution.
    pub(super) fn gradient(geometry: &ConvGeometry, count: usize) -> Self {
        let channels = geometry.channels_out;
        let kind = match channels < FEW_CHANNELS {
            true => Kind::Planes(Layout::gradient(geometry, count, 0)),
            false => Kind::Blocks(shape(channels, geometry.conv_output(), 0), 1),
        };
        Self { count, kind }
    }

    /// Values of all of them.
    pub(super) fn size(&self) -> usize {
        match &self.kind {
            Kind::Planes(layout) => layout.size(),
            Kind::Blocks(shape, _) => self.count * shape.size(),
        }
    }

    /// Writes images, `[count, channels, height, width]`, into values that are 0 around them.
    pub(super) fn put(&self, images: &[f32], values: &mut [f32]) {
        match &self.kind {
            Kind::Planes(layout) => vectorised(
                #[inline(always)]
                || {
                    for (i, image) in images.chunks_exact(layout.planes()).enumerate() {
                        layout.put(i, image, values);
                    }
                },
            ),
            Kind::Blocks(shape, _) => {
                let size = shape.channels * shape.height * shape.width;
                for (image, values) in images.chunks_exact(size).zip(values.chunks_exact_mut(shape.size())) {
                    shape.put(image, values);
                }
            }
        }
    }

    /// Where each value of a patch lies, from its first one on: of each channel these rows and columns of the padded image.
    pub(super) fn offsets(&self, [rows, columns]: [&[usize]; 2]) -> Vec<usize> {
        match &self.kind {
            Kind::Planes(layout) => layout.offsets(rows, columns),
            Kind::Blocks(shape, _) => shape.offsets(rows, columns),
        }
    }

    /// Where the patches at these positions begin, image by image.
    pub(super) fn starts(&self, positions: impl Iterator<Item = [usize; 2]> + Clone) -> Vec<usize> {
        let [image, down, right] = match &self.kind {
            Kind::Planes(layout) => [layout.image(), layout.row(), 1],
            Kind::Blocks(shape, stride) => [shape.size(), stride * shape.row(), stride * shape.lanes],
        };
        let of = |i: usize| positions.clone().map(move |[y, x]| i * image + y * down + x * right);
        (0..self.count).flat_map(of).collect()
    }
}

fn shape(channels: usize, [height, width]: [usize; 2], border: usize) -> Shape {
    Shape { channels, height, width, border, lanes: lanes(), is_convolved: false }
}
