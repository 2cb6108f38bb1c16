//! In which order the images of a pass are seen.

use std::sync::Arc;

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImageSet, random};
use crate::seed::{Purpose, Stream};

/// `train.sampling`: which images an epoch shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every image once in a pass.
    #[default]
    Uniform,
    /// As many images of every class, in as many batches: those of a small class more than once in a pass, of a large one
    /// some, others in each pass.
    Balanced,
}

/// How images are ordered.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// As they are in the set, always.
    Sequential,
    /// Anew for every epoch and pass.
    Shuffled(Stream),
    /// Anew for every epoch and pass, with as many of each of these classes.
    Balanced(Stream, Arc<Vec<Vec<u32>>>),
}

impl Order {
    /// Anew for every epoch and pass.
    pub(super) fn shuffled(seed: u64) -> Self {
        Self::Shuffled(Stream::new(seed, Purpose::Shuffle))
    }

    /// The same with as many images of every class that `set` has any of.
    pub(super) fn balanced(set: &ImageSet, seed: u64) -> Self {
        let mut members = vec![Vec::new(); set.classes.len()];
        (0..set.len()).for_each(|index| members[set.label(index)].push(index as u32));
        members.retain(|members| !members.is_empty());
        Self::Balanced(Stream::new(seed, Purpose::Shuffle), Arc::new(members))
    }

    /// The images of one pass of an epoch.
    pub(super) fn of_pass(&self, images: usize, (epoch, pass): (usize, usize)) -> Vec<u32> {
        match self {
            Self::Shuffled(stream) => {
                let mut order: Vec<u32> = (0..images as u32).collect();
                random::shuffle(&mut stream.at(epoch, pass), &mut order);
                order
            }
            Self::Balanced(stream, members) => balanced(members, images, &mut stream.at(epoch, pass)),
            Self::Sequential => (0..images as u32).collect(),
        }
    }

    /// The order within a part of the set, whose classes are not those of the whole.
    pub(super) fn within_a_part(&self) -> Self {
        match self {
            Self::Balanced(stream, _) => Self::Shuffled(*stream),
            order => order.clone(),
        }
    }
}

/// `images` images in random order, as many of each class, or one more of the first ones drawn. Of each class, no image is
/// there twice before every one is there once.
fn balanced(members: &[Vec<u32>], images: usize, rng: &mut impl Rng) -> Vec<u32> {
    let mut classes: Vec<usize> = (0..members.len()).collect();
    random::shuffle(rng, &mut classes);
    let (each, more) = (images / members.len().max(1), images % members.len().max(1));
    let mut order = Vec::with_capacity(images);
    for (place, class) in classes.into_iter().enumerate() {
        let end = order.len() + each + usize::from(place < more);
        while order.len() < end {
            let mut pass = members[class].clone();
            random::shuffle(rng, &mut pass);
            pass.truncate(end - order.len());
            order.append(&mut pass);
        }
    }
    random::shuffle(rng, &mut order);
    order
}

/// The images of the first batches, `count` in all, of a run with this `seed`, in their order; all where there are fewer.
pub(crate) fn first_images(images: usize, count: usize, seed: u64) -> Vec<usize> {
    Order::shuffled(seed).of_pass(images, (1, 0)).into_iter().take(count).map(|index| index as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balanced_pass_has_as_many_images_of_every_class() {
        let members = [(0..2).collect(), (2..100).collect(), (100..109).collect::<Vec<u32>>()];
        let stream = Stream::new(9, Purpose::Shuffle);
        let mut seen = [0; 109];
        for epoch in 1..=300 {
            let order = balanced(&members, 109, &mut stream.at(epoch, 0));
            let of = |class: &Vec<u32>| order.iter().filter(|image| class.contains(image)).count();
            let counts: Vec<usize> = members.iter().map(of).collect();
            assert!(order.len() == 109 && counts.iter().all(|count| [36, 37].contains(count)), "{counts:?}");
            order.iter().for_each(|image| seen[*image as usize] += 1);
            let of_first: Vec<_> = (0..2).map(|image| order.iter().filter(|other| **other == image).count()).collect();
            assert!(of_first[0].abs_diff(of_first[1]) <= 1, "{of_first:?}");
        }
        // 36.33 of a pass are of the 98 images of the largest class: each is seen 111 times, standard deviation 8.4.
        assert!(seen[2..100].iter().all(|times| (70..152).contains(times)), "{seen:?}");
        assert_ne!(balanced(&members, 109, &mut stream.at(1, 0)), balanced(&members, 109, &mut stream.at(1, 1)));
    }
}
