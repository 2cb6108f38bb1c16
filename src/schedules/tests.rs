//! What must hold for every schedule.

use super::*;

fn schedule(shape: Shape, warmup_epochs: f64) -> ScheduleConfig {
    ScheduleConfig { shape, warmup_epochs, epochs: None }
}

/// The rates of a run of 10 updates in 5 epochs, with a peak of 0.1, rounded to 9 decimals.
fn rates(schedule: &ScheduleConfig) -> Vec<f64> {
    (0..10).map(|update| (schedule.rate(0.1, update, 10, 2.0) * 1e9).round() / 1e9).collect()
}

#[test]
fn shapes_follow_the_formulas_of_pytorch() {
    let rates = |shape| rates(&schedule(shape, 0.0));
    assert_eq!(rates(Shape::Constant(ConstantLr {})), [0.1; 10]);
    // LinearLR(start_factor=1, end_factor=0.1, total_iters=10)
    let linear = [0.1, 0.091, 0.082, 0.073, 0.064, 0.055, 0.046, 0.037, 0.028, 0.019];
    assert_eq!(rates(Shape::Linear(LinearLr { final_ratio: 0.1 })), linear);
    // CosineAnnealingLR(T_max=10)
    let cosine = [
        0.1,
        0.097552826,
        0.090450850,
        0.079389263,
        0.065450850,
        0.05,
        0.034549150,
        0.020610737,
        0.009549150,
        0.002447174,
    ];
    assert_eq!(rates(Shape::Cosine(CosineLr::default())), cosine);
    // StepLR(step_size=2, gamma=0.5), stepped once per epoch
    let step = [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025];
    assert_eq!(rates(Shape::Step(StepLr { every_epochs: 2, gamma: 0.5 })), step);
    // ExponentialLR(gamma=0.81): at whole epochs 0.1 * 0.81^k, halfway its geometric mean
    let exponential = rates(Shape::Exponential(ExponentialLr { gamma: 0.81 }));
    assert_eq!(exponential[..5], [0.1, 0.09, 0.081, 0.0729, 0.06561]);
    // OneCycleLR(max_lr=0.1, total_steps=10): phases end at steps 2 and 9
    let one_cycle =
        [0.004, 0.052, 0.1, 0.095048463, 0.081174565, 0.061126202, 0.038874198, 0.018825835, 0.004951937, 0.0000004];
    assert_eq!(rates(Shape::OneCycle(OneCycleLr::default())), one_cycle);
}

#[test]
fn a_warm_up_rises_in_a_straight_line_that_does_not_begin_at_zero() {
    for shape in Shape::examples() {
        if schedule(shape.clone(), 0.0).own_warmup().is_some() {
            continue;
        }
        let rates = rates(&schedule(shape, 2.0));
        assert_eq!(rates[..5], [0.025, 0.05, 0.075, 0.1, 0.1]);
        assert!(rates[4..].is_sorted_by(|before, after| before >= after));
    }
    // A warm-up of less than one update still is one update.
    assert_eq!(schedule(Shape::Constant(ConstantLr {}), 0.01).warmup_updates(2.0), 1);
    assert_eq!(schedule(Shape::Constant(ConstantLr {}), 0.25).warmup_updates(600.0), 150);
}

#[test]
fn no_shape_rises_again_after_its_end() {
    for shape in Shape::examples() {
        let schedule = schedule(shape, 0.0);
        let end = schedule.rate(0.1, 10, 10, 2.0);
        for update in [10, 11, 12, 15, 20, 1000] {
            assert_eq!(schedule.rate(0.1, update, 10, 2.0), end, "{}", schedule.shape.kind());
        }
        assert!(end <= schedule.rate(0.1, 9, 10, 2.0));
    }
}

#[test]
fn a_schedule_of_fewer_epochs_than_the_run_ends_early_and_stays() {
    for shape in Shape::examples() {
        let whole = schedule(shape, 0.0);
        let short = ScheduleConfig { epochs: Some(5), ..whole.clone() };
        for update in 0..20 {
            assert_eq!(short.rate(0.1, update, 20, 2.0), whole.rate(0.1, update, 10, 2.0));
        }
    }
}

#[test]
fn runs_of_a_single_update_have_a_rate() {
    for shape in Shape::examples() {
        let rate = schedule(shape, 0.0).rate(0.1, 0, 1, 1.0);
        assert!(rate > 0.0 && rate <= 0.1, "{rate}");
    }
}
