//! What a kind has of its own, beside what holds for all ([`crate::metadata`]).

use apimachinery::{field::ErrorList, names};
use serde_json::{Value, json};

use crate::metadata;

/// One built-in kind. Every method has the behaviour of a kind with nothing special; objects have their defaults and the
/// right JSON types when they get to anything but [`Kind::defaults`], and yet nothing here may panic when they do not.
pub(crate) trait Kind: Sync {
    /// Whether `metadata.generation` counts changes of what is wanted.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether a change is one of what is wanted, where generations are counted: by default, of anything but status and metadata.
    fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        metadata::is_changed(new, old)
    }

    /// Whether `status` is written through a subresource of its own, and kept by other writes.
    fn has_status(&self) -> bool {
        false
    }

    /// The status that a new object begins with, where there is one.
    fn first_status(&self, _object: &Value) -> Value {
        json!({})
    }

    /// What is wrong with a name; a `generateName` is checked with its last hyphen masked.
    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_dns1123_subdomain(name)
    }

    /// Fills in what a client may leave out. Called for every decoded object; must change nothing the second time.
    fn defaults(&self, _version: &str, _object: &mut Value) {}

    /// Drops or sets what is not the client's to say in a new object.
    fn prepare_for_create(&self, _object: &mut Value) {}

    /// Keeps from `old` what this request cannot change; generation and status are looked after elsewhere.
    fn prepare_for_update(&self, _subresource: Option<&str>, _new: &mut Value, _old: &Value) {}

    /// What the kind checks of a change's metadata, beside what is checked of every kind. Many check a changed object as a new one too
    /// ([`metadata::validate`]), so that what is wrong is said again.
    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    /// What is wrong with a new object, metadata apart.
    fn validate_create(&self, _object: &Value, _errors: &mut ErrorList) {}

    /// What is wrong with a change, metadata apart.
    fn validate_update(&self, _subresource: Option<&str>, _new: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// What is allowed and yet unwise, in a new object or in the change of `old`.
    fn warnings(&self, _object: &Value, _old: Option<&Value>, _warnings: &mut Vec<String>) {}
}

/// A kind with nothing of its own but these facts.
pub(crate) struct Plain {
    /// See [`Kind::has_generation`].
    pub(crate) generation: bool,
    /// See [`Kind::has_status`].
    pub(crate) status: bool,
}

impl Kind for Plain {
    fn has_generation(&self) -> bool {
        self.generation
    }

    fn has_status(&self) -> bool {
        self.status
    }
}

/// Neither counts generations nor has a status.
pub(crate) static PLAIN: Plain = Plain { generation: false, status: false };
