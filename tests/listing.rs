//! The runs of a folder: listed, told apart, deleted.

use crate::fixture::Folder;

#[test]
fn runs_are_listed_sorted_filtered_and_told_apart() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1", "name=first"]);
    folder.train(&["train.epochs=2", "name=second", "optimizer.learning_rate=0.0001"]);
    std::fs::create_dir_all(folder.path().join("runs/no-run")).unwrap();

    let text = folder.kiln(&["runs", "ls"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    let lines: Vec<&str> = text.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", text.stdout);
    assert!(lines[0].starts_with("run") && lines[0].contains("valid."), "{}", text.stdout);
    assert!(lines[1].starts_with("first-0001   done") && lines[1].contains("1/1"), "{}", text.stdout);
    assert!(lines[2].starts_with("second-0001  done") && lines[2].contains("2/2"), "{}", text.stdout);

    let names = |arguments: &[&str]| -> Vec<String> {
        let runs = folder.json(&[&["runs", "ls"], arguments].concat());
        runs.as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["--sort", "epochs", "--reverse"]), ["second-0001", "first-0001"]);
    assert_eq!(names(&["--where", "optimizer.learning_rate=1e-4"]), ["second-0001"]);
    assert_eq!(names(&["--where", "train.epochs=1", "--where", "name=second"]), Vec::<String>::new());
    let csv = folder.kiln(&["runs", "ls", "--csv"]).stdout;
    assert!(
        csv.starts_with("run,status,config,") && csv.lines().count() == 3 && csv.contains("\nfirst-0001,done,first,"),
        "{csv}"
    );
    let refused = folder.kiln(&["runs", "ls", "--where", "epochs"]);
    assert!(refused.code == 2 && refused.stderr.contains("must be KEY=VALUE"), "{}", refused.stderr);
    assert_eq!(folder.kiln(&["runs", "ls", "nowhere"]).code, 2);
    assert!(lines[1].ends_with("kB") && lines[0].ends_with("size"), "{}", text.stdout);

    // Runs that lie together in a folder of their own are not rows of this list, and not lost either.
    std::fs::create_dir_all(folder.path().join("runs/set-seeds-0001")).unwrap();
    std::fs::rename(folder.path().join("runs/first-0001"), folder.path().join("runs/set-seeds-0001/first-0001"))
        .unwrap();
    let text = folder.kiln(&["runs", "ls"]).stdout;
    assert!(text.contains("runs/set-seeds-0001 holds 1 run: kiln runs ls runs/set-seeds-0001"), "{text}");
    std::fs::rename(folder.path().join("runs/set-seeds-0001/first-0001"), folder.path().join("runs/first-0001"))
        .unwrap();
    std::fs::remove_dir(folder.path().join("runs/set-seeds-0001")).unwrap();

    let differ = folder.kiln(&["runs", "diff", "runs/first-0001", "runs/second-0001"]);
    assert_eq!(differ.code, 0, "{}", differ.stderr);
    for line in [
        "- name = \"first\"",
        "+ train.epochs = 2",
        "+ optimizer.learning_rate = 0.0001",
        "kiln compare runs/first-0001 runs/second-0001",
    ] {
        assert!(differ.stdout.contains(line), "{line}: {}", differ.stdout);
    }
    assert!(!differ.stdout.contains("batch_size"), "{}", differ.stdout);
}

#[test]
fn a_run_is_deleted_when_it_is_confirmed_and_never_in_training() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    folder.train(&["train.epochs=1"]);
    let asked = folder.kiln(&["runs", "rm", "runs/smoke-0001"]);
    assert!(asked.code == 2 && asked.stderr.contains("--yes"), "{}", asked.stderr);
    let refused = folder.kiln(&["runs", "rm", "--yes", "runs/smoke-0001", "runs/none"]);
    assert!(refused.code == 2 && folder.path().join("runs/smoke-0001").is_dir(), "{}", refused.stderr);

    let held = std::fs::File::open(folder.path().join("runs/smoke-0002/lock")).unwrap();
    held.lock().unwrap();
    let refused = folder.kiln(&["runs", "rm", "--yes", "runs/smoke-0002"]);
    assert!(refused.code == 2 && refused.stderr.contains("is training in"), "{}", refused.stderr);
    assert!(folder.path().join("runs/smoke-0002/model.bpk").is_file());
    drop(held);

    let gone = folder.kiln(&["runs", "rm", "--yes", "runs/smoke-0001", "runs/smoke-0002"]);
    assert_eq!(gone.code, 0, "{}", gone.stderr);
    assert!(gone.stdout.contains("deleted runs/smoke-0001"), "{}", gone.stdout);
    assert_eq!(std::fs::read_dir(folder.path().join("runs")).unwrap().count(), 0);
}

#[test]
fn the_best_runs_by_validation_survive_a_pruning() {
    let folder = Folder::new();
    folder.train(&["name=slow", "train.epochs=1", "optimizer.learning_rate=0.000001"]);
    folder.train(&["name=good"]);
    folder.train(&["name=blind", "data.validation=0", "train.epochs=1"]);
    let names = || -> Vec<String> {
        let runs = folder.json(&["runs", "ls", "--sort", "name"]);
        runs.as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(folder.kiln(&["runs", "prune", "--keep-best", "1"]).code, 2, "it would have to ask");
    assert_eq!(names().len(), 3);
    let pruned = folder.kiln(&["runs", "prune", "--keep-best", "1", "--yes"]);
    assert_eq!(pruned.code, 0, "{}", pruned.stderr);
    assert!(pruned.stderr.contains("`blind-0001` has no validation accuracy"), "{}", pruned.stderr);
    assert_eq!(names(), ["blind-0001", "good-0001"]);
    let again = folder.kiln(&["runs", "prune", "--keep-best", "1", "--yes"]);
    assert!(again.stdout.contains("there is nothing to delete"), "{}", again.stdout);
}
