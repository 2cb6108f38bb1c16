//! Brightness, contrast and saturation by a factor, as torchvision computes them, and hue.

use crate::ImageShape;

/// The grey value of a pixel (ITU-R BT.601).
fn grey([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// Multiplies every pixel by `factor`.
pub fn brighten(image: &mut [u8], factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|pixel| (pixel as f32 * factor + 0.5) as u8);
    image.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
}

/// Multiplies the distance of every pixel from the image's mean grey value by `factor`.
pub fn stretch_contrast(image: &mut [u8], shape: ImageShape, factor: f32) {
    let plane = shape.height * shape.width;
    let sums: Vec<u64> =
        image.chunks_exact(plane).map(|pixels| pixels.iter().map(|pixel| u64::from(*pixel)).sum()).collect();
    let means: Vec<f32> = sums.iter().map(|sum| (*sum as f64 / plane as f64) as f32).collect();
    let mean = match means[..] {
        [red, green, blue] => grey([red, green, blue]),
        _ => means.iter().sum::<f32>() / means.len().max(1) as f32,
    };
    let table: [u8; 256] = std::array::from_fn(|pixel| (mean + (pixel as f32 - mean) * factor + 0.5) as u8);
    image.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
}

/// Replaces the colour of every pixel of a colour image by what `change` makes of it; does nothing to others.
fn for_each_colour(image: &mut [u8], shape: ImageShape, change: impl Fn([f32; 3]) -> [f32; 3]) {
    let plane = shape.height * shape.width;
    let (red, rest) = image.split_at_mut(plane.min(image.len()));
    let (green, blue) = rest.split_at_mut(plane.min(rest.len()));
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let changed = change([*red, *green, *blue].map(f32::from));
        [*red, *green, *blue] = changed.map(|value| (value + 0.5) as u8);
    }
}

/// Multiplies the distance of every pixel from its own grey value by `factor`.
pub fn saturate(image: &mut [u8], shape: ImageShape, factor: f32) {
    for_each_colour(image, shape, |pixel| {
        let grey = grey(pixel);
        pixel.map(|value| grey + (value - grey) * factor)
    });
}

/// Turns the hue of every pixel of a colour image by a part of the colour circle.
pub fn turn(image: &mut [u8], shape: ImageShape, part: f32) {
    for_each_colour(image, shape, |pixel| turn_hue(pixel, part));
}

/// Turns the hue of a pixel by a part of the colour circle; brightest and darkest channel stay as bright and dark
/// (HSV).
fn turn_hue([red, green, blue]: [f32; 3], turn: f32) -> [f32; 3] {
    let most = red.max(green).max(blue);
    let span = most - red.min(green).min(blue);
    if span == 0.0 {
        return [red, green, blue];
    }
    let sixth = if most == red {
        (green - blue) / span
    } else if most == green {
        2.0 + (blue - red) / span
    } else {
        4.0 + (red - green) / span
    };
    let sixth = sixth + 6.0 * turn;
    [5.0, 3.0, 1.0].map(|offset| {
        let place = (offset + sixth).rem_euclid(6.0);
        most - span * place.min(4.0 - place).clamp(0.0, 1.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_change_as_torchvision_changes_them() {
        let mut image = [10, 100, 200, 0];
        brighten(&mut image, 1.5);
        assert_eq!(image, [15, 150, 255, 0]);
        // The mean is 50.
        let mut image = [0, 100, 40, 60];
        stretch_contrast(&mut image, ImageShape { channels: 1, height: 2, width: 2 }, 0.5);
        assert_eq!(image, [25, 75, 45, 55]);
        let pixel = ImageShape { channels: 3, height: 1, width: 1 };
        // Grey: 0.299 * 200 + 0.587 * 100 + 0.114 * 0 = 118.5.
        let mut image = [200, 100, 0];
        saturate(&mut image, pixel, 0.0);
        assert_eq!(image, [119, 119, 119]);
        let mut image = [200, 100, 0];
        saturate(&mut image, pixel, 2.0);
        assert_eq!(image, [255, 82, 0]);
        let mut image = [200, 100, 0];
        stretch_contrast(&mut image, pixel, 0.0);
        assert_eq!(image, [119, 119, 119]);
    }

    #[test]
    fn a_third_of_the_circle_turns_red_into_green_and_green_into_blue() {
        let turned = |pixel, turn| turn_hue(pixel, turn).map(f32::round);
        assert_eq!(turned([200.0, 50.0, 50.0], 1.0 / 3.0), [50.0, 200.0, 50.0]);
        assert_eq!(turned([50.0, 200.0, 50.0], 1.0 / 3.0), [50.0, 50.0, 200.0]);
        assert_eq!(turned([50.0, 50.0, 200.0], -2.0 / 3.0), [200.0, 50.0, 50.0]);
        assert_eq!(turned([200.0, 50.0, 50.0], 0.5), [50.0, 200.0, 200.0]);
        for pixel in [[7.0, 7.0, 7.0], [120.0, 30.0, 200.0], [3.0, 250.0, 90.0], [1.0, 2.0, 255.0]] {
            assert_eq!(turned(pixel, 0.0), pixel);
        }
    }
}
