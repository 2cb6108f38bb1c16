//! The fit to the paper, compared with one that looks at every sample.

use image::{DynamicImage, Rgb, RgbImage};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::samples::coordinates;
use super::*;

/// Calls `add` with the lane, x, and the colour of each place of row `y`.
fn samples(
    (picture, grid, region): (&RgbImage, &Grid, Region),
    base: [u8; 3],
    y: usize,
    mut add: impl FnMut(usize, f64, [f64; 3]),
) {
    let xs = coordinates(grid.width);
    for (index, x) in grid.columns()[grid.columns_of(y, region)].places.iter().enumerate() {
        let colour = picture.get_pixel(*x as u32, y as u32).0;
        add(index % LANES, xs[*x], std::array::from_fn(|c| f64::from(colour[c]) - f64::from(base[c])));
    }
}

/// The paper, with every sample looked at one by one.
fn fit_plainly(picture: &RgbImage, base: [u8; 3]) -> Paper<3> {
    let (grid, ys) = (Grid::of(&Planes::of_colour(picture)), coordinates(picture.height() as usize));
    let mut paper = Paper { base, coloured: Vec::new(), coefficients: [[0.0; TERMS.len()]; 3], noise: 0.0 };
    for (region, terms) in
        [(Region::Border, PLANE), (Region::Border, PLANE), (Region::Everywhere, 6), (Region::Everywhere, 6)]
    {
        let square = |y: f64, x: f64, colour: [f64; 3]| {
            let row = paper.offset(y);
            (0..3).fold(0.0, |sum, c| sum + (colour[c] - ((row[c][2] * x + row[c][1]) * x + row[c][0])).powi(2))
        };
        let mut squares = Vec::new();
        for (y, place) in ys.iter().enumerate() {
            samples((picture, &grid, Region::Border), base, y, |_, x, colour| {
                squares.push(square(*place, x, colour));
            });
        }
        squares.sort_by(f64::total_cmp);
        let close = (SPREAD * SPREAD * squares[squares.len() / 2]).max(CLOSE * CLOSE);
        let mut sums = Sums { powers: [[0.0; 5]; 5], colours: [[[0.0; 3]; 3]; 3], squares: 0.0 };
        for (y, place) in ys.iter().enumerate() {
            let mut lanes = [[0.0; LANES]; ROW_SUMS];
            samples((picture, &grid, region), base, y, |lane, x, colour| {
                if square(*place, x, colour) > close {
                    return;
                }
                let powers = [1.0, x, x * x, x * x * x, x * x * x * x];
                (0..POWERS).for_each(|power| lanes[power][lane] += powers[power]);
                for (channel, colour) in colour.into_iter().enumerate() {
                    let of_powers = [colour, colour * x, colour * x * x];
                    (0..3).for_each(|power| lanes[COLOURS + 3 * channel + power][lane] += of_powers[power]);
                    lanes[SQUARES][lane] += colour * colour;
                }
            });
            sums.add_row(*place, &lanes.map(total));
        }
        if sums.count() < LEAST as f64 {
            break;
        }
        paper.solve(&sums, terms);
    }
    paper
}

#[test]
fn what_is_blank_is_passed_over_without_a_difference() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for case in 0..200 {
        let (width, height) = (rng.random_range(2..220), rng.random_range(2..120));
        let [paper, ink, near] = [255, 90, 250].map(|most| [0; 3].map(|_| rng.random_range(0..=most)));
        // Blank, with ink in a part of it, with shades of the paper, in uneven light, and all noise.
        let [left, top, right, bottom] = [width, height, width, height].map(|side| rng.random_range(0..side));
        let shade = if case % 5 == 3 { rng.random_range(0.0..0.9) } else { 0.0 };
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let inside = (left..=right).contains(&x) && (top..=bottom).contains(&y);
            let colour = match case % 5 {
                1 if inside => ink,
                2 if inside && (x + y) % 7 < 3 => near,
                4 => [0; 3].map(|_| rng.random_range(0..=255)),
                _ => paper,
            };
            let light = 1.0 - shade * f64::from(x) / f64::from(width);
            Rgb(colour.map(|value: u8| (f64::from(value) * light) as u8))
        });
        let found = Paper::fit(&Planes::of_colour(&picture));
        let expected = fit_plainly(&picture, found.base);
        assert_eq!(found.coefficients, expected.coefficients, "case {case}, {width} x {height}");
        assert_eq!(found.noise, expected.noise, "case {case}, {width} x {height}");
        // One plane stands for all three where they are the same.
        let grey = DynamicImage::from(picture).into_luma8();
        let colourless = DynamicImage::from(grey.clone()).into_rgb8();
        let (one, three) = (Paper::fit(&Planes::of_grey(&grey)), Paper::fit(&Planes::of_colour(&colourless)));
        assert_eq!([one.coefficients[0]; 3], three.coefficients, "case {case}, in grey");
        assert_eq!(one.noise, three.noise, "case {case}, in grey");
    }
}
