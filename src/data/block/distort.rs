//! Distortions of many images at once by tensor operations, with the arithmetic of `augment`, operation by operation: on a
//! CPU the pictures are the same to the last bit.

use burn::tensor::{Bool, Device, Int, Tensor};

use crate::data::ImageShape;
use crate::data::augment::{Background, Drawn, Form};
use crate::ops::transfer;

/// What distortions need to know of a pixel besides the image: where it is.
#[derive(Clone, Debug)]
pub(super) struct Distorter {
    shape: ImageShape,
    steps: Vec<Step>,
    /// Row and column of each pixel, `[1, height * width]` each.
    places: [Tensor<2>; 2],
}

/// A distortion with what it needs on the device.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them, and they live as long as a run")]
enum Step {
    /// What is beside the image.
    Move(Outside),
    /// The value of each channel, `[1, channels, 1]`.
    Cover(Tensor<3>),
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them, and they live as long as a run")]
enum Outside {
    /// A constant in each channel, `[1, channels, 1, 1]`.
    Constant(Tensor<4>),
    /// The rows and the columns of the image that are seen in the image with a border; in a mirror, if `reflect`.
    Image { rows: Tensor<1, Int>, columns: Tensor<1, Int>, reflect: bool },
}

impl Distorter {
    /// The distortions of `forms`, one after another, of images of `shape`.
    pub(super) fn new(forms: &[Form], shape: ImageShape, device: &Device) -> Self {
        let values = |colour: &[u8]| colour.iter().map(|value| f32::from(*value)).collect::<Vec<_>>();
        // One pixel before the image and two after it, as in `augment`.
        let bordered = |length: usize| {
            let index = |place: usize| place.saturating_sub(1).min(length - 1) as i32;
            transfer::ints((0..length + 3).map(index).collect(), [length + 3], device)
        };
        let outside = |background: &Background| match background {
            Background::Constant(colour) => {
                Outside::Constant(transfer::floats(values(colour), [1, colour.len(), 1, 1], device))
            }
            other => Outside::Image {
                rows: bordered(shape.height),
                columns: bordered(shape.width),
                reflect: *other == Background::Reflect,
            },
        };
        let step = |form: &Form| match form {
            Form::Move(background) => Step::Move(outside(background)),
            Form::Cover(colour) => Step::Cover(transfer::floats(values(colour), [1, colour.len(), 1], device)),
        };
        let plane = shape.height * shape.width;
        let place = |of: fn(usize, usize) -> usize| {
            let values = (0..plane).map(|pixel| of(pixel, shape.width) as f32).collect();
            transfer::floats(values, [1, plane], device)
        };
        let places = [place(|pixel, width| pixel / width), place(|pixel, width| pixel % width)];
        Self { shape, steps: forms.iter().map(step).collect(), places }
    }

    /// True when nothing is changed.
    pub(super) fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many numbers are drawn for an image.
    pub(super) fn numbers(&self) -> usize {
        self.steps.len() * Drawn::NUMBERS
    }

    /// The distorted images; pixels are whole numbers, `[images, channels, height * width]`, and what was drawn for each image is a
    /// row of `drawn`, `[images, numbers]`.
    pub(super) fn apply(&self, pixels: Tensor<3>, drawn: &Tensor<2>) -> Tensor<3> {
        let images = pixels.dims()[0];
        self.steps.iter().enumerate().fold(pixels, |pixels, (index, step)| {
            let number = |number: usize| {
                let column = index * Drawn::NUMBERS + number;
                drawn.clone().slice([0..images, column..column + 1])
            };
            match step {
                Step::Move(outside) => self.resample(pixels, outside, std::array::from_fn(number)),
                Step::Cover(colour) => self.cover(pixels, colour, std::array::from_fn(number)),
            }
        })
    }

    /// Moves the pixels of each image by its affine map, whose numbers are `[images, 1]` each.
    fn resample(&self, pixels: Tensor<3>, outside: &Outside, map: [Tensor<2>; 6]) -> Tensor<3> {
        let [images, channels, plane] = pixels.dims();
        let ImageShape { height, width, .. } = self.shape;
        let [xx, xy, yx, yy, right, down] = map;
        let centre = [height, width].map(|length| (length - 1) as f32 / 2.0);
        let [rows, columns] = self.places.clone();
        let y = rows.sub_scalar(centre[0]) - down; // [images, plane]
        let x = columns.sub_scalar(centre[1]) - right;
        let from_x = (xx * x.clone() + xy * y.clone()).add_scalar(centre[1]);
        let from_y = (yx * x + yy * y).add_scalar(centre[0]);
        let (from_x, from_y) = match outside {
            Outside::Image { reflect: true, .. } => (fold(from_x, width), fold(from_y, height)),
            _ => (from_x, from_y),
        };
        let split = |from: Tensor<2>, length: usize| {
            let place = from.add_scalar(1.0).clamp(0.0, (length + 1) as f64);
            let first = place.clone().floor();
            (first.clone(), (place - first).reshape([images, 1, plane]))
        };
        let ((column, right), (row, down)) = (split(from_x, width), split(from_y, height));
        let stride = width + 3;
        let corner = (row.mul_scalar(stride as f64) + column).int();
        let corner = corner.reshape([images, 1, plane]).expand([images, channels, plane]);
        let padded = self.padded(pixels.reshape([images, channels, height, width]), outside);
        let at = |offset: usize| padded.clone().gather(2, corner.clone().add_scalar(offset as i64));
        let between = |from: Tensor<3>, to: Tensor<3>, part: Tensor<3>| from.clone() + (to - from) * part;
        let top = between(at(0), at(1), right.clone());
        let bottom = between(at(stride), at(stride + 1), right);
        between(top, bottom, down).add_scalar(0.5).floor()
    }

    /// The images with a border, `[images, channels, (height + 3) * (width + 3)]`.
    fn padded(&self, pixels: Tensor<4>, outside: &Outside) -> Tensor<3> {
        let [images, channels, height, width] = pixels.dims();
        let bordered = match outside {
            Outside::Image { rows, columns, .. } => pixels.select(2, rows.clone()).select(3, columns.clone()),
            Outside::Constant(colour) => (Tensor::zeros([images, channels, height + 3, width + 3], &pixels.device())
                + colour.clone())
            .slice_assign([0..images, 0..channels, 1..height + 1, 1..width + 1], pixels),
        };
        bordered.reshape([images, channels, (height + 3) * (width + 3)])
    }

    /// Covers each image's rectangle: its first row and the one after its last, the same of its columns.
    fn cover(&self, pixels: Tensor<3>, colour: &Tensor<3>, spans: [Tensor<2>; 6]) -> Tensor<3> {
        let [images, channels, plane] = pixels.dims();
        let [top, bottom, left, right, ..] = spans;
        let [rows, columns] = self.places.clone().map(|places| places.expand([images, plane]));
        let within = |place: Tensor<2>, from: Tensor<2>, to: Tensor<2>| -> Tensor<2, Bool> {
            let (from, to) = (from.expand([images, plane]), to.expand([images, plane]));
            place.clone().greater_equal(from).bool_and(place.lower(to))
        };
        let covered = within(rows, top, bottom).bool_and(within(columns, left, right));
        let covered = covered.reshape([images, 1, plane]).expand([images, channels, plane]);
        pixels.mask_where(covered, colour.clone().expand([images, channels, plane]))
    }
}

/// The place in `0..length` that a mirror at both ends shows at each place.
fn fold(place: Tensor<2>, length: usize) -> Tensor<2> {
    let last = (length - 1) as f32;
    if length == 1 {
        return place;
    }
    let outside = place.clone().lower_scalar(0.0).bool_or(place.clone().greater_scalar(last));
    let folded = place.clone().remainder_scalar(2.0 * last).sub_scalar(last).abs().neg().add_scalar(last);
    place.mask_where(outside, folded)
}
