//! Who owns which fields, and server-side apply: objects as sets of field paths, compared and merged as their schema says.
//!
//! ```text
//! set       sets of paths, as managedFields writes them
//! shape     what is one field: leaf, map, set, list by keys
//! compare   what one object has, lacks or has differently than another
//! merge     one object merged into another, the paths in an object, an object without some of its paths
//! validate  what cannot be applied
//! managers  metadata.managedFields: creation, update, apply with conflicts
//! last_applied  from kubectl's annotation to server-side apply
//! ```

mod compare;
mod last_applied;
mod managers;
mod merge;
mod set;
mod shape;
mod validate;

pub use self::{
    compare::Difference,
    last_applied::apply,
    managers::{Applied, ApplyError, Conflict, Request, create, forget_times, update},
    merge::{merge, paths_of, without},
    set::{FieldSet, Step},
    validate::validate,
};
