use super::*;

const BASE: &str = "name = \"a\"\n[data]\nkind = \"synthetic\"\nvalidation = 50\n[model]\nkind = \"mlp\"\nhidden = [8]\n[optimizer]\nkind = \"adam\"\n[train]\nepochs = 9\n";

fn load(table: &str, over: &[&str]) -> Result<SweepDocument> {
    let asked = SweepAsked { over: over.iter().map(|text| (*text).to_owned()).collect(), seeds: None };
    SweepDocument::load(&Origin::Text("s.toml".into(), format!("{BASE}{table}")), &[], &asked)
}

fn refused(table: &str, over: &[&str]) -> String {
    load(table, over).map(|found| format!("{:?}", found.sweep)).unwrap_err().render()
}

#[test]
fn a_file_says_what_is_tried_and_is_written_back_as_the_same() {
    let text = "[sweep]\nsearch = \"random\"\ntrials = 40\nseeds = [3, 1]\n[sweep.over]\n\"optimizer.learning_rate\" = { log = [1e-4, 1e-1] }\nmodel.hidden = [[8], [16, 8]]\n\"train.batch_size\" = { log_int = [16, 256] }\n[sweep.halving]\nfirst = 1\n";
    let found = load(text, &[]).unwrap();
    assert_eq!((found.sweep.search, found.sweep.trials, &found.sweep.seeds[..]), (Search::Random, 40, &[3, 1][..]));
    assert_eq!(found.sweep.halving, Some(Halving { first: 1, factor: 3 }));
    assert_eq!(found.sweep.over[0], ("optimizer.learning_rate".into(), Space::Log([1e-4, 1e-1])));
    assert_eq!(found.sweep.over[1].0, "model.hidden");
    assert_eq!(found.experiment.data.seed, Some(42), "every seed has the same validation images");
    let again =
        SweepDocument::load(&Origin::Text("again".into(), found.to_toml()), &[], &SweepAsked::default()).unwrap();
    assert_eq!((again.sweep, again.experiment), (found.sweep.clone(), found.experiment.clone()));
    let trial = found.trial(&[("model.hidden".into(), serde_json::json!([16, 8]))], 3).unwrap();
    assert_eq!((trial.seed, trial.data.seed), (3, Some(42)));
    assert!(trial.to_toml().contains("hidden = [16, 8]"));
}

#[test]
fn the_command_line_alone_is_enough() {
    let found = load("", &["optimizer.learning_rate=0.001,0.002", "optimizer.kind=adam,adamw"]).unwrap();
    assert_eq!((found.sweep.search, found.sweep.trials), (Search::Grid, 4));
    assert_eq!(found.sweep.seeds, [42]);
    let choices = [serde_json::json!("adam"), serde_json::json!("adamw")];
    assert_eq!(found.sweep.over[1].1, Space::Choices(choices.into()));
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_place() {
    let table = "[sweep]\nserch = \"grid\"\nseeds = 0\n[sweep.over]\n\"optimizer.learning_rat\" = [0.1]\n\"train.batch_size\" = [0, 50]\nseed = [1]\n\"data.validation\" = [10]\n\"loss.label_smoothing\" = { log = [0, 1] }\n[sweep.halving]\nfirst = 9\n";
    insta::assert_snapshot!(refused(table, &["train.epochs"]), @r#"
    error: the config has 9 problems
      s.toml:13:1: `sweep.serch`: unknown key; did you mean `search`?
      s.toml:14:9: `sweep.seeds`: must be a whole number of 1 or more, got 0
      s.toml:16:1: `sweep.over.optimizer.learning_rat`: unknown key; did you mean `optimizer.learning_rate`?
      s.toml:17:1: `sweep.over.train.batch_size`: must be at least 1, got 0
      s.toml:18:1: `sweep.over.seed`: is not tried but repeated: say how many in sweep.seeds (or --seeds)
      s.toml:19:1: `sweep.over.data.validation`: cannot be tried: trials are told apart on the same validation images; of `data`, only `data.augment` can
      s.toml:20:1: `sweep.over.loss.label_smoothing`: `log` must begin above 0, got 0
      s.toml:21:1: `sweep.halving.first`: must be less than train.epochs = 9, got 9; raise train.epochs, or leave out [sweep.halving]
      --over train.epochs: `--over`: must be KEY=VALUES, for example --over optimizer.learning_rate=0.001,0.002
    tip: `kiln config keys` lists every key with its type and default
    "#);
}

#[test]
fn searches_ask_for_what_they_need() {
    insta::assert_snapshot!(refused("[sweep]\nsearch = \"tpe\"\n[sweep.over]\n\"optimizer.learning_rate\" = { log = [1e-4, 1e-1] }\n[sweep.halving]\nfirst = 1\n", &[]), @r#"
    error: the config has 2 problems
      s.toml:12:2: `sweep.trials`: is missing: sweep.search = "tpe" needs a number of trials, for example 40
      s.toml:16:1: `sweep.halving`: goes with "grid" and "random": tpe learns from trials that were all trained alike
    "#);
    insta::assert_snapshot!(refused("[sweep.over]\n\"optimizer.learning_rate\" = { log = [1e-4, 1e-1] }\n", &[]), @r#"error: s.toml:13:1: `sweep.over.optimizer.learning_rate`: a grid takes lists of values; for a range set sweep.search to "random" or "tpe", and sweep.trials"#);
    let many: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    let (rates, sizes) = (format!("train.batch_size={}", many.join(",")), format!("train.epochs={}", many.join(",")));
    insta::assert_snapshot!(refused("", &[&rates, &sizes]), @r#"error: s.toml: `sweep.over`: the grid has 1600 combinations (40 of train.batch_size x 40 of train.epochs), at most 1000 are allowed; try fewer values, or set sweep.search to "random" and sweep.trials"#);
    insta::assert_snapshot!(refused("", &[]), @r#"error: s.toml: `sweep.over`: is missing: it says what to try, for example "optimizer.learning_rate" = [0.001, 0.002] (or --over optimizer.learning_rate=0.001,0.002)"#);
}

#[test]
fn a_key_that_is_tried_is_not_set_as_well() {
    let asked = SweepAsked { over: vec!["train.batch_size=10,20".into()], seeds: Some(vec![1]) };
    let origin = Origin::Text("s.toml".into(), BASE.into());
    let set = |set: &str| SweepDocument::load(&origin, &[set.to_owned()], &asked).map_err(|error| error.render());
    assert_eq!(set("train.epochs=3").unwrap().sweep.seeds, [1]);
    insta::assert_snapshot!(set("train.batch_size=5").unwrap_err(), @"error: --over train.batch_size=10,20: `sweep.over.train.batch_size`: is set by `--set train.batch_size=5` as well; give one of them");
}
