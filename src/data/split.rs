//! The split into training and validation images: stratified by class, drawn by the seed.

use super::{ImageSet, random};
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// Holds `validation` images out of `set`; returns what is left to train on, and them, each in the order of `set`.
///
/// # Errors
/// As [`held_out`].
pub(super) fn stratified_split(set: &ImageSet, validation: usize, seed: u64) -> Result<(ImageSet, ImageSet)> {
    if validation == 0 {
        return Ok((set.clone(), set.select(&[])));
    }
    let held_out = held_out(set, validation, seed)?;
    let (validation, train): (Vec<_>, Vec<_>) = (0..set.len()).partition(|index| held_out[*index]);
    Ok((set.select(&train), set.select(&validation)))
}

/// Which images of `set` to hold out so that they are `validation`, with the classes in proportion in both parts as far as
/// whole images allow.
///
/// # Errors
/// A usage error when a class would be left without a training image.
pub(super) fn held_out(set: &ImageSet, validation: usize, seed: u64) -> Result<Vec<bool>> {
    if validation == 0 {
        return Ok(vec![false; set.len()]);
    }
    let counts = set.class_counts();
    let classes = counts.iter().filter(|count| **count > 0).count();
    let most = set.len().saturating_sub(classes);
    if validation > most {
        return Err(Error::usage(format!(
            "`data.validation` must be at most {most}, so that each of the {classes} classes keeps an image to train on \
             ({} training images in all), got {validation}",
            set.len()
        ))
        .tip(format!("set `data.validation` to at most {most}; 0 keeps every image for training")));
    }

    let mut members = vec![Vec::new(); counts.len()];
    for index in 0..set.len() {
        members[set.label(index)].push(index);
    }
    let stream = Stream::new(seed, Purpose::Split);
    let mut held_out = vec![false; set.len()];
    for (class, (members, quota)) in members.iter_mut().zip(quotas(&counts, validation)).enumerate() {
        random::shuffle(&mut stream.at(0, class), members);
        for &index in &members[..quota] {
            held_out[index] = true;
        }
    }
    Ok(held_out)
}

/// How many of `wanted` each class gives: its proportional quota rounded down, and the rest one each to the largest
/// remainders (Hamilton's method), where a class never gives its last image.
fn quotas(counts: &[usize], wanted: usize) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    let exact = |count: usize| count as u128 * wanted as u128;
    let mut quotas: Vec<usize> = counts.iter().map(|&count| (exact(count) / total as u128) as usize).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(exact(counts[class]) % total as u128));
    let mut missing = wanted - quotas.iter().sum::<usize>();
    while missing > 0 {
        for &class in &order {
            if missing > 0 && quotas[class] + 1 < counts[class] {
                quotas[class] += 1;
                missing -= 1;
            }
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    /// One-pixel images whose pixel is their index.
    fn set(labels: &[u16], classes: usize) -> ImageSet {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let pixels = (0..labels.len()).map(|index| index as u8).collect();
        let classes = (0..classes).map(|class| class.to_string()).collect();
        ImageSet::new(shape, pixels, labels.to_vec(), classes).unwrap()
    }

    #[test]
    fn quotas_add_up_and_are_proportional() {
        assert_eq!(quotas(&[50, 30, 20], 10), [5, 3, 2]);
        assert_eq!(quotas(&[50, 30, 20], 11), [6, 3, 2]);
        assert_eq!(quotas(&[5, 1, 1], 3), [3, 0, 0]);
        assert_eq!(quotas(&[5, 1, 1], 4), [4, 0, 0]);
        for wanted in 1..=97 {
            assert_eq!(quotas(&[50, 30, 20], wanted).iter().sum::<usize>(), wanted);
        }
    }

    #[test]
    fn the_parts_share_no_image_and_miss_none() {
        let labels: Vec<u16> = (0..100).map(|index| u16::from(index % 4 == 0)).collect();
        let (train, validation) = stratified_split(&set(&labels, 2), 20, 7).unwrap();
        assert_eq!(validation.class_counts(), [15, 5]);
        let mut all: Vec<u8> = train.pixels.iter().chain(validation.pixels.iter()).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
        for part in [&train, &validation] {
            assert!((0..part.len()).all(|index| part.label(index) == usize::from(part.image(index)[0] % 4 == 0)));
        }
    }

    #[test]
    fn the_seed_decides_the_split() {
        let set = set(&[0; 100], 1);
        let pixels = |seed| stratified_split(&set, 10, seed).unwrap().1.pixels;
        assert_eq!(pixels(1), pixels(1));
        assert_ne!(pixels(1), pixels(2));
    }

    #[test]
    fn none_held_out_keeps_every_image() {
        let (train, validation) = stratified_split(&set(&[0, 1, 0], 2), 0, 7).unwrap();
        assert_eq!((train.len(), validation.len()), (3, 0));
    }

    #[test]
    fn a_class_without_training_images_is_refused() {
        let error = stratified_split(&set(&[0, 1, 0, 1], 2), 3, 7).unwrap_err();
        insta::assert_snapshot!(error.render(), @r"
        error: `data.validation` must be at most 2, so that each of the 2 classes keeps an image to train on (4 training images in all), got 3
        tip: set `data.validation` to at most 2; 0 keeps every image for training
        ");
        assert_eq!(error.exit_code(), 2);
    }
}
