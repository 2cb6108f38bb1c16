//! A residual network whose norms and ReLUs stand before the convolutions (He, Zhang, Ren and Sun, "Identity mappings in deep
//! residual networks", 2016). With 16, 32 and 64 channels and 3 blocks per stage it is the ResNet-preact-20 of
//! hysts/pytorch_image_classification; with more channels, a wide residual network (Zagoruyko and Komodakis, 2016).

use burn::module::Module;
use burn::nn::{BatchNorm, GroupNorm, Linear};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{self, ConvBlock, ConvSpec, NormSpec, ResidualNorm, dense, global_mean, norm_relu};
use super::limits;
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// A residual network with norm and ReLU before each convolution (He et al., 2016): ResNet-20 and wide ResNets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PreactResnetConfig {
    /// The channels of the first convolution.
    pub stem: usize,
    /// The channels of each stage; every stage after the first halves height and width.
    pub channels: Vec<usize>,
    /// Residual blocks per stage, each of two 3x3 convolutions.
    pub blocks: usize,
    /// What normalises the images: "batch" by the mean and variance of each channel over the batch, in inference over the
    /// training images that were seen; "group" by those of groups of channels of each image alone, so that the batch may be small.
    pub norm: ResidualNorm,
    /// Groups of channels of each group norm, a divisor of the channels of every layer; unset: 8. Only with `norm = "group"`.
    pub groups: Option<usize>,
    /// Stochastic depth (Huang et al., 2016): the probability of leaving out, in training, what the last block adds to an image;
    /// for the blocks before it proportionally less. 0 to below 1.
    pub drop_path: f64,
}

impl Default for PreactResnetConfig {
    fn default() -> Self {
        Self {
            stem: 16,
            channels: vec![16, 32, 64],
            blocks: 3,
            norm: ResidualNorm::Batch,
            groups: None,
            drop_path: 0.0,
        }
    }
}

/// A residual network with norm and ReLU before each convolution.
#[derive(Module, Debug)]
pub struct PreactResnet {
    stem: ConvBlock,
    blocks: Vec<PreactBlock>,
    norm: Option<BatchNorm>,
    group_norm: Option<GroupNorm>,
    output: Linear,
    drop_path: f64,
}

/// Norm, ReLU, convolution, norm, ReLU, convolution, whose result is added to the input.
#[derive(Module, Debug)]
pub struct PreactBlock {
    norm: Option<BatchNorm>,
    group_norm: Option<GroupNorm>,
    first: ConvBlock,
    second: ConvBlock,
    shortcut: Option<ConvBlock>,
}

/// The numbers of one residual block.
pub(super) struct PreactSpec {
    /// Channels that come in.
    pub(super) channels: usize,
    /// The norm before the first convolution.
    pub(super) norm: NormSpec,
    pub(super) parts: [ConvSpec; 2],
    pub(super) shortcut: Option<ConvSpec>,
}

impl PreactSpec {
    fn new(channels: usize, channels_out: usize, stride: usize, norm: NormSpec) -> Self {
        // The norm after the first convolution is the second's.
        let first = ConvSpec { stride, norm, ..ConvSpec::same(channels, channels_out, 3) };
        let second = ConvSpec::bare(channels_out, channels_out, 3);
        let projection = ConvSpec { stride, ..ConvSpec::bare(channels, channels_out, 1) };
        let shortcut = (stride > 1 || channels != channels_out).then_some(projection);
        Self { channels, norm, parts: [first, second], shortcut }
    }
}

impl PreactResnetConfig {
    fn norm(&self) -> NormSpec {
        NormSpec::new(self.norm, self.groups)
    }

    fn blocks(&self) -> Vec<PreactSpec> {
        let mut specs = Vec::new();
        let mut channels_in = self.stem;
        for (stage, &channels) in self.channels.iter().enumerate() {
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                specs.push(PreactSpec::new(channels_in, channels, stride, self.norm()));
                channels_in = channels;
            }
        }
        specs
    }
}

impl Architecture for PreactResnetConfig {
    fn examples() -> Vec<Self> {
        vec![
            Self { stem: 4, channels: vec![6, 8], blocks: 2, ..Self::default() },
            Self {
                stem: 4,
                channels: vec![4, 6],
                blocks: 1,
                norm: ResidualNorm::Group,
                groups: Some(2),
                drop_path: 0.25,
            },
        ]
    }

    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit> {
        let input = shapes.image();
        let misfit = |reason: String| Misfit { key: "channels", message: format!("{reason}; the images are {input}") };
        shapes.conv("stem", &ConvSpec::bare(input.channels, self.stem, 3)).map_err(misfit)?;
        for (index, spec) in self.blocks().iter().enumerate() {
            let (size, stage) = (shapes.image(), index / self.blocks.max(1) + 1);
            if spec.parts[0].stride > 1 && (size.height < 2 || size.width < 2) {
                return Err(misfit(format!("stage {stage} cannot halve its input of {}x{}", size.height, size.width)));
            }
            shapes
                .preact(&format!("blocks.{index}"), spec)
                .map_err(|reason| misfit(format!("stage {stage} {reason}")))?;
        }
        shapes.norm(self.norm()).map_err(|reason| misfit(format!("the last norm {reason}")))?;
        shapes.global_pool("pool");
        shapes.output(classes);
        Ok(())
    }

    fn init(&self, sizes: Sizes, device: &Device) -> Network {
        let block = |spec: &PreactSpec| {
            let (norm, group_norm) = spec.norm.init(spec.channels, device);
            PreactBlock {
                norm,
                group_norm,
                first: ConvBlock::new(&spec.parts[0], device),
                second: ConvBlock::new(&spec.parts[1], device),
                shortcut: spec.shortcut.as_ref().map(|shortcut| ConvBlock::new(shortcut, device)),
            }
        };
        let (norm, group_norm) = self.norm().init(self.channels.last().copied().unwrap_or(self.stem), device);
        PreactResnet {
            stem: ConvBlock::new(&ConvSpec::bare(sizes.input.channels, self.stem, 3), device),
            blocks: self.blocks().iter().map(block).collect(),
            norm,
            group_norm,
            output: dense(sizes.flattened, sizes.classes, device),
            drop_path: self.drop_path,
        }
        .into()
    }
}

impl Check for PreactResnetConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("stem", self.stem, 1..=4096);
        problems.require((1..=8).contains(&self.channels.len()), "channels", || {
            format!("must name 1 to 8 stages, got {}", self.channels.len())
        });
        limits::channels(problems, "channels", "stage", &self.channels);
        problems.require((1..=64).contains(&self.blocks), "blocks", || {
            format!("must be 1 to 64 residual blocks per stage, got {}", self.blocks)
        });
        limits::dropout(problems, "drop_path", self.drop_path);
        let layers = [("the stem".to_owned(), self.stem)].into_iter().chain(limits::stages(&self.channels));
        limits::groups(problems, self.norm(), self.groups, &layers.collect::<Vec<_>>());
    }
}

impl PreactBlock {
    fn forward(&self, images: Tensor<4>, drop_path: f64, context: &mut ForwardContext) -> Tensor<4> {
        let active = norm_relu(&self.norm, &self.group_norm, images.clone());
        // A projection sees what the convolutions see; the identity is the input itself.
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(active.clone()),
            None => images,
        };
        context.drop_path(self.second.forward(self.first.forward(active)), drop_path) + shortcut
    }
}

impl Forward for PreactResnet {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut images = context.image(|| "stem".into(), self.stem.forward(images)); // [batch, stem, height, width]
        for (index, block) in self.blocks.iter().enumerate() {
            // The linear rule: block l of L is left out with l / L of the probability.
            let drop_path = self.drop_path * (index + 1) as f64 / self.blocks.len() as f64;
            let output = block.forward(images, drop_path, context);
            images = context.image(|| format!("blocks.{index}"), output); // halved once per stage
        }
        let name = || if self.norm.is_some() { "norm" } else { "group_norm" }.to_owned();
        let images = context.image(name, norm_relu(&self.norm, &self.group_norm, images));
        let values = context.flat(|| "pool".into(), global_mean(images)); // [batch, last stage]
        context.flat(|| "output".into(), layers::output(&self.output, values))
    }

    /// A batch norm between a block's convolutions goes into the first of them. Those before a block stay: between them and the
    /// next convolution is a ReLU, and the convolution before them also feeds the shortcut.
    fn fold(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.first.fold());
    }
}
