//! Pixels in words for devices without bytes, three to a word. A word is a float, since every backend computes with those; one
//! holds whole numbers of 24 bits exactly.

/// Pixels in a word.
pub const PIXELS: usize = 3;

/// The words that an image of `length` pixels takes.
pub fn words(length: usize) -> usize {
    length.div_ceil(PIXELS)
}

/// Writes pixels into words, the first into the lowest bits.
pub fn pack(pixels: &[u8], words: &mut [f32]) {
    for (word, pixels) in words.iter_mut().zip(pixels.chunks(PIXELS)) {
        *word = pixels.iter().rev().fold(0, |bits: u32, pixel| bits << 8 | u32::from(*pixel)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pixel_is_in_the_lowest_bits() {
        let mut packed = [0.0; 2];
        pack(&[1, 2, 3, 255], &mut packed);
        assert_eq!(packed, [f32::from(1_u8) + 512.0 + 196_608.0, 255.0]);
        assert_eq!((words(3), words(4)), (1, 2));
    }
}
