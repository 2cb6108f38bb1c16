//! Keys, types, ranges and contradictions.

use super::*;

#[test]
fn unknown_keys_are_named_with_the_nearest_one() {
    let text = r#"epochs = 3
colour = "red"

[trian]
epochs = 4

[train]
epohcs = 3
lr = 0.1
zebra = 1

[optimizer]
kind = "sgd"
momentun = 0.9
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 7 problems
      my.toml:1:1: `epochs`: unknown key; did you mean `train.epochs`?
      my.toml:2:1: `colour`: unknown key
      my.toml:4:2: `trian`: unknown key; did you mean `train`?
      my.toml:8:1: `train.epohcs`: unknown key; did you mean `train.epochs`?
      my.toml:9:1: `train.lr`: unknown key; did you mean `optimizer.learning_rate`?
      my.toml:10:1: `train.zebra`: unknown key; `train` has epochs, batch_size, drop_last, iterations_per_epoch, accumulation, overfit_batches, clip_norm, sampling, precision, ema, mixup, cutmix
      my.toml:14:1: `optimizer.momentun`: unknown key; did you mean `optimizer.momentum`?
    tip: `kiln config keys` lists every key with its type and default
    ");
}

#[test]
fn a_key_of_another_kind_says_whose_it_is() {
    let text = r#"[model]
kind = "mlp"
norm = "none"
padding = "same"

[optimizer]
kind = "sgd"
adamw_ratio = 0.1
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 3 problems
      my.toml:3:1: `model.norm`: belongs to model.kind = "convnet" or "resnet" or "preact_resnet", here it is "mlp"
      my.toml:4:1: `model.padding`: belongs to model.kind = "convnet", here it is "mlp"
      my.toml:8:1: `optimizer.adamw_ratio`: belongs to optimizer.kind = "muon", here it is "sgd"
    "#);
}

#[test]
fn wrong_types_say_what_was_found_and_what_is_allowed() {
    let text = r#"name = 7
seed = "42"
device = 1
train = { epochs = 10.0, batch_size = "100", drop_last = 1, accumulation = true }
loss = { label_smoothing = "none" }
model = { kind = "mlp", hidden = 100 }
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 9 problems
      my.toml:1:8: `name`: must be a string, got 7 (a whole number)
      my.toml:2:8: `seed`: must be a whole number, got "42" (a string)
      my.toml:3:10: `device`: must be a string or a list, each of its elements a string, got 1 (a whole number)
      my.toml:4:20: `train.epochs`: must be a whole number, got 10.0 (a float)
      my.toml:4:39: `train.batch_size`: must be a whole number, got "100" (a string)
      my.toml:4:58: `train.drop_last`: must be true or false, got 1 (a whole number)
      my.toml:4:76: `train.accumulation`: must be a whole number, got true (a bool)
      my.toml:5:28: `loss.label_smoothing`: must be a number, got "none" (a string)
      my.toml:6:34: `model.hidden`: must be a list, each of its elements a whole number, got 100 (a whole number)
    "#);
}

#[test]
fn several_devices_are_a_list_or_a_text() {
    for (text, sets, device) in [
        ("device = [\"cuda:0\", \"cuda:1\"]", &[][..], "cuda:0,cuda:1"),
        ("device = \"flex*2\"", &[], "flex*2"),
        ("device = [\"flex\"]", &[], "flex"),
        ("seed = 1", &["device=cuda:0,cuda:1"], "cuda:0,cuda:1"),
        ("seed = 1", &["device=[\"cuda:1\",\"cuda:0\"]"], "cuda:1,cuda:0"),
        ("seed = 1", &["device=flex*2"], "flex*2"),
    ] {
        let experiment = accepted(text, sets);
        assert_eq!(experiment.device, device);
        // A run's config holds the text.
        assert_eq!(accepted(&experiment.to_toml(), &[]), experiment);
    }
    let refusals: Vec<String> = [
        "[\"flex\", 3]",
        "[]",
        "\"\"",
        "\"flex*0\"",
        "\"flex*\"",
        "\"flex*1000\"",
        "[\"flex\", \"flex\"]",
        "[\"cuda:1\", \"cuda:1\"]",
        "[\"cuda:0\", \"flex\"]",
        "[\"cuda:0\", \"auto\"]",
    ]
    .into_iter()
    .map(|device| refused(&format!("device = {device}\n"), &[]))
    .collect();
    insta::assert_snapshot!(refusals.join("\n"), @"
    error: my.toml:1:19: `device[1]`: must be a string, got 3 (a whole number)
    error: my.toml:1:10: `device`: names no device; leave it out for `auto`
    error: my.toml:1:10: `device`: names no device; leave it out for `auto`
    error: my.toml:1:10: `device`: behind `*` must be the number of devices, 1 to 64, got `0`; as in `flex*2`
    error: my.toml:1:10: `device`: behind `*` must be the number of devices, 1 to 64, got nothing; as in `flex*2`
    error: my.toml:1:10: `device`: behind `*` must be the number of devices, 1 to 64, got `1000`; as in `flex*2`
    error: my.toml:1:10: `device`: `flex` is named more than once; to share the work out on one CPU: `flex*2`
    error: my.toml:1:10: `device`: `cuda:1` is named more than once
    error: my.toml:1:10: `device`: all must be of one backend, got cuda and flex; unlike devices take unlike time, and every batch would wait for the slowest
    error: my.toml:1:10: `device`: auto chooses one device, and cannot be one of several
    ");
}

#[test]
fn numbers_that_no_key_can_hold() {
    let text = r#"seed = 18446744073709551616

[train]
epochs = -1
batch_size = 99999999999999999999999999999999999999999999
clip_norm = inf

[optimizer]
kind = "adam"
learning_rate = nan
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 5 problems
      my.toml:1:8: `seed`: must be at most 9223372036854775807, got 18446744073709551616
      my.toml:4:10: `train.epochs`: must be 0 or more, got -1
      my.toml:5:14: `train.batch_size`: must be at most 9223372036854775807, got 99999999999999999999999999999999999999999999
      my.toml:6:13: `train.clip_norm`: must be a finite number, got inf (a float); "none" unsets it
      my.toml:10:17: `optimizer.learning_rate`: must be a finite number, got nan (a float)
    "#);
}

#[test]
fn a_seed_beyond_toml() {
    insta::assert_snapshot!(refused("seed = 9223372036854775808\n", &[]), @"error: my.toml:1:8: `seed`: must be at most 9223372036854775807, got 9223372036854775808");
}

#[test]
fn dates_are_no_values() {
    insta::assert_snapshot!(refused("name = 1979-05-27\n", &[]), @"error: my.toml:1:8: `name`: must be a string, got 1979-05-27 (a date)");
}

#[test]
fn unknown_kinds_name_the_nearest() {
    let text = r#"[model]
kind = "resnt"
channels = [8]
blocks = 2
zebra = 1

[optimizer]
kind = "ranger"

[schedule]
kind = 3

[data]
kind = "Mnist"
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 5 problems
      my.toml:2:8: `model.kind`: must be one of (all models), got "resnt"; did you mean "resnet"?
      my.toml:5:1: `model.zebra`: unknown key
      my.toml:8:8: `optimizer.kind`: must be one of (all optimizers), got "ranger"
      my.toml:11:8: `schedule.kind`: must be one of (all schedules), got 3 (a whole number)
      my.toml:14:8: `data.kind`: must be one of (all sources), got "Mnist"; did you mean "mnist"?
    tip: `kiln config keys` lists every key with its type and default
    "#);
}

#[test]
fn a_section_with_a_kinds_keys_must_say_its_kind() {
    let text = "[model]
hidden = [64]

[data]
validation = 1000
";
    insta::assert_snapshot!(refused(text, &[]), @r#"error: my.toml:1:2: `model.kind`: is missing, and `hidden` depends on it; allowed: (all models)"#);
}

#[test]
fn required_keys_are_missed() {
    let text = r#"[data]
kind = "idx"

[model]
kind = "convnet"
blocks = [{ kernel_size = 3 }, { channels = 8, pol = true }]
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 3 problems
      my.toml:1:2: `data.path`: is missing; it has no default. The folder, or .zip, .tar or .tar.gz archive, that holds the four files, each plain or with `.gz`.
      my.toml:6:11: `model.blocks[0].channels`: is missing; it has no default. Output channels of the convolution.
      my.toml:6:48: `model.blocks[1].pol`: unknown key; did you mean `model.blocks[1].pool`?
    tip: `kiln config keys` lists every key with its type and default
    ");
}

#[test]
fn lists_are_looked_into() {
    let text = r#"[model]
kind = "lenet"
channels = [6]
hidden = [120, "84"]
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 2 problems
      my.toml:3:12: `model.channels`: must be a list of 2 values, got 1
      my.toml:4:16: `model.hidden[1]`: must be a whole number, got "84" (a string)
    "#);
}

#[test]
fn choices_name_what_is_allowed() {
    let text = r#"[model]
kind = "convnet"
norm = "bacth"
padding = true
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 2 problems
      my.toml:3:8: `model.norm`: must be one of "none", "batch", "group", got "bacth"; did you mean "batch"?
      my.toml:4:11: `model.padding`: must be one of "valid", "same", got true (a bool)
    "#);
}

#[test]
fn ranges_of_training() {
    let text = r#"name = "my run/1"
device = "gpu"

[loss]
label_smoothing = 1.0

[train]
epochs = 0
batch_size = 0
accumulation = 0
clip_norm = 0
iterations_per_epoch = 0

[early_stopping]
patience = 0
min_delta = -0.1

[stop_at]
validation_accuracy = 99.2

[checkpoint]
keep_last = 0
every_iterations = 0
every_minutes = -5.0
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 14 problems
      my.toml:1:8: `name`: must be 1 to 64 of letters, digits, `-`, `_` and `.`, a letter or digit first, got "my run/1"
      my.toml:2:10: `device`: found `gpu`, allowed are auto, cuda, rocm, metal, vulkan, wgpu, ndarray, flex; did you mean `wgpu`?
      my.toml:5:19: `loss.label_smoothing`: must be at least 0 and below 1, got 1
      my.toml:8:10: `train.epochs`: must be at least 1, got 0
      my.toml:9:14: `train.batch_size`: must be at least 1, got 0
      my.toml:10:16: `train.accumulation`: must be at least 1, got 0
      my.toml:11:13: `train.clip_norm`: must be above 0 and at most 1000000, got 0
      my.toml:12:24: `train.iterations_per_epoch`: must be at least 1, got 0
      my.toml:15:12: `early_stopping.patience`: must be at least 1, got 0
      my.toml:16:13: `early_stopping.min_delta`: must be at least 0, got -0.1
      my.toml:19:23: `stop_at.validation_accuracy`: must be above 0 and at most 1 (99.2 % is 0.992), got 99.2
      my.toml:22:13: `checkpoint.keep_last`: must be at least 1, got 0
      my.toml:23:20: `checkpoint.every_iterations`: must be at least 1, got 0
      my.toml:24:17: `checkpoint.every_minutes`: must be above 0 and at most 1000000, got -5
    "#);
}

#[test]
fn ranges_of_the_optimizer() {
    let text = r#"[optimizer]
kind = "adamw"
learning_rate = 2
beta_1 = 1.0
beta_2 = -0.1
epsilon = 0
weight_decay = -1
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 5 problems
      my.toml:3:17: `optimizer.learning_rate`: must be above 0 and at most 1, got 2
      my.toml:4:10: `optimizer.beta_1`: must be at least 0 and below 1, got 1
      my.toml:5:10: `optimizer.beta_2`: must be at least 0 and below 1, got -0.1
      my.toml:6:11: `optimizer.epsilon`: must be above 0 and at most 1, got 0
      my.toml:7:16: `optimizer.weight_decay`: must be at least 0, got -1
    ");
}

#[test]
fn nesterov_needs_momentum() {
    let text = r#"[optimizer]
kind = "sgd"
learning_rate = 0
momentum = 0
nesterov = true
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 2 problems
      my.toml:3:17: `optimizer.learning_rate`: must be above 0 and at most 1, got 0
      my.toml:5:12: `optimizer.nesterov`: looks ahead along the momentum, but `optimizer.momentum` is 0; set it to 0.9, or `nesterov` to false
    ");
}

#[test]
fn ranges_of_the_schedule() {
    let text = r#"[schedule]
kind = "one_cycle"
pct_start = 1.0
initial_ratio = 2
final_ratio = -1
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 3 problems
      my.toml:3:13: `schedule.pct_start`: must be above 0 and below 1, got 1
      my.toml:4:17: `schedule.initial_ratio`: must be at most 1, got 2
      my.toml:5:15: `schedule.final_ratio`: must be at least 0, got -1
    ");
}

#[test]
fn ranges_of_the_model_and_the_data() {
    let text = r#"[model]
kind = "convnet"
blocks = [{ channels = 0 }]
dropout = 1.0

[data]
kind = "synthetic"
classes = 1
noise = 2

[data.augment]
scale = 1.5
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 5 problems
      my.toml:3:10: `model.blocks`: block 1: channels must be 1 to 4096, got 0
      my.toml:4:11: `model.dropout`: must be at least 0 and below 1, got 1
      my.toml:8:11: `data.classes`: must be 2 to 100, got 1
      my.toml:9:9: `data.noise`: must be 0 to 1, got 2
      my.toml:12:9: `data.augment[0].scale`: must be at least 0 and below 1, got 1.5
    ");
}

#[test]
fn a_warm_up_as_long_as_the_run() {
    let text = r#"[schedule]
kind = "cosine"
warmup_epochs = 5

[train]
epochs = 5
"#;
    insta::assert_snapshot!(refused(text, &[]), @"error: my.toml:3:17: `schedule.warmup_epochs`: the warm-up fills the run: must be less than train.epochs = 5, got 5; set it to a tenth of the epochs or less, or raise train.epochs");
}

#[test]
fn a_warm_up_before_one_cycle() {
    let text = r#"[schedule]
kind = "one_cycle"
warmup_epochs = 1
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"error: my.toml:3:17: `schedule.warmup_epochs`: schedule.kind = "one_cycle" has its own warm-up (`schedule.pct_start`), so this must be 0, got 1; remove it"#);
}

#[test]
fn a_step_that_never_comes() {
    let text = r#"[schedule]
kind = "step"
every_epochs = 10
warmup_epochs = 1

[train]
epochs = 10
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"error: my.toml:3:16: `schedule.every_epochs`: the first drop would come after epoch 11, but the schedule ends with train.epochs = 10: set it to less than 9, or schedule.kind = "constant""#);
}

#[test]
fn a_schedule_longer_than_the_run() {
    let text = r#"[schedule]
kind = "linear"
epochs = 20
"#;
    insta::assert_snapshot!(refused(text, &[]), @"error: my.toml:3:10: `schedule.epochs`: the run ends before the schedule: must be at most train.epochs = 10, got 20; remove it, so that the schedule spans the run");
}

#[test]
fn patience_as_long_as_the_run() {
    insta::assert_snapshot!(refused("[early_stopping]\npatience = 10\n", &[]), @"error: my.toml:2:12: `early_stopping.patience`: must be less than train.epochs = 10, or it can never stop the run, got 10; set it to 9 or less, or raise train.epochs above 10");
}

#[test]
fn stopping_by_validation_without_validation_images() {
    let text = "[data]
validation = 0

[early_stopping]
patience = 3

[stop_at]
validation_accuracy = 0.99
";
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 2 problems
      my.toml:5:12: `early_stopping.patience`: needs validation images, but data.validation = 0; set data.validation to 0.1 or so, or this to "none"
      my.toml:8:23: `stop_at.validation_accuracy`: needs validation images, but data.validation = 0; set data.validation to 0.1 or so, or this to "none"
    "#);
}

#[test]
fn what_is_in_doubt_contradicts_nothing() {
    let text = r#"[schedule]
kind = "cosine"
warmup_epochs = 10

[train]
epochs = "twenty"
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"error: my.toml:6:10: `train.epochs`: must be a whole number, got "twenty" (a string)"#);
}

#[test]
fn a_scalar_where_a_section_belongs() {
    let text = r#"train = 3
model = "mlp"
"#;
    insta::assert_snapshot!(refused(text, &[]), @r#"
    error: the config has 2 problems
      my.toml:1:9: `train`: must be a table, got 3 (a whole number)
      my.toml:2:9: `model`: must be a table with a `kind`, got "mlp" (a string)
    "#);
}

#[test]
fn an_array_of_tables_where_a_section_belongs() {
    insta::assert_snapshot!(refused("[[train]]\nepochs = 3\n", &[]), @"error: my.toml:1:1: `train`: must be a table, got [[train]] (a list)");
}

#[test]
fn columns_count_letters_not_bytes() {
    let text = r#"loss = { "é" = 1, label_smoothing = 3 }
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 2 problems
      my.toml:1:10: `loss.é`: unknown key; `loss` has label_smoothing, class_weights, teacher, teacher_weight, temperature
      my.toml:1:37: `loss.label_smoothing`: must be at least 0 and below 1, got 3
    tip: `kiln config keys` lists every key with its type and default
    ");
}

#[test]
fn whole_numbers_are_numbers_and_none_unsets() {
    let experiment = accepted("[optimizer]\nkind = \"adam\"\nlearning_rate = 1\n[train]\nclip_norm = \"none\"\n", &[]);
    assert_eq!((experiment.optimizer.learning_rate(), experiment.train.clip_norm), (1.0, None));
    assert_eq!(accepted("seed = 0x10\n[train]\nbatch_size = 1_000\n", &[]).seed, 16);
}

#[test]
fn old_names_of_keys_mean_the_same_as_the_new_ones() {
    let new = "[schedule]\nkind = \"one_cycle\"\npct_start = 0.2\ninitial_ratio = 0.1\nfinal_ratio = 0.01\n";
    let old = new.replace("pct_start", "rise").replace("_ratio", "_share");
    assert_eq!(accepted(&old, &[]), accepted(new, &[]));
    let sets =
        ["schedule.rise=0.2", "schedule.kind=one_cycle", "schedule.initial_share=0.1", "schedule.final_share=0.01"];
    assert_eq!(accepted("seed = 42\n", &sets), accepted(new, &[]));
    let section = ["schedule={ kind = \"one_cycle\", rise = 0.2, initial_share = 0.1, final_share = 0.01 }"];
    assert_eq!(accepted("seed = 42\n", &section), accepted(new, &[]));
    // An old name in the file and the new one with --set, and the other way round.
    let changed = accepted(new, &["schedule.pct_start=0.4"]);
    assert_eq!(accepted(&old, &["schedule.pct_start=0.4"]), changed);
    assert_eq!(accepted(new, &["schedule.rise=0.4"]), changed);
    let step = accepted("schedule = { kind = \"step\", factor = 0.5 }\n", &[]);
    assert_eq!(step, accepted("schedule = { kind = \"step\", gamma = 0.5 }\n", &[]));
}

#[test]
fn an_old_name_is_noticed_once_and_refused_beside_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.toml");
    std::fs::write(&path, "[schedule]\nkind = \"one_cycle\"\nrise = 0.2\n").unwrap();
    let notices = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        load(&Origin::File(path.clone()), &sets).unwrap().notices
    };
    assert_eq!(notices(&[]), ["`schedule.rise` is now `schedule.pct_start`; the old name still works"]);
    assert_eq!(notices(&["schedule.rise=0.5"]), notices(&[]));
    let both = "[schedule]\nkind = \"one_cycle\"\npct_start = 0.3\nrise = 0.2\n";
    insta::assert_snapshot!(refused(both, &[]), @"error: my.toml:4:1: `schedule.rise`: is the old name of `schedule.pct_start`, which is given too; remove it");
    let wrong = "[schedule]\nkind = \"cosine\"\nrise = 0.2\n";
    insta::assert_snapshot!(refused(wrong, &["schedule.final_share=2"]), @r#"
    error: the config has 2 problems
      my.toml:3:1: `schedule.pct_start`: belongs to schedule.kind = "one_cycle", here it is "cosine"
      --set schedule.final_share=2: `schedule.final_ratio`: must be at most 1, got 2
    "#);
}

#[test]
fn numbers_that_mean_another_thing_in_32_bits() {
    let text = r#"[loss]
label_smoothing = 0.99999999

[model]
kind = "mlp"
dropout = 1e-12

[train]
clip_norm = 1e-46

[optimizer]
kind = "adam"
learning_rate = 1e-50
beta_1 = 1e-39
beta_2 = 0.99999999
epsilon = 1e-50
weight_decay = 1e-40
"#;
    insta::assert_snapshot!(refused(text, &[]), @"
    error: the config has 8 problems
      my.toml:2:19: `loss.label_smoothing`: in the 32-bit numbers that kiln computes with, 0.99999999 is 1, which is too much; the nearest that is not is 0.99999994
      my.toml:6:11: `model.dropout`: masks are drawn in steps of 2.3283064365386963e-10, the smallest probability that drops anything; got 1e-12
      my.toml:9:13: `train.clip_norm`: in the 32-bit numbers that kiln computes with, 1e-46 is 0; the nearest that is not is 1.1754944e-38
      my.toml:13:17: `optimizer.learning_rate`: in the 32-bit numbers that kiln computes with, 1e-50 is 0; the nearest that is not is 1.1754944e-38
      my.toml:14:10: `optimizer.beta_1`: in the 32-bit numbers that kiln computes with, 1e-39 is 0; the nearest that is not is 1.1754944e-38
      my.toml:15:10: `optimizer.beta_2`: in the 32-bit numbers that kiln computes with, 0.99999999 is 1, which is too much; the nearest that is not is 0.99999994
      my.toml:16:11: `optimizer.epsilon`: in the 32-bit numbers that kiln computes with, 1e-50 is 0; the nearest that is not is 1.1754944e-38
      my.toml:17:16: `optimizer.weight_decay`: in the 32-bit numbers that kiln computes with, 1e-40 is 0; the nearest that is not is 1.1754944e-38
    ");
    let muon = [
        "optimizer.kind=muon",
        "optimizer.learning_rate=1e-30",
        "optimizer.adamw_ratio=1e-30",
        "optimizer.momentum=0.99999999",
    ];
    insta::assert_snapshot!(refused("seed = 1\n", &muon), @"
    error: the config has 2 problems
      --set optimizer.adamw_ratio=1e-30: `optimizer.adamw_ratio`: in the 32-bit numbers that kiln computes with, 1.0000000000000001e-60, the rate of all other parameters (learning_rate * adamw_ratio), is 0; raise either
      --set optimizer.momentum=0.99999999: `optimizer.momentum`: in the 32-bit numbers that kiln computes with, 0.99999999 is 1, which is too much; the nearest that is not is 0.99999994
    ");
}

#[test]
fn an_epsilon_must_be_left_after_the_first_update_has_scaled_it() {
    let with = |epsilon: &str| format!("[optimizer]\nkind = \"adamw\"\nbeta_2 = 0.9999\nepsilon = {epsilon}\n");
    insta::assert_snapshot!(refused(&with("1.2e-38"), &[]), @"error: my.toml:4:11: `optimizer.epsilon`: in the 32-bit numbers that kiln computes with, 1.2e-38 times sqrt(1 - beta_2), the denominator of the first update, is 0; with this beta_2 it must be at least 1.17539695e-36");
    accepted(&with("1.17539695e-36"), &[]);
}
