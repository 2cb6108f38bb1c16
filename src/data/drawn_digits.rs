//! Digits drawn in code, as people draw and photograph them, and what must become of them.

use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::picture;
use super::preprocess::{Fit, Preprocess};
use super::sources::{MnistConfig, Source as _};
use super::{ImageSet, ImageShape, random};
use crate::seed::{Purpose, Stream};

const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

fn fit(picture: &RgbImage) -> Vec<u8> {
    picture::fit(&DynamicImage::from(picture.clone()), &preprocess()).unwrap()
}

fn preprocess() -> Preprocess {
    Preprocess { shape: SHAPE, mean: vec![0.13], std: vec![0.31], fit: Fit::Digit { box_size: 20 } }
}

/// The strokes of a digit, each a line through points in a box of 1 x 1.
fn strokes(digit: u8) -> Vec<Vec<(f64, f64)>> {
    let arc = |x: f64, y: f64, wide: f64, high: f64, from: f64, to: f64| -> Vec<(f64, f64)> {
        let angle = |step: u32| (from + (to - from) * f64::from(step) / 24.0).to_radians();
        (0..=24).map(|step| (x + wide * angle(step).cos(), y + high * angle(step).sin())).collect()
    };
    match digit {
        0 => vec![arc(0.5, 0.5, 0.3, 0.45, 0.0, 360.0)],
        1 => vec![vec![(0.5, 0.0), (0.5, 1.0)]],
        2 => vec![[arc(0.5, 0.25, 0.3, 0.25, -180.0, 45.0), vec![(0.2, 1.0), (0.85, 1.0)]].concat()],
        3 => vec![arc(0.45, 0.26, 0.3, 0.24, -150.0, 90.0), arc(0.45, 0.74, 0.34, 0.26, -90.0, 150.0)],
        4 => vec![vec![(0.4, 0.0), (0.1, 0.6), (0.9, 0.6)], vec![(0.65, 0.25), (0.65, 1.0)]],
        5 => vec![
            vec![(0.25, 0.0), (0.85, 0.0)],
            [vec![(0.25, 0.0), (0.22, 0.45)], arc(0.45, 0.7, 0.35, 0.3, -110.0, 150.0)].concat(),
        ],
        _ => vec![vec![(0.1, 0.0), (0.9, 0.0), (0.4, 1.0)]],
    }
}

/// How a digit is drawn: where, how large, with which pen.
#[derive(Clone)]
struct Drawing {
    size: (u32, u32),
    corner: (f64, f64),
    side: f64,
    pen: f64,
    ink: [f64; 3],
    paper: [f64; 3],
    degrees: f64,
}

const PLAIN: Drawing = Drawing {
    size: (300, 200),
    corner: (90.0, 40.0),
    side: 120.0,
    pen: 14.0,
    ink: [0.0; 3],
    paper: [255.0; 3],
    degrees: 0.0,
};

impl Drawing {
    fn draw(&self, digit: u8) -> RgbImage {
        let (sin, cos) = self.degrees.to_radians().sin_cos();
        let place = |(x, y): (f64, f64)| {
            let (x, y) = (x - 0.5, y - 0.5);
            (
                self.corner.0 + self.side * (0.5 + cos * x - sin * y),
                self.corner.1 + self.side * (0.5 + sin * x + cos * y),
            )
        };
        let lines: Vec<Vec<_>> = strokes(digit).into_iter().map(|line| line.into_iter().map(place).collect()).collect();
        RgbImage::from_fn(self.size.0, self.size.1, |x, y| {
            let distance = |pair: &[(f64, f64)]| {
                let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
                let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
                let length = ((bx - ax).powi(2) + (by - ay).powi(2)).max(1e-9);
                let along = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length).clamp(0.0, 1.0);
                (x - ax - along * (bx - ax)).hypot(y - ay - along * (by - ay))
            };
            let nearest = lines.iter().flat_map(|line| line.windows(2)).map(distance).fold(f64::MAX, f64::min);
            let share = (self.pen / 2.0 - nearest + 0.5).clamp(0.0, 1.0);
            Rgb(std::array::from_fn(|c| (self.paper[c] + (self.ink[c] - self.paper[c]) * share) as u8))
        })
    }
}

/// Light that falls off to one corner, and the noise of a camera.
fn photograph(picture: &RgbImage, shade: f64, noise: f64) -> RgbImage {
    let mut rng = Stream::new(3, Purpose::Synthetic).at(0, 0);
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let mut photo = picture.clone();
    for (x, y, pixel) in photo.enumerate_pixels_mut() {
        let light = 1.0 - shade * (f64::from(x) / width + f64::from(y) / height) / 2.0;
        pixel.0 = pixel.0.map(|value| (f64::from(value) * light + random::uniform_symmetric(&mut rng, noise)) as u8);
    }
    photo
}

/// The box round everything brighter than a tenth: width and height.
fn extent(image: &[u8]) -> (usize, usize) {
    let lit: Vec<_> = (0..784).filter(|&place| image[place] > 25).map(|place| (place % 28, place / 28)).collect();
    let span = |values: Vec<usize>| values.iter().max().unwrap() - values.iter().min().unwrap() + 1;
    (span(lit.iter().map(|place| place.0).collect()), span(lit.iter().map(|place| place.1).collect()))
}

fn check_form(name: &str, image: &[u8]) {
    let drawing = picture::ascii(image, SHAPE);
    let (width, height) = extent(image);
    let longer = width.max(height);
    assert!((19..=20).contains(&longer), "{name}: the longer side is {longer}\n{drawing}");
    let total: f64 = image.iter().map(|pixel| f64::from(*pixel)).sum();
    for centre in [|place: usize| place % 28, |place: usize| place / 28] {
        let mass: f64 = image.iter().enumerate().map(|(place, pixel)| centre(place) as f64 * f64::from(*pixel)).sum();
        assert!((mass / total - 14.0).abs() <= 0.6, "{name}: centre of mass at {}\n{drawing}", mass / total);
    }
    assert_eq!(image.iter().max(), Some(&255), "{name}");
    // MNIST's digits cover between 7 (ones) and 35 percent of the image's light.
    assert!((0.03..0.35).contains(&(total / 784.0 / 255.0)), "{name}: {}\n{drawing}", total / 784.0 / 255.0);
}

fn correlation(a: &[u8], b: &[u8]) -> f64 {
    let mean = |values: &[u8]| values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(f64::from(*a) - mean_a, f64::from(*b) - mean_b)).sum()
    };
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt().max(1e-9)
}

/// What draws one digit.
type Draw = Box<dyn Fn(u8) -> RgbImage>;

fn cases() -> Vec<(&'static str, Draw)> {
    let drawn = |drawing: Drawing| -> Draw { Box::new(move |digit| drawing.draw(digit)) };
    vec![
        ("black on white", drawn(PLAIN)),
        ("a thin pen", drawn(Drawing { pen: 2.0, ..PLAIN })),
        (
            "a hairline in a large picture",
            drawn(Drawing { size: (720, 640), corner: (60.0, 60.0), side: 500.0, pen: 2.0, ..PLAIN }),
        ),
        ("a thick marker", drawn(Drawing { pen: 30.0, ..PLAIN })),
        ("white on black", drawn(Drawing { ink: [255.0; 3], paper: [0.0; 3], ..PLAIN })),
        ("blue on white", drawn(Drawing { ink: [30.0, 60.0, 220.0], ..PLAIN })),
        ("yellow on white", drawn(Drawing { ink: [250.0, 220.0, 30.0], ..PLAIN })),
        (
            "red on green of the same lightness",
            drawn(Drawing { ink: [200.0, 40.0, 40.0], paper: [40.0, 110.0, 40.0], ..PLAIN }),
        ),
        ("pencil", drawn(Drawing { ink: [170.0; 3], paper: [240.0; 3], pen: 4.0, ..PLAIN })),
        ("in a corner", drawn(Drawing { corner: (4.0, 4.0), side: 60.0, pen: 6.0, ..PLAIN })),
        ("tiny", drawn(Drawing { size: (14, 16), corner: (2.0, 3.0), side: 10.0, pen: 1.6, ..PLAIN })),
        ("turned", drawn(Drawing { degrees: 12.0, ..PLAIN })),
        ("uneven light", Box::new(|digit| photograph(&PLAIN.draw(digit), 0.6, 0.0))),
        ("uneven light and noise", Box::new(|digit| photograph(&PLAIN.draw(digit), 0.5, 25.0))),
        ("noise", Box::new(|digit| photograph(&Drawing { pen: 8.0, ..PLAIN }.draw(digit), 0.0, 40.0))),
        (
            "specks of dirt",
            Box::new(|digit| {
                let mut picture = PLAIN.draw(digit);
                for (x, y) in [(10, 10), (280, 20), (20, 180), (290, 190)] {
                    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)] {
                        picture.put_pixel(x + dx, y + dy, Rgb([40; 3]));
                    }
                }
                picture
            }),
        ),
    ]
}

#[test]
fn every_kind_of_picture_gets_the_form_of_mnist_and_stays_recognisable() {
    let digits = [0, 1, 2, 3, 4, 5, 7];
    let plain = digits.map(|digit| fit(&PLAIN.draw(digit)));
    digits.into_par_iter().for_each(|digit| {
        for (name, draw) in cases() {
            let name = format!("{digit}, {name}");
            let image = fit(&draw(digit));
            check_form(&name, &image);
            let likeness = |other: usize| correlation(&plain[other], &image);
            let most_alike = (0..digits.len()).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap();
            assert_eq!(digits[most_alike], digit, "{name}\n{}", picture::ascii(&image, SHAPE));
        }
    });
}

#[test]
fn the_aspect_is_kept() {
    let (width, height) = extent(&fit(&PLAIN.draw(0)));
    // 0.6 by 0.9 of the side and the pen.
    let expected = (0.6 * 120.0 + 14.0) / (0.9 * 120.0 + 14.0) * height as f64;
    assert!((width as f64 - expected).abs() <= 1.0, "{width} x {height}");
    assert!(extent(&fit(&PLAIN.draw(1))).0 <= 4);
}

#[test]
fn an_image_of_mnist_stays_what_it_is() {
    let test: ImageSet = MnistConfig {}.open(0).unwrap().test;
    let (mut exact, mut sum, mut worst) = (0, 0.0, 1.0_f64);
    for index in 0..1000 {
        let image = test.image(index);
        let picture = RgbImage::from_fn(28, 28, |x, y| Rgb([image[(y * 28 + x) as usize]; 3]));
        let likeness = correlation(image, &fit(&picture));
        exact += usize::from(likeness > 0.99);
        sum += likeness;
        worst = worst.min(likeness);
    }
    assert!(sum / 1000.0 > 0.97 && exact > 900, "mean {}, {exact} nearly exact, worst {worst}", sum / 1000.0);
}

#[test]
fn a_blank_picture_is_refused() {
    let noisy = photograph(&RgbImage::from_pixel(200, 200, Rgb([200; 3])), 0.4, 20.0);
    let dark = RgbImage::new(28, 28);
    for picture in [noisy, dark, RgbImage::from_pixel(1, 1, Rgb([9; 3]))] {
        let error = picture::fit(&DynamicImage::from(picture), &preprocess()).unwrap_err();
        assert_eq!(error.to_string(), "no ink was found: the picture is blank");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn transparent_pictures_are_laid_over_what_shows_their_ink() {
    let plain = fit(&PLAIN.draw(5));
    for ink in [0, 255] {
        let mask = PLAIN.draw(5);
        let picture = RgbaImage::from_fn(300, 200, |x, y| Rgba([ink, ink, ink, 255 - mask.get_pixel(x, y).0[0]]));
        let image = picture::fit(&DynamicImage::from(picture), &preprocess()).unwrap();
        assert!(correlation(&plain, &image) > 0.99);
    }
}

/// Images of MNIST as drawings: larger, in colour, off the centre, on paper that gets darker and has grain. In whole
/// numbers, so that they are the same everywhere.
fn enlarged(image: &[u8], index: u32) -> RgbImage {
    let (larger, left, top) = (index % 9 + 1, index * 7 % 50, index * 11 % 40);
    let (dark, tint, grain) = (index.is_multiple_of(2), index * 37 % 90, [0, 0, 6][index as usize % 3]);
    let size = (28 * larger + 60, 28 * larger + 50);
    RgbImage::from_fn(size.0, size.1, |x, y| {
        let place = |at: u32, start: u32| at.checked_sub(start).map(|at| at / larger).filter(|at| *at < 28);
        let ink = match (place(x, left), place(y, top)) {
            (Some(x), Some(y)) => u32::from(image[(y * 28 + x) as usize]),
            _ => 0,
        };
        let shade = if grain == 0 { 0 } else { 40 * x / size.0 };
        let noise = if grain == 0 { 0 } else { (x * 7919 + y * 104_729 + x * y) % grain };
        Rgb([0, tint, tint / 2].map(|tint| {
            let (paper, pen) = if dark { (30 + noise + shade, 255 - tint) } else { (250 - noise - shade, tint) };
            ((paper * (255 - ink) + pen * ink) / 255) as u8
        }))
    })
}

#[test]
fn the_search_for_ink_gives_what_it_gave_to_the_last_bit() {
    let test = super::open(&super::DataConfig::default(), 1).unwrap().test;
    let images: Vec<Vec<u8>> =
        (0..270).into_par_iter().map(|index| fit(&enlarged(test.image(index), index as u32))).collect();
    assert_eq!(
        hex::encode(Sha256::digest(images.concat())),
        "184fcf42476120de03b52e00986b705e539997a5aa66d243fd843b0b11b23fcf"
    );
}

#[test]
fn a_digit_in_grey_is_found_as_in_colour() {
    let test = super::open(&super::DataConfig::default(), 1).unwrap().test;
    (0..90).into_par_iter().for_each(|index| {
        let grey = DynamicImage::from(enlarged(test.image(index), index as u32)).to_luma8();
        let in_colour = DynamicImage::from(grey.clone()).to_rgb8();
        assert_eq!(picture::fit(&grey.into(), &preprocess()).unwrap(), fit(&in_colour), "{index}");
    });
}
