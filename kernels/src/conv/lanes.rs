//! Products of weights with the patch matrix of padded images, by what lies side by side in vectors.

use super::super::channels::{self, Vectors};
use super::super::direct::{self, PANEL};
use super::super::geometry::ConvGeometry;
use super::super::padded::Layout;

/// What lies side by side in vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// Neighbouring columns of the patch matrix.
    Columns,
    /// Output channels.
    Channels,
}

/// Places that make full use of a product with channels in vectors, where there are as many images.
const ENOUGH_PLACES: usize = 128;

/// With channels in vectors, storing a result takes as long as so many multiplications.
const FOR_RESULTS: usize = 32;

/// The same for transposing the gradient of a result.
const FOR_GRADIENTS: usize = 48;

impl Lanes {
    /// What is faster forward; none where a matrix of all patches is.
    pub(super) fn forward(geometry: &ConvGeometry) -> Option<Self> {
        Self::of(geometry, FOR_RESULTS)
    }

    /// The same for the gradients.
    pub(super) fn backward(geometry: &ConvGeometry) -> Option<Self> {
        Self::of(geometry, FOR_GRADIENTS)
    }

    fn of(geometry: &ConvGeometry, overhead: usize) -> Option<Self> {
        // A kernel of 1x1 at every value needs no patches, the image is their matrix.
        let is_thin = geometry.kernel == 1 && geometry.stride > 1 && geometry.padding == 0;
        if !is_possible(geometry) && !is_thin {
            return None;
        }
        let (layout, size) = (Layout::input(geometry, 1), geometry.conv_output());
        let (columns, vectors) = (layout.columns(1, size), Vectors::here());
        // In multiples of the time that the multiplications take; measured on AVX2, where a tile of columns is small.
        let of_columns = columns.next_multiple_of(16) as f64 / (size[0] * size[1]) as f64;
        let of_columns = of_columns * if vectors.are_many { 1.0 } else { 1.3 };
        let of_channels = vectors.waste(geometry.channels_out) * (1.0 + overhead as f64 / geometry.patch() as f64);
        if of_channels < of_columns {
            return Some(Self::Channels);
        }
        (!is_thin && direct::is_worth_it(geometry.channels_out, size, columns)).then_some(Self::Columns)
    }

    /// How many images of `plane` results each are computed together, at most `most`.
    pub(super) fn together(self, plane: usize, most: usize) -> usize {
        match self {
            Self::Columns => 1,
            Self::Channels => (ENOUGH_PLACES / plane).clamp(1, most.max(1)),
        }
    }
}

/// Whether the rows of the patch matrix are slices of a padded image, and every value of the image is in one.
pub(in super::super) fn is_possible(geometry: &ConvGeometry) -> bool {
    let ConvGeometry { kernel, stride, padding, .. } = *geometry;
    kernel > 1 && stride <= kernel && padding < kernel
}

/// A product of weights with patches of padded images.
pub(super) struct Product {
    lanes: Lanes,
    vectors: Vectors,
    rows: usize,
    size: [usize; 2],
    /// Where each row of the patch matrix begins in the images.
    offsets: Vec<usize>,
    /// Packed for these lanes.
    weights: Vec<f32>,
    /// Values from one row of an image to the next, and from one image to the next.
    row: usize,
    image: usize,
    /// Columns of an image's results, those between the rows included.
    columns: usize,
    /// Where the patch of each result of all images begins; for channels.
    places: Vec<usize>,
}

impl Product {
    /// Of `weights` `[rows, offsets]`, to results of `size` from up to `images` images in this `layout`.
    pub(super) fn new(
        lanes: Lanes,
        weights: &[f32],
        offsets: Vec<usize>,
        (layout, images): (&Layout, usize),
        size: [usize; 2],
    ) -> Self {
        let (vectors, depth) = (Vectors::here(), offsets.len());
        let rows = weights.len() / depth;
        let (packed, places) = match lanes {
            Lanes::Columns => {
                let mut packed = vec![0.0; direct::packed(rows, depth)];
                direct::pack(weights, depth, &mut packed);
                (packed, Vec::new())
            }
            Lanes::Channels => (vectors.pack(weights, depth), layout.places(images, size)),
        };
        let (row, image, columns) = (layout.row(), layout.image(), layout.columns(1, size));
        Self { lanes, vectors, rows, size, offsets, weights: packed, row, image, columns, places }
    }

    /// Rows that are computed together.
    pub(super) fn panel(&self) -> usize {
        match self.lanes {
            Lanes::Columns => PANEL,
            Lanes::Channels => self.vectors.block,
        }
    }

    /// Values of scratch memory that [`run`](Self::run) needs.
    pub(super) fn results(&self) -> usize {
        match self.lanes {
            Lanes::Columns => direct::results(self.columns),
            Lanes::Channels => self.vectors.block * self.places.len(),
        }
    }

    /// Computes the rows from `first` on, at most `rows`, for the first `count` of some padded `images`: calls `done(image, row counted from `first`,
    /// plane, [values from one of its rows to the next, width])`. `first` begins a panel.
    pub(super) fn run(
        &self,
        (first, rows): (usize, usize),
        (images, count): (&[f32], usize),
        results: &mut [f32],
        mut done: impl FnMut(usize, usize, &[f32], [usize; 2]),
    ) {
        let (depth, panel, width) = (self.offsets.len(), self.panel(), self.size[1]);
        let end = self.rows.min(first + rows);
        let panels = (first..end).step_by(panel).map(|at| {
            let weights = &self.weights[at / panel * panel * depth..][..panel * depth];
            (at - first, panel.min(end - at), weights)
        });
        match self.lanes {
            Lanes::Columns => {
                let (stride, shape) = (direct::stride(self.columns), [self.row, width]);
                for image in 0..count {
                    for (at, rows, weights) in panels.clone() {
                        direct::convolve(direct::Convolve {
                            weights,
                            step: PANEL,
                            rows,
                            offsets: &self.offsets,
                            image: &images[image * self.image..],
                            length: self.columns,
                            results: &mut *results,
                        });
                        for (row, plane) in results.chunks_exact(stride).take(rows).enumerate() {
                            done(image, at + row, plane, shape);
                        }
                    }
                }
            }
            Lanes::Channels => {
                let (plane, shape) = (self.size[0] * width, [width, width]);
                let stride = count * plane;
                for (at, rows, weights) in panels {
                    channels::convolve(channels::Convolve {
                        weights,
                        rows,
                        offsets: &self.offsets,
                        places: &self.places[..stride],
                        image: images,
                        results: &mut *results,
                        stride,
                    });
                    for (row, planes) in results.chunks_exact(stride).take(rows).enumerate() {
                        for (image, plane) in planes.chunks_exact(plane).enumerate() {
                            done(image, at + row, plane, shape);
                        }
                    }
                }
            }
        }
    }
}
