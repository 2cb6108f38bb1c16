//! What is seen beside an image.

use serde::{Deserialize, Serialize};

/// What is round an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Background {
    /// One value per channel.
    Constant(Vec<u8>),
    /// The nearest pixel.
    Edge,
    /// The image in a mirror; the outermost pixels are not repeated.
    Reflect,
}

impl Background {
    /// The index in `0..length` that is seen at `index`; none where a constant is.
    pub fn index(&self, index: isize, length: usize) -> Option<usize> {
        let last = length as isize - 1;
        if (0..=last).contains(&index) {
            return usize::try_from(index).ok();
        }
        let folded = match self {
            Self::Constant(_) => return None,
            Self::Edge => index.clamp(0, last),
            Self::Reflect if last == 0 => 0,
            Self::Reflect => last - (index.rem_euclid(2 * last) - last).abs(),
        };
        usize::try_from(folded).ok()
    }

    /// The value in `channel`, where it is constant.
    pub fn constant(&self, channel: usize) -> Option<u8> {
        if let Self::Constant(values) = self { values.get(channel).copied() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_the_image_its_edge_its_mirror_or_a_constant_is_seen() {
        let seen = |background: &Background| (-4..7).map(|index| background.index(index, 3)).collect::<Vec<_>>();
        let some = |indices: [usize; 11]| indices.map(Some).to_vec();
        assert_eq!(seen(&Background::Edge), some([0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2]));
        assert_eq!(seen(&Background::Reflect), some([0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]));
        let constant = Background::Constant(vec![9]);
        assert_eq!((constant.index(-1, 3), constant.index(2, 3), constant.index(3, 3)), (None, Some(2), None));
        assert_eq!(Background::Reflect.index(-5, 1), Some(0));
    }
}
