//! Test-time augmentation: the views of an image that a model is asked about, whose mean probability is its answer (as in
//! Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012). What a config
//! asks for, what a model file keeps of it, and which pixel a view shows where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::augment::{Background, Fill, FillRule, Pictures, background_words};
use super::{AugmentConfig, ImageSet, ImageShape};
use crate::check::{Check, Problems};

/// The farthest that a view may be shifted, in pixels; images are smaller in most cases.
const FARTHEST: usize = 64;

/// `[test_time_augmentation]`: the finished model answers for several views of an image with the mean of their probabilities.
/// The model file says so, and whoever uses it gets that answer. Training and its validation see the image alone; the test, the
/// temperature and the limit for pictures unlike those of training are measured on the answers for all views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TestTimeAugmentationConfig {
    /// Also look at the image in a mirror: twice the views. Not for digits, letters and whatever else is another thing there.
    pub flip: bool,
    /// Also look at the image, and at its mirror image, shifted by so many whole pixels; 0: not.
    pub shift_pixels: usize,
    /// In how many directions: 4, along the sides, for five times the views; 8, along the diagonals as well, for nine times.
    pub shift_directions: usize,
    /// What fills the pixels that a shift leaves, as for `data.augment`. "auto" is what fills them in training: the `fill` of the
    /// first of `data.augment` that moves pixels, and without one the colour that most images have on their border or, if there
    /// is none, the image reflected.
    pub fill: Fill,
}

impl Default for TestTimeAugmentationConfig {
    fn default() -> Self {
        Self { flip: false, shift_pixels: 0, shift_directions: 4, fill: Fill::AUTO }
    }
}

impl Check for TestTimeAugmentationConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("shift_pixels", self.shift_pixels, 0..=FARTHEST);
        check_directions("shift_directions", self.shift_directions, problems);
        self.fill.check(problems);
    }
}

impl TestTimeAugmentationConfig {
    /// Adds what of it does not fit images of this shape.
    pub fn check_for(&self, shape: ImageShape, problems: &mut Problems) {
        if self.shift_pixels > 0 {
            check_pixels("shift_pixels", self.shift_pixels, shape, problems);
        }
    }

    /// The views of an image, the image itself counted.
    pub fn views(&self) -> usize {
        count(self.flip, self.shift())
    }

    /// "2 views: the image and its mirror image": for people. None where the image alone is looked at.
    pub fn words(&self) -> Option<String> {
        (self.views() > 1).then(|| words(self.flip, self.shift(), &self.fill.words()))
    }

    /// Pixels and directions.
    fn shift(&self) -> Option<[usize; 2]> {
        (self.shift_pixels > 0).then_some([self.shift_pixels, self.shift_directions])
    }

    /// What a model file says of it, for a model that was trained on `images`, distorted by `augment`. None where it answers for
    /// the image alone.
    pub fn resolve(&self, augment: &[AugmentConfig], images: &ImageSet) -> Option<TestTimeAugmentation> {
        let fill = match self.fill {
            Fill::Rule(FillRule::Auto) => augment.iter().find_map(AugmentConfig::fill).unwrap_or(Fill::AUTO),
            said => said,
        };
        self.with_background(|| Pictures::new(images).background(fill))
    }

    /// The same without the images that it was trained on. None where it takes them to know what fills the pixels that a shift
    /// leaves.
    pub(crate) fn resolve_alone(&self, channels: usize) -> Option<Option<TestTimeAugmentation>> {
        match self.fill.background_alone(channels) {
            Some(background) => Some(self.with_background(|| background)),
            None if self.shift_pixels == 0 => Some(self.with_background(|| Background::Edge)),
            None => None,
        }
    }

    fn with_background(&self, background: impl FnOnce() -> Background) -> Option<TestTimeAugmentation> {
        let shift = self.shift().map(|[pixels, directions]| Shift { pixels, directions, fill: background() });
        (self.views() > 1).then_some(TestTimeAugmentation { flip: self.flip, shift })
    }
}

/// What a model file says of the views that its answer is the mean over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestTimeAugmentation {
    /// Whether every view is looked at in a mirror as well.
    pub flip: bool,
    /// How the image and its mirror image are shifted, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<Shift>,
}

/// An image moved by whole pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// How far.
    pub pixels: usize,
    /// In how many directions: 4 along the sides, 8 along the diagonals as well.
    pub directions: usize,
    /// What is seen where nothing of the image is.
    pub fill: Background,
}

impl TestTimeAugmentation {
    /// Adds what of it does not fit images of this shape.
    pub(crate) fn check_for(&self, shape: ImageShape, problems: &mut Problems) {
        problems.require(self.flip || self.shift.is_some(), "flip", || "must be true where there is no shift".into());
        let Some(Shift { pixels, directions, fill }) = &self.shift else { return };
        problems.within("shift", |problems| {
            check_pixels("pixels", *pixels, shape, problems);
            check_directions("directions", *directions, problems);
            if let Background::Constant(values) = fill {
                problems.require(values.len() == shape.channels, "fill", || {
                    format!("must hold one value for each of {} channels, got {}", shape.channels, values.len())
                });
            }
        });
    }

    /// The number of views, the image itself counted.
    pub fn count(&self) -> usize {
        count(self.flip, self.pixels_and_directions())
    }

    /// "2 views: the image and its mirror image": for people.
    pub fn words(&self) -> String {
        let fill = self.shift.as_ref().map_or_else(String::new, |shift| background_words(&shift.fill));
        words(self.flip, self.pixels_and_directions(), &fill)
    }

    fn pixels_and_directions(&self) -> Option<[usize; 2]> {
        self.shift.as_ref().map(|shift| [shift.pixels, shift.directions])
    }

    /// All views of images of this shape, the image itself first.
    pub(crate) fn views(&self, shape: ImageShape) -> Vec<View> {
        let mirrors = if self.flip { &[false, true][..] } else { &[false] };
        let (moves, background) = match &self.shift {
            None => (vec![(0, 0)], &Background::Edge),
            Some(Shift { pixels, directions, fill }) => (moves(*pixels as isize, *directions), fill),
        };
        let view = |(is_mirrored, offset)| View::new(shape, is_mirrored, offset, background);
        mirrors
            .iter()
            .flat_map(|&is_mirrored| moves.iter().map(move |&offset| (is_mirrored, offset)))
            .map(view)
            .collect()
    }
}

fn count(flip: bool, shift: Option<[usize; 2]>) -> usize {
    (1 + usize::from(flip)) * shift.map_or(1, |[_, directions]| 1 + directions)
}

fn words(flip: bool, shift: Option<[usize; 2]>, fill: &str) -> String {
    let image = if flip { "the image and its mirror image" } else { "the image" };
    let image = format!("{} views: {image}", count(flip, shift));
    match shift {
        None => image,
        Some([pixels, directions]) => {
            let each = if flip { "each also" } else { "also" };
            format!("{image}, {each} shifted by {pixels} px in {directions} directions{fill}")
        }
    }
}

fn check_pixels(key: &str, pixels: usize, shape: ImageShape, problems: &mut Problems) {
    let side = shape.height.min(shape.width);
    problems.require((1..side.min(FARTHEST + 1)).contains(&pixels), key, || match side {
        0 | 1 => format!("images of {shape} cannot be shifted, got {pixels}"),
        side => format!("must be 1 to {} for images of {shape}, got {pixels}", (side - 1).min(FARTHEST)),
    });
}

fn check_directions(key: &str, directions: usize, problems: &mut Problems) {
    problems.require([4, 8].contains(&directions), key, || format!("must be 4 or 8, got {directions}"));
}

/// How far right and down the image goes in each view, not at all in the first.
fn moves(pixels: isize, directions: usize) -> Vec<(isize, isize)> {
    let sides = [(0, 0), (-pixels, 0), (pixels, 0), (0, -pixels), (0, pixels)];
    let corners = [(-pixels, -pixels), (pixels, -pixels), (-pixels, pixels), (pixels, pixels)];
    sides.into_iter().chain(corners.into_iter().filter(|_| directions == 8)).collect()
}

/// Which pixel of the image a view shows at each place: that of a row and a column, or what lies outside of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct View {
    /// The row that is seen in each row; none outside.
    pub(crate) rows: Vec<Option<usize>>,
    /// The column that is seen in each column; none outside.
    pub(crate) columns: Vec<Option<usize>>,
    /// The pixel that is seen outside, in each channel.
    pub(crate) outside: Vec<u8>,
}

impl View {
    /// The image itself.
    pub(crate) fn of_itself(shape: ImageShape) -> Self {
        Self::new(shape, false, (0, 0), &Background::Edge)
    }

    /// The image, or its mirror image, moved `right` and `down`.
    fn new(shape: ImageShape, is_mirrored: bool, (right, down): (isize, isize), background: &Background) -> Self {
        let ImageShape { channels, height, width } = shape;
        let seen = |length: usize, offset: isize| -> Vec<Option<usize>> {
            (0..length as isize).map(|place| background.index(place - offset, length)).collect()
        };
        let turned = |column: usize| if is_mirrored { width - 1 - column } else { column };
        Self {
            rows: seen(height, down),
            columns: seen(width, right).into_iter().map(|column| column.map(turned)).collect(),
            outside: (0..channels).map(|channel| background.constant(channel).unwrap_or(0)).collect(),
        }
    }

    /// Whether it shows every pixel where it is.
    pub(crate) fn is_of_itself(&self) -> bool {
        let in_place = |places: &[Option<usize>]| places.iter().enumerate().all(|(place, seen)| *seen == Some(place));
        in_place(&self.rows) && in_place(&self.columns)
    }

    /// Whether it shows something that is no part of the image.
    pub(crate) fn shows_outside(&self) -> bool {
        self.rows.iter().chain(&self.columns).any(Option::is_none)
    }

    /// Writes what is seen of `image` to `out`, both `[channels, height, width]`; `outside` has a value per channel.
    pub(crate) fn show<T: Copy>(&self, image: &[T], outside: &[T], out: &mut [T]) {
        let (width, plane) = (self.columns.len(), self.rows.len() * self.columns.len());
        let channels = image.chunks_exact(plane).zip(out.chunks_exact_mut(plane)).zip(outside);
        for ((image, out), outside) in channels {
            for (row, out) in self.rows.iter().zip(out.chunks_exact_mut(width)) {
                let row = row.map(|row| &image[row * width..(row + 1) * width]);
                for (column, out) in self.columns.iter().zip(out) {
                    *out = row.zip(*column).map_or(*outside, |(row, column)| row[column]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 2, width: 3 };

    fn seen(views: &TestTimeAugmentation) -> Vec<Vec<u8>> {
        let image = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
        let show = |view: View| {
            let mut out = vec![0; image.len()];
            view.show(&image, &view.outside, &mut out);
            out
        };
        views.views(SHAPE).into_iter().map(show).collect()
    }

    fn shift(pixels: usize, directions: usize, fill: Background) -> Option<Shift> {
        Some(Shift { pixels, directions, fill })
    }

    #[test]
    fn a_mirror_and_shifts_show_what_they_should() {
        let flipped = seen(&TestTimeAugmentation { flip: true, shift: None });
        assert_eq!(flipped[0], [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]);
        assert_eq!(flipped[1], [3, 2, 1, 6, 5, 4, 13, 12, 11, 16, 15, 14]);
        assert_eq!(flipped.len(), 2);
        let shifted = seen(&TestTimeAugmentation { flip: false, shift: shift(1, 4, Background::Constant(vec![7, 8])) });
        assert_eq!(shifted.len(), 5);
        assert_eq!(shifted[1], [2, 3, 7, 5, 6, 7, 12, 13, 8, 15, 16, 8], "left");
        assert_eq!(shifted[2], [7, 1, 2, 7, 4, 5, 8, 11, 12, 8, 14, 15], "right");
        assert_eq!(shifted[3], [4, 5, 6, 7, 7, 7, 14, 15, 16, 8, 8, 8], "up");
        assert_eq!(shifted[4], [7, 7, 7, 1, 2, 3, 8, 8, 8, 11, 12, 13], "down");
        let both = seen(&TestTimeAugmentation { flip: true, shift: shift(1, 8, Background::Edge) });
        assert_eq!(both.len(), 18);
        assert_eq!(both[5], [5, 6, 6, 5, 6, 6, 15, 16, 16, 15, 16, 16], "left and up");
        assert_eq!(both[9 + 2], [3, 3, 2, 6, 6, 5, 13, 13, 12, 16, 16, 15], "the mirror image, right");
        let reflected = seen(&TestTimeAugmentation { flip: false, shift: shift(1, 4, Background::Reflect) });
        assert_eq!(reflected[2][..6], [2, 1, 2, 5, 4, 5]);
    }

    #[test]
    fn views_are_counted_and_told() {
        let config = |flip, shift_pixels, shift_directions| TestTimeAugmentationConfig {
            flip,
            shift_pixels,
            shift_directions,
            fill: Fill::Value(3),
        };
        let set = ImageSet::new(SHAPE, vec![9; 12], vec![0], ["0".to_owned()].into()).unwrap();
        for (config, count, words) in [
            (config(true, 0, 4), 2, "2 views: the image and its mirror image"),
            (
                config(false, 2, 4),
                5,
                "5 views: the image, also shifted by 2 px in 4 directions, the rest filled with 3",
            ),
            (
                config(true, 1, 8),
                18,
                "18 views: the image and its mirror image, each also shifted by 1 px in 8 directions, the rest filled with 3",
            ),
        ] {
            assert_eq!((config.views(), config.words().as_deref()), (count, Some(words)));
            let resolved = config.resolve(&[], &set).unwrap();
            assert_eq!((resolved.count(), resolved.words().as_str()), (count, words));
            assert_eq!(resolved.views(SHAPE).len(), count);
            assert_eq!(config.resolve_alone(2), Some(Some(resolved)));
        }
        let none = config(false, 0, 4);
        assert_eq!((none.views(), none.words(), none.resolve(&[], &set)), (1, None, None));
    }

    #[test]
    fn what_fills_is_what_fills_in_training() {
        let config = TestTimeAugmentationConfig { shift_pixels: 1, ..Default::default() };
        let set = ImageSet::new(SHAPE, vec![9; 12], vec![0], ["0".to_owned()].into()).unwrap();
        let fill = |config: TestTimeAugmentationConfig, augment: &[AugmentConfig]| {
            config.resolve(augment, &set).and_then(|views| views.shift).map(|shift| shift.fill)
        };
        assert_eq!(fill(config, &[]), Some(Background::Constant(vec![9, 9])));
        assert_eq!(config.resolve_alone(2), None);
        let crop = |padding, fill| AugmentConfig::Crop(crate::data::augment::CropConfig { padding, fill });
        let edge = Fill::Rule(FillRule::Edge);
        assert_eq!(fill(config, &[crop(0, Fill::Value(1)), crop(1, edge)]), Some(Background::Edge));
        let said = TestTimeAugmentationConfig { fill: Fill::Rule(FillRule::Reflect), ..config };
        assert_eq!(fill(said, &[crop(1, edge)]), Some(Background::Reflect));
    }
}
