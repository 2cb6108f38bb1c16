//! Optimizers: one file per kind, PyTorch's defaults where the field expects them.
//!
//! A new optimizer is one new file and one line of the list below; `CONTRIBUTING.md` shows one. The tests that walk
//! [`OptimizerConfig::examples`] then cover it.

mod rate;
#[cfg(test)]
mod tests;
mod together;

use burn::module::ParamGroup;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::Bytes;

use adam::Adam;
pub use rate::PlannedRate;
pub(crate) use together::Together;

use crate::check::{Check, Problems};
use crate::kinds::kinds;
use crate::models::{LayerSummary, Role, TensorSummary, parameter_id};
use crate::{Error, Result};

/// What a kind of optimizer says of itself.
trait OptimizerKind: Check {
    /// Small examples that between them take every path through the code.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// The learning rate at the schedule's peak.
    fn learning_rate(&self) -> f64;

    /// How parameters are updated: the first rule takes all of them, and each further one takes some from those before it.
    fn rules(&self) -> Vec<UpdateRule>;

    /// Burn's optimizer for a network with these layers.
    fn build(&self, layers: &[LayerSummary]) -> ModuleOptimizer;

    /// The same as rules for [`Together`]; none where an update is not Adam's.
    fn together(&self, _layers: &[LayerSummary]) -> Option<Vec<(Adam, ParamGroup)>> {
        None
    }
}

/// How some of a network's parameters are updated.
#[derive(Clone, Copy, Debug)]
pub struct UpdateRule {
    /// Its name for people: "AdamW".
    pub name: &'static str,
    /// What it is for, in the singular: "parameter".
    pub parameters: &'static str,
    takes: fn(Role) -> bool,
    /// Its learning rate, as a ratio of the optimizer's.
    pub rate_ratio: f64,
    /// Numbers that it remembers per parameter.
    pub state: usize,
}

impl UpdateRule {
    /// The rule that takes all parameters, at the optimizer's own rate, and keeps `state` numbers for each.
    fn for_all(name: &'static str, state: usize) -> Self {
        Self { name, parameters: "parameter", takes: Role::is_learned, rate_ratio: 1.0, state }
    }
}

kinds! {
    /// `optimizer.kind` and the keys that belong to it.
    pub enum OptimizerConfig: OptimizerKind {
        sgd: Sgd(SgdConfig),
        adam: Adam(AdamConfig),
        adamw: Adamw(AdamwConfig),
        muon: Muon(MuonConfig),
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

impl OptimizerConfig {
    /// The learning rate at the schedule's peak.
    pub fn learning_rate(&self) -> f64 {
        self.as_kind().learning_rate()
    }

    /// The rules, each with the learned tensors that it updates: of the rules that take one, the last.
    pub(crate) fn assign<'a>(&self, layers: &'a [LayerSummary]) -> Vec<(UpdateRule, Vec<&'a TensorSummary>)> {
        let mut assigned = self.as_kind().rules().into_iter().map(|rule| (rule, Vec::new())).collect::<Vec<_>>();
        for tensor in tensors(layers).filter(|tensor| tensor.role.is_learned()) {
            if let Some((_, own)) = assigned.iter_mut().rev().find(|(rule, _)| (rule.takes)(tensor.role)) {
                own.push(tensor);
            }
        }
        assigned
    }

    /// Adds what is wrong with this optimizer for the model of the kind `model` with these layers: a rule that would have
    /// nothing to update.
    pub(crate) fn check_for(&self, model: &str, layers: &[LayerSummary], problems: &mut Problems) {
        let kind = self.kind();
        for (rule, _) in self.assign(layers).iter().filter(|(_, own)| own.is_empty()) {
            problems.add(
                "kind",
                format!(
                    "must not be \"{kind}\" with model.kind = \"{model}\", which has no {} for {} to update; set it to \
                     \"adamw\", or choose another model",
                    rule.parameters, rule.name
                ),
            );
        }
    }

    /// Burn's optimizer for a network with these layers.
    pub(crate) fn build(&self, layers: &[LayerSummary]) -> ModuleOptimizer {
        self.as_kind().build(layers)
    }

    /// The same updates of all parameters at once, for a device that waits for requests; none where the kind cannot.
    pub(crate) fn together(&self, layers: &[LayerSummary]) -> Option<Together> {
        self.as_kind().together(layers).map(Together::new)
    }

    /// Burn's scheduler that gives each tensor the rate of its rule along `planned`.
    pub(crate) fn schedule(&self, layers: &[LayerSummary], planned: &PlannedRate) -> ModuleLrScheduler {
        let scaled = |rule: &UpdateRule| PlannedRate { peak: planned.peak * rule.rate_ratio, ..planned.clone() };
        let mut rules = self.as_kind().rules().into_iter();
        let base = rules.next().map_or_else(|| planned.clone(), |rule| scaled(&rule));
        rules.fold(base.into(), |scheduler: ModuleLrScheduler, rule| {
            scheduler.with_group(group(layers, rule.takes), scaled(&rule))
        })
    }

    /// Checks that the optimizer record of a checkpoint, as bytes, is of a run with these rules. Burn leaves out what it
    /// cannot use, and the parameters concerned would go on as if they had never been updated.
    ///
    /// # Errors
    /// A usage error when a part of the record cannot be used, or when it is no record at all.
    pub(crate) fn check_record(&self, layers: &[LayerSummary], record: &[u8]) -> Result<()> {
        let record = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(record.to_vec()))
            .map_err(|error| Error::failed("the optimizer's record is unreadable").caused_by(error))?;
        let saved = record.len();
        let usable = self.build(layers).load_record(record).to_record().len();
        if usable == saved {
            return Ok(());
        }
        Err(Error::usage(format!(
            "the checkpoint's state for `{}` was written under other update rules: {usable} of its {saved} arrays are usable",
            self.kind()
        ))
        .caused_by("since then, an optimizer kind updates other parameters than it did (see CHANGELOG.md)")
        .tip("begin a new run from its weights with kiln fork"))
    }
}

/// Those of a network's tensors whose role is taken, as Burn's group.
fn group(layers: &[LayerSummary], takes: impl Fn(Role) -> bool) -> ParamGroup {
    ParamGroup::from_ids(
        tensors(layers).filter(|tensor| takes(tensor.role)).map(|tensor| parameter_id(&tensor.name)).collect(),
    )
}

fn tensors(layers: &[LayerSummary]) -> impl Iterator<Item = &TensorSummary> {
    layers.iter().flat_map(|layer| &layer.tensors)
}
