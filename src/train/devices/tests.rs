use burn::data::dataloader::DataLoader as _;
use burn::optim::GradientsAccumulator;

use super::*;
use crate::Experiment;
use crate::config::document::Origin;
use crate::config::presets::Preset;
use crate::data::{self, Dataset};
use crate::device::{self, Backend, Request};
use crate::models::Weights;
use crate::plan::{Images, Plan};
use crate::train::remote::link::Patience;
use crate::train::remote::token::Token;
use crate::train::session::Session;
use crate::worker::{Options, Server};

static CONFIG: Preset = Preset {
    name: "test",
    text: r#"
        data = { kind = "synthetic", train = 70, test = 20, validation = 10 }
        model = { kind = "mlp", hidden = [24], dropout = 0.3 }
        optimizer = { kind = "sgd", learning_rate = 0.1 }
        train = { batch_size = 13, epochs = 1 }
    "#,
};

/// A session of the config changed by `sets` on this many devices, handed to `work`.
fn session<T>(sets: &[&str], devices: usize, work: impl FnOnce(&Session) -> T) -> T {
    session_with(sets, vec![Other::Here(Device::flex(), None); devices - 1], work)
}

/// The same on one device and these.
fn session_with<T>(sets: &[&str], others: Vec<Other>, work: impl FnOnce(&Session) -> T) -> T {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let experiment = Experiment::load(&Origin::Embedded(&CONFIG), &sets).unwrap();
    let dataset: Dataset = data::open(&experiment.data, experiment.seed).unwrap();
    let plan = Plan::new(&experiment, Images::of(&dataset)).unwrap();
    let device = Device::flex();
    work(&Session { experiment: &experiment, plan: &plan, dataset: &dataset, device, teacher: None, others })
}

/// The losses, right answers and last weights of an epoch on this many devices.
struct Trained {
    losses: Vec<f32>,
    correct: Vec<i64>,
    weights: Weights,
}

fn train(sets: &[&str], devices: usize) -> Trained {
    session(sets, devices, train_epoch)
}

fn train_epoch(session: &Session) -> Trained {
    let (mut learner, loader) = session.learner().unwrap();
    let devices = session.devices().unwrap();
    let accumulation = session.experiment.train.accumulation;
    let mut accumulator = GradientsAccumulator::new();
    let (mut losses, mut correct) = (Vec::new(), Vec::new());
    for (index, batch) in loader.iter().enumerate() {
        let step = devices.step(&learner, batch.unwrap()).unwrap();
        let ClassificationOutput { loss, output, targets } = step.item;
        losses.push(loss.inner().into_scalar::<f32>());
        let answers = output.inner().argmax(1).flatten::<1>(0, 1).equal(targets.inner());
        correct.push(answers.int().sum().into_scalar::<i64>());
        accumulator.accumulate(&learner.model(), step.grads);
        if (index + 1).is_multiple_of(accumulation) {
            learner.lr_step();
            learner.optimizer_step(accumulator.grads());
        }
    }
    Trained { losses, correct, weights: learner.model().valid().network.weights().unwrap() }
}

fn largest_difference(one: &Weights, other: &Weights) -> f32 {
    let of = |(name, tensor): (&str, &crate::models::WeightTensor)| {
        let theirs = &other.get(name).unwrap().values;
        tensor.values.iter().zip(theirs).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()))
    };
    one.iter().map(of).fold(0.0, f32::max)
}

/// Every way in which a step can differ, of networks without batch norm.
const WITHOUT_BATCH_NORM: [&[&str]; 8] = [
    &[],
    &["model.kind=linear"],
    &["model.kind=lenet", "data.height=28", "data.width=28"],
    &["model.kind=convnet", "model.norm=none", "model.dropout=0.3", "model.spatial_dropout=0.2"],
    &["model.kind=convnet", "model.norm=group", "optimizer.kind=adam", "optimizer.learning_rate=0.01"],
    &[
        "model.kind=preact_resnet",
        "model.channels=[4,8]",
        "model.stem=4",
        "model.norm=group",
        "model.groups=2",
        "model.drop_path=0.3",
    ],
    &[
        "train.accumulation=2",
        "train.mixup=0.4",
        "train.cutmix=1.0",
        "train.clip_norm=0.5",
        "train.drop_last=true",
        "train.batch_size=15",
    ],
    &["loss.label_smoothing=0.1", "loss.class_weights=balanced"],
];

#[test]
fn a_step_in_bf16_is_one_in_32_bits_but_for_its_precision() {
    let with_batch_norm: [&[&str]; 3] = [
        &["model.kind=convnet", "train.ema=0.9"],
        &["model.kind=resnet", "model.channels=[4,8]"],
        &["model.kind=preact_resnet", "model.channels=[4,8]", "model.stem=4"],
    ];
    for sets in WITHOUT_BATCH_NORM.into_iter().chain(with_batch_norm) {
        let [exact, rounded] =
            ["f32", "bf16"].map(|precision| train(&[sets, &[&format!("train.precision={precision}")]].concat(), 1));
        assert_ne!(exact.losses, rounded.losses, "{sets:?}");
        // Before the first update nothing but the precision differs; each update then carries the difference on.
        let [first, other] = [exact.losses[0], rounded.losses[0]];
        assert!((first - other).abs() < 0.03 * first.max(1.0), "{sets:?}: {first} {other}");
        assert!(rounded.losses.iter().all(|loss| loss.is_finite()), "{sets:?}: {:?}", rounded.losses);
        assert!(rounded.weights.first_not_finite().is_none());
    }
    let several = train(&["train.precision=bf16"], 2);
    assert!((several.losses[0] - train(&["train.precision=bf16"], 1).losses[0]).abs() < 0.02);
}

#[test]
fn several_devices_are_one_device_but_for_rounding() {
    for sets in WITHOUT_BATCH_NORM {
        let one = train(sets, 1);
        assert!(one.losses.len() > 2 && one.losses[0] != one.losses[1]);
        for devices in [2, 3] {
            let several = train(sets, devices);
            for (one, several) in one.losses.iter().zip(&several.losses) {
                assert!((one - several).abs() < 1e-5, "{sets:?} on {devices}: {one} {several}");
            }
            assert_eq!(one.correct, several.correct, "{sets:?} on {devices}");
            let difference = largest_difference(&one.weights, &several.weights);
            assert!(difference < 1e-5, "{sets:?} on {devices}: {difference}");
        }
    }
}

#[test]
fn several_devices_give_the_same_bits_whoever_is_done_first() {
    let norms = ["model.kind=resnet", "model.channels=[4,8]", "model.blocks=1", "train.batch_size=35"];
    for sets in [&norms[..], WITHOUT_BATCH_NORM[3]] {
        let bits = |trained: &Trained| trained.losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
        let first = train(sets, 3);
        for threads in [1, 2, 5] {
            // Other work on the same pool, and pools of other sizes, move who is done first.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| train(sets, 3));
            assert_eq!(bits(&first), bits(&again), "{sets:?}");
            assert_eq!(first.weights.first_difference(&again.weights), None, "{sets:?}");
        }
    }
}

/// A worker in this process, and a connection to it.
fn worker() -> (Server, Other) {
    let token = Token::for_tests("the token of these tests");
    let device = device::open(Request::Named(Backend::Flex, None)).unwrap();
    let patience = Patience::default();
    let options = Options { address: ([127, 0, 0, 1], 0).into(), token: token.clone(), device, patience };
    let server = Server::start(options, |_| ()).unwrap();
    let address = server.address().to_string().parse().unwrap();
    let remote = Remote::connect(&address, &token, Backend::Flex, patience).unwrap();
    (server, Other::Remote(Arc::new(remote)))
}

#[test]
fn a_worker_elsewhere_gives_the_bits_of_a_device_here() {
    let norms = ["model.kind=resnet", "model.channels=[4,8]", "model.blocks=1", "train.batch_size=35"];
    let preact = ["model.kind=preact_resnet", "model.channels=[4,8]", "model.stem=4", "model.drop_path=0.3"];
    let (server, remote) = worker();
    let halves = ["model.kind=convnet", "model.norm=none", "train.precision=bf16"];
    for sets in WITHOUT_BATCH_NORM.into_iter().chain([&norms[..], &preact[..], &halves[..]]) {
        let here = train(sets, 2);
        let elsewhere = session_with(sets, vec![remote.clone()], train_epoch);
        let bits = |trained: &Trained| trained.losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
        assert_eq!((bits(&here), &here.correct), (bits(&elsewhere), &elsewhere.correct), "{sets:?}");
        assert_eq!(here.weights.first_difference(&elsewhere.weights), None, "{sets:?}");
    }
    let sets = WITHOUT_BATCH_NORM[3];
    let mixed = session_with(sets, vec![Other::Here(Device::flex(), None), remote], train_epoch);
    assert_eq!(train(sets, 3).weights.first_difference(&mixed.weights), None);
    server.stop().unwrap();
}

#[test]
fn a_worker_that_is_lost_or_fails_is_named_and_trains_nothing() {
    let (server, remote) = worker();
    session_with(&[], vec![remote], |session| {
        let (learner, loader) = session.learner().unwrap();
        let devices = session.devices().unwrap();
        let batch = || {
            loader.set_position(1, 0);
            loader.iter().next().unwrap().unwrap()
        };
        let before = devices.step(&learner, batch()).unwrap().item.loss.into_scalar::<f32>();
        let mut wrong = batch();
        let label = Tensor::from_data([99], &wrong.targets.device());
        wrong.targets = Tensor::cat(vec![wrong.targets.slice(0..wrong.size - 1), label], 0);
        let error = devices.step(&learner, wrong).err().unwrap().render();
        assert!(error.contains("which shares the batches, failed\ncaused by: there are 10 classes, got the label 99"));
        // After a failure nothing that comes over the connection is believed.
        let error = devices.step(&learner, batch()).err().unwrap().render();
        assert!(error.contains("the connection ended with an earlier failure"), "{error}");
        assert!(before.is_finite());
    });
    let (other, remote) = worker();
    session_with(&[], vec![remote], |session| {
        let (learner, loader) = session.learner().unwrap();
        let devices = session.devices().unwrap();
        loader.set_position(1, 0);
        let mut batches = loader.iter();
        devices.step(&learner, batches.next().unwrap().unwrap()).unwrap();
        other.stop().unwrap();
        let error = devices.step(&learner, batches.next().unwrap().unwrap()).err().unwrap().render();
        assert!(error.contains("the connection ended: it was stopped or killed"), "{error}");
    });
    drop(server);
}

#[test]
fn running_statistics_are_the_mean_over_the_parts() {
    // One step from the beginning: the running mean is momentum times the batch's mean, which is linear in the images.
    let sets =
        ["model.kind=convnet", "model.norm=batch", "train.batch_size=70", "data.validation=0", "model.dropout=0"];
    let (one, two) = (train(&sets, 1), train(&sets, 2));
    assert_eq!(two.losses.len(), 1);
    let mut compared = 0;
    for (name, tensor) in one.weights.iter().filter(|(name, _)| name.ends_with("running_mean")).take(1) {
        let theirs = &two.weights.get(name).unwrap().values;
        assert!(tensor.values.iter().any(|value| *value != 0.0));
        for (one, two) in tensor.values.iter().zip(theirs) {
            assert!((one - two).abs() < 1e-6, "{name}: {one} {two}");
            compared += 1;
        }
    }
    assert!(compared > 0);
    // Each part was normalised by itself.
    assert_ne!(one.losses, two.losses);
}

#[test]
fn a_batch_is_cut_into_parts_of_like_size() {
    let sizes = |size, devices| cut(size, devices).iter().map(Range::len).collect::<Vec<_>>();
    assert_eq!(cut(7, 3), [0..3, 3..5, 5..7]);
    assert_eq!((sizes(100, 2), sizes(1, 2), sizes(2, 4)), (vec![50, 50], vec![1], vec![1, 1]));
    for size in 1..40 {
        for devices in 1..9 {
            let parts = sizes(size, devices);
            assert_eq!((parts.iter().sum::<usize>(), parts.len()), (size, devices.min(size)));
            assert!(parts[0] - parts[parts.len() - 1] <= 1);
        }
    }
}

#[test]
fn a_device_that_fails_is_named_and_leaves_nothing_for_the_next_step() {
    session(&[], 2, |session| {
        let (learner, loader) = session.learner().unwrap();
        let devices = session.devices().unwrap();
        let batch = || {
            loader.set_position(1, 0);
            loader.iter().next().unwrap().unwrap()
        };
        let loss = |step: TrainOutput<ClassificationOutput>| step.item.loss.into_scalar::<f32>();
        let before = loss(devices.step(&learner, batch()).unwrap());
        let mut wrong = batch();
        // The last label, which the second device gets, is no class.
        let label = Tensor::from_data([99], &wrong.targets.device());
        wrong.targets = Tensor::cat(vec![wrong.targets.slice(0..wrong.size - 1), label], 0);
        let error = devices.step(&learner, wrong).err().unwrap().render();
        assert!(error.contains("device 2 of those that share the batches failed\n"), "{error}");
        assert_eq!(loss(devices.step(&learner, batch()).unwrap()).to_bits(), before.to_bits());
    });
}
