//! Whatever is in a file or a `--set`, it ends in an experiment or in an error; never in a panic.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn load(text: &str, sets: &[String]) -> Result<Experiment> {
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    Experiment::load(&Origin::Embedded(Box::leak(Box::new(Preset { name: "test", text }))), sets)
}

/// A key path, mostly one that exists.
fn path() -> impl Strategy<Value = String> {
    let keys = crate::config::keys::keys().iter().map(|key| key.path.replace("[N]", "[0]")).collect::<Vec<_>>();
    prop_oneof![4 => prop::sample::select(keys), 1 => "[a-z.\\[\\]0-9]{0,12}"]
}

/// A value, mostly TOML.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0_u8..20).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").to_lowercase()),
        prop::sample::select(vec![
            "true", "none", "mlp", "resnet", "step", "idx", "[]", "{}", "[1, 2]", "[{}]", "\"\"", "'x'"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ]
}

/// A second or two; any number by hand: `KILN_FUZZ_CASES=100000 cargo test --lib config::document::tests::any`.
fn cases() -> u32 {
    let wanted = std::env::var("KILN_FUZZ_CASES").ok();
    wanted.map_or(300, |wanted| wanted.parse().expect("KILN_FUZZ_CASES must be a whole number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn any_sets_end_well(sets in prop::collection::vec((path(), value()), 0..4)) {
        let sets: Vec<String> = sets.into_iter().map(|(path, value)| format!("{path}={value}")).collect();
        match load("seed = 1\n", &sets) {
            Ok(experiment) => prop_assert_eq!(load(&experiment.to_toml(), &[]).unwrap(), experiment),
            Err(error) => prop_assert_eq!(error.exit_code(), 2),
        }
    }

    #[test]
    fn any_file_ends_well(preset in prop::sample::select(presets::PRESETS.to_vec()), cut in any::<prop::sample::Index>(), junk in "\\PC{0,3}") {
        let at = preset.text.floor_char_boundary(cut.index(preset.text.len()));
        let text = format!("{}{junk}{}", &preset.text[..at], &preset.text[preset.text.ceil_char_boundary(at + 1)..]);
        if let Err(error) = load(&text, &[]) {
            prop_assert_eq!(error.exit_code(), 2);
        }
    }
}
