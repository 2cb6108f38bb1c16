//! The list of augmentations, the table that it once was, and `--set` into both.

use super::*;
use crate::data::AugmentConfig;
use crate::data::augment::{AffineConfig, CutoutConfig, ElasticConfig, Fill, FillRule};

fn list(text: &str, sets: &[&str]) -> Vec<AugmentConfig> {
    accepted(text, sets).data.augment
}

fn affine(shift_pixels: f64, fill: Fill) -> AugmentConfig {
    AugmentConfig::Affine(AffineConfig { shift_pixels, fill, ..AffineConfig::default() })
}

#[test]
fn a_list_is_read_in_its_order() {
    let text = "[[data.augment]]\nkind = \"cutout\"\nsize = 5\nfill = \"noise\"\n\
                [[data.augment]]\nkind = \"affine\"\nshift_pixels = 1\nfill = 128\n\
                [[data.augment]]\nkind = \"flip\"\n";
    let read = list(text, &[]);
    assert_eq!(read.iter().map(AugmentConfig::kind).collect::<Vec<_>>(), ["cutout", "affine", "flip"]);
    assert_eq!(read[1], affine(1.0, Fill::Value(128)));
    assert_eq!(list("[data]\naugment = [{ kind = \"flip\" }]\n", &[]), read[2..]);
}

#[test]
fn the_table_means_what_it_meant() {
    let text = "[data.augment]\nshift_pixels = 1.5\nelastic_pixels = 2\nelastic_smoothness = 3.0\n";
    let elastic = ElasticConfig { pixels: 2.0, smoothness: 3.0, fill: Fill::Value(0) };
    assert_eq!(list(text, &[]), [affine(1.5, Fill::Value(0)), AugmentConfig::Elastic(elastic)]);
    let none = "[data.augment]\nshift_pixels = 0.0\nelastic_pixels = 0\nelastic_smoothness = 4.0\n";
    assert_eq!(list(none, &[]), []);
    assert_eq!(list("[data.augment]\n", &[]), []);
    // A smoothness alone displaces nothing.
    let smooth = list("data.augment.elastic_smoothness = 2.0", &[]);
    assert!(crate::data::augment::is_identity(&smooth));
    let origin = Origin::Text("a table".into(), text.into());
    assert_eq!(load(&origin, &[]).unwrap().notices.len(), 1);
}

#[test]
fn sets_reach_a_kind_by_its_name_and_by_that_of_the_table() {
    let text = "[[data.augment]]\nkind = \"affine\"\nshift_pixels = 1\n";
    let auto = Fill::Rule(FillRule::Auto);
    assert_eq!(list(text, &["data.augment.affine.shift_pixels=3"]), [affine(3.0, auto)]);
    assert_eq!(list(text, &["data.augment.shift_pixels=3"]), [affine(3.0, auto)]);
    assert_eq!(list(text, &["data.augment[0].fill=edge"]), [affine(1.0, Fill::Rule(FillRule::Edge))]);
    let cutout = AugmentConfig::Cutout(CutoutConfig { size: 4, ..CutoutConfig::default() });
    for set in ["data.augment.cutout.size=4", "data.augment.cutout={ size = 4 }"] {
        assert_eq!(list(text, &[set]), [affine(1.0, auto), cutout.clone()]);
        assert_eq!(list("seed = 1", &[set]), std::slice::from_ref(&cutout));
    }
    assert_eq!(list(text, &["data.augment.affine=none", "data.augment.cutout.size=4"]), [cutout]);
    assert_eq!(list(text, &["data.augment=[]"]), []);
    assert_eq!(
        list("[data.augment]\nshift_pixels = 1\n", &["data.augment.shift_pixels=2"]),
        [affine(2.0, Fill::Value(0))]
    );
    let elastic = list("seed = 1", &["data.augment.elastic_pixels=2"]);
    assert_eq!(elastic, [AugmentConfig::Elastic(ElasticConfig { pixels: 2.0, ..ElasticConfig::default() })]);
}

#[test]
fn what_a_list_may_not_be_is_said() {
    let errors = [
        refused("[[data.augment]]\nsize = 3\n", &[]),
        refused("[[data.augment]]\nkind = \"cutuot\"\n", &[]),
        refused("[[data.augment]]\nkind = \"affine\"\nfill = \"black\"\nsize = 3\n", &[]),
        refused("[[data.augment]]\nkind = \"affine\"\nfill = 0.5\n", &[]),
        refused("[data.augment]\nkind = \"affine\"\nshift_pixels = 1\n", &[]),
        refused("[data.augment]\nshift_pixels = -1\nwhat = 2\n", &[]),
        refused("seed = 1", &["data.augment.cutout=4"]),
        refused(
            "[[data.augment]]\nkind = \"flip\"\n[[data.augment]]\nkind = \"flip\"\n",
            &["data.augment.flip.probability=1"],
        ),
    ];
    insta::assert_snapshot!(errors.join("\n\n"), @r#"
    error: my.toml:1:1: `data.augment[0].kind`: is missing; allowed: (all augmentations)

    error: my.toml:2:8: `data.augment[0].kind`: must be one of (all augmentations), got "cutuot"; did you mean "cutout"?

    error: the config has 2 problems
      my.toml:3:8: `data.augment[0].fill`: must be one of "auto", "edge", "reflect", "mean", got "black"
      my.toml:4:1: `data.augment[0].size`: belongs to data.augment[0].kind = "cutout", here it is "affine"

    error: my.toml:3:8: `data.augment[0].fill`: must be one of "auto", "edge", "reflect", "mean" or a whole number, got 0.5 (a float)

    error: my.toml:1:1: `data.augment`: must be a list, each of its elements a table with a `kind`, got a table

    error: the config has 2 problems
      my.toml:2:16: `data.augment[0].shift_pixels`: must be at least 0, got -1
      my.toml:3:1: `data.augment[0].what`: unknown key; `data.augment[0]` has shift_pixels, rotate_degrees, scale, shear_degrees, fill, kind
    tip: `kiln config keys` lists every key with its type and default

    error: --set data.augment.cutout=4: `data.augment.cutout`: must be a table, or "none" to take it out, got a whole number

    error: --set data.augment.flip.probability=1: `data.augment.flip.probability`: `data.augment` has more than one element of this kind; give its number, as in `data.augment[0]`
    "#);
}
