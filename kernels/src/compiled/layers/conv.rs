//! A convolution and what follows it.

use super::super::super::blocks::{Added, After, Kernels, Part, Shape, Tiles};
use super::super::super::geometry::ConvGeometry;
use super::super::team::Member;
use super::Place;
use super::cut::{Cuts, cut};
use super::patches::Patches;

pub(in super::super) struct Conv {
    method: Method,
    input: Shape,
    output: Shape,
    /// The shape of what is added to the outputs, and where each of its places lies in a block.
    added: Option<(Shape, Vec<usize>)>,
    /// Of each channel, zeros where a block has fewer.
    bias: Vec<f32>,
    relu: bool,
    cuts: Cuts,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each convolution of a network")]
enum Method {
    Tiles(Tiles),
    Patches(Patches),
}

impl Conv {
    /// Of one image, with weights `[out, in, k, k]`. With `added`, a value of this shape is added to the outputs.
    ///
    /// # Panics
    /// If the slices do not fit the geometry, or a pool comes before a sum.
    pub(in super::super) fn new(
        geometry: &ConvGeometry,
        weight: &[f32],
        mut bias: Vec<f32>,
        [input, output]: [Shape; 2],
        added: Option<Shape>,
        relu: bool,
        threads: usize,
    ) -> Self {
        assert!(geometry.batch == 1 && bias.len() == geometry.channels_out && weight.len() == geometry.weights());
        assert!(input.border >= geometry.padding, "fewer zeros than the convolution looks at");
        assert!(added.is_none() || !geometry.epilogue.pool, "a pool before a sum");
        bias.resize(output.blocks() * output.lanes, 0.0);
        let method = if Tiles::are_worth_it(geometry, &input, &output) {
            Method::Tiles(Tiles::new(geometry, Kernels::Given(weight), [input, output], 1))
        } else {
            Method::Patches(Patches::new(geometry, weight, &input, &output))
        };
        let cuts = match &method {
            Method::Tiles(tiles) => {
                let of = |threads| {
                    cut(&output, tiles.width, tiles.step, tiles.most_rows(), threads, |rows, blocks| {
                        tiles.cycles(rows, blocks)
                    })
                };
                Cuts::new(of(1), of(threads))
            }
            Method::Patches(patches) => patches.cuts(&output, threads),
        };
        let places = |shape: Shape| {
            let at = |y| (0..shape.width).map(move |x| shape.at(y, x));
            (shape, (0..shape.height).flat_map(at).collect())
        };
        Self { method, input, output, added: added.map(places), bias, relu, cuts }
    }

    pub(super) fn run(&self, member: &Member, inputs: &[Place], output: Place) {
        let cut = self.cuts.of(member);
        let grid = cut.grid(&self.output, output.from);
        let compute = |part: usize, input: &[f32], added: Option<Added>, pieces: &mut [&mut [f32]]| {
            let (block, rows) = cut.part(part);
            let part = Part { input: &input[inputs[0].from..][..self.input.size()], block, rows };
            let after = After { output: &self.output, bias: &self.bias, added, relu: self.relu };
            match &self.method {
                Method::Tiles(tiles) => tiles.run(part, 1, &after, pieces, &mut []),
                Method::Patches(patches) => patches.run(part, &after, pieces),
            }
        };
        match (&self.added, inputs) {
            (Some((shape, places)), [input, shortcut, ..]) => {
                let reads = [input.array, shortcut.array];
                member.step_of_blocks(reads, output.array, grid, |part, [input, values], pieces| {
                    let added = Added { values: &values[shortcut.from..], shape, places };
                    compute(part, input, Some(added), pieces);
                });
            }
            _ => member.step_of_blocks([inputs[0].array], output.array, grid, |part, [input], pieces| {
                compute(part, input, None, pieces);
            }),
        }
    }
}
