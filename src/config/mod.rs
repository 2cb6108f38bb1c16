//! The experiment: what a config file says, as types. Loading, patching and checking live in the files beside this one;
//! each section's type lives beside the code that it configures.

mod augment_table;
pub(crate) mod contradictions;
mod devices;
pub(crate) mod document;
pub(crate) mod keys;
pub(crate) mod presets;
mod renames;
mod schema;
mod sets;
pub mod starter;
mod suggest;
mod sweep;
mod training;
mod tree;
mod walk;
mod write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{AugmentConfig, DataConfig, TestTimeAugmentationConfig};
use crate::models::ModelConfig;
use crate::optimizers::OptimizerConfig;
use crate::schedules::ScheduleConfig;

pub use document::Origin;
pub use sweep::{Halving, Search, Space, SweepAsked, SweepConfig, SweepDocument};
pub use training::{
    CheckpointConfig, EarlyStoppingConfig, LogConfig, LossConfig, Monitor, Precision, StopAtConfig, TrainConfig,
};

/// One experiment: everything that decides a run's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Experiment {
    /// Names the run directory: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Decides every random draw: initial weights, split, order, augmentation, dropout.
    pub seed: u64,
    /// Where to compute: `auto`, `flex`, `ndarray`, `wgpu`, `vulkan`, `metal`, `cuda`, `rocm`, each of the last five
    /// with `:N` for the N-th adapter. Several of one backend share each batch: `["cuda:0", "cuda:1"]` or
    /// `cuda:0,cuda:1`, the first N as `cuda*N`; `flex*N` is the CPU N times. `kiln devices` lists what is there. Behind them,
    /// `remote:HOST:PORT` is a `kiln worker` of the same backend on another machine: `["flex", "remote:10.0.0.2:7000"]`.
    #[serde(deserialize_with = "devices::joined")]
    #[schemars(with = "devices::Devices")]
    pub device: String,
    /// The images.
    pub data: DataConfig,
    /// The network.
    pub model: ModelConfig,
    /// What training minimises.
    pub loss: LossConfig,
    /// How gradients move the parameters.
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes over the run.
    pub schedule: ScheduleConfig,
    /// Epochs, batches and iterations.
    pub train: TrainConfig,
    /// Ending a run that no longer improves.
    pub early_stopping: EarlyStoppingConfig,
    /// Ending a run that has reached its goal.
    pub stop_at: StopAtConfig,
    /// What is saved on the way.
    pub checkpoint: CheckpointConfig,
    /// What else is written while a run trains.
    pub log: LogConfig,
    /// Several views of an image, over which the finished model's answer is the mean.
    pub test_time_augmentation: TestTimeAugmentationConfig,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            name: "experiment".into(),
            seed: 42,
            device: "auto".into(),
            data: DataConfig::default(),
            model: ModelConfig::default(),
            loss: LossConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            train: TrainConfig::default(),
            early_stopping: EarlyStoppingConfig::default(),
            stop_at: StopAtConfig::default(),
            checkpoint: CheckpointConfig::default(),
            log: LogConfig::default(),
            test_time_augmentation: TestTimeAugmentationConfig::default(),
        }
    }
}

impl Experiment {
    /// How training distorts its images: not at all where a few batches are to be learned by heart.
    pub(crate) fn augment(&self) -> &[AugmentConfig] {
        if self.train.overfit_batches.is_some() { &[] } else { &self.data.augment }
    }

    /// For which views of an image the model answers: for the image alone where a few batches are to be learned by heart.
    pub(crate) fn test_time_augmentation(&self) -> TestTimeAugmentationConfig {
        match self.train.overfit_batches {
            Some(_) => TestTimeAugmentationConfig::default(),
            None => self.test_time_augmentation,
        }
    }
}
