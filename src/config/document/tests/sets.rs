//! `--set`.

use super::*;

#[test]
fn sets_are_read_as_strictly_as_the_file() {
    insta::assert_snapshot!(refused("seed = 1\n", &["train.epochs=0", "train.epohcs=3", "model.kind=mpl", "optimizer.learning_rate=fast", "epochs=3", "train.batch_size=10.5"]), @r#"
    error: the config has 6 problems
      --set train.epochs=0: `train.epochs`: must be at least 1, got 0
      --set train.epohcs=3: `train.epohcs`: unknown key; did you mean `train.epochs`?
      --set model.kind=mpl: `model.kind`: must be one of (all models), got "mpl"; did you mean "mlp"?
      --set optimizer.learning_rate=fast: `optimizer.learning_rate`: must be a number, got "fast" (a string)
      --set epochs=3: `epochs`: unknown key; did you mean `train.epochs`?
      --set train.batch_size=10.5: `train.batch_size`: must be a whole number, got 10.5 (a float)
    tip: `kiln config keys` lists every key with its type and default
    "#);
}

#[test]
fn sets_that_cannot_be_read() {
    insta::assert_snapshot!(refused("seed = 1\n", &["train.epochs", "=3", "train..epochs=3", "train.epochs=", "model.hidden=[1,", r#"name="open"#, "train epochs=3"]), @r#"
    error: the config has 7 problems
      --set train.epochs: `train.epochs`: has no `=`; write --set KEY=VALUE, for example --set train.epochs=3
      --set =3: `=3`: is no key path; write it like `train.epochs`
      --set train..epochs=3: `train..epochs=3`: is no key path; write it like `train.epochs`
      --set train.epochs=: `train.epochs=`: has no value; write --set train.epochs=VALUE
      --set model.hidden=[1,: `model.hidden=[1,`: is no TOML value: unclosed array, expected `]`
      --set name="open: `name="open`: is no TOML value: invalid basic string, expected `"`
      --set train epochs=3: `train epochs=3`: is no key path; write it like `train.epochs`
    "#);
}

#[test]
fn a_key_set_twice_names_both() {
    insta::assert_snapshot!(refused("seed = 1\n", &["train.epochs=3", "seed=2", "train.epochs=4", "train={ epochs = 5 }"]), @"
    error: the config has 2 problems
      --set train.epochs=4: `train.epochs`: is set by `--set train.epochs=3` already; give one of them
      --set train={ epochs = 5 }: `train`: is set by `--set train.epochs=3` already; give one of them
    ");
}

#[test]
fn sets_into_what_has_no_keys() {
    let text = r#"seed = 1
[model]
kind = "mlp"
hidden = [8, 8]
"#;
    insta::assert_snapshot!(refused(text, &["seed.x=1", "model.hidden[2]=3", "model.hidden.last=3"]), @"
    error: the config has 3 problems
      --set seed.x=1: `seed.x`: `seed` is a whole number, which has no keys
      --set model.hidden[2]=3: `model.hidden.2`: `model.hidden` is a list of 2 elements, counted from 0; it has no `2`
      --set model.hidden.last=3: `model.hidden.last`: `model.hidden` is a list of 2 elements, counted from 0; it has no `last`
    ");
}

#[test]
fn a_set_key_of_another_kind() {
    let text = r#"[model]
kind = "mlp"
"#;
    insta::assert_snapshot!(refused(text, &["model.norm=none"]), @r#"error: --set model.norm=none: `model.norm`: belongs to model.kind = "convnet" or "resnet" or "preact_resnet", here it is "mlp""#);
}

#[test]
fn a_value_of_many_lines_is_one_value() {
    insta::assert_snapshot!(refused("seed = 1\n", &["train.epochs=1\nseed=2"]), @r#"error: --set train.epochs=1 seed=2: `train.epochs`: must be a whole number, got "1 seed=2" (a string)"#);
}

#[test]
fn file_and_sets_are_reported_together() {
    insta::assert_snapshot!(refused("[train]\nepochs = 0\n", &["train.batch_size=0", "schedule.warmup_epochs=-1"]), @"
    error: the config has 3 problems
      my.toml:2:10: `train.epochs`: must be at least 1, got 0
      --set train.batch_size=0: `train.batch_size`: must be at least 1, got 0
      --set schedule.warmup_epochs=-1: `schedule.warmup_epochs`: must be at least 0, got -1
    ");
}

#[test]
fn sets_change_the_file_and_the_defaults() {
    let text = "[train]\nepochs = 5\nclip_norm = 1.0\n";
    let sets = [
        "train.epochs = 3",
        "train.batch_size=64",
        "train.clip_norm=none",
        "name=2026",
        "device=\"flex\"",
        "optimizer.learning_rate=1e-2",
        "data.validation=100",
        "loss.label_smoothing=0",
    ];
    let experiment = accepted(text, &sets);
    assert_eq!((experiment.train.epochs, experiment.train.batch_size, experiment.train.clip_norm), (3, 64, None));
    assert_eq!((experiment.name.as_str(), experiment.device.as_str()), ("2026", "flex"));
    assert_eq!(experiment.optimizer.kind(), "adam");
    assert_eq!(experiment.data.validation, 100.into());
}

#[test]
fn another_kind_starts_from_its_defaults_and_shared_keys_stay() {
    use crate::models::{MlpConfig, ModelConfig};
    let text =
        "[model]\nkind = \"lenet\"\nhidden = [10, 10]\n\n[data]\nkind = \"synthetic\"\ntrain = 50\nvalidation = 7\n";
    // The order of the options does not matter.
    for sets in [["model.kind=mlp", "model.dropout=0.5"], ["model.dropout=0.5", "model.kind=mlp"]] {
        let model = accepted(text, &sets).model;
        assert_eq!(model, ModelConfig::Mlp(MlpConfig { dropout: 0.5, ..MlpConfig::default() }));
    }
    assert_eq!(accepted(text, &["data.kind=mnist"]).data.validation, 7.into());
    // The same kind changes nothing.
    for same in ["model.kind=lenet", "model.kind=\"lenet\""] {
        assert_eq!(accepted(text, &[same]), accepted(text, &[]));
    }
}

#[test]
fn elements_of_lists_can_be_set() {
    use crate::models::ModelConfig;
    let text = "[model]\nkind = \"convnet\"\nblocks = [{ channels = 8 }, { channels = 16 }]\nhidden = [32]\n";
    let model = accepted(text, &["model.blocks[1].channels=24", "model.hidden.0=48"]).model;
    let ModelConfig::Convnet(model) = model else { panic!("a convnet") };
    assert_eq!((model.blocks[0].channels, model.blocks[1].channels, &model.hidden[..]), (8, 24, &[48][..]));
}
