//! Running the binary in a folder of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder that goes when the test ends.
pub struct Folder {
    folder: tempfile::TempDir,
}

/// What a command printed, and how it ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env("NO_COLOR", "1")
            .env_remove("CLICOLOR_FORCE");
        command
    }

    /// Runs `kiln` with these arguments.
    pub fn kiln(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// Runs `kiln` in a folder below this one.
    pub fn kiln_in(&self, below: &str, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).current_dir(self.path().join(below)))
    }

    /// Runs `kiln` with this much address space, in KiB.
    #[cfg(target_os = "linux")]
    pub fn kiln_limited(&self, kibibytes: usize, arguments: &[&str]) -> Ran {
        let limited = format!("ulimit -v {kibibytes} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_kiln")]).args(arguments);
        ran(command.current_dir(self.path()).stdin(Stdio::null()).env("NO_COLOR", "1"))
    }

    /// The same with more in its environment.
    pub fn kiln_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
        ran(self.command(arguments).envs(environment.iter().copied()))
    }

    /// Every file below `path`, with its content, but for the lock, which a process that only looks may touch.
    pub fn snapshot(&self, path: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path().join(path)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    files.insert(path.clone(), Vec::new());
                    folders.push(path);
                } else if !path.ends_with("lock") {
                    files.insert(path.clone(), std::fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// Copies a whole folder, given by its path, to `name`.
    pub fn copy(&self, from: &Path, name: &str) {
        let to = self.path().join(name);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let inside = format!("{name}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                self.copy(&entry.path(), &inside);
            } else {
                std::fs::copy(entry.path(), self.path().join(inside)).unwrap();
            }
        }
    }

    /// A JSON file.
    pub fn read_json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// Changes a JSON file.
    pub fn edit_json(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut value = self.read_json(name);
        edit(&mut value);
        self.write(name, &value.to_string());
    }

    /// Starts `kiln` and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Starts `kiln`, leaves it running, and pipes its stdout to the test.
    #[cfg(unix)]
    pub fn start_piped(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs a command that must succeed and print one JSON value.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.kiln(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// A small training run in `runs/`, as its JSON summary.
    pub fn train(&self, sets: &[&str]) -> Value {
        self.json(&small(&["train"], sets))
    }

    /// The lines of a run's metrics without what differs between any two runs: the times.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let strip = |line: &str| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let object = value.as_object_mut().unwrap();
            object.remove("seconds").unwrap();
            object.remove("images_per_second").unwrap();
            value
        };
        self.read(&format!("{run}/metrics.jsonl")).lines().map(strip).collect()
    }
}

/// Whether these tests run on Burn's stock operations.
pub fn is_stock() -> bool {
    std::env::var_os("KILN_STOCK_OPS").is_some_and(|value| value == "1")
}

fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// The arguments of a command on the smoke config, made smaller still: 240 images, 4 epochs of 10 iterations.
pub fn small<'a>(command: &[&'a str], sets: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = [command, &["smoke", "--device", "flex"]].concat();
    let base = ["data.train=280", "data.test=60", "data.validation=40", "train.epochs=4", "train.batch_size=24"];
    for set in base.into_iter().filter(|base| !sets.iter().any(|set| key(set) == key(base))).chain(sets.iter().copied())
    {
        arguments.extend(["--set", set]);
    }
    arguments
}

/// The key of a `key=value`.
pub fn key(set: &str) -> &str {
    set.split('=').next().unwrap_or(set)
}
