//! Images of a batch mixed with others of the same batch: mixup and CutMix. Both act on the network's inputs, after every
//! image was distorted, and a batch's draws depend on (seed, epoch, its place in the epoch) alone.

use kiln_pixels::mix;
use rand::Rng;

use super::{ImageShape, random};
use crate::seed::{Purpose, Stream};

/// Which mixing a run asks for, as the parameter of the Beta distribution that its shares are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// mixup (Zhang et al., 2018): a weighted sum of two images.
    pub mixup: Option<f64>,
    /// CutMix (Yun et al., 2019): a rectangle of one image in the other.
    pub cutmix: Option<f64>,
}

impl Mixing {
    /// True when no image would be changed.
    pub fn is_none(&self) -> bool {
        self.mixup.is_none() && self.cutmix.is_none()
    }

    /// What it does, for people; none when it does nothing.
    pub fn words(&self) -> Option<String> {
        match (self.mixup, self.cutmix) {
            (None, None) => None,
            (Some(alpha), None) => {
                Some(format!("mixup: pairs of images of a batch added, shares from Beta({alpha}, {alpha})"))
            }
            (None, Some(alpha)) => {
                Some(format!("cutmix: a rectangle of another image of the batch, shares from Beta({alpha}, {alpha})"))
            }
            (Some(mixup), Some(cutmix)) => {
                Some(format!("mixup, Beta({mixup}, {mixup}), or cutmix, Beta({cutmix}, {cutmix}), a batch each"))
            }
        }
    }
}

/// Mixes the images of a batch.
#[derive(Clone, Debug)]
pub(super) struct Mixer {
    mixing: Mixing,
    stream: Stream,
}

/// How a batch was mixed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MixedLabels {
    /// The label with the larger share of each image.
    pub(super) major: Vec<i32>,
    /// The other.
    pub(super) minor: Vec<i32>,
    /// The larger share, the same for all images of the batch: at least a half.
    pub(super) share: f32,
}

impl Mixer {
    pub(super) fn new(mixing: Mixing, seed: u64) -> Self {
        Self { mixing, stream: Stream::new(seed, Purpose::Mixing) }
    }

    /// Mixes the network inputs `values`, images of `shape` with these `labels`, each with the partner that an order drawn for
    /// `epoch` and `position` (that of the batch's first image) gives it.
    pub(super) fn mix(
        &self,
        values: &mut [f32],
        shape: ImageShape,
        labels: &[i32],
        (epoch, position): (usize, usize),
    ) -> MixedLabels {
        let mut rng = self.stream.at(epoch, position);
        let mut partners: Vec<usize> = (0..labels.len()).collect();
        random::shuffle(&mut rng, &mut partners);
        let second = random::uniform(&mut rng) < 0.5;
        let share = match (self.mixing.mixup, self.mixing.cutmix) {
            (Some(alpha), cutmix) if cutmix.is_none() || !second => {
                let share = beta(&mut rng, alpha) as f32;
                mix::add(values, shape, &partners, share);
                share
            }
            (_, Some(alpha)) => {
                let share = beta(&mut rng, alpha);
                let rectangle = Rectangle::draw(&mut rng, shape, share);
                mix::paste(values, shape, &partners, (&rectangle.rows, &rectangle.columns));
                rectangle.share_left(shape)
            }
            _ => 1.0,
        };
        let theirs = partners.iter().map(|partner| labels[*partner]).collect();
        if share < 0.5 {
            return MixedLabels { major: theirs, minor: labels.to_vec(), share: 1.0 - share };
        }
        MixedLabels { major: labels.to_vec(), minor: theirs, share }
    }
}

/// A number from the Beta distribution with both parameters `alpha`, at most 1 (Jöhnk, 1964).
fn beta(rng: &mut impl Rng, alpha: f64) -> f64 {
    loop {
        let [x, y] = [(); 2].map(|()| random::uniform(rng).powf(1.0 / alpha));
        let sum = x + y;
        if sum > 0.0 && sum <= 1.0 {
            return x / sum;
        }
    }
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq)]
struct Rectangle {
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl Rectangle {
    /// One of the image's proportions and of `1 - share` of its area, about any pixel; what lies outside is cut off.
    fn draw(rng: &mut impl Rng, shape: ImageShape, share: f64) -> Self {
        let side = (1.0 - share).sqrt();
        let mut span = |length: usize| {
            let half = (side * length as f64) as usize / 2;
            let centre = random::below(rng, length);
            centre.saturating_sub(half)..(centre + half).min(length)
        };
        Self { rows: span(shape.height), columns: span(shape.width) }
    }

    /// The part of an image's area that is outside of it.
    fn share_left(&self, shape: ImageShape) -> f32 {
        1.0 - (self.rows.len() * self.columns.len()) as f32 / (shape.height * shape.width) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rectangle_leaves_is_the_share() {
        let shape = ImageShape { channels: 2, height: 2, width: 3 };
        let rectangle = Rectangle { rows: 1..2, columns: 1..3 };
        assert!((rectangle.share_left(shape) - 4.0 / 6.0).abs() < 1e-6);
    }

    #[test]
    fn shares_follow_the_beta_distribution() {
        let stream = Stream::new(1, Purpose::Mixing);
        // The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
        for alpha in [0.2, 0.5, 1.0] {
            let mut rng = stream.at(1, 0);
            let drawn: Vec<f64> = (0..20_000).map(|_| beta(&mut rng, alpha)).collect();
            let mean = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 20_000.0;
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance * 4.0 * (2.0 * alpha + 1.0) - 1.0).abs() < 0.03, "{alpha}: {variance}");
        }
    }

    #[test]
    fn the_larger_share_is_named_first_and_the_inputs_hold_as_much_of_each() {
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let kinds = [(Some(1.0), None), (None, Some(1.0)), (Some(0.4), Some(0.4))];
        for (mixup, cutmix) in kinds {
            let mixer = Mixer::new(Mixing { mixup, cutmix }, 3);
            let mut swapped = 0;
            for position in 0..60 {
                // Images that are their own label everywhere.
                let mut values: Vec<f32> = (0..4_u8).flat_map(|label| [f32::from(label); 64]).collect();
                let mixed = mixer.mix(&mut values, shape, &[0, 1, 2, 3], (2, position));
                assert!((0.5..=1.0).contains(&mixed.share));
                swapped += usize::from(mixed.major != [0, 1, 2, 3]);
                let both = mixed.major.iter().zip(&mixed.minor);
                for (image, (major, minor)) in values.chunks_exact(64).zip(both) {
                    let expected = mixed.share * *major as f32 + (1.0 - mixed.share) * *minor as f32;
                    assert!((image.iter().sum::<f32>() / 64.0 - expected).abs() < 1e-4);
                }
            }
            // A rectangle of more than half of the image is rare, since most of it would lie outside.
            assert!((1..55).contains(&swapped), "{swapped}");
        }
    }
}
