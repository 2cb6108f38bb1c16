//! The average of a network's weights over its updates, which is validated and kept in place of the weights themselves.

use burn::module::{Module as _, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::classifier::Classifier;

/// An exponential moving average of all tensors of a network, batch norms' running statistics included (as in timm's
/// `ModelEmaV3`): `average += (1 - decay) (weights - average)`, once after every update.
pub(super) struct Average {
    /// Without autodiff; none only while it is being moved.
    classifier: Option<Classifier>,
    decay: f64,
}

impl Average {
    /// An average that begins as `classifier`, which is without autodiff and shares no running statistics with another.
    pub(super) fn new(classifier: Classifier, decay: f64) -> Self {
        Self { classifier: Some(classifier), decay }
    }

    /// The average.
    pub(super) fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// The average, to keep.
    pub(super) fn into_classifier(self) -> Option<Classifier> {
        self.classifier
    }

    /// Moves the average towards the weights of `trained`, before which there had been `updates` updates. In the first
    /// updates of a run it follows faster, so that the initial weights are soon forgotten: the decay is at most
    /// `(1 + updates) / (10 + updates)`, as in TensorFlow's `ExponentialMovingAverage`.
    pub(super) fn follow(&mut self, trained: &Classifier, updates: usize) {
        let Some(classifier) = self.classifier.take() else { return };
        let decay = self.decay.min((1 + updates) as f64 / (10 + updates) as f64);
        // This also publishes the running statistics of the norms.
        let trained = trained.valid();
        let mut values = Values { values: GradientsParams::new(), count: 0 };
        trained.visit(&mut values);
        self.classifier = Some(classifier.map(&mut Toward { values: values.values, count: 0, part: 1.0 - decay }));
    }
}

/// Gathers a module's tensors, numbered in the order of its fields: running statistics have no lasting ids.
struct Values {
    values: GradientsParams,
    count: u64,
}

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.register(ParamId::from(self.count), param.val());
        self.count += 1;
    }
}

/// Moves every tensor of a module a part of the way to another.
struct Toward {
    values: GradientsParams,
    count: u64,
    part: f64,
}

impl ModuleMapper for Toward {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = self.values.remove::<D>(ParamId::from(self.count));
        self.count += 1;
        let (id, average, mapper) = param.consume();
        let average = match value {
            Some(value) => average.clone() + (value - average).mul_scalar(self.part),
            None => average,
        };
        Param::from_mapped_value(id, average, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::Experiment;
    use crate::data::ImageShape;
    use crate::models::{ModelConfig, Weights};
    use crate::train::classifier::StepSettings;

    fn classifier(config: &ModelConfig, device: &Device, change: impl Fn(f32) -> f32) -> Classifier {
        let shape = ImageShape { channels: 1, height: 12, width: 12 };
        let network = config.init(shape, 3, device).unwrap().initialise(1);
        let weights = network.weights().unwrap();
        let changed = weights.iter().map(|(name, tensor)| {
            let mut tensor = tensor.clone();
            tensor.values.iter_mut().for_each(|value| *value = change(*value));
            (name.to_owned(), tensor)
        });
        let network = network.load(&changed.collect::<Weights>()).unwrap();
        Classifier::new(network, StepSettings::new(&Experiment::default(), &[1; 3]))
    }

    #[test]
    fn every_tensor_of_every_network_moves_by_what_the_decay_leaves() {
        for config in ModelConfig::examples() {
            let (still, device) = (classifier(&config, &Device::flex(), |value| value), Device::flex().autodiff());
            let moved = classifier(&config, &device, |value| value + 1.0);
            let mut average = Average::new(still.valid(), 0.75);
            let distance = |average: &Average| {
                let now = average.classifier().unwrap().network.weights().unwrap();
                let before = still.network.weights().unwrap();
                let far = |(name, tensor): (&str, &crate::models::WeightTensor)| {
                    let values = &before.get(name).unwrap().values;
                    tensor.values.iter().zip(values).map(|(a, b)| a - b).collect::<Vec<f32>>()
                };
                now.iter().flat_map(far).collect::<Vec<f32>>()
            };
            let all = |average: &Average, expected: f32| {
                assert!(distance(average).iter().all(|far| (far - expected).abs() < 1e-5), "{}", config.kind());
            };
            // The first update counts for nine tenths, later ones for a quarter.
            average.follow(&moved, 0);
            all(&average, 0.9);
            average.follow(&moved, 1000);
            all(&average, 0.925);
        }
    }
}
