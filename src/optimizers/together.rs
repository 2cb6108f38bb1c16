//! Adam and AdamW on several parameters at once: parameters and moments of a few neighbours as one array each, so that a GPU is
//! asked for few updates. The network's parameters are parts of the arrays, as are the moments of a checkpoint, whose record is
//! that of Burn's optimizer: a run goes on with either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamState, AdaptiveMomentumState, GradientsParams, ModuleOptimizer, Optimizer, OptimizerRecord};
use burn::tensor::{Device, Tensor};

use super::adam::Adam;
use crate::ops::{self, AdamStep};

/// A parameter begins at a multiple of this many numbers: graphics APIs bind parts of a buffer from 256 bytes to 256 bytes.
const ALIGNMENT: usize = 64;

/// Updates all parameters together. Clones share what they remember.
#[derive(Clone, Debug)]
pub(crate) struct Together(Arc<Mutex<Vec<Group>>>);

/// The parameters that are updated alike.
#[derive(Debug)]
struct Group {
    adam: Adam,
    members: ParamGroup,
    /// Those of every few parameters, in their order; none before the first update.
    arrays: Vec<Arrays>,
}

/// The arrays of a few parameters, all of one layout.
#[derive(Clone, Debug)]
struct Arrays {
    /// The parameters in their order, each with its number of values.
    layout: Vec<(ParamId, usize)>,
    /// Updates so far.
    time: usize,
    parameters: Tensor<1>,
    moments: [Tensor<1>; 2],
}

impl Together {
    /// Updates by these rules; a parameter follows the last whose group it is in.
    pub(super) fn new(rules: Vec<(Adam, ParamGroup)>) -> Self {
        let group = |(adam, members)| Group { adam, members, arrays: Vec::new() };
        Self(Arc::new(Mutex::new(rules.into_iter().map(group).collect())))
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Group>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `module` after an update with these gradients.
    pub(crate) fn step<M: Module>(&self, learning_rate: f64, module: M, gradients: GradientsParams) -> M {
        let mut groups = self.groups();
        let mut found = Flattened { gradients, found: Vec::new() };
        module.visit(&mut found);
        let mut values = HashMap::new();
        for (index, of_group) in divided(&groups, found.found).into_iter().enumerate() {
            groups[index].step(learning_rate, of_group, &mut values);
        }
        module.map(&mut Replace { values })
    }

    /// Goes on from a record of Burn's optimizer for `module`.
    pub(crate) fn load<M: Module>(&self, record: OptimizerRecord, module: M) {
        let mut groups = self.groups();
        let values = || {
            let mut values = Values(GradientsParams::new(), Vec::new());
            module.visit(&mut values);
            values
        };
        let Values(gradients, order) = values();
        let mut found = Flattened { gradients, found: Vec::new() };
        module.visit(&mut found);
        let take = Take::default();
        ModuleOptimizer::from(take.clone()).load_record(record).step(0.0, module.clone(), values().0);
        let states = std::mem::take(&mut *take.0.lock().unwrap_or_else(PoisonError::into_inner));
        let states: HashMap<ParamId, State> =
            order.into_iter().zip(states).filter_map(|(id, state)| Some((id, state?))).collect();
        // Before a run's first update there are no states.
        let learned = found.found.into_iter().filter(|parameter| states.contains_key(&parameter.id)).collect();
        for (index, of_group) in divided(&groups, learned).into_iter().enumerate() {
            let loaded = of_group.chunks(at_once(&of_group)).map(|parameters| {
                let of = |parameter: &Flat| states.get(&parameter.id);
                let part = |which: usize| {
                    let moments = parameters.iter().filter_map(of).map(|(_, moments)| moments[which].clone());
                    ops::joined(moments.collect(), ALIGNMENT)
                };
                let time = parameters.first().and_then(of).map_or(0, |(time, _)| *time);
                Arrays { time, moments: [part(0), part(1)], ..Arrays::new(parameters) }
            });
            groups[index].arrays = loaded.collect();
        }
    }

    /// What Burn's optimizer for `module` would have as its record; none before the first update.
    pub(crate) fn to_record<M: Module>(&self, module: M) -> Option<OptimizerRecord> {
        let groups = self.groups();
        let arrays: Vec<&Arrays> = groups.iter().flat_map(|group| &group.arrays).collect();
        let time = arrays.first()?.time;
        let parts = |which: usize| -> HashMap<ParamId, Tensor<1>> {
            arrays.iter().flat_map(|arrays| arrays.parts(&arrays.moments[which])).collect()
        };
        let mut gradients = Moments { values: parts(0), gradients: GradientsParams::new() };
        module.visit(&mut gradients);
        let module = module.map(&mut Replace { values: parts(1) });
        let mut optimizer = ModuleOptimizer::from(Give { time });
        optimizer.step(0.0, module, gradients.gradients);
        Some(optimizer.to_record())
    }
}

/// Those parameters for each group that it takes.
fn divided(groups: &[Group], parameters: Vec<Flat>) -> Vec<Vec<Flat>> {
    let mut divided: Vec<Vec<Flat>> = groups.iter().map(|_| Vec::new()).collect();
    for parameter in parameters {
        if let Some(index) = groups.iter().rposition(|group| group.members.matches(&parameter.id, None)) {
            divided[index].push(parameter);
        }
    }
    divided
}

/// How many of these parameters are updated at once.
fn at_once(parameters: &[Flat]) -> usize {
    parameters.first().map_or(1, |parameter| ops::parts_of_an_update(&parameter.value))
}

impl Group {
    /// Updates the group's parameters and puts them into `values`.
    fn step(&mut self, learning_rate: f64, parameters: Vec<Flat>, values: &mut HashMap<ParamId, Tensor<1>>) {
        if parameters.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.arrays).into_iter();
        for parameters in parameters.chunks(at_once(&parameters)) {
            let arrays = before.next().filter(|arrays| arrays.is_of(parameters));
            let arrays = arrays.unwrap_or_else(|| Arrays::new(parameters));
            let Adam { beta_1, beta_2, epsilon, decay } = self.adam;
            let step = AdamStep { learning_rate, beta_1, beta_2, epsilon, decay, time: arrays.time + 1 };
            let gradients: Vec<_> = parameters.iter().map(|parameter| parameter.gradient.clone()).collect();
            let (parameters, moments) =
                ops::adam_of_parts(step, &gradients, arrays.parameters, arrays.moments, ALIGNMENT);
            let arrays = Arrays { layout: arrays.layout, time: step.time, parameters, moments };
            values.extend(arrays.parts(&arrays.parameters));
            self.arrays.push(arrays);
        }
    }
}

impl Arrays {
    /// The arrays of these parameters, which have not been updated yet.
    fn new(parameters: &[Flat]) -> Self {
        let layout: Vec<_> = parameters.iter().map(|parameter| (parameter.id, parameter.length())).collect();
        let values = parameters.iter().map(|parameter| parameter.value.clone()).collect();
        let parameters = ops::joined(values, ALIGNMENT);
        let moments = [parameters.zeros_like(), parameters.zeros_like()];
        Self { layout, time: 0, parameters, moments }
    }

    /// Whether these are the parameters of this layout.
    fn is_of(&self, parameters: &[Flat]) -> bool {
        let own = self.layout.iter().copied();
        own.eq(parameters.iter().map(|parameter| (parameter.id, parameter.length())))
    }

    /// The parts of an array by parameter.
    fn parts<'a>(&'a self, array: &'a Tensor<1>) -> impl Iterator<Item = (ParamId, Tensor<1>)> + 'a {
        let mut start = 0;
        self.layout.iter().map(move |(id, length)| {
            let part = array.clone().narrow(0, start, *length);
            start += length.next_multiple_of(ALIGNMENT);
            (*id, part)
        })
    }
}

/// A parameter without its shape.
struct Flat {
    id: ParamId,
    value: Tensor<1>,
    gradient: Tensor<1>,
}

impl Flat {
    fn length(&self) -> usize {
        self.value.dims()[0]
    }
}

/// Gathers the parameters that have a gradient.
struct Flattened {
    gradients: GradientsParams,
    found: Vec<Flat>,
}

impl ModuleVisitor for Flattened {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let value = param.val().without_autodiff();
            let length = value.shape().num_elements();
            let (value, gradient) = (value.reshape([length]), gradient.reshape([length]));
            self.found.push(Flat { id: param.id, value, gradient });
        }
    }
}

/// Gathers the values of all parameters as if they were gradients, and the parameters' order. Running statistics are none.
struct Values(GradientsParams, Vec<ParamId>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            self.0.register(param.id, value.without_autodiff());
            self.1.push(param.id);
        }
    }
}

/// Registers values as the gradients of their parameters.
struct Moments {
    values: HashMap<ParamId, Tensor<1>>,
    gradients: GradientsParams,
}

impl ModuleVisitor for Moments {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(value) = self.values.remove(&param.id) {
            self.gradients.register(param.id, value.reshape(param.val().dims()));
        }
    }
}

/// Puts values in the place of parameters.
struct Replace {
    values: HashMap<ParamId, Tensor<1>>,
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove(&param.id) else { return param };
        let (id, before, mapper) = param.consume();
        let mut value = value.reshape(before.dims());
        if before.is_autodiff() {
            value = value.autodiff();
            if before.is_require_grad() {
                value = value.require_grad();
            }
        }
        Param::from_mapped_value(id, value, mapper)
    }
}

/// Updates and both moments of a parameter.
type State = (usize, [Tensor<1>; 2]);

/// An optimizer that changes nothing and takes the states out of a record, in the module's order.
#[derive(Clone, Default)]
struct Take(Arc<Mutex<Vec<Option<State>>>>);

impl Optimizer for Take {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        _rate: f64,
        parameter: Tensor<D>,
        _gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let flat = state.as_ref().map(|state| {
            let AdaptiveMomentumState { time, moment_1, moment_2, .. } = state.momentum.clone();
            (time, [moment_1, moment_2].map(|moment| moment.reshape([parameter.shape().num_elements()])))
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(flat);
        (parameter, state)
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        AdamState::new(state.momentum.to_device(device))
    }
}

/// An optimizer whose states are what it is given: the gradient as the first moment, the parameter as the second.
#[derive(Clone)]
struct Give {
    time: usize,
}

impl Optimizer for Give {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        _rate: f64,
        second: Tensor<D>,
        first: Tensor<D>,
        _state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let state = AdaptiveMomentumState::new(self.time, first, second.clone());
        (second, Some(AdamState::new(state)))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        AdamState::new(state.momentum.to_device(device))
    }
}
