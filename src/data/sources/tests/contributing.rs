//! The worked example of a new source: a file `cifar10.rs` as it would stand beside the others, and its line in the list.

use super::super::*;

sources! {
    cifar10: Cifar10(Cifar10Config),
}

#[test]
fn the_example_of_a_new_source_opens_and_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let examples = SourceConfig::examples(folder.path());
    assert_eq!(examples.iter().map(SourceConfig::kind).collect::<Vec<_>>(), SourceConfig::KINDS);
    for example in &examples {
        assert_eq!(serde_json::to_value(example).unwrap()["kind"], example.kind());
        let mut problems = Problems::default();
        example.as_source().check(&mut problems);
        assert_eq!(problems.into_vec(), []);
        let Splits { train, test, .. } = example.as_source().open(1).unwrap();
        assert_eq!((train.len(), test.len(), train.shape.len()), (50, 10, 3072));
        assert_eq!((train.label(13), train.image(13)[0], &*train.classes[3]), (3, 60, "cat"));
        std::fs::write(folder.path().join("cifar10/data_batch_3.bin"), [11; 3073]).unwrap();
        let refused = example.as_source().open(1).err().unwrap();
        insta::assert_snapshot!(refused.render().replace(folder.path().to_str().unwrap(), "DATA"), @"
        error: `DATA/cifar10/data_batch_3.bin`: labels must be 0 to 9, got 11
        tip: `data.path` must be the folder of CIFAR-10's binary version; unpack the archive again
        ");
    }
}
