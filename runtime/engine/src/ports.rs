//! Ports: the artifacts an operator reads and makes, and the `ports!` macro that declares them.

use std::collections::BTreeMap;

use cerb_lang::{Port, Type};
use cerb_store::{Artifact, Growing, Plain, Store, StoreError, Stored};

use crate::{OpError, schema::plain_type};

/// Artifacts of one kind by item key: what a port gathers from a cohort.
pub type Keyed<T> = BTreeMap<String, T>;

/// What stands at one input port when an action starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// One artifact.
    One(Stored),
    /// Artifacts by item key, gathered from a cohort.
    Keyed(BTreeMap<String, Stored>),
    /// An artifact that is still being made.
    Growing(Growing),
}

/// A set of named ports, implemented by [`ports!`](crate::ports).
pub trait Ports: Sized + Send + 'static {
    /// Returns the ports in the order they were written.
    fn ports() -> Vec<Port>;
    /// Returns the ports that may be read while what stands there is made.
    fn growing() -> Vec<&'static str>;
    /// Opens what stands at each port.
    fn open(bound: &BTreeMap<String, Bound>, store: &Store) -> Result<Self, OpError>;
    /// Stores what the ports hold; an optional port that is empty is left out.
    fn keep(self, store: &Store) -> Result<BTreeMap<String, Stored>, OpError>;
}

/// A type that may stand in `ports!`: an artifact `T`, `Option<T>`, `Keyed<T>`, or a plain value.
///
/// `Shape` only keeps the cases apart for the compiler, which finds it.
pub trait PortValue<Shape>: Sized {
    /// Whether it may be read while it is made.
    const GROWS: bool = false;
    /// Returns the type as the language writes it.
    fn port_type() -> Type;
    /// Opens what is bound to the port `name`.
    fn open(name: &str, bound: Option<&Bound>, store: &Store) -> Result<Self, OpError>;
    /// Stores the value; `None` when there is nothing to store.
    fn keep(self, name: &str, store: &Store) -> Result<Option<Stored>, OpError>;
}

/// Marks a port that holds one artifact.
#[derive(Debug)]
pub struct One;
/// Marks a port that may be empty.
#[derive(Debug)]
pub struct Maybe;
/// Marks a port that gathers a cohort.
#[derive(Debug)]
pub struct Many;
/// Marks a port that gives a plain value.
#[derive(Debug)]
pub struct Value;

/// Opens one artifact after comparing its kind.
fn open_one<T: Artifact>(name: &str, stored: &Stored, store: &Store) -> Result<T, OpError> {
    if stored.kind != T::KIND {
        return Err(OpError::Operator(format!(
            "port `{name}` reads `{}` and was given `{}`",
            T::KIND,
            stored.kind
        )));
    }
    Ok(T::open(stored, store)?)
}

impl<T: Artifact> PortValue<One> for T {
    const GROWS: bool = T::GROWS;
    fn port_type() -> Type {
        Type::Kind(T::KIND.to_owned())
    }
    fn open(name: &str, bound: Option<&Bound>, store: &Store) -> Result<Self, OpError> {
        match bound {
            Some(Bound::One(stored)) => open_one(name, stored, store),
            Some(Bound::Growing(growing)) => Ok(T::open_growing(growing)?),
            Some(Bound::Keyed(_)) => Err(OpError::Operator(format!(
                "port `{name}` reads one artifact, not a cohort"
            ))),
            None => Err(OpError::Operator(format!(
                "nothing stands at port `{name}`"
            ))),
        }
    }
    fn keep(self, _name: &str, store: &Store) -> Result<Option<Stored>, OpError> {
        Ok(Some(self.store(store)?))
    }
}

impl<T: Plain> PortValue<Value> for T {
    fn port_type() -> Type {
        // A type that the language does not know is refused when the operator is registered.
        plain_type(T::TYPE).unwrap_or_else(|| Type::Kind(T::TYPE.to_owned()))
    }
    fn open(name: &str, bound: Option<&Bound>, store: &Store) -> Result<Self, OpError> {
        match bound {
            Some(Bound::One(stored)) => Ok(T::open_plain(stored, store)?),
            _ => Err(OpError::Operator(format!(
                "no plain value stands at port `{name}`"
            ))),
        }
    }
    fn keep(self, name: &str, store: &Store) -> Result<Option<Stored>, OpError> {
        self.store_plain(store)
            .map(Some)
            .map_err(|error| match error {
                StoreError::Artifact { .. } => OpError::Operator(format!("port `{name}`: {error}")),
                other => other.into(),
            })
    }
}

impl<T: Artifact> PortValue<Maybe> for Option<T> {
    fn port_type() -> Type {
        Type::Optional(Box::new(Type::Kind(T::KIND.to_owned())))
    }
    fn open(name: &str, bound: Option<&Bound>, store: &Store) -> Result<Self, OpError> {
        bound
            .map(|_| <T as PortValue<One>>::open(name, bound, store))
            .transpose()
    }
    fn keep(self, _name: &str, store: &Store) -> Result<Option<Stored>, OpError> {
        Ok(self.map(|value| value.store(store)).transpose()?)
    }
}

impl<T: Artifact> PortValue<Many> for Keyed<T> {
    fn port_type() -> Type {
        Type::Map(Box::new(Type::Kind(T::KIND.to_owned())))
    }
    fn open(name: &str, bound: Option<&Bound>, store: &Store) -> Result<Self, OpError> {
        match bound {
            Some(Bound::Keyed(all)) => all
                .iter()
                .map(|(key, stored)| Ok((key.clone(), open_one(name, stored, store)?)))
                .collect(),
            Some(Bound::One(_) | Bound::Growing(_)) => Err(OpError::Operator(format!(
                "port `{name}` gathers a cohort, not one artifact"
            ))),
            None => Err(OpError::Operator(format!(
                "nothing stands at port `{name}`"
            ))),
        }
    }
    fn keep(self, name: &str, _store: &Store) -> Result<Option<Stored>, OpError> {
        // Refused at registration already; an action makes one artifact per port.
        Err(OpError::Operator(format!(
            "output port `{name}` is keyed; an action makes one artifact per port"
        )))
    }
}

/// Declares the ports of an operator: structs whose fields are artifacts.
///
/// A field is an artifact `T`, an `Option<T>` that may be left out, a
/// `Keyed<T>` that gathers a cohort (inputs only), or a plain value (outputs only). Its doc comment is the
/// port's text in `cerb help`.
///
/// ```text
/// ports! {
///     pub struct In {
///         /// Where to look.
///         mask: Mask,
///     }
///     pub struct Out {
///         /// What was found.
///         nuclei: Instances,
///     }
/// }
/// ```
#[macro_export]
macro_rules! ports {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident : $ty:ty ),* $(,)?
        }
    )+) => {$(
        /// The artifacts at the ports.
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $doc])* pub $field: $ty, )*
        }

        impl $crate::Ports for $name {
            fn ports() -> ::std::vec::Vec<$crate::private::Port> {
                ::std::vec![$( $crate::private::Port {
                    name: ::std::string::String::from(::core::stringify!($field)),
                    ty: <$ty as $crate::PortValue<_>>::port_type(),
                    doc: $crate::private::doc(&[$($doc),*]),
                } ),*]
            }
            fn growing() -> ::std::vec::Vec<&'static str> {
                let all: &[(&'static str, bool)] = &[$(
                    (::core::stringify!($field), <$ty as $crate::PortValue<_>>::GROWS)
                ),*];
                all.iter().filter(|(_, grows)| *grows).map(|(name, _)| *name).collect()
            }
            fn open(
                bound: &::std::collections::BTreeMap<::std::string::String, $crate::Bound>,
                store: &$crate::private::Store,
            ) -> ::core::result::Result<Self, $crate::OpError> {
                let _ = (bound, store);
                ::core::result::Result::Ok($name { $(
                    $field: <$ty as $crate::PortValue<_>>::open(
                        ::core::stringify!($field),
                        bound.get(::core::stringify!($field)),
                        store,
                    )?,
                )* })
            }
            fn keep(
                self,
                store: &$crate::private::Store,
            ) -> ::core::result::Result<
                ::std::collections::BTreeMap<::std::string::String, $crate::private::Stored>,
                $crate::OpError,
            > {
                let _ = store;
                let mut kept = ::std::collections::BTreeMap::new();
                $(
                    if let ::core::option::Option::Some(stored) =
                        <$ty as $crate::PortValue<_>>::keep(self.$field, ::core::stringify!($field), store)?
                    {
                        kept.insert(::std::string::String::from(::core::stringify!($field)), stored);
                    }
                )*
                let kept: ::std::collections::BTreeMap<_, _> = kept;
                ::core::result::Result::Ok(kept)
            }
        }
    )+};
}

/// Joins the lines of a doc comment into the text of a port.
#[doc(hidden)]
#[must_use]
pub fn doc(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}
