//! What must hold for every kind of network.
#![allow(clippy::unwrap_used)]

use burn::module::Module as _;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng as _;

use super::*;
use crate::seed::{Purpose, Stream};

const CLASSES: usize = 10;

fn shape(channels: usize, side: usize) -> ImageShape {
    ImageShape { channels, height: side, width: side }
}

fn shapes() -> [ImageShape; 4] {
    [shape(1, 28), shape(3, 32), shape(1, 12), ImageShape { channels: 2, height: 14, width: 19 }]
}

fn images(count: usize, shape: ImageShape, device: &Device) -> Tensor<4> {
    let mut rng = Stream::new(3, Purpose::Synthetic).at(0, 0);
    let values = (0..count * shape.len()).map(|_| rng.next_u32() as f32 / u32::MAX as f32 - 0.5).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, [count, shape.channels, shape.height, shape.width]), device)
}

fn logits(network: &Network, images: Tensor<4>) -> Vec<f32> {
    network.forward(images).try_into_vec_as::<f32>().unwrap()
}

#[test]
fn every_network_builds_as_its_shape_inference_says() {
    let device = Device::flex();
    for config in ModelConfig::examples() {
        for shape in shapes() {
            let layers = config.layers(shape, CLASSES).unwrap();
            let network = config.init(shape, CLASSES, &device).unwrap().initialise(1);
            let mut seen = Vec::new();
            let mut hook = |name: &str, output: Activation| {
                seen.push((name.to_owned(), output.shape[1..].to_vec()));
                let (mean, sd) = output.mean_and_sd().unwrap();
                assert!(mean.is_finite() && sd > 0.0, "{name}: mean {mean}, sd {sd}");
            };
            let output =
                network.forward_in(images(3, shape, &device), &mut ForwardContext::inference().with_hook(&mut hook));
            assert_eq!(output.dims(), [3, CLASSES]);
            let listed =
                layers.iter().map(|layer| (layer.name.clone(), layer.output_shape.clone())).collect::<Vec<_>>();
            assert_eq!(seen, listed, "{} on {shape}", config.kind());
            let weights = network.weights().unwrap();
            let actual = weights.iter().map(|(name, tensor)| {
                (name.to_owned(), Role::of(name, tensor.shape.len()).unwrap(), tensor.shape.clone())
            });
            let inferred = layers.iter().flat_map(|layer| {
                assert!(layer.tensors.iter().all(|tensor| tensor.name.starts_with(&format!("{}.", layer.name))));
                layer.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.role, tensor.shape.clone()))
            });
            let mut inferred = inferred.collect::<Vec<_>>();
            inferred.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(actual.collect::<Vec<_>>(), inferred, "{} on {shape}", config.kind());
        }
    }
}

#[test]
fn every_tensor_begins_as_its_role_says() {
    for config in ModelConfig::examples() {
        let weights = config.init(shape(1, 28), CLASSES, &Device::flex()).unwrap().initialise(1).weights().unwrap();
        for (name, tensor) in weights.iter() {
            let values = &tensor.values;
            let mean_of_squares =
                values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64;
            match Role::of(name, tensor.shape.len()).unwrap() {
                role @ (Role::HiddenWeight | Role::ConvKernel | Role::OutputWeight) => {
                    let inputs =
                        if tensor.shape.len() == 2 { tensor.shape[0] } else { tensor.shape[1..].iter().product() };
                    let expected = if role == Role::OutputWeight { 1.0 } else { 2.0 } / inputs as f64;
                    // Five standard deviations of an estimate of the variance from so many normal values.
                    let slack = 5.0 * (2.0 / values.len() as f64).sqrt();
                    assert!(
                        (mean_of_squares / expected - 1.0).abs() < slack,
                        "{name}: {mean_of_squares} for {expected}"
                    );
                }
                Role::NormScale | Role::RunningVariance => assert!(values.iter().all(|value| *value == 1.0), "{name}"),
                Role::Bias | Role::NormShift | Role::RunningMean => {
                    assert!(values.iter().all(|value| *value == 0.0), "{name}");
                }
            }
        }
    }
}

#[test]
fn every_network_learns_a_batch() {
    let device = Device::flex().autodiff();
    let shape = shape(1, 12);
    for config in ModelConfig::examples() {
        let mut network = config.init(shape, CLASSES, &device).unwrap().initialise(7);
        let labels = Tensor::<1, Int>::from_data([1, 2, 3, 4], &device);
        let loss = |network: &Network| {
            let logits = network.forward_in(images(4, shape, &device), &mut ForwardContext::inference());
            CrossEntropyLossConfig::new().init(&device).forward(logits, labels.clone())
        };
        let mut optimizer = SgdConfig::new().init();
        let before = loss(&network);
        let value = before.clone().try_into_vec_as::<f32>().unwrap()[0];
        for _ in 0..3 {
            let gradients = GradientsParams::from_grads(loss(&network).backward(), &network);
            assert!(!gradients.is_empty());
            network = optimizer.step(0.02, network, gradients);
        }
        let after = loss(&network).try_into_vec_as::<f32>().unwrap()[0];
        assert!(after < value, "{}: {value} -> {after}", config.kind());
    }
}

#[test]
fn the_seed_decides_the_weights_and_dropout() {
    let device = Device::flex();
    let shape = shape(1, 12);
    for config in ModelConfig::examples() {
        let digest = |seed| config.init(shape, 3, &device).unwrap().initialise(seed).weights().unwrap().sha256();
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
        let tracked = config.init(shape, 3, &device.clone().autodiff()).unwrap().initialise(1);
        assert_eq!(tracked.weights().unwrap().sha256(), digest(1));
    }
    let config = ModelConfig::Mlp(MlpConfig { hidden: vec![64, 64], dropout: 0.5 });
    let network = config.init(shape, 3, &device).unwrap().initialise(1);
    let dropped = |seed| {
        let output = network.forward_in(images(2, shape, &device), &mut ForwardContext::training(seed));
        output.try_into_vec_as::<f32>().unwrap()
    };
    assert_eq!(dropped(5), dropped(5));
    assert_ne!(dropped(5), dropped(6));
    assert_ne!(dropped(5), logits(&network, images(2, shape, &device)));
}

#[test]
fn channels_and_paths_are_dropped_whole_by_the_seed_and_in_training_alone() {
    let device = Device::flex();
    let ones = || Tensor::<4>::ones([50, 20, 2, 3], &device);
    let read = |images: Tensor<4>| images.try_into_vec_as::<f32>().unwrap();
    let dropped = |seed, by: fn(&mut ForwardContext, Tensor<4>) -> Tensor<4>| {
        let mut context = ForwardContext::training(seed);
        [read(by(&mut context, ones())), read(by(&mut context, ones()))]
    };
    let channels = |context: &mut ForwardContext, images| context.dropout_channels(images, 0.25);
    let paths = |context: &mut ForwardContext, images| context.drop_path(images, 0.25);
    for (by, part) in [(channels as fn(&mut ForwardContext, Tensor<4>) -> Tensor<4>, 6), (paths, 120)] {
        let [first, second] = dropped(5, by);
        assert!(first != second && [first.clone(), second] == dropped(5, by) && dropped(6, by)[0] != first);
        let mut zeros = 0;
        for whole in first.chunks(part) {
            assert!(whole.iter().all(|value| *value == whole[0]) && (whole[0] == 0.0 || whole[0] == 4.0 / 3.0));
            zeros += usize::from(whole[0] == 0.0);
        }
        // Five standard deviations.
        let parts = (first.len() / part) as f64;
        assert!((zeros as f64 / parts - 0.25).abs() < 5.0 * (0.25 * 0.75 / parts).sqrt(), "{zeros} of {parts}");
        assert_eq!(read(by(&mut ForwardContext::inference(), ones())), read(ones()));
    }
}

#[test]
fn stochastic_depth_drops_later_blocks_more_often() {
    let device = Device::flex();
    let config = PreactResnetConfig { channels: vec![4], stem: 4, blocks: 4, drop_path: 0.8, ..Default::default() };
    let network = ModelConfig::PreactResnet(config).init(shape(1, 4), 3, &device).unwrap().initialise(2);
    // A block that adds nothing gives what it gets.
    let mut dropped = [0; 4];
    for seed in 0..20 {
        let mut outputs: Vec<Vec<f32>> = Vec::new();
        let mut hook = |name: &str, output: Activation| {
            if name == "stem" || name.starts_with("blocks") {
                outputs.push(output.values().unwrap());
            }
        };
        let mut context = ForwardContext::training(seed).with_hook(&mut hook);
        let _ = network.forward_in(images(10, shape(1, 4), &device), &mut context);
        assert_eq!(outputs.len(), 5);
        for (block, pair) in outputs.windows(2).enumerate() {
            let image = pair[0].len() / 10;
            let same = pair[0].chunks(image).zip(pair[1].chunks(image)).filter(|(before, after)| before == after);
            dropped[block] += same.count();
        }
    }
    for (block, dropped) in dropped.into_iter().enumerate() {
        let expected = 0.2 * (block + 1) as f64;
        let slack = 5.0 * (expected * (1.0 - expected) / 200.0).sqrt();
        assert!((dropped as f64 / 200.0 - expected).abs() < slack, "block {block}: {dropped} of 200");
    }
}

#[test]
fn weights_survive_the_way_to_the_host_and_back() {
    let device = Device::flex();
    let shape = shape(1, 12);
    for config in ModelConfig::examples() {
        let trained = config.init(shape, CLASSES, &device.clone().autodiff()).unwrap().initialise(9);
        // Moves the running statistics of batch norms.
        let _ = trained.forward(images(4, shape, &device.clone().autodiff()));
        let weights = trained.weights().unwrap();
        let copy = config.init(shape, CLASSES, &device).unwrap().load(&weights).unwrap();
        assert_eq!(copy.weights().unwrap(), weights);
        let expected = logits(&trained.valid(), images(4, shape, &device));
        assert_eq!(logits(&copy, images(4, shape, &device)), expected, "{}", config.kind());
        let resumed = config.init(shape, CLASSES, &device.clone().autodiff()).unwrap().load(&weights).unwrap();
        assert_eq!(resumed.weights().unwrap(), weights);
        let labels = Tensor::<1, Int>::from_data([1, 2, 3, 4], &device.clone().autodiff());
        let output = resumed.forward(images(4, shape, &device.clone().autodiff()));
        let loss = CrossEntropyLossConfig::new().init(&output.device()).forward(output, labels);
        let tracked = GradientsParams::from_grads(loss.backward(), &resumed);
        let learned = |name: &str, tensor: &WeightTensor| Role::of(name, tensor.shape.len()).unwrap().is_learned();
        let learned = weights.iter().filter(|(name, tensor)| learned(name, tensor)).count();
        assert_eq!(tracked.len(), learned, "{}", config.kind());
    }
}

#[test]
fn a_folded_network_computes_the_same_without_norms() {
    let device = Device::flex();
    let shape = shape(2, 13);
    for config in ModelConfig::examples() {
        let trained = config.init(shape, CLASSES, &device.clone().autodiff()).unwrap().initialise(9);
        // Moves the running statistics; scales and shifts become any numbers.
        let _ = trained.forward(images(9, shape, &device.clone().autodiff()).add_scalar(0.3));
        let mut weights = trained.weights().unwrap();
        for (name, tensor) in weights.iter_mut() {
            if name.ends_with("gamma") || name.ends_with("beta") {
                let shifted = tensor.values.iter().zip(1_u8..).map(|(value, i)| value - 0.3 * f32::from(i));
                tensor.values = shifted.collect();
            }
        }
        let network = config.init(shape, CLASSES, &device).unwrap().load(&weights).unwrap();
        let expected = logits(&network, images(4, shape, &device));
        let folded = network.folded();
        for (found, expected) in logits(&folded, images(4, shape, &device)).iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
                "{}: {found}, {expected}",
                config.kind()
            );
        }
        // A norm of a convolution goes into it. One that follows no convolution stays.
        struct Norms(ParameterPath, Vec<String>);
        impl burn::module::ModuleVisitor for Norms {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.0.enter(name);
            }

            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.0.exit();
            }

            fn visit_float<const D: usize>(&mut self, _param: &burn::module::Param<Tensor<D>>) {
                self.1.extend(self.0.name().split_once("norm.").map(|(block, _)| format!("{block}conv.weight")));
            }
        }
        let mut norms = Norms(ParameterPath::default(), Vec::new());
        folded.visit(&mut norms);
        assert!(norms.1.iter().all(|conv| weights.get(conv).is_none()), "{}", config.kind());
    }
}

#[test]
fn a_compiled_network_computes_what_its_layers_do() {
    let device = Device::flex();
    for config in ModelConfig::examples() {
        for shape in shapes() {
            let network = config.init(shape, CLASSES, &device).unwrap().initialise(7);
            // Norms with statistics that are not those of the beginning.
            let mut weights = network.weights().unwrap();
            for (name, tensor) in weights.iter_mut().filter(|(name, _)| name.contains("norm")) {
                let size = name.len();
                let value = |i: usize| 0.5 + ((i + size) % 7) as f32 / 10.0;
                tensor.values.iter_mut().enumerate().for_each(|(i, old)| *old = value(i));
            }
            let network = network.load(&weights).unwrap().valid();
            let images = images(5, shape, &device);
            let expected = logits(&network, images.clone());
            let pixels = images.try_into_vec_as::<f32>().unwrap();
            let found = config.compile(shape, CLASSES, &weights).unwrap().run(5, 32, &|first, values| {
                values.copy_from_slice(&pixels[first * shape.len()..][..values.len()]);
            });
            for (found, expected) in found.iter().zip(&expected) {
                let close = (found - expected).abs() <= 1e-4 * (1.0 + expected.abs());
                assert!(close, "{} on {shape}: {found} is not {expected}", config.kind());
            }
            let error = config.compile(shape, CLASSES, &Weights::default()).unwrap_err().to_string();
            assert!(error.contains("is missing"), "{error}");
        }
    }
}

#[test]
fn a_group_norm_sees_one_image_and_is_the_same_in_training_and_after() {
    let device = Device::flex();
    let has_groups = |config: &ModelConfig| {
        let layers = config.layers(shape(1, 12), CLASSES).unwrap();
        layers.iter().flat_map(|layer| &layer.tensors).any(|tensor| tensor.name.contains("group_norm."))
    };
    let grouped = ModelConfig::examples().into_iter().filter(has_groups).collect::<Vec<_>>();
    assert_eq!(grouped.iter().map(ModelConfig::kind).collect::<Vec<_>>(), ["convnet", "resnet", "preact_resnet"]);
    for config in grouped {
        let tracked = config.init(shape(2, 13), CLASSES, &device.clone().autodiff()).unwrap().initialise(4);
        let batch = images(5, shape(2, 13), &device);
        let in_training = logits(&tracked, images(5, shape(2, 13), &device.clone().autodiff()));
        let network = tracked.valid();
        let together = logits(&network, batch.clone());
        let alone = (0..5).flat_map(|i| logits(&network, batch.clone().narrow(0, i, 1)));
        for ((found, alone), together) in in_training.iter().zip(alone).zip(&together) {
            let close = |a: f32, b: f32| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
            assert!(close(*found, *together) && close(alone, *together), "{found}, {alone}, {together}");
        }
    }
}

#[test]
fn behind_a_global_pool_the_size_of_the_images_does_not_matter() {
    let pooled = ConvnetConfig { global_pool: GlobalPool::Average, ..ConvnetConfig::default() };
    let [small, large] = [12, 28].map(|side| {
        let config = ModelConfig::Convnet(pooled.clone());
        config.init(shape(1, side), CLASSES, &Device::flex()).unwrap().initialise(2).weights().unwrap()
    });
    assert_eq!(small, large);
    assert_eq!(small.get("hidden.0.weight").unwrap().shape, [64, 128]);
}

#[test]
fn loading_names_the_tensor_that_does_not_fit() {
    let device = Device::flex();
    let config = ModelConfig::Linear(LinearConfig {});
    let load = |weights: &Weights| config.init(shape(1, 2), 3, &device).unwrap().load(weights).unwrap_err().to_string();
    let good = config.init(shape(1, 2), 3, &device).unwrap().weights().unwrap();
    let mut weights = good.clone();
    weights.remove("output.bias");
    assert_eq!(load(&weights), "tensor `output.bias` is missing");
    weights.insert("output.bias", WeightTensor { shape: vec![4], values: vec![0.0; 4] });
    assert_eq!(load(&weights), "tensor `output.bias`: must have shape [3], got [4]");
    let mut weights = good;
    weights.insert("output.scale", WeightTensor { shape: vec![1], values: vec![0.0] });
    assert_eq!(load(&weights), "the network has no tensor `output.scale`");
}

#[test]
fn well_known_sizes_are_met() {
    let parameters = |config: &ModelConfig| total_parameters(&config.layers(shape(1, 28), 10).unwrap());
    let plain = |blocks: &[(usize, usize, bool)], hidden| {
        let block = |&(channels, kernel_size, pool)| BlockConfig { channels, kernel_size, pool };
        ModelConfig::Convnet(ConvnetConfig {
            blocks: blocks.iter().map(block).collect(),
            norm: Norm::None,
            padding: Padding::Valid,
            hidden: vec![hidden],
            ..ConvnetConfig::default()
        })
    };
    assert_eq!(parameters(&ModelConfig::Linear(LinearConfig {})), 7850);
    assert_eq!(parameters(&ModelConfig::Lenet(LenetConfig::default())), 61_706);
    let example = plain(&[(32, 3, false), (64, 3, true)], 128);
    assert_eq!(parameters(&example), 1_199_882);
    let layers = example.layers(shape(1, 28), 10).unwrap();
    assert_eq!(layers[1].output_shape, [64, 12, 12]);
    assert_eq!(layers[1].forward_flops, 2 * 9 * 32 * 64 * 24 * 24);
    assert_eq!(layers[2].forward_flops, 2 * 9216 * 128);
    let fast = plain(&[(24, 5, true), (32, 3, true)], 256).layers(shape(1, 28), 10).unwrap();
    assert_eq!(fast[1].output_shape, [32, 5, 5]);
    assert_eq!(fast[2].parameters, 800 * 256 + 256);
}

#[test]
fn models_that_cannot_be_built_say_where_and_why() {
    let said = |config: &ModelConfig, side| config.layers(shape(1, side), 10).unwrap_err().to_string();
    let block = |kernel_size, pool| BlockConfig { channels: 4, kernel_size, pool };
    let convnet = |blocks, padding| ModelConfig::Convnet(ConvnetConfig { blocks, padding, ..ConvnetConfig::default() });
    let pools = convnet(vec![block(3, true), block(3, true), block(3, true)], Padding::Same);
    let kernel = convnet(vec![block(3, true), block(7, false)], Padding::Valid);
    let mut found = vec![
        said(&pools, 6),
        said(&kernel, 12),
        said(&convnet(vec![block(4, true)], Padding::Same), 12),
        said(&convnet(vec![], Padding::Same), 12),
        said(&convnet(vec![BlockConfig { channels: 0, ..block(3, true) }], Padding::Same), 12),
        said(&ModelConfig::Lenet(LenetConfig::default()), 11),
        said(&ModelConfig::Mlp(MlpConfig { hidden: vec![], dropout: 0.0 }), 12),
        said(&ModelConfig::Mlp(MlpConfig { hidden: vec![0], dropout: 1.0 }), 12),
        said(&ModelConfig::Mlp(MlpConfig { hidden: vec![65_536, 65_536], dropout: 0.0 }), 12),
        said(&ModelConfig::Resnet(ResnetConfig { channels: vec![4; 4], ..ResnetConfig::default() }), 4),
    ];
    let grouped = |blocks, groups| {
        let norm = Norm::Group;
        ModelConfig::Convnet(ConvnetConfig { blocks, norm, groups, ..ConvnetConfig::default() })
    };
    let stages = |channels, groups| {
        ModelConfig::Resnet(ResnetConfig { channels, norm: ResidualNorm::Group, groups, ..ResnetConfig::default() })
    };
    let preact = PreactResnetConfig {
        stem: 12,
        channels: vec![16, 32, 64],
        norm: ResidualNorm::Group,
        ..PreactResnetConfig::default()
    };
    let unasked = ConvnetConfig { groups: Some(4), ..ConvnetConfig::default() };
    found.extend([
        said(&grouped(vec![BlockConfig { channels: 8, ..block(3, true) }, block(3, false)], None), 12),
        said(&grouped(vec![block(3, true)], Some(0)), 12),
        said(&grouped(vec![block(3, true), block(3, true), block(3, false)], Some(4)), 4),
        said(&stages(vec![16, 18], Some(4)), 12),
        said(&stages(vec![4, 4, 4], Some(4)), 4),
        said(&ModelConfig::PreactResnet(preact.clone()), 28),
        said(
            &ModelConfig::PreactResnet(PreactResnetConfig { channels: vec![4], stem: 4, groups: Some(4), ..preact }),
            1,
        ),
        said(&ModelConfig::Convnet(unasked), 12),
    ]);
    found.push(ModelConfig::default().layers(shape(1, 12), 1).unwrap_err().to_string());
    insta::assert_snapshot!(found.join("\n"), @r#"
    `model.blocks`: block 3 pools 2x2, but only 1x1 is left after its convolution of 1x1; the images are 1x6x6
    `model.blocks`: block 2 has a 7x7 kernel, but its input is only 5x5 (border of 0); the images are 1x12x12
    `model.blocks`: block 1: kernel_size must be odd with padding "same", got 4; padding "valid" takes any
    `model.blocks`: must name 1 to 64 blocks, got 0
    `model.blocks`: block 1: channels must be 1 to 4096, got 0
    `model.kind`: `lenet` needs images of at least 12x12, got 11x11: block 2 pools 2x2, but only 1x1 is left after its convolution of 5x5
    `model.hidden`: must name at least one hidden layer, got none; without one it is the model kind `linear`
    `model.hidden`: layer 1: width must be 1 to 65536, got 0
    `model.kind`: the network must have at most 200000000 parameters, got 4305190922
    `model.channels`: stage 4 cannot halve its input of 1x1; the images are 1x4x4
    `model.groups`: must divide the channels of every layer, but block 2 has 4 and 8, the default, does not divide them; allowed: 1, 2, 4
    `model.groups`: must be at least 1, got 0
    `model.blocks`: block 3 normalises each value by itself, which makes all of them 0: its 4 groups of 4 channels of 1x1 have one value each; the images are 1x4x4
    `model.groups`: must divide the channels of every layer, but stage 2 has 18 and 4 does not divide them; allowed: 1, 2
    `model.channels`: stage 3 normalises each value by itself, which makes all of them 0: its 4 groups of 4 channels of 1x1 have one value each; the images are 1x4x4
    `model.groups`: must divide the channels of every layer, but the stem has 12 and 8, the default, does not divide them; allowed: 1, 2, 4
    `model.channels`: stage 1 normalises each value by itself, which makes all of them 0: its 4 groups of 4 channels of 1x1 have one value each; the images are 1x1x1
    `model.groups`: belongs to model.norm = "group", got 4; set that, or this to "none"
    `model.kind`: needs at least 2 classes to tell apart, got 1
    "#);
}
