//! A small residual network (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016): the form
//! of its section 4.2, for small images, with projected shortcuts where the size changes.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{self, ConvBlock, ConvSpec, NormSpec, ResidualNorm, dense, global_mean};
use super::limits;
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// A small residual network (He et al., 2016).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResnetConfig {
    /// The channels of each stage; every stage after the first halves height and width.
    pub channels: Vec<usize>,
    /// Residual blocks per stage, each of two 3x3 convolutions.
    pub blocks: usize,
    /// What normalises the images: "batch" by the mean and variance of each channel over the batch, in inference over the
    /// training images that were seen; "group" by those of groups of channels of each image alone, so that the batch may be small.
    pub norm: ResidualNorm,
    /// Groups of channels of each group norm, a divisor of the channels of every layer; unset: 8. Only with `norm = "group"`.
    pub groups: Option<usize>,
}

impl Default for ResnetConfig {
    fn default() -> Self {
        Self { channels: vec![16, 32, 64], blocks: 1, norm: ResidualNorm::Batch, groups: None }
    }
}

/// A small residual network.
#[derive(Module, Debug)]
pub struct Resnet {
    stem: ConvBlock,
    blocks: Vec<Residual>,
    output: Linear,
}

/// Two convolutions whose result is added to their input.
#[derive(Module, Debug)]
pub struct Residual {
    first: ConvBlock,
    second: ConvBlock,
    shortcut: Option<ConvBlock>,
}

/// The numbers of one residual block.
struct ResidualSpec {
    parts: [ConvSpec; 2],
    shortcut: Option<ConvSpec>,
}

impl ResidualSpec {
    fn new(channels_in: usize, channels_out: usize, stride: usize, norm: NormSpec) -> Self {
        let first = ConvSpec { stride, norm, ..ConvSpec::same(channels_in, channels_out, 3) };
        let second = ConvSpec { relu: false, norm, ..ConvSpec::same(channels_out, channels_out, 3) };
        let projection = ConvSpec { stride, relu: false, norm, ..ConvSpec::same(channels_in, channels_out, 1) };
        let shortcut = (stride > 1 || channels_in != channels_out).then_some(projection);
        Self { parts: [first, second], shortcut }
    }
}

impl ResnetConfig {
    fn norm(&self) -> NormSpec {
        NormSpec::new(self.norm, self.groups)
    }

    fn stem(&self, channels: usize) -> ConvSpec {
        ConvSpec { norm: self.norm(), ..ConvSpec::same(channels, self.channels.first().copied().unwrap_or(1), 3) }
    }

    fn blocks(&self) -> Vec<ResidualSpec> {
        let mut specs = Vec::new();
        let mut channels_in = self.channels.first().copied().unwrap_or(1);
        for (stage, &channels) in self.channels.iter().enumerate() {
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                specs.push(ResidualSpec::new(channels_in, channels, stride, self.norm()));
                channels_in = channels;
            }
        }
        specs
    }
}

impl Architecture for ResnetConfig {
    fn examples() -> Vec<Self> {
        vec![
            Self { channels: vec![4, 6, 8], ..Self::default() },
            Self { channels: vec![4, 6], norm: ResidualNorm::Group, groups: Some(2), ..Self::default() },
        ]
    }

    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit> {
        let input = shapes.image();
        let misfit = |reason: String| Misfit { key: "channels", message: format!("{reason}; the images are {input}") };
        shapes.conv("stem", &self.stem(input.channels)).map_err(|reason| misfit(format!("the stem {reason}")))?;
        for (index, spec) in self.blocks().iter().enumerate() {
            let (size, stage) = (shapes.image(), index / self.blocks.max(1) + 1);
            if spec.parts[0].stride > 1 && (size.height < 2 || size.width < 2) {
                return Err(misfit(format!("stage {stage} cannot halve its input of {}x{}", size.height, size.width)));
            }
            shapes
                .residual(&format!("blocks.{index}"), &spec.parts, spec.shortcut.as_ref())
                .map_err(|reason| misfit(format!("stage {stage} {reason}")))?;
        }
        shapes.global_pool("pool");
        shapes.output(classes);
        Ok(())
    }

    fn init(&self, sizes: Sizes, device: &Device) -> Network {
        let residual = |spec: &ResidualSpec| Residual {
            first: ConvBlock::new(&spec.parts[0], device),
            second: ConvBlock::new(&spec.parts[1], device),
            shortcut: spec.shortcut.as_ref().map(|shortcut| ConvBlock::new(shortcut, device)),
        };
        Resnet {
            stem: ConvBlock::new(&self.stem(sizes.input.channels), device),
            blocks: self.blocks().iter().map(residual).collect(),
            output: dense(sizes.flattened, sizes.classes, device),
        }
        .into()
    }
}

impl Check for ResnetConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require((1..=8).contains(&self.channels.len()), "channels", || {
            format!("must name 1 to 8 stages, got {}", self.channels.len())
        });
        limits::channels(problems, "channels", "stage", &self.channels);
        problems.require((1..=64).contains(&self.blocks), "blocks", || {
            format!("must be 1 to 64 residual blocks per stage, got {}", self.blocks)
        });
        limits::groups(problems, self.norm(), self.groups, &limits::stages(&self.channels));
    }
}

impl Residual {
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(images.clone()),
            None => images.clone(),
        };
        self.second.forward_sum(self.first.forward(images), shortcut)
    }

    fn blocks(&mut self) -> impl Iterator<Item = &mut ConvBlock> {
        [&mut self.first, &mut self.second].into_iter().chain(&mut self.shortcut)
    }
}

impl Forward for Resnet {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut images = context.image(|| "stem".into(), self.stem.forward(images)); // [batch, first stage, height, width]
        for (index, block) in self.blocks.iter().enumerate() {
            images = context.image(|| format!("blocks.{index}"), block.forward(images)); // halved once per stage
        }
        let values = context.flat(|| "pool".into(), global_mean(images)); // [batch, last stage]
        context.flat(|| "output".into(), layers::output(&self.output, values))
    }

    fn fold(&mut self) {
        self.stem.fold();
        self.blocks.iter_mut().flat_map(Residual::blocks).for_each(ConvBlock::fold);
    }
}
