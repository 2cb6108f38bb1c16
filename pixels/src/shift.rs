//! Images moved by whole pixels.

use crate::{Background, ImageShape};

/// Shows at every pixel of an image of `shape` the one that lies `right` and `down` of it. `copy` is memory to reuse.
pub fn shift(
    (right, down): (isize, isize),
    (ImageShape { height, width, .. }, background): (ImageShape, &Background),
    copy: &mut Vec<u8>,
    image: &mut [u8],
) {
    copy.clear();
    copy.extend_from_slice(image);
    let plane = height * width;
    for (channel, (out, from)) in image.chunks_exact_mut(plane).zip(copy.chunks_exact(plane)).enumerate() {
        let outside = background.constant(channel).unwrap_or(0);
        for (row, out) in (0_isize..).zip(out.chunks_exact_mut(width)) {
            let from_row = background.index(row + down, height).map(|row| &from[row * width..(row + 1) * width]);
            for (column, out) in (0_isize..).zip(out) {
                let from_column = background.index(column + right, width);
                *out = from_row.zip(from_column).map_or(outside, |(row, column)| row[column]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(background: Background, offsets: (isize, isize)) -> Vec<u8> {
        let shape = ImageShape { channels: 1, height: 2, width: 3 };
        let mut image = vec![1, 2, 3, 4, 5, 6];
        shift(offsets, (shape, &background), &mut Vec::new(), &mut image);
        image
    }

    #[test]
    fn a_shift_shows_what_lies_beside_the_image() {
        let zero = || Background::Constant(vec![9]);
        assert_eq!(shifted(zero(), (1, 0)), [2, 3, 9, 5, 6, 9]);
        assert_eq!(shifted(zero(), (-2, 1)), [9, 9, 4, 9, 9, 9]);
        assert_eq!(shifted(Background::Edge, (1, 0)), [2, 3, 3, 5, 6, 6]);
        assert_eq!(shifted(Background::Edge, (-1, -1)), [1, 1, 2, 1, 1, 2]);
        assert_eq!(shifted(Background::Reflect, (1, 0)), [2, 3, 2, 5, 6, 5]);
        assert_eq!(shifted(Background::Reflect, (-2, 0)), [3, 2, 1, 6, 5, 4]);
    }
}
