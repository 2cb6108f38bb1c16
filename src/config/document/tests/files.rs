//! Files that cannot be read at all.

use super::*;

#[test]
fn syntax_errors_show_the_line() {
    insta::assert_snapshot!(refused("[train]\nepochs = = 3\n", &[]), @"
    error: `my.toml` is not valid TOML
    caused by: TOML parse error at line 2, column 10
      |
    2 | epochs = = 3
      |          ^
    extra `=`, expected nothing
    ");
}

#[test]
fn a_key_given_twice_is_a_syntax_error() {
    let text = "[train]
epochs = 3
epochs = 4
";
    insta::assert_snapshot!(refused(text, &[]), @"
    error: `my.toml` is not valid TOML
    caused by: TOML parse error at line 3, column 1
      |
    3 | epochs = 4
      | ^^^^^^
    duplicate key
    ");
}

#[test]
fn a_section_given_twice_is_a_syntax_error() {
    let text = "[train]
epochs = 3

[train]
batch_size = 10
";
    insta::assert_snapshot!(refused(text, &[]), @"
    error: `my.toml` is not valid TOML
    caused by: TOML parse error at line 4, column 2
      |
    4 | [train]
      |  ^^^^^
    duplicate key
    ");
}

#[test]
fn text_without_quotes_is_a_syntax_error() {
    insta::assert_snapshot!(refused("[model]\nkind = mlp\n", &[]), @"
    error: `my.toml` is not valid TOML
    caused by: TOML parse error at line 2, column 8
      |
    2 | kind = mlp
      |        ^^^
    string values must be quoted, expected literal string
    ");
}

#[test]
fn an_empty_file_sets_nothing() {
    insta::assert_snapshot!(refused("# only a comment\n\n", &[]), @"
    error: `my.toml` is empty: it sets no key
    tip: to use kiln's own config, give no file; `kiln config show` prints it
    ");
}

#[test]
fn a_file_that_is_not_there_names_what_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mnist-fast.toml"), "seed = 1").unwrap();
    let errors = ["mnist-fats.toml", "other.toml", "mnist.toml", "nowhere/other.toml"]
        .map(|name| refused_path(folder.path(), &folder.path().join(name), &[]));
    insta::assert_snapshot!(errors.join("\n\n"), @"
    error: cannot read the config `mnist-fats.toml`
    caused by: No such file or directory (os error 2)
    tip: did you mean `mnist-fast.toml`?

    error: cannot read the config `other.toml`
    caused by: No such file or directory (os error 2)
    tip: built in are `mnist`, `mnist-fast`, `mnist-99.7`, `mnist-mlp`, `batch-iteration-epoch`, `fashion-fast`, `fashion`, `cifar10`, `smoke`

    error: cannot read the config `mnist.toml`
    caused by: No such file or directory (os error 2)
    tip: `mnist` is built in: give its name without a path

    error: cannot read the config `nowhere/other.toml`
    caused by: No such file or directory (os error 2)
    tip: built in are `mnist`, `mnist-fast`, `mnist-99.7`, `mnist-mlp`, `batch-iteration-epoch`, `fashion-fast`, `fashion`, `cifar10`, `smoke`
    ");
}

#[test]
fn a_folder_is_no_config() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run-0001");
    std::fs::create_dir(&run).unwrap();
    let before = refused_path(folder.path(), &run, &[]);
    std::fs::write(run.join("config.toml"), "seed = 1").unwrap();
    let after = refused_path(folder.path(), &run, &[]);
    insta::assert_snapshot!([before, after].join("\n\n"), @"
    error: `run-0001` is a folder, not a config file

    error: `run-0001` is a folder, not a config file
    tip: did you mean `run-0001/config.toml`?
    ");
}

#[test]
fn what_is_no_utf_8_is_said() {
    let errors = [
        refused_bytes(b"seed = 1\nname = \"caf\xe9\"\n", &[]),
        refused_bytes(b"\xff\xfes\0e\0e\0d\0", &[]),
        refused_bytes(b"\x7fELF\0\0\x01", &[]),
        refused_bytes(b"", &[]),
    ];
    insta::assert_snapshot!(errors.join("\n\n"), @"
    error: `my.toml` is not UTF-8 text: byte 0xe9 in line 2
    tip: save it as UTF-8

    error: `my.toml` is UTF-16 text; a config must be UTF-8
    tip: save it as UTF-8

    error: `my.toml` is no text file; a config is TOML

    error: `my.toml` is empty: it sets no key
    tip: to use kiln's own config, give no file; `kiln config show` prints it
    ");
}

#[test]
fn a_file_larger_than_any_config_is_not_read() {
    insta::assert_snapshot!(refused(&"# filler\n".repeat(200_000), &[]), @"error: `my.toml` is larger than 1 MiB, which no config is");
}

#[test]
fn a_byte_order_mark_is_no_problem() {
    assert_eq!(accepted("\u{feff}seed = 7\n", &[]).seed, 7);
}

#[test]
fn names_without_a_path_are_built_in_configs() {
    assert_eq!(Origin::find("mnist-mlp").unwrap(), Origin::Embedded(presets::embedded("mnist-mlp").unwrap()));
    assert_eq!(Origin::find("mnist-99.7").unwrap(), Origin::Embedded(presets::embedded("mnist-99.7").unwrap()));
    assert_eq!(Origin::find("./mnist-mlp").unwrap(), Origin::File("./mnist-mlp".into()));
    assert_eq!(Origin::find("my.toml").unwrap(), Origin::File("my.toml".into()));
    let errors = ["minst", "zebra", ""].map(|name| Origin::find(name).unwrap_err().render());
    insta::assert_snapshot!(errors.join("\n\n"), @"
    error: no config `minst`: it is neither a file nor built in; built in are `mnist`, `mnist-fast`, `mnist-99.7`, `mnist-mlp`, `batch-iteration-epoch`, `fashion-fast`, `fashion`, `cifar10`, `smoke`
    tip: did you mean `mnist`?

    error: no config `zebra`: it is neither a file nor built in; built in are `mnist`, `mnist-fast`, `mnist-99.7`, `mnist-mlp`, `batch-iteration-epoch`, `fashion-fast`, `fashion`, `cifar10`, `smoke`

    error: the config has an empty name
    tip: leave it out to use `mnist`
    ");
}
