//! Distortions as a device can compute them for many images at once: the host draws a few numbers for each image, the
//! device does the rest. The draws are those of the host's own distortions, so the pictures are the same.

use std::ops::Range;

use kiln_pixels::Background;
use kiln_pixels::warp::AffineMap;

/// A distortion that a device can compute; what it does to an image follows from the image's [`Drawn`].
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Pixels are moved by an affine map, with bilinear values, and this is seen beside the image.
    Move(Background),
    /// A rectangle is covered with one value per channel.
    Cover(Vec<u8>),
}

/// What was drawn for one image. Of a [`Form::Move`] an [`AffineMap`]: `xx`, `xy`, `yx`, `yy`, `right`, `down`; of a
/// [`Form::Cover`] the first row that is covered, the first that is not, the same of the columns, and two zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drawn(pub [f32; Self::NUMBERS]);

impl Drawn {
    /// How many numbers there are.
    pub const NUMBERS: usize = 6;

    /// The rows and columns of a rectangle, or one without any.
    pub(super) fn rectangle(spans: Option<(Range<usize>, Range<usize>)>) -> Self {
        let (rows, columns) = spans.unwrap_or_default();
        let [top, bottom, left, right] = [rows.start, rows.end, columns.start, columns.end].map(|end| end as f32);
        Self([top, bottom, left, right, 0.0, 0.0])
    }
}

impl From<AffineMap> for Drawn {
    fn from(AffineMap { xx, xy, yx, yy, right, down }: AffineMap) -> Self {
        Self([xx, xy, yx, yy, right, down])
    }
}
