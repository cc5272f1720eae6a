//! From one table: the structs, what is read, what is written, and what is explained.

use toml::Value;

/// A section of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
}

/// All that can be said about a setting.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// With its section: `http.listen`.
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) default: Value,
    /// What it may be, in words.
    pub(super) range: String,
    /// Whether a reload takes it over.
    pub(super) is_reloadable: bool,
    /// Whether it is written as tables of its own.
    pub(super) is_tables: bool,
}

impl Row {
    pub(super) fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    pub(super) fn field(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, field)| field)
    }
}

/// Each line: what it is for, its name, its kind, its default, what it may be; `reload` where a reload takes it over.
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])*
        $section:ident: $Section:ident {
            $($(#[doc = $doc:literal])* $name:ident: $kind:ty = $default:expr, $bound:expr $(, $reload:ident)?;)*
        }
    )*) => {
        /// Every section (spec/protocol.md, section 10).
        #[derive(Clone, Debug, PartialEq)]
        pub(super) struct Raw { $(pub(super) $section: $Section,)* }

        $(
            $(#[doc = $about])*
            #[derive(Clone, Debug, PartialEq)]
            pub(super) struct $Section { $($(#[doc = $doc])* pub(super) $name: $kind,)* }

            impl $Section {
                fn read(layers: &mut Layers) -> Self {
                    Self { $($name: layers.read(name!($section.$name), $default, &$bound),)* }
                }

                fn rows(rows: &mut Vec<Row>) {
                    $(rows.push(Row {
                        name: name!($section.$name),
                        doc: &[$($doc),*],
                        default: Kind::write(&{ let default: $kind = $default; default }),
                        range: Bound::<$kind>::words(&$bound),
                        is_reloadable: reloadable!($($reload)?),
                        is_tables: <$kind as Kind>::IS_TABLES,
                    });)*
                }

                fn values(&self, values: &mut Vec<(&'static str, Value)>) {
                    $(values.push((name!($section.$name), Kind::write(&self.$name)));)*
                }

                fn take_over(&mut self, new: &Self, take: &mut dyn FnMut(&'static str) -> bool) {
                    $(if self.$name != new.$name && take(name!($section.$name)) {
                        self.$name.clone_from(&new.$name);
                    })*
                }
            }
        )*

        pub(super) const SECTIONS: &[Section] =
            &[$(Section { name: stringify!($section), doc: &[$($about),*] },)*];

        /// Every setting's name.
        pub(super) const NAMES: &[&str] = &[$($(name!($section.$name),)*)*];

        impl Raw {
            /// Takes every setting out of the layers. What cannot be is noted there, and has its default here.
            pub(super) fn read(layers: &mut Layers) -> Self {
                Self { $($section: $Section::read(layers),)* }
            }

            pub(super) fn rows() -> Vec<Row> {
                let mut rows = Vec::new();
                $($Section::rows(&mut rows);)*
                rows
            }

            /// Every setting as it would be written.
            pub(super) fn values(&self) -> Vec<(&'static str, Value)> {
                let mut values = Vec::new();
                $(self.$section.values(&mut values);)*
                values
            }

            /// Takes over, of what is different in `new`, what `take` says.
            pub(super) fn take_over(&mut self, new: &Self, take: &mut dyn FnMut(&'static str) -> bool) {
                $(self.$section.take_over(&new.$section, take);)*
            }
        }
    };
}

macro_rules! name {
    ($section:ident.$name:ident) => {
        concat!(stringify!($section), ".", stringify!($name))
    };
}

macro_rules! reloadable {
    () => {
        false
    };
    (reload) => {
        true
    };
}

pub(super) use {name, reloadable, settings};
