//! What must hold for every optimizer.
#![allow(clippy::unwrap_used)]

use burn::module::{Module as _, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{self, GradientsParams, Optimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::*;
use crate::data::ImageShape;
use crate::models::{ModelConfig, Network};
use crate::schedules::ScheduleConfig;

const SHAPE: ImageShape = ImageShape { channels: 1, height: 12, width: 12 };
const CLASSES: usize = 4;

fn network(model: &ModelConfig) -> Network {
    model.init(SHAPE, CLASSES, &Device::flex().autodiff()).unwrap().initialise(3)
}

fn layers(model: &ModelConfig) -> Vec<LayerSummary> {
    model.layers(SHAPE, CLASSES).unwrap()
}

/// A model with every role: the first example with convolutions, norms and hidden layers.
fn with_every_role() -> ModelConfig {
    ModelConfig::examples()
        .into_iter()
        .find(|model| {
            let has = |role| layers(model).iter().flat_map(|layer| &layer.tensors).any(|tensor| tensor.role == role);
            [Role::ConvKernel, Role::HiddenWeight, Role::NormScale].into_iter().all(has)
        })
        .unwrap()
}

fn gradients(network: &Network) -> GradientsParams {
    let device = Device::flex().autodiff();
    let values = (0..4 * SHAPE.len()).map(|index| (index * 7919 % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
    let images = Tensor::<4>::from_data(TensorData::new(values, [4, 1, 12, 12]), &device);
    let labels = Tensor::<1, Int>::from_data([0, 1, 2, 3], &device);
    let loss = CrossEntropyLossConfig::new().init(&device).forward(network.forward(images), labels);
    GradientsParams::from_grads(loss.backward(), network)
}

fn rate() -> PlannedRate {
    let schedule = ScheduleConfig::default();
    PlannedRate { schedule, peak: 0.01, total_updates: 10, updates_per_epoch: 5.0, update: 0 }
}

#[test]
fn every_learned_tensor_has_one_rule_and_its_rate() {
    for model in ModelConfig::examples() {
        let layers = layers(&model);
        let learned = tensors(&layers).filter(|tensor| tensor.role.is_learned()).count();
        for optimizer in OptimizerConfig::examples() {
            let assigned = optimizer.assign(&layers);
            assert_eq!(assigned.iter().map(|(_, own)| own.len()).sum::<usize>(), learned);
            let rates = optimizer.schedule(&layers, &rate()).step();
            for (rule, tensor) in assigned.iter().flat_map(|(rule, own)| own.iter().map(move |tensor| (rule, tensor))) {
                let found = rates.lr_from_param(parameter_id(&tensor.name), None);
                assert_eq!(found, 0.01 * rule.rate_ratio, "{} of {optimizer:?}", tensor.name);
            }
        }
    }
}

#[test]
fn every_optimizer_goes_on_from_its_record_to_the_last_bit() {
    let model = with_every_role();
    let layers = layers(&model);
    for optimizer in OptimizerConfig::examples() {
        let mut burn = optimizer.build(&layers);
        let mut trained = network(&model);
        for _ in 0..2 {
            let gradients = gradients(&trained);
            trained = burn.step(0.01, trained, gradients);
        }
        let record = burn.into_bytes().unwrap();
        optimizer.check_record(&layers, &record).unwrap();
        let restored = optimizer.build(&layers).from_bytes(record).unwrap();
        let ended = |burn: &ModuleOptimizer| {
            let next = burn.clone().step(0.01, trained.clone(), gradients(&trained));
            // Every forward pass moves the running statistics of norms, which no optimizer touches.
            let weights = next.weights().unwrap();
            let learned = tensors(&layers).filter(|tensor| tensor.role.is_learned());
            learned.map(|tensor| weights.get(&tensor.name).unwrap().values.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ended(&restored), ended(&burn), "{optimizer:?}");
        if optimizer.assign(&layers).iter().any(|(rule, _)| rule.state > 0) {
            let fresh = optimizer.build(&layers);
            assert_ne!(ended(&fresh), ended(&restored), "{optimizer:?} remembers nothing");
        }
    }
}

#[test]
fn a_record_of_other_rules_is_refused() {
    let model = with_every_role();
    let layers = layers(&model);
    // AdamW on the kernels, where Muon is: what was so before Muon took convolutions.
    let adamw = OptimizerConfig::Adamw(AdamwConfig::default());
    let mut burn = adamw.build(&layers);
    let trained = network(&model);
    let gradients = gradients(&trained);
    let _ = burn.step(0.01, trained, gradients);
    let record = burn.into_bytes().unwrap();
    adamw.check_record(&layers, &record).unwrap();
    let error = OptimizerConfig::Muon(MuonConfig::default()).check_record(&layers, &record).unwrap_err();
    assert!(error.to_string().contains("written under other update rules"), "{error}");
    assert!(adamw.check_record(&layers, b"no record").is_err());
}

#[test]
fn muon_takes_hidden_matrices_and_kernels_and_leaves_the_rest_to_adamw() {
    let muon = OptimizerConfig::Muon(MuonConfig::default());
    let layers = layers(&with_every_role());
    let assigned = muon.assign(&layers);
    let names = |index: usize| assigned[index].1.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>();
    assert_eq!((assigned[0].0.name, assigned[1].0.name), ("AdamW", "Muon"));
    assert_eq!(names(1), ["blocks.0.conv.weight", "blocks.1.conv.weight", "hidden.0.weight"]);
    assert!(names(0).contains(&"output.weight") && names(0).contains(&"blocks.0.norm.gamma"));
}

/// Collects every parameter as it is after a step of `rule` on it.
struct Kernels<'a> {
    gradients: &'a GradientsParams,
    kernels: Vec<(Tensor<2>, Tensor<2>)>,
}

impl ModuleVisitor for Kernels<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 4 {
            let flat = |tensor: Tensor<D>| {
                let rows = tensor.dims()[0];
                let columns = tensor.shape().num_elements() / rows;
                tensor.reshape([rows, columns])
            };
            let gradient = self.gradients.get::<D>(param.id).unwrap();
            self.kernels.push((flat(param.val().without_autodiff()), flat(gradient)));
        }
    }
}

#[test]
fn a_kernel_is_updated_as_the_matrix_of_its_rows() {
    let model = with_every_role();
    let before = network(&model);
    let gradients = gradients(&before);
    let mut found = Kernels { gradients: &gradients, kernels: Vec::new() };
    before.visit(&mut found);
    let stock = optim::MuonConfig::new().build();
    let expected = found
        .kernels
        .into_iter()
        .map(|(kernel, gradient)| Optimizer::step(&stock, 0.02, kernel, gradient, None).0)
        .map(|kernel| kernel.try_into_vec_as::<f32>().unwrap())
        .collect::<Vec<_>>();
    let muon = OptimizerConfig::Muon(MuonConfig { weight_decay: 0.0, ..MuonConfig::default() });
    let after = muon.build(&layers(&model)).step(0.02, before, gradients).weights().unwrap();
    let actual = (0..expected.len())
        .map(|block| after.get(&format!("blocks.{block}.conv.weight")).unwrap().values.clone())
        .collect::<Vec<_>>();
    assert_eq!(actual, expected);
    assert_eq!(actual.len(), 2);
}

/// The values of all parameters, as bits.
fn bits(network: &Network) -> Vec<u32> {
    let weights = network.weights().unwrap();
    weights.iter().flat_map(|(_, tensor)| tensor.values.iter().map(|value| value.to_bits())).collect()
}

#[test]
fn updates_together_are_those_one_by_one_and_go_on_from_each_others_records() {
    let model = with_every_role();
    let layers = layers(&model);
    let mut kinds = Vec::new();
    for optimizer in OptimizerConfig::examples() {
        let Some(together) = optimizer.together(&layers) else { continue };
        kinds.push(optimizer.kind());
        let (mut one_by_one, mut at_once) = (network(&model), network(&model));
        let mut burn = optimizer.build(&layers);
        assert!(together.to_record(at_once.clone()).is_none());
        for step in 0..3 {
            let rate = 0.01 / (step + 1) as f64;
            let gradient = gradients(&one_by_one);
            one_by_one = burn.step(rate, one_by_one, gradient);
            let gradient = gradients(&at_once);
            at_once = together.step(rate, at_once, gradient);
            assert_eq!(bits(&one_by_one), bits(&at_once), "{optimizer:?}");
        }
        let record = together.to_record(at_once.clone()).unwrap();
        optimizer.check_record(&layers, &together.to_record(at_once.clone()).unwrap().into_bytes().unwrap()).unwrap();
        let mut from_together = optimizer.build(&layers).load_record(record);
        let from_burn = optimizer.together(&layers).unwrap();
        from_burn.load(burn.to_record(), one_by_one.clone());
        let gradient = gradients(&at_once);
        at_once = from_together.step(0.005, at_once, gradient);
        let gradient = gradients(&one_by_one);
        one_by_one = from_burn.step(0.005, one_by_one, gradient);
        assert_eq!(bits(&one_by_one), bits(&at_once), "{optimizer:?}");
    }
    assert!(kinds.contains(&"adam") && kinds.contains(&"adamw"), "{kinds:?}");
}
