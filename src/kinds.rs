//! One declaration per kind: the list from which a folder's kinds (models, optimizers, schedules) become modules, one enum
//! and the dispatch to what each says of itself. A new kind is one file and one line of that list.

/// Declares kinds. Each line `module: Variant(Config),` stands for a file `module.rs` with a type `Config` that implements
/// the trait named in the head. Out of it come
///
/// - the modules, and `pub use` of every `Config`;
/// - the enum, which serde tags by `kind`: the variant's name in snake case, which must be the module's;
/// - `kind()`, `examples()` (those of all kinds) and `as_kind()`, the variant as the trait's object;
/// - [`Check`](crate::check::Check), passed on to the variant.
///
/// The documentation of `Config` says what the kind is: `kiln config keys` shows it.
macro_rules! kinds {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident: $behaviour:ident {
            $($module:ident: $variant:ident($config:ident),)*
        }
    ) => {
        $(mod $module;)*
        $(pub use $module::$config;)*

        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        #[allow(missing_docs, reason = "the configuration of a kind says what it is")]
        pub enum $name {
            $($variant($config),)*
        }

        impl $name {
            /// The value of the section's `kind`.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($module),)*
                }
            }

            /// Small examples of every kind, in the order of the list, for tests that must cover them all.
            pub fn examples() -> Vec<Self> {
                let mut examples = Vec::new();
                $(examples.extend(<$config as $behaviour>::examples().into_iter().map(Self::$variant));)*
                examples
            }

            /// The names of all kinds.
            #[cfg(test)]
            pub(crate) const KINDS: &[&str] = &[$(stringify!($module),)*];

            fn as_kind(&self) -> &dyn $behaviour {
                match self {
                    $(Self::$variant(config) => config,)*
                }
            }
        }

        impl crate::check::Check for $name {
            fn check(&self, problems: &mut crate::check::Problems) {
                match self {
                    $(Self::$variant(config) => config.check(problems),)*
                }
            }
        }

        #[cfg(test)]
        mod every_kind {
            use super::$name;
            use crate::check::{Check as _, Problems};

            #[test]
            fn every_kind_has_examples_that_are_allowed_and_survive_their_own_json() {
                let mut kinds = $name::examples().iter().map($name::kind).collect::<Vec<_>>();
                kinds.dedup();
                assert_eq!(kinds, $name::KINDS);
                for example in $name::examples() {
                    let mut problems = Problems::default();
                    example.check(&mut problems);
                    assert_eq!(problems.into_vec(), [], "{example:?}");
                    let json = serde_json::to_value(&example).unwrap();
                    assert_eq!(json["kind"], example.kind());
                    assert_eq!(serde_json::from_value::<$name>(json).unwrap(), example);
                }
            }
        }
    };
}

pub(crate) use kinds;
