//! What is true of the list and of the kinds that move pixels; every other kind has its tests beside it.

use sha2::{Digest as _, Sha256};

use super::fill::FillRule;
use super::*;

const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

/// Blank images of `shape`: their background is 0.
fn blank(shape: ImageShape) -> ImageSet {
    ImageSet::new(shape, vec![0; shape.len()], vec![0], ["0".to_owned()].into()).unwrap()
}

fn distort(list: &[AugmentConfig], pixels: &[u8], place: (usize, usize)) -> Vec<u8> {
    let mut out = vec![7; pixels.len()];
    Augment::new(list, &blank(SHAPE), 1).apply(pixels, place, &mut Scratch::default(), &mut out);
    out
}

fn affine(config: AffineConfig) -> AugmentConfig {
    AugmentConfig::Affine(config)
}

fn elastic(pixels: f64, smoothness: f64) -> AugmentConfig {
    AugmentConfig::Elastic(ElasticConfig { pixels, smoothness, ..Default::default() })
}

/// A bright block of 8 x 6 pixels about the point (`x`, `y`).
fn block(x: usize, y: usize) -> Vec<u8> {
    let inside = |place: usize| (x - 4..x + 4).contains(&(place % 28)) && (y - 3..y + 3).contains(&(place / 28));
    (0..28 * 28).map(|place| if inside(place) { 255 } else { 0 }).collect()
}

/// Sum of the pixels and their centre.
fn mass(pixels: &[u8]) -> (f64, f64, f64) {
    let sum = |weight: fn(usize) -> usize| -> f64 {
        pixels.iter().enumerate().map(|(place, pixel)| f64::from(*pixel) * weight(place) as f64).sum()
    };
    let total = sum(|_| 1);
    (total, sum(|place| place % 28) / total, sum(|place| place / 28) / total)
}

#[test]
fn no_limits_change_nothing() {
    let list = [affine(AffineConfig::default()), elastic(0.0, 4.0)];
    assert!(is_identity(&list) && is_identity(&[]));
    assert_eq!(distort(&list, &block(12, 15), (1, 1)), block(12, 15));
}

#[test]
fn a_shift_moves_the_centre_of_mass_by_at_most_the_limit_and_keeps_the_mass() {
    let list = [affine(AffineConfig { shift_pixels: 3.0, ..Default::default() })];
    let before = mass(&block(14, 14));
    let mut furthest = 0.0_f64;
    for position in 0..200 {
        let after = mass(&distort(&list, &block(14, 14), (1, position)));
        assert!((after.0 / before.0 - 1.0).abs() < 0.02);
        for moved in [after.1 - before.1, after.2 - before.2] {
            assert!(moved.abs() < 3.05);
            furthest = furthest.max(moved.abs());
        }
    }
    assert!(furthest > 2.7);
}

#[test]
fn a_rotation_keeps_mass_and_distance_from_the_centre() {
    let list = [affine(AffineConfig { rotate_degrees: 180.0, ..Default::default() })];
    for position in 0..50 {
        let (total, x, y) = mass(&distort(&list, &block(20, 14), (1, position)));
        let distance = (x - 13.5).hypot(y - 13.5);
        assert!((distance - 6.0).abs() < 0.15, "{distance}");
        assert!((total / mass(&block(20, 14)).0 - 1.0).abs() < 0.05);
    }
}

#[test]
fn scaling_changes_the_area_and_shear_does_not() {
    let spread = |config: AffineConfig| {
        let list = [affine(config)];
        let areas = (0..100).map(|position| mass(&distort(&list, &block(14, 14), (1, position))).0);
        areas.fold((f64::MAX, 0.0_f64), |(least, most), area| (least.min(area), most.max(area)))
    };
    let area = 48.0 * 255.0;
    let (least, most) = spread(AffineConfig { scale: 0.2, ..Default::default() });
    assert!(least < 0.8 * area && least > 0.6 * area && most > 1.2 * area && most < 1.5 * area);
    let (least, most) = spread(AffineConfig { shear_degrees: 20.0, ..Default::default() });
    assert!(least > 0.95 * area && most < 1.05 * area);
}

#[test]
fn draws_depend_on_epoch_and_position() {
    let list = [affine(AffineConfig { shift_pixels: 2.0, ..Default::default() }), elastic(1.0, 4.0)];
    let image = |place| distort(&list, &block(14, 14), place);
    assert_eq!(image((1, 1)), image((1, 1)));
    assert_ne!(image((1, 1)), image((1, 2)));
    assert_ne!(image((1, 1)), image((2, 1)));
}

/// SHA-256 of fifty images of noise, distorted.
fn digest(list: &[AugmentConfig], shape: ImageShape) -> String {
    let augment = Augment::new(list, &blank(shape), 42);
    let (mut hash, mut scratch) = (Sha256::new(), Scratch::default());
    for image in 0..50 {
        let pixel = |place: usize| ((place * 37 + image * 101 + place / 5 * 11) % 256) as u8;
        let pixels: Vec<u8> = (0..shape.len()).map(pixel).collect();
        let mut out = vec![0; pixels.len()];
        augment.apply(&pixels, (1 + image % 3, image), &mut scratch, &mut out);
        hash.update(&out);
    }
    hex::encode(hash.finalize())
}

#[test]
fn affine_and_elastic_distortions_have_the_bits_that_they_always_had() {
    let both = |[shift_pixels, rotate_degrees, scale, shear_degrees]: [f64; 4], pixels: f64, smoothness: f64| {
        let fill = Fill::Value(0);
        let first = AffineConfig { shift_pixels, rotate_degrees, scale, shear_degrees, fill };
        [affine(first), AugmentConfig::Elastic(ElasticConfig { pixels, smoothness, fill })]
    };
    let grey = |list: &[AugmentConfig]| digest(list, SHAPE);
    let colour = |list: &[AugmentConfig]| digest(list, ImageShape { channels: 3, height: 9, width: 14 });
    let first = both([1.5, 8.0, 0.08, 0.0], 0.0, 4.0);
    assert_eq!(grey(&first), "677dcfcce59d6de18ef7c16cdea8870ca17aad7248ccd894c99ce078ed93cc7d");
    assert_eq!(colour(&first), "7cbc34f31137a5e5e449d2cc85ac0cca21d0bf057dc0589c6b76d03740e3189c");
    let second = both([0.0; 4], 1.0, 4.0);
    assert_eq!(grey(&second), "e084c39cb5624229c0d69eafad736cee6581a36085e358961b9bc702344ffbbc");
    assert_eq!(colour(&second), "e199c92ac97ce27dce39d253d2120e48f2c2bdd44aae507a822f544f20dad6aa");
    let third = both([3.0, 0.0, 0.0, 12.0], 0.7, 2.5);
    assert_eq!(grey(&third), "f29999c4850772ff3d25d09b3d1f6dc6983b798f23e9b41b83923f696da43e02");
    assert_eq!(colour(&third), "d11c0cc12ea74537c2d2c4ffc98fbe230ef554edf325880d80381ec0d039fc88");
    let [one, other] = third;
    assert_eq!(grey(&[other, one]), "f29999c4850772ff3d25d09b3d1f6dc6983b798f23e9b41b83923f696da43e02");
    let fourth = both([0.0, 180.0, 0.5, 40.0], 0.0, 4.0);
    assert_eq!(grey(&fourth), "cff79f4c6574ded32c4e4da7e8272a0a2d4c1d968531dfc1542f69edab775c44");
    assert_eq!(colour(&fourth), "a53899e940dbe85ff76ee2d8b3057f0efb32b6266b08223d7ebf6400f960e14c");
}

#[test]
fn every_kind_changes_images_by_draws_of_its_own_alone() {
    let shape = ImageShape { channels: 3, height: 10, width: 12 };
    let pixels: Vec<u8> = (0..shape.len()).map(|place| (place * 89 % 251) as u8).collect();
    let distorted = |list: &[AugmentConfig]| -> Vec<Vec<u8>> {
        let augment = Augment::new(list, &blank(shape), 1);
        let mut scratch = Scratch::default();
        let one = |position| {
            let mut out = vec![0; shape.len()];
            augment.apply(&pixels, (1, position), &mut scratch, &mut out);
            out
        };
        (0..20).map(one).collect()
    };
    for config in AugmentConfig::examples() {
        let alone = distorted(std::slice::from_ref(&config));
        assert!(alone.iter().any(|image| *image != pixels), "{config:?}");
        assert_eq!(alone, distorted(std::slice::from_ref(&config)));
        let images = alone.iter().collect::<std::collections::BTreeSet<_>>();
        assert!(images.len() > 1, "{config:?} does the same to every image");
        // Kinds that do nothing yet draw, and stand before it.
        let others = AugmentConfig::examples().into_iter().filter(|other| other.kind() != config.kind());
        let idle = others.filter_map(|other| match other {
            AugmentConfig::Brightness(_) => Some(AugmentConfig::Brightness(BrightnessConfig { strength: 1e-9 })),
            AugmentConfig::Flip(_) => Some(AugmentConfig::Flip(FlipConfig { probability: 1e-12 })),
            AugmentConfig::Cutout(cutout) => Some(AugmentConfig::Cutout(CutoutConfig { probability: 1e-12, ..cutout })),
            _ => None,
        });
        let list: Vec<_> = idle.chain([config.clone()]).collect();
        assert_eq!(distorted(&list), alone, "{config:?}");
        assert_ne!(config.words(), "");
    }
}

#[test]
fn a_kind_that_is_given_twice_draws_twice() {
    let flip = || AugmentConfig::Flip(FlipConfig::default());
    let flips = |list: &[AugmentConfig]| -> Vec<bool> {
        (0..40).map(|position| distort(list, &block(8, 14), (1, position)) != block(8, 14)).collect()
    };
    let (once, twice) = (flips(&[flip()]), flips(&[flip(), flip()]));
    assert!(once.contains(&true) && once.contains(&false) && twice.contains(&true));
    assert_ne!(once, twice);
}

#[test]
fn what_an_image_leaves_is_filled_as_asked() {
    let fills = [Fill::Rule(FillRule::Edge), Fill::Rule(FillRule::Reflect), Fill::Value(200), Fill::Value(0)];
    for (fill, stays) in fills.into_iter().zip([true, true, true, false]) {
        let config = AffineConfig { shift_pixels: 6.0, rotate_degrees: 45.0, fill, ..Default::default() };
        let bright = vec![200; 28 * 28];
        assert_eq!(distort(&[affine(config)], &bright, (1, 1)) == bright, stays, "{fill:?}");
    }
    // A ramp goes on as a ramp in a mirror, and stops at its edge.
    let ramp: Vec<u8> = (0..28 * 28).map(|place| (place % 28) as u8 * 9).collect();
    let list = |rule| [affine(AffineConfig { shift_pixels: 6.0, fill: Fill::Rule(rule), ..Default::default() })];
    let (edge, mirror) =
        (distort(&list(FillRule::Edge), &ramp, (1, 4)), distort(&list(FillRule::Reflect), &ramp, (1, 4)));
    let differ = |column: usize| (0..28).any(|row| edge[row * 28 + column] != mirror[row * 28 + column]);
    assert!(!differ(14) && (differ(0) || differ(27)));
}
