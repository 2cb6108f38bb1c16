use super::*;
use crate::config::document::Origin;
use crate::config::presets::{self, Preset};
use crate::data::epoch_shape::EpochShape;

fn images(train: usize) -> Images {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    of_classes(shape, train, vec![train / 10; 10])
}

fn of_classes(shape: ImageShape, train: usize, class_counts: Vec<usize>) -> Images {
    let of_class = [class_counts.iter().min(), class_counts.iter().max()].map(|count| *count.unwrap());
    let class_names: Vec<String> = (0..class_counts.len()).map(|class| class.to_string()).collect();
    Images {
        train,
        validation: 5000,
        test: 10_000,
        shape,
        classes: class_counts.len(),
        of_class,
        class_counts,
        class_names: class_names.into(),
        differ_in_a_mirror: false,
    }
}

static CONFIG: Preset =
    Preset { name: "test", text: "model.kind = \"linear\"\noptimizer = { kind = \"adam\", learning_rate = 0.004 }\n" };

fn experiment(sets: &[&str]) -> Experiment {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Experiment::load(&Origin::Embedded(&CONFIG), &sets).unwrap()
}

fn plan(train: usize, sets: &[&str]) -> Plan {
    Plan::new(&experiment(sets), images(train)).unwrap()
}

fn refusal(train: usize, sets: &[&str]) -> String {
    Plan::new(&experiment(sets), images(train)).unwrap_err().render()
}

#[test]
fn sixty_thousand_images_in_batches_of_a_hundred_are_six_hundred_iterations() {
    let article = presets::embedded("batch-iteration-epoch").unwrap();
    let experiment = Experiment::load(&Origin::Embedded(article), &[]).unwrap();
    let plan = Plan::new(&experiment, Images { validation: 0, ..images(60_000) }).unwrap();
    assert_eq!((plan.batch_size, plan.iterations_per_epoch, plan.epochs), (100, 600, 30));
    assert_eq!((plan.total_iterations, plan.total_updates), (18_000, 18_000));
    assert_eq!((plan.seen.least_per_epoch, plan.seen.most_per_epoch), (1, 1));
    assert!(plan.warnings.is_empty());
    insta::assert_snapshot!(plan.arithmetic(), @"
    One iteration took one batch of 100 images through the network and back.
    The 60,000 training images are cut into 600 batches: 60,000 / 100 = 600.
    So 600 iterations make one epoch, one pass over the training set.
    After each epoch the images are shuffled again. 30 epochs of 600 iterations are 18,000 iterations.
    Each image is seen once per epoch and 30 times in the run.
    ");
}

#[test]
fn the_plan_reads_well() {
    let sets = [
        "train.epochs=8",
        "schedule.kind=cosine",
        "schedule.warmup_epochs=0.5",
        "train.batch_size=64",
        "train.accumulation=4",
    ];
    insta::assert_snapshot!(plan(55_000, &sets).render(), @"
    experiment     experiment: linear with adam, cosine
    images         55,000 to train on, 5,000 to validate on, 10,000 to test on; each 1x28x28, 10 classes
    batch          64 images go through the network together; one batch is one iteration
    epoch          860 iterations: 55,000 / 64 = 860, rounded up; the last batch has 24 images
    run            8 epochs x 860 iterations = 6,880 iterations
    updates        one per 4 batches, 256 images together: 215 per epoch, 1,720 in the run
    each image     seen once per epoch and 8 times in the run
    learning rate  ▁▄▇██████▇▇▇▇▇▆▆▆▆▅▅▅▄▄▄▄▃▃▃▂▂▂▂▂▁▁▁▁▁▁▁  3.7e-5 -> 0.004 -> 3.8e-9
                   warm-up ends after update 108 (epoch 0.5): 0.004
    network        7,850 parameters in 1 layer
    work           15.7 kFLOPs forward + 31.4 kFLOPs backward (twice forward) per image; 20.7 GFLOPs in the run
    memory         about 55.2 MB: parameters 31.4 kB, gradients 31.4 kB, optimizer 62.8 kB, a batch's activations 208 kB, images 54.9 MB (an estimate)
    checkpoint     94.2 kB each
    ");
}

#[test]
fn the_plan_says_which_rule_updates_what_where_there_are_several() {
    let sets = ["model.kind=convnet", "optimizer.kind=muon"];
    let plan = plan(55_000, &sets);
    insta::assert_snapshot!(plan.render().lines().filter(|line| line.contains(", peak ")).collect::<Vec<_>>().join("\n"), @"
    updates by     Muon, peak 0.02: blocks.0.conv.weight, blocks.1.conv.weight, hidden.0.weight (420,128 parameters)
                   AdamW, peak 0.002: the other 7 tensors (1,610 parameters)
    ");
    assert_eq!(plan.update_rules.iter().map(|rule| rule.parameters).sum::<usize>(), plan.parameters);
    // Muon keeps one number per parameter, AdamW two.
    assert_eq!(plan.memory.optimizer, 4 * (420_128 + 2 * 1610));
}

#[test]
fn the_plan_says_what_an_answer_for_several_views_takes_and_warns_of_mirrored_digits() {
    let sets = ["test_time_augmentation.flip=true", "test_time_augmentation.shift_pixels=1"];
    let plan =
        |differ_in_a_mirror| Plan::new(&experiment(&sets), Images { differ_in_a_mirror, ..images(55_000) }).unwrap();
    let (text, views) = (plan(false).render(), plan(false).views.unwrap());
    insta::assert_snapshot!(text.lines().find(|line| line.starts_with("answers")).unwrap(), @"answers        the mean probability over 10 views: the image and its mirror image, each also shifted by 1 px in 4 directions (test-time augmentation): 10 times the work of one, 157 kFLOPs; training and validation see the image alone");
    assert_eq!((views.count, views.answer_flops), (10, 10 * plan(false).forward_flops_per_image));
    assert!(plan(false).arithmetic().contains("An answer of the finished model is the mean probability over 10 views"));
    assert_eq!(plan(false).total_flops, self::plan(55_000, &[]).total_flops);
    assert!(plan(false).warnings.is_empty());
    insta::assert_snapshot!(plan(true).warnings.join("\n"), @"test_time_augmentation.flip makes the model look at mirror images, and the classes are named like things that a mirror changes: digits, letters, left or right; leave it out unless an image and its mirror image are of the same class");
    // What is learned by heart is looked at as it is.
    let by_heart = Plan::new(&experiment(&[&sets[..], &["train.overfit_batches=2"]].concat()), images(55_000)).unwrap();
    assert_eq!(by_heart.views, None);
}

#[test]
fn views_that_cannot_be_or_say_nothing_are_refused() {
    assert_eq!(
        refusal(55_000, &["test_time_augmentation.shift_pixels=28"]),
        "error: `test_time_augmentation.shift_pixels`: must be 1 to 27 for images of 1x28x28, got 28"
    );
    let refused = |set: &str| {
        Experiment::load(&Origin::Embedded(&CONFIG), &[format!("test_time_augmentation.{set}")]).unwrap_err().render()
    };
    let texts = ["shift_directions=8", "fill=edge", "shift_directions=5", "shift_pixels=65"].map(refused);
    let says = [
        "`test_time_augmentation.shift_directions`: has no effect without a shift, got 8; set test_time_augmentation.shift_pixels",
        "`test_time_augmentation.fill`: has no effect without a shift, got edge; set test_time_augmentation.shift_pixels to 1",
        "`test_time_augmentation.shift_directions`: must be 4 or 8, got 5",
        "`test_time_augmentation.shift_pixels`: must be at most 64, got 65",
    ];
    for (text, says) in texts.iter().zip(says) {
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn an_optimizer_that_would_have_nothing_to_do_is_refused() {
    insta::assert_snapshot!(refusal(55_000, &["optimizer.kind=muon"]), @r#"error: `optimizer.kind`: must not be "muon" with model.kind = "linear", which has no hidden matrix or convolution kernel for Muon to update; set it to "adamw", or choose another model"#);
}

#[test]
fn the_plan_names_what_distorts_the_images_and_warns_of_mirrored_digits() {
    let sets = ["data.augment.shift_pixels=2", "data.augment.cutout.size=8", "data.augment.flip.probability=0.5"];
    let plan =
        |differ_in_a_mirror| Plan::new(&experiment(&sets), Images { differ_in_a_mirror, ..images(55_000) }).unwrap();
    let text = plan(false).render();
    let from = text.find("distorted by").unwrap();
    insta::assert_snapshot!(text[from..text.find("learning rate").unwrap()], @"
    distorted by   affine: shift up to 2 px
                   cutout: a square of 8 x 8 px covered with the mean
                   flip: left and right exchanged in 50 % of the images
    ");
    assert!(plan(false).warnings.is_empty());
    insta::assert_snapshot!(plan(true).warnings.join("\n"), @r#"data.augment has "flip", and the classes are named like things that a mirror changes: digits, letters, left or right; leave it out unless an image and its mirror image are of the same class"#);
}

#[test]
fn distortions_that_do_not_fit_the_images_are_refused_all_at_once() {
    let sets = ["data.augment.crop.padding=28", "data.augment.cutout.size=40", "data.augment.color_jitter.hue=0.1"];
    insta::assert_snapshot!(refusal(55_000, &sets), @r#"
    error: the config has 3 problems with these images
      `data.augment[0].padding`: must be below the images' shorter side, 28, got 28; try 3
      `data.augment[1].size`: must be below the images' longer side, 28, got 40; try 7
      `data.augment[2].kind`: "color_jitter" needs colour images, and these are grey; leave it out
    "#);
}

#[test]
fn a_last_batch_that_is_smaller_counts_unless_it_is_dropped() {
    let kept = plan(1030, &[]);
    assert_eq!((kept.iterations_per_epoch, kept.last_batch_size, kept.seen.images_per_epoch), (11, 30, 1030));
    assert!(kept.warnings.is_empty());
    let dropped = plan(1030, &["train.drop_last=true"]);
    assert_eq!((dropped.iterations_per_epoch, dropped.last_batch_size, dropped.seen.images_per_epoch), (10, 100, 1000));
    assert_eq!((dropped.seen.least_per_epoch, dropped.seen.most_per_epoch), (0, 1));
    insta::assert_snapshot!(dropped.warnings.join("\n"), @"train.drop_last leaves out 30 images of every pass, others each time: 1,030 images do not divide into batches of 100");
}

#[test]
fn more_iterations_than_batches_repeat_images_and_fewer_leave_some_unseen() {
    let more = plan(60_000, &["train.iterations_per_epoch=700"]);
    assert_eq!((more.total_iterations, more.seen.images_per_epoch, more.seen.images_seen_most), (7000, 70_000, 10_000));
    assert_eq!((more.seen.least_per_epoch, more.seen.most_per_epoch), (1, 2));
    let thrice = plan(60_000, &["train.iterations_per_epoch=1800"]);
    assert_eq!((thrice.seen.least_per_epoch, thrice.seen.most_per_epoch), (3, 3));
    let fewer = plan(60_000, &["train.iterations_per_epoch=450"]);
    assert_eq!((fewer.seen.least_per_epoch, fewer.seen.most_per_epoch, fewer.seen.images_per_epoch), (0, 1, 45_000));
    let warnings: Vec<_> = [more, thrice, fewer].into_iter().flat_map(|plan| plan.warnings).collect();
    insta::assert_snapshot!(warnings.join("\n"), @"
    train.iterations_per_epoch = 700 is more than the 600 batches of one pass: 10,000 images are seen twice in each epoch; they are reshuffled before the second pass
    train.iterations_per_epoch = 1,800 is more than the 600 batches of one pass: 60,000 images are seen 3 times in each epoch; they are reshuffled before each pass
    train.iterations_per_epoch = 450 is fewer than the 600 batches of one pass: 15,000 images stay unseen in each epoch; the epoch ends before the whole set was seen
    ");
    assert!(plan(60_000, &["train.iterations_per_epoch=600"]).warnings.is_empty());
}

#[test]
fn every_contradiction_is_named_with_its_fix_and_all_at_once() {
    let errors = [
        refusal(1030, &["train.batch_size=2000"]),
        refusal(1000, &["train.batch_size=2000", "train.drop_last=true", "checkpoint.every_iterations=5"]),
        refusal(55_000, &["train.accumulation=7"]),
        refusal(1000, &["train.accumulation=12", "checkpoint.every_iterations=10"]),
        refusal(1000, &["train.epochs=1", "train.batch_size=1000", "schedule.warmup_epochs=0.5"]),
        refusal(0, &[]),
    ];
    insta::assert_snapshot!(errors.join("\n\n"), @"
    error: `train.batch_size`: must be at most the 1,030 training images, got 2,000; set it to 100 or less

    error: `train.batch_size`: must be at most the 1,000 training images, got 2,000; set it to 100 or less

    error: `train.accumulation`: must divide the 550 iterations of an epoch, got 7; set it to 5 or 10

    error: the config has 2 problems with these images
      `train.accumulation`: must divide the 10 iterations of an epoch, got 12; set it to 10
      `checkpoint.every_iterations`: must be less than the 10 iterations of an epoch, got 10: a checkpoint is written after every epoch anyway; remove it, or set it to 2

    error: `schedule.warmup_epochs`: the warm-up fills the run: it takes 1 of the schedule's 1 updates; set it to 0

    error: `data.validation`: leaves no image to train on; set it to a tenth of the training images or less
    ");
}

#[test]
fn a_schedule_is_described_by_its_course_and_milestones() {
    let one_cycle = plan(60_000, &["schedule.kind=one_cycle"]).learning_rate;
    assert_eq!((one_cycle.peak, one_cycle.peak_update), (0.004, 1800));
    assert_eq!(one_cycle.milestones.len(), 1);
    let step =
        plan(60_000, &["schedule.kind=step", "schedule.every_epochs=4", "schedule.warmup_epochs=1"]).learning_rate;
    assert_eq!((step.warmup_updates, step.peak_update), (600, 600));
    let events: Vec<_> = step.milestones.iter().map(|milestone| (milestone.update, milestone.event.as_str())).collect();
    assert_eq!(events, [(600, "warm-up ends"), (3000, "drop"), (5400, "drop")]);
    let short = plan(60_000, &["schedule.kind=cosine", "schedule.epochs=6"]);
    insta::assert_snapshot!(short.warnings.join("\n"), @"schedule.epochs = 6 ends before the run: the learning rate stays at 0 for the last 4 epochs");
}

#[test]
fn the_largest_values_allowed_do_not_overflow() {
    let plan = plan(usize::MAX >> 40, &["train.epochs=1000000", "train.iterations_per_epoch=100000000"]);
    assert_eq!(plan.total_iterations, 100_000_000_000_000);
    assert!(!plan.render().is_empty());
}

#[test]
fn the_plan_is_json() {
    let json = serde_json::to_value(plan(60_000, &[])).unwrap();
    assert_eq!(json["iterations_per_epoch"], 600);
    assert_eq!(json["layers"][0]["parameters"].as_u64().map(|count| count > 0), Some(true));
}

#[test]
fn the_plan_counts_what_the_loader_gives() {
    for (train, batch_size) in [(60_000, 100), (1000, 300), (55_001, 64), (10, 10)] {
        for drop_last in [false, true] {
            for iterations in [1, 2, 3, 7, 600, 1000] {
                let sets = [
                    format!("train.batch_size={batch_size}"),
                    format!("train.drop_last={drop_last}"),
                    format!("train.iterations_per_epoch={iterations}"),
                ];
                let plan = plan(train, &sets.each_ref().map(String::as_str));
                let shape = EpochShape { batch_size, iterations, drop_last, accumulation: 1 };
                assert_eq!(plan.batches_per_pass, shape.batches_per_pass(train), "{train} {sets:?}");
                assert_eq!(plan.seen.images_per_epoch, shape.items_in(train, iterations), "{train} {sets:?}");
                assert!(plan.seen.least_per_epoch <= plan.seen.most_per_epoch);
            }
        }
    }
}

#[test]
fn how_often_each_class_is_seen_and_what_it_counts_is_in_the_plan() {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let of = |sets: &[&str]| {
        let plan = Plan::new(&experiment(sets), of_classes(shape, 1000, vec![700, 250, 50])).unwrap();
        let lines: Vec<String> =
            plan.render().lines().filter(|line| line.contains("each seen")).map(str::to_owned).collect();
        let warnings: Vec<_> = plan.warnings.into_iter().filter(|warning| warning.contains("class")).collect();
        [lines, warnings].concat().join("\n")
    };
    let plans = [
        of(&[]),
        of(&["train.sampling=balanced"]),
        of(&["loss.class_weights=balanced"]),
        of(&["loss.class_weights=[1, 2, 4]"]),
        of(&["loss.class_weights=balanced", "train.sampling=balanced"]),
    ];
    insta::assert_snapshot!(plans.join("\n\n"), @r#"
    each class     0: 700 images, each seen 1.0 times per epoch
                   1: 250 images, each seen 1.0 times per epoch
                   2: 50 images, each seen 1.0 times per epoch
    the largest class has 700 images to learn from, the smallest 50 images: with train.sampling = "balanced" an epoch shows as many of each, with loss.class_weights = "balanced" each class counts the same

    each class     0: 700 images, each seen 0.5 times per epoch
                   1: 250 images, each seen 1.3 times per epoch
                   2: 50 images, each seen 6.7 times per epoch

    each class     0: 700 images, each seen 1.0 times per epoch, counts 0.476
                   1: 250 images, each seen 1.0 times per epoch, counts 1.33
                   2: 50 images, each seen 1.0 times per epoch, counts 6.67

    each class     0: 700 images, each seen 1.0 times per epoch, counts 0.714
                   1: 250 images, each seen 1.0 times per epoch, counts 1.43
                   2: 50 images, each seen 1.0 times per epoch, counts 2.86

    each class     0: 700 images, each seen 0.5 times per epoch, counts 0.476
                   1: 250 images, each seen 1.3 times per epoch, counts 1.33
                   2: 50 images, each seen 6.7 times per epoch, counts 6.67
    train.sampling = "balanced" shows as many images of every class, and loss.class_weights weighs them as well: rare classes are favoured twice; one of the two is enough
    "#);
    let refused = Plan::new(&experiment(&["loss.class_weights=[1, 2]"]), images(1000)).unwrap_err();
    assert_eq!(refused.to_string(), "`loss.class_weights`: must have one weight for each of the 10 classes, got 2");
}

#[test]
fn several_devices_share_a_batch_and_each_has_gradients_of_its_own() {
    let on = |sets: &[&str], device: &str| plan(1000, sets).shared_out(&device.parse().unwrap());
    let one = on(&[], "flex");
    assert_eq!((one.sharing.as_ref(), one.memory.replicas), (None, 0));
    let two = on(&[], "flex*2");
    assert_eq!(two.memory.replicas, one.memory.gradients);
    assert_eq!(two.memory.total, one.memory.total + one.memory.gradients);
    // Cards have the weights as well.
    assert_eq!(on(&[], "cuda:0,cuda:1,cuda:2").memory.replicas, 2 * (one.memory.gradients + one.memory.parameters));
    let words = |sets: &[&str], device: &str| on(sets, device).sharing.unwrap().words();
    let norm = "model={kind=\"convnet\",norm=\"batch\"}";
    let all = [
        words(&["train.batch_size=100"], "flex*2"),
        words(&["train.batch_size=100", norm], "cuda*3"),
        words(&["train.batch_size=2"], "flex*4"),
    ];
    insta::assert_snapshot!(all.join("\n"), @"
    2 devices: 50 images of a batch each, gradients added up in a fixed order
    3 devices: 33 or 34 images of a batch each, gradients added up in a fixed order; batch norms see the images of one device alone
    4 devices: an image of a batch each, as far as they go, gradients added up in a fixed order
    ");
    let warned = on(&["train.batch_size=2"], "flex*4").warnings;
    assert!(
        warned
            .iter()
            .any(|warning| warning == "a batch of 2 uses as many of the 4 devices; the others wait (train.batch_size)"),
        "{warned:?}"
    );
    assert!(on(&[], "flex*2").render().contains("shared by      2 devices: "));
    let remote = on(&["train.batch_size=100"], "flex,remote:a:7000");
    assert_eq!(remote.memory.replicas, one.memory.gradients);
    let sharing = remote.sharing.unwrap();
    let tensors = one.layers.iter().flat_map(|layer| &layer.tensors).map(|tensor| tensor.count()).sum::<usize>();
    assert_eq!(sharing.bytes_from_worker, 4 * (tensors + 50 * 10) as u64);
    assert_eq!(sharing.bytes_to_worker, 4 * (tensors + 50 * (one.images.shape.len() + 1)) as u64);
    assert!(sharing.words().contains("; one is a worker elsewhere: each batch sends it "), "{}", sharing.words());
}
