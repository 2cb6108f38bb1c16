//! Which images are held out: stratified by class, drawn by the seed. A picture that has a file is drawn by the file's
//! content, so that pictures that are added later move no other.

use super::{ImageSet, Validation, random};
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// A class with fewer pictures is not divided by a share of them.
const FEWEST: usize = 3;

/// The images that are not held out and those that are, each in the order of `set`.
pub(super) fn divide(set: ImageSet, held_out: &[bool]) -> (ImageSet, ImageSet) {
    let out: Vec<usize> = (0..set.len()).filter(|index| held_out[*index]).collect();
    let out = set.select(&out);
    (if out.is_empty() { set } else { set.retain(|index| !held_out[index]) }, out)
}

/// Which images of `set` to hold out for validation, with the classes in proportion in both parts as far as whole images
/// allow. `digests` are those of the images' files, or none. What becomes of small classes is added to `notices`.
///
/// # Errors
/// A usage error when a class would be left without a training image.
pub(super) fn held_out(
    set: &ImageSet,
    digests: &[[u8; 32]],
    validation: Validation,
    seed: u64,
    notices: &mut Vec<String>,
) -> Result<Vec<bool>> {
    if validation.is_none() {
        return Ok(vec![false; set.len()]);
    }
    let stream = Stream::new(seed, Purpose::Split);
    if let (Some(share), false) = (validation.share(), digests.is_empty()) {
        let held_out = by_content(&set.labels, set.classes.len(), digests, share, stream);
        notices.extend(without(&set.labels, &set.classes, &held_out, "validation"));
        return Ok(held_out);
    }
    let validation = validation.of(set.len());
    let counts = set.class_counts();
    let classes = counts.iter().filter(|count| **count > 0).count();
    let most = set.len().saturating_sub(classes);
    if validation > most {
        return Err(Error::usage(format!(
            "`data.validation` must be at most {most}, so that each of the {classes} classes keeps an image to train on \
             ({} training images in all), got {validation}",
            set.len()
        ))
        .tip("set `data.validation` to a share, such as 0.1 for a tenth; 0 keeps every image for training"));
    }
    let mut held_out = vec![false; set.len()];
    for (class, (members, quota)) in
        members(&set.labels, set.classes.len()).iter_mut().zip(quotas(&counts, validation)).enumerate()
    {
        if digests.is_empty() {
            random::shuffle(&mut stream.at(0, class), members);
        } else {
            in_order_of_content(members, digests, stream);
        }
        members[..quota].iter().for_each(|&index| held_out[index] = true);
    }
    Ok(held_out)
}

/// Which images to hold out so that they are about `share` of each class: each is drawn by its file's content alone, whose
/// digest is in `digests`. Of a class with at least [`FEWEST`] images one is held out and one is not, whatever is drawn; a
/// smaller one is kept whole.
pub(super) fn by_content(
    labels: &[u16],
    classes: usize,
    digests: &[[u8; 32]],
    share: f64,
    stream: Stream,
) -> Vec<bool> {
    let mut held_out = vec![false; labels.len()];
    for mut members in members(labels, classes).into_iter().filter(|members| members.len() >= FEWEST) {
        in_order_of_content(&mut members, digests, stream);
        let drawn = members.partition_point(|&index| stream.of_content(&digests[index]) < share);
        let drawn = drawn.clamp(1, members.len() - 1);
        members[..drawn].iter().for_each(|&index| held_out[index] = true);
    }
    held_out
}

/// What to say of classes of which nothing is held out, where anything is.
pub(super) fn without(labels: &[u16], classes: &[String], held_out: &[bool], part: &str) -> Option<String> {
    let (mut counts, mut all) = (vec![0_usize; classes.len()], vec![0_usize; classes.len()]);
    for (label, held_out) in labels.iter().zip(held_out) {
        counts[usize::from(*label)] += usize::from(*held_out);
        all[usize::from(*label)] += 1;
    }
    let missing = (0..counts.len()).filter(|class| counts[*class] == 0 && all[*class] > 0);
    let names: Vec<_> = missing.map(|class| format!("`{}` ({} pictures)", classes[class], all[class])).collect();
    (!names.is_empty()).then(|| format!("too few pictures for one to be held out for {part}: {}", names.join(", ")))
}

/// The images of each class.
fn members(labels: &[u16], classes: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(index, label)| members[usize::from(*label)].push(index));
    members
}

/// Sorts images by what is drawn for the contents of their files.
fn in_order_of_content(members: &mut [usize], digests: &[[u8; 32]], stream: Stream) {
    members.sort_by_cached_key(|&index| (stream.of_content(&digests[index]).to_bits(), index));
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

    fn held_out(set: &ImageSet, validation: usize, seed: u64) -> Result<Vec<bool>> {
        super::held_out(set, &[], validation.into(), seed, &mut Vec::new())
    }

    fn stratified_split(set: &ImageSet, validation: usize, seed: u64) -> Result<(ImageSet, ImageSet)> {
        Ok(divide(set.clone(), &held_out(set, validation, seed)?))
    }

    /// Digests of files whose contents are numbered from `first`.
    fn files(count: usize, first: usize) -> Vec<[u8; 32]> {
        let digest = |number: usize| std::array::from_fn(|place| number.to_le_bytes().get(place).copied().unwrap_or(0));
        (first..first + count).map(digest).collect()
    }

    fn by_content(set: &ImageSet, digests: &[[u8; 32]], share: f64, stream: Stream) -> Vec<bool> {
        super::by_content(&set.labels, set.classes.len(), digests, share, stream)
    }

    #[test]
    fn pictures_that_are_added_move_no_other() {
        let stream = Stream::new(3, Purpose::Test);
        let few = by_content(&set(&[0; 100], 1), &files(100, 50), 0.2, stream);
        let more = by_content(&set(&[0; 200], 1), &files(200, 0), 0.2, stream);
        assert_eq!(few[..], more[50..150]);
        let drawn = more.iter().filter(|drawn| **drawn).count();
        // Expected 40, standard deviation 5.7.
        assert!((20..60).contains(&drawn), "{drawn}");
        assert_ne!(few, by_content(&set(&[0; 100], 1), &files(100, 50), 0.2, Stream::new(4, Purpose::Test)));
    }

    #[test]
    fn a_small_class_is_in_both_parts_and_a_tiny_one_is_kept_whole() {
        let labels: Vec<u16> = [vec![0; 3], vec![1; 2], vec![2; 50]].concat();
        for seed in 0..50 {
            for share in [0.01, 0.5, 0.99] {
                let all = set(&labels, 3);
                let held_out = by_content(&all, &files(55, 0), share, Stream::new(seed, Purpose::Test));
                let (kept, out) = divide(all.clone(), &held_out);
                assert!((1..=2).contains(&out.class_counts()[0]) && kept.class_counts()[0] > 0);
                assert_eq!((kept.class_counts()[1], out.class_counts()[1]), (2, 0));
                assert!(out.class_counts()[2] > 0 && kept.class_counts()[2] > 0);
                assert_eq!(
                    without(&all.labels, &all.classes, &held_out, "testing").unwrap(),
                    "too few pictures for one to be held out for testing: `1` (2 pictures)"
                );
            }
        }
    }

    #[test]
    fn a_number_of_pictures_is_held_out_exactly() {
        let labels: Vec<u16> = (0..60).map(|index| u16::from(index % 3 == 0)).collect();
        let validation = 12.into();
        let drawn = |seed| super::held_out(&set(&labels, 2), &files(60, 0), validation, seed, &mut Vec::new()).unwrap();
        let (_, validation) = divide(set(&labels, 2), &drawn(1));
        assert_eq!(validation.class_counts(), [8, 4]);
        assert_ne!(drawn(1), drawn(2));
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
        tip: set `data.validation` to a share, such as 0.1 for a tenth; 0 keeps every image for training
        ");
        assert_eq!(error.exit_code(), 2);
    }
}
