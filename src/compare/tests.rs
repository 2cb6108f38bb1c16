use super::*;

fn arm(name: &str, models: &[(u64, &[bool])]) -> Arm {
    let model = |&(seed, right): &(u64, &[bool])| Answers { seed: Some(seed), right: right.to_vec() };
    Arm { name: name.into(), models: models.iter().map(model).collect() }
}

/// `right` of `images`, the first ones.
fn first(right: usize, images: usize) -> Vec<bool> {
    (0..images).map(|image| image < right).collect()
}

#[test]
fn holm_multiplies_by_the_pairs_that_are_left_and_never_goes_down() {
    let of = |p_value: f64| Pair {
        a: 0,
        b: 1,
        difference: 0.1,
        interval: [0.05, 0.15],
        p_value,
        p_adjusted: p_value,
        p_permutation: None,
        mcnemar: None,
        detectable: 0.05,
        distinguishable: false,
    };
    let mut pairs = [0.03, 0.01, 0.02].map(of);
    adjust(&mut pairs, 3);
    let adjusted = pairs.each_ref().map(|pair| (pair.p_adjusted * 100.0).round());
    assert_eq!(adjusted, [4.0, 3.0, 4.0]);
    assert!(pairs.iter().all(|pair| pair.distinguishable));
    let mut pairs = [0.04, 0.03].map(of);
    adjust(&mut pairs, 2);
    assert_eq!(pairs.each_ref().map(|pair| pair.distinguishable), [false, false]);
    // A part of a larger family.
    let mut pairs = [0.01, 0.02].map(of);
    adjust(&mut pairs, 6);
    assert_eq!(pairs.each_ref().map(|pair| (pair.p_adjusted * 100.0).round()), [6.0, 10.0]);
}

#[test]
fn the_interval_of_a_mean_over_seeds_is_students() {
    let found = over_seeds(&[0.90, 0.92, 0.94]).unwrap();
    assert!((found.mean - 0.92).abs() < 1e-12 && (found.sd - 0.02).abs() < 1e-12);
    // 4.3027 is the 97.5 % quantile of Student's t with 2 degrees of freedom.
    let reach = 4.302_653 * 0.02 / 3.0_f64.sqrt();
    assert!((found.interval[0] - (0.92 - reach)).abs() < 1e-6 && (found.interval[1] - (0.92 + reach)).abs() < 1e-6);
    assert_eq!(over_seeds(&[0.5]).unwrap().interval, [0.0, 1.0]);
    assert_eq!(over_seeds(&[]), None);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let (long, short) = (first(5, 10), first(5, 9));
    let one = arm("one", &[(1, &long)]);
    assert_eq!(Comparison::new(std::slice::from_ref(&one), 1).unwrap_err().exit_code(), 2);
    assert!(Comparison::new(&[one.clone(), arm("other", &[(1, &short)])], 1).is_err());
    assert!(Comparison::new(&[one, arm("none", &[])], 1).is_err());
}

#[test]
fn two_single_models_are_compared_by_the_images_on_which_they_disagree() {
    let (worse, better) = (first(900, 1000), first(920, 1000));
    let found = Comparison::new(&[arm("worse", &[(1, &worse)]), arm("better", &[(1, &better)])], 1).unwrap();
    let pair = &found.pairs[0];
    assert_eq!(pair.mcnemar, Some(McNemar { only_first: 0, only_second: 20, p_value: pair.p_value }));
    assert!(pair.distinguishable && (pair.difference - 0.02).abs() < 1e-12 && pair.p_permutation.is_none());
    assert_eq!((found.best(), found.images, found.arms[0].sd), (1, 1000, None));
}

#[test]
fn seeds_that_scatter_more_than_they_differ_are_not_distinguishable_and_more_of_them_are() {
    let scatter = [0, 8, 3, 11, 5, 1, 9, 4, 7, 2];
    let models = |base: usize, seeds: usize| -> Vec<Vec<bool>> {
        (0..seeds).map(|seed| first(base + scatter[seed] * 3, 2000)).collect()
    };
    let compare = |seeds: usize, shift: u64| {
        let (a, b) = (models(1900, seeds), models(1930, seeds));
        let seeded = |models: &[Vec<bool>], from: u64| -> Vec<Answers> {
            (from..).zip(models).map(|(seed, right)| Answers { seed: Some(seed), right: right.clone() }).collect()
        };
        let arms =
            [Arm { name: "a".into(), models: seeded(&a, 1) }, Arm { name: "b".into(), models: seeded(&b, 1 + shift) }];
        Comparison::new(&arms, 1).unwrap().pairs.remove(0)
    };
    let (few, many) = (compare(2, 100), compare(10, 100));
    assert!(!few.distinguishable && many.distinguishable, "{few:?} {many:?}");
    assert!((many.difference - 0.015).abs() < 1e-12);
    assert!(few.interval[0] < 0.0 && many.interval[0] > 0.0);
    // The same seeds in both: the scatter, which is the same, drops out.
    let paired = compare(4, 0);
    assert!(paired.distinguishable && paired.p_permutation.is_none(), "{paired:?}");
    assert_eq!(compare(6, 0).p_permutation, Some(2.0 / 64.0));
    assert_eq!(compare(2, 100).interval, few.interval, "the resamples are drawn by the seed");
}

#[test]
fn one_model_against_several_seeds_is_taken_to_vary_as_they_do() {
    let scattered: Vec<Vec<bool>> = [1900, 1940, 1920, 1880].map(|right| first(right, 2000)).into();
    let seeds: Vec<(u64, &[bool])> = (1..).zip(&scattered).map(|(seed, right)| (seed, right.as_slice())).collect();
    let one = first(1930, 2000);
    let found = Comparison::new(&[arm("one", &[(1, &one)]), arm("several", &seeds)], 1).unwrap();
    assert!(!found.pairs[0].distinguishable && found.pairs[0].p_permutation.is_none());
    let same = Comparison::new(&[arm("one", &[(1, &one)]), arm("same", &[(2, &one), (3, &one)])], 1).unwrap();
    assert!(!same.pairs[0].distinguishable && same.pairs[0].p_value == 1.0, "{:?}", same.pairs[0]);
}

/// Which of MNIST's test images the models of two configs answered wrongly: on each line the config, the seed, the images.
const RECORDED: &str = include_str!("../../tests/fixtures/answers/mnist-fast.txt");

fn recorded(config: &str) -> Vec<Answers> {
    let lines = RECORDED.lines().filter_map(|line| line.strip_prefix(config)?.strip_prefix(' '));
    let model = |line: &str| {
        let mut numbers = line.split(' ').map(|number| number.parse::<usize>().unwrap());
        let seed = numbers.next().map(|seed| seed as u64);
        let mut right = vec![true; 10_000];
        numbers.for_each(|image| right[image] = false);
        Answers { seed, right }
    };
    lines.map(model).collect()
}

/// The verdict of ten models of `a` against ten others of `b`, drawn by `draw`. With `paired`, they are given the same
/// seeds.
fn verdict(a: &[Answers], b: &[Answers], draw: usize, paired: bool) -> Pair {
    let mut rng = crate::seed::Stream::new(1, crate::seed::Purpose::Shuffle).at(0, draw);
    let mut drawn = |models: &[Answers], count: usize| -> Vec<Answers> {
        let mut left = models.to_vec();
        (0..count).map(|_| left.swap_remove(rand::RngExt::random_range(&mut rng, 0..left.len()))).collect()
    };
    let (first, second) = if std::ptr::eq(a, b) {
        let mut both = drawn(a, 20);
        (both.split_off(10), both)
    } else {
        (drawn(a, 10), drawn(b, 10))
    };
    let arm = |models: Vec<Answers>| {
        let renamed =
            |(seed, model): (u64, Answers)| Answers { seed: if paired { Some(seed) } else { model.seed }, ..model };
        Arm { name: String::new(), models: (0..).zip(models).map(renamed).collect() }
    };
    Comparison::new(&[arm(first), arm(second)], draw as u64).unwrap().pairs.remove(0)
}

#[test]
fn a_config_is_told_from_itself_no_more_often_than_luck_allows() {
    let models = recorded("one-epoch");
    assert_eq!(models.len(), 40);
    for paired in [false, true] {
        let told = (0..100).filter(|draw| verdict(&models, &models, *draw, paired).distinguishable).count();
        assert!(told <= 7, "{told} of 100 times");
    }
}

#[test]
fn a_config_that_is_better_is_called_better() {
    let (worse, better) = (recorded("one-epoch"), recorded("five-epochs"));
    for draw in 0..20 {
        let pair = verdict(&worse, &better, draw, false);
        assert!(pair.distinguishable && pair.difference > 0.001, "{pair:?}");
    }
}
