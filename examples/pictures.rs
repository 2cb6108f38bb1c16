//! Makes up folders of pictures to try `kiln new` and `kiln train` on: `cargo run --example pictures -- KIND FOLDER`.
//!
//! - `shapes`: 415 pictures of circles, squares and (few) triangles in any colours and sizes, with broken files and a `Thumbs.db`;
//! - `marks`: 600 pictures of 20 classes, five shapes drawn in four ways;
//! - `digits`: 600 handwritten digits of MNIST;
//! - `many`: 100,000 colour pictures of 32 x 32 pixels in 10 classes.

use std::f32::consts::TAU;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use image::{Rgb, RgbImage};

type Failure = Box<dyn std::error::Error>;

/// A stream of numbers (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn colour(&mut self) -> [f32; 3] {
        [self.within(0.0, 255.0), self.within(0.0, 255.0), self.within(0.0, 255.0)]
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, folder] = &arguments[..] else {
        return Err("give a kind (shapes, marks, digits or many) and a folder".into());
    };
    let folder = Path::new(folder);
    match kind.as_str() {
        "shapes" => shapes(folder),
        "marks" => marks(folder),
        "digits" => digits(folder),
        "many" => many(folder),
        _ => Err(format!("there are shapes, marks, digits and many, not {kind}").into()),
    }
}

/// How a shape is drawn.
#[derive(Clone, Copy)]
enum Style {
    Filled,
    Outlined,
    Striped,
    Dotted,
}

/// A shape of so many corners, 0 for a circle, somewhere in a picture of any size, turned by any angle unless it stands.
fn shape(draw: &mut Draw, corners: usize, style: Style, side: u32) -> RgbImage {
    let (ground, mut ink) = (draw.colour(), draw.colour());
    // Far enough from the ground to be seen.
    while (0..3).map(|channel| (ground[channel] - ink[channel]).abs()).sum::<f32>() < 150.0 {
        ink = draw.colour();
    }
    let scale = side as f32;
    let radius = draw.within(0.2, 0.42) * scale;
    let [x, y] = [draw.within(radius, scale - radius), draw.within(radius, scale - radius)];
    let turn = draw.within(0.0, TAU);
    let noise = draw.within(0.0, 25.0);
    RgbImage::from_fn(side, side, |column, row| {
        let [right, down] = [column as f32 + 0.5 - x, row as f32 + 0.5 - y];
        let (distance, angle) = (right.hypot(down), down.atan2(right) + turn);
        // How far the edge is in this direction.
        let edge = match corners {
            0 => radius,
            corners => {
                let part = TAU / corners as f32;
                radius * (part / 2.0).cos() / (angle.rem_euclid(part) - part / 2.0).cos()
            }
        };
        let inside = distance < edge;
        let is_ink = inside
            && match style {
                Style::Filled => true,
                Style::Outlined => distance > 0.75 * edge,
                Style::Striped => ((right * turn.cos() - down * turn.sin()) / scale * 14.0).rem_euclid(2.0) < 1.0,
                Style::Dotted => (right / scale * 10.0).fract().abs() < 0.55 && (down / scale * 10.0).fract().abs() < 0.55,
            };
        let colour = if is_ink { ink } else { ground };
        Rgb(colour.map(|value| (value + draw.within(-noise, noise)).clamp(0.0, 255.0) as u8))
    })
}

fn save(picture: &RgbImage, path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    Ok(picture.save(path)?)
}

fn shapes(folder: &Path) -> Result<(), Failure> {
    let mut draw = Draw(1);
    for (name, corners, count) in [("circle", 0, 205), ("square", 4, 185), ("triangle", 3, 25)] {
        for number in 0..count {
            let side = 40 + draw.below(80) as u32;
            let ending = ["png", "jpg", "bmp"][draw.below(3)];
            let place = if number % 5 == 0 { "more/" } else { "" };
            let picture = shape(&mut draw, corners, Style::Filled, side);
            save(&picture, &folder.join(format!("{name}/{place}{number:03}.{ending}")))?;
        }
    }
    fs::write(folder.join("circle/cut.png"), &fs::read(first(&folder.join("circle"), "png")?)?[..300])?;
    fs::write(folder.join("square/cut.jpg"), &fs::read(first(&folder.join("square"), "jpg")?)?[..300])?;
    fs::write(folder.join("triangle/notes.txt"), "there are few of these")?;
    fs::write(folder.join("square/empty.png"), "")?;
    fs::write(folder.join("circle/Thumbs.db"), [0; 100])?;
    Ok(())
}

/// The first file of a folder with this ending.
fn first(folder: &Path, ending: &str) -> Result<std::path::PathBuf, Failure> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let found = paths.into_iter().find(|path| path.extension().is_some_and(|found| found == ending));
    found.ok_or_else(|| format!("no .{ending} in {}", folder.display()).into())
}

fn marks(folder: &Path) -> Result<(), Failure> {
    let mut draw = Draw(2);
    let styles =
        [("filled", Style::Filled), ("outlined", Style::Outlined), ("striped", Style::Striped), ("dotted", Style::Dotted)];
    for (name, corners) in [("circle", 0), ("triangle", 3), ("square", 4), ("pentagon", 5), ("line", 2)] {
        // Two corners would have no inside: a line is a thin rhombus.
        for (drawn, style) in styles {
            for number in 0..30 {
                let side = 56 + draw.below(30) as u32;
                let picture = match corners {
                    2 => squeezed(&shape(&mut draw, 4, style, 2 * side), side),
                    corners => shape(&mut draw, corners, style, side),
                };
                save(&picture, &folder.join(format!("{drawn} {name}/{number:02}.png")))?;
            }
        }
    }
    Ok(())
}

/// A picture of twice the side, squeezed to half its width.
fn squeezed(picture: &RgbImage, side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |column, row| *picture.get_pixel((4 * column) % (2 * side), 2 * row))
}

fn digits(folder: &Path) -> Result<(), Failure> {
    let unpack = |name: &str| -> Result<Vec<u8>, Failure> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist").join(name);
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(path)?).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let (images, labels) = (unpack("train-images-idx3-ubyte.gz")?, unpack("train-labels-idx1-ubyte.gz")?);
    for (number, (image, label)) in images[16..].chunks_exact(784).zip(&labels[8..]).take(600).enumerate() {
        let path = folder.join(format!("{label}/{number:03}.png"));
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        image::save_buffer(&path, image, 28, 28, image::ExtendedColorType::L8)?;
    }
    Ok(())
}

fn many(folder: &Path) -> Result<(), Failure> {
    let mut draw = Draw(3);
    for number in 0..100_000 {
        let class = number % 10;
        let style = [Style::Filled, Style::Outlined][class / 5];
        let picture = shape(&mut draw, [0, 3, 4, 5, 6][class % 5], style, 32);
        save(&picture, &folder.join(format!("class {class}/{number:05}.png")))?;
    }
    Ok(())
}
