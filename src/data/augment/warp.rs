//! Smooth movements of pixels: an affine map, a field of displacements, or both, in one resampling with bilinear
//! values.

use kiln_pixels::warp::{AffineMap, ElasticField, resample};
use kiln_pixels::{Background, ImageShape, random};
use rand::Rng;

use super::fill::Pictures;
use super::{AffineConfig, Drawn, ElasticConfig, Form, Scratch, Step};
use crate::seed::Stream;

/// Words of a stream that an affine map takes; an elastic field begins after them.
const AFFINE_WORDS: u128 = 12;

/// A movement of pixels, drawn anew for every image.
#[derive(Clone, Debug)]
pub struct Warp {
    affine: Option<(AffineConfig, Stream)>,
    elastic: Option<(ElasticField, Stream)>,
    background: Background,
    shape: ImageShape,
}

impl Warp {
    /// Affine maps within the limits of `config`.
    pub(super) fn affine(config: &AffineConfig, pictures: &Pictures<'_>, stream: Stream) -> Step {
        let affine = Some((config.clone(), stream));
        let background = pictures.background(config.fill);
        Step::Warp(Self { affine, elastic: None, background, shape: pictures.shape() })
    }

    /// Displacements as `config` says.
    pub(super) fn elastic(config: &ElasticConfig, pictures: &Pictures<'_>, stream: Stream) -> Step {
        let field = ElasticField::new(config.pixels, config.smoothness, pictures.shape());
        let background = pictures.background(config.fill);
        Step::Warp(Self { affine: None, elastic: Some((field, stream)), background, shape: pictures.shape() })
    }

    /// Takes `next` in, so that both are one resampling: the displacements are added to what the affine map gives. Only
    /// an
    /// affine map and a field, with the same background, are that simple.
    pub(super) fn join(&mut self, next: &Self) -> bool {
        let fits = match (&self.affine, &self.elastic) {
            (Some(_), None) => next.affine.is_none(),
            (None, Some(_)) => next.elastic.is_none(),
            _ => false,
        };
        if !fits || self.background != next.background {
            return false;
        }
        self.affine = self.affine.take().or_else(|| next.affine.clone());
        self.elastic = self.elastic.take().or_else(|| next.elastic.clone());
        true
    }

    /// The map for `epoch` and `position`.
    fn map(&self, (epoch, position): (usize, usize)) -> AffineMap {
        match &self.affine {
            Some((config, stream)) => draw(config, &mut stream.at(epoch, position)),
            _ => AffineMap::IDENTITY,
        }
    }

    /// The movement for a device; none with a field, which is as large as the image.
    pub(super) fn form(&self) -> Option<Form> {
        self.elastic.is_none().then(|| Form::Move(self.background.clone()))
    }

    /// The numbers of the form for `epoch` and `position`.
    pub(super) fn draw(&self, place: (usize, usize)) -> Drawn {
        self.map(place).into()
    }

    /// Moves the pixels of an image as drawn for `epoch` and `position`.
    pub(super) fn apply(&self, (epoch, position): (usize, usize), scratch: &mut Scratch, image: &mut [u8]) {
        let map = self.map((epoch, position));
        let mut field = self.elastic.as_ref().map(|(field, stream)| {
            let mut rng = stream.at(epoch, position);
            rng.set_word_pos(AFFINE_WORDS);
            (field, rng)
        });
        let field = field.as_mut().map(|(field, rng)| (*field, rng));
        resample(&map, field, (self.shape, &self.background), &mut scratch.warp, image);
    }
}

/// Draws the map that is the inverse of: scale, then shear, then rotate about the centre, then shift. Always six draws, so that a limit of 0
/// does not change the draws of the others.
fn draw(config: &AffineConfig, rng: &mut impl Rng) -> AffineMap {
    let right = random::uniform_symmetric(rng, config.shift_pixels);
    let down = random::uniform_symmetric(rng, config.shift_pixels);
    let (sin, cos) = random::uniform_symmetric(rng, config.rotate_degrees.to_radians()).sin_cos();
    let scale_x = 1.0 + random::uniform_symmetric(rng, config.scale);
    let scale_y = 1.0 + random::uniform_symmetric(rng, config.scale);
    let shear = random::uniform_symmetric(rng, config.shear_degrees).to_radians().tan();
    // forward = R(angle) * [1 shear; 0 1] * diag(scale_x, scale_y); its inverse row by row:
    let xx = (cos + shear * sin) / scale_x;
    let xy = (sin - shear * cos) / scale_x;
    let (yx, yy) = (-sin / scale_y, cos / scale_y);
    let [xx, xy, yx, yy, right, down] = [xx, xy, yx, yy, right, down].map(|value| value as f32);
    AffineMap { xx, xy, yx, yy, right, down }
}
