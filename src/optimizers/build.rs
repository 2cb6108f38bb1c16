//! From an optimizer's configuration to Burn's `ModuleOptimizer`, and from a schedule to Burn's `LrScheduler`.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{self, ModuleOptimizer};

use super::fused::{Adam, Sgd};
use super::{AdamwConfig, OptimizerConfig, SgdConfig};
use crate::ops::Decay;
use crate::schedules::ScheduleConfig;
use crate::{Error, Result};

/// Parameters that weight decay leaves alone: biases, and the scale and shift of norms.
const UNDECAYED: &str = r"(^|\.)(bias|gamma|beta)$";
/// The matrices between hidden layers, which Muon turns towards orthogonality; never the output layer.
const HIDDEN_MATRICES: &str = r"(^|\.)hidden\.\d+\.weight$";

impl OptimizerConfig {
    /// The learning rate at the schedule's peak.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(config) => config.learning_rate,
            Self::Adam(config) => config.learning_rate,
            Self::Adamw(config) => config.learning_rate,
            Self::Muon(config) => config.learning_rate,
        }
    }

    /// Burn's optimizer for it.
    pub fn build(&self) -> Result<ModuleOptimizer> {
        match self {
            Self::Sgd(SgdConfig { momentum, nesterov, weight_decay, .. }) => {
                Ok(Sgd { momentum: *momentum, nesterov: *nesterov, penalty: *weight_decay }.into())
            }
            Self::Adam(config) => Ok(Adam {
                beta_1: config.beta_1 as f32,
                beta_2: config.beta_2 as f32,
                epsilon: config.epsilon as f32,
                decay: Decay::Penalty(config.weight_decay as f32),
            }
            .into()),
            Self::Adamw(config) => adamw(config),
            Self::Muon(config) => {
                let rest = AdamwConfig { weight_decay: config.weight_decay, ..AdamwConfig::default() };
                let muon = optim::MuonConfig::new()
                    .with_momentum(MomentumConfig { momentum: config.momentum, dampening: 0.0, nesterov: true })
                    .with_weight_decay(decay(config.weight_decay));
                Ok(adamw(&rest)?.with_group(group(HIDDEN_MATRICES)?, muon.build(), None))
            }
        }
    }

    /// Burn's scheduler that gives each parameter its rate along `planned`.
    pub fn schedule(&self, planned: PlannedRate) -> Result<ModuleLrScheduler> {
        match self {
            Self::Muon(config) => {
                let rest = PlannedRate { peak: planned.peak * config.adamw_ratio, ..planned.clone() };
                Ok(ModuleLrScheduler::from(rest).with_group(group(HIDDEN_MATRICES)?, planned))
            }
            _ => Ok(planned.into()),
        }
    }
}

fn adamw(config: &AdamwConfig) -> Result<ModuleOptimizer> {
    let with = |weight_decay: f64| Adam {
        beta_1: config.beta_1 as f32,
        beta_2: config.beta_2 as f32,
        epsilon: config.epsilon as f32,
        decay: Decay::Decoupled(weight_decay as f32),
    };
    Ok(ModuleOptimizer::from(with(config.weight_decay)).with_group(group(UNDECAYED)?, with(0.0), None))
}

fn decay(weight_decay: f64) -> Option<WeightDecayConfig> {
    (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32))
}

fn group(pattern: &str) -> Result<ParamGroup> {
    ParamGroup::from_regex(pattern)
        .map_err(|error| Error::failed(format!("parameter group `{pattern}`")).caused_by(format!("{error:?}")))
}

/// A schedule with its place in the run: Burn asks for the next update's rate.
#[derive(Clone, Debug)]
pub struct PlannedRate {
    /// The shape.
    pub schedule: ScheduleConfig,
    /// The rate at the peak.
    pub peak: f64,
    /// Updates in the whole run.
    pub total_updates: usize,
    /// Updates in one epoch.
    pub updates_per_epoch: f64,
    /// Updates done.
    pub update: usize,
}

impl PlannedRate {
    /// The rate of the update with this number, counted from 0.
    pub fn at(&self, update: usize) -> f64 {
        self.schedule.rate(self.peak, update, self.total_updates, self.updates_per_epoch)
    }
}

impl LrScheduler for PlannedRate {
    fn step(&mut self) -> f64 {
        let rate = self.at(self.update);
        self.update += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("update", self.update as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(update) = record.scalar::<u64>("update") {
            self.update = update as usize;
        }
    }
}
